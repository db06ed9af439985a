"""A key's record as bytes, for the private channels between the agent's processes.

Rule for editors: what is written here holds secrets in clear and never touches a disk.
"""

from __future__ import annotations

from secretivex.identity import Identity, KeyRecord, Restrictions, Signer
from sshwire.wire import (
    Reader,
    encode_boolean,
    encode_string,
    encode_text,
    encode_uint32,
    encode_uint64,
)

_PER_SECOND = 1_000_000


def encode_record(record: KeyRecord) -> bytes:
    """As bytes; holds the key in clear."""
    identity, restrictions, signer = record.identity, record.restrictions, record.signer
    parts = [
        encode_string(identity.key_blob),
        encode_text(identity.comment),
        encode_text(identity.algorithm),
        encode_text(identity.store),
        encode_string(record.private_fields),
        encode_text(restrictions.provider),
        encode_string(restrictions.destinations),
        encode_string(restrictions.pin),
        encode_boolean(restrictions.confirm),
        encode_uint64(_encode_end(restrictions.expires_s)),
        encode_boolean(signer is not None),
    ]
    if signer is not None:
        parts += (
            encode_text(signer.address),
            encode_string(signer.password),
            encode_uint32(signer.at_a_time),
        )
    return b"".join(parts)


def read_record(reader: Reader) -> KeyRecord:
    """The inverse; raises `WireError`."""
    identity = Identity(reader.string(), reader.text(), reader.text(), reader.text())
    fields = reader.string()
    restrictions = Restrictions(
        reader.text(),
        reader.string(),
        reader.string(),
        confirm=reader.boolean(),
        expires_s=_parse_end(reader.uint64()),
    )
    signer = None
    if reader.boolean():
        signer = Signer(reader.text(), reader.string(), reader.uint32())
    return KeyRecord(identity, fields, restrictions, signer)


def _encode_end(expires_s: float | None) -> int:
    """Microseconds; 0 for no end."""
    return 0 if expires_s is None else max(1, round(expires_s * _PER_SECOND))


def _parse_end(ends: int) -> float | None:
    return ends / _PER_SECOND if ends else None
