"""Where a private key ends inside an add request: RFC 9987 section 5.2, sshkey.c of OpenSSH.

The key's fields have no outer length, so comment and constraints can only be found by knowing
the fields of its type. The same fields, in the same order, stand in an openssh-key-v1 file.

Rule for editors: a type is a row; the fields are only cut here, never interpreted.
"""

from __future__ import annotations

from typing import Final

from sshwire.errors import UnsupportedError
from sshwire.wire import Reader, encode_byte, encode_string

# "s" is a string (an mpint has the same outer shape), "b" a byte.
_PRIVATE_FIELDS: Final[dict[str, str]] = {
    # public key; seed and public key
    "ssh-ed25519": "ss",
    # certificate; the same two again
    "ssh-ed25519-cert-v01@openssh.com": "sss",
    # p, q, g, y, x
    "ssh-dss": "sssss",
    # certificate; x
    "ssh-dss-cert-v01@openssh.com": "ss",
    # n, e, d, iqmp, p, q
    "ssh-rsa": "ssssss",
    # certificate; d, iqmp, p, q
    "ssh-rsa-cert-v01@openssh.com": "sssss",
    # curve, public point, application, flags, key handle, reserved
    "sk-ecdsa-sha2-nistp256@openssh.com": "sssbss",
    # certificate, application, flags, key handle, reserved
    "sk-ecdsa-sha2-nistp256-cert-v01@openssh.com": "ssbss",
    # public key, application, flags, key handle, reserved
    "sk-ssh-ed25519@openssh.com": "ssbss",
    # certificate, public key, application, flags, key handle, reserved
    "sk-ssh-ed25519-cert-v01@openssh.com": "sssbss",
} | {
    name: fields
    for size in (256, 384, 521)
    for name, fields in (
        # curve, public point, d
        (f"ecdsa-sha2-nistp{size}", "sss"),
        # certificate; d
        (f"ecdsa-sha2-nistp{size}-cert-v01@openssh.com", "ss"),
    )
}


def take_private_fields(reader: Reader, algorithm: str) -> bytes:
    """The private key's fields as they came; raises `UnsupportedError` for a type without a row."""
    fields = _PRIVATE_FIELDS.get(algorithm)
    if fields is None:
        raise UnsupportedError(f"cannot add a key of type {algorithm!r}")
    return b"".join(
        encode_byte(reader.byte()) if field == "b" else encode_string(reader.string())
        for field in fields
    )
