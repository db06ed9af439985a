"""Signatures over files and messages: PROTOCOL.sshsig of OpenSSH, as `ssh-keygen -Y` makes them.

    blob:   "SSHSIG", uint32 version 1, string public key, string namespace, string reserved,
            string hash name, string signature
    signed: "SSHSIG", string namespace, string reserved, string hash name, string H(message)

`parse_sshsig` takes what ssh-keygen takes, which is more than one text for one signature (blanks
in the armor, text after it, a reserved field that nothing signs). Whoever needs one text, such as
a log that must not hold two forms of one thing, asks `is_canonical`.

Rule for editors: namespace, principal and time are the caller's to give; nothing here has a
default for them, and RSA over SHA-1 is neither made nor accepted.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal, Protocol

from sshwire.agent.numbers import SignFlag
from sshwire.algorithms import SHA1_SIGNATURE_FORMAT, find_algorithm
from sshwire.errors import UnsupportedError, VerificationError, WireError
from sshwire.pubkey import PublicKey, fingerprint, parse_public_key
from sshwire.signature import parse_signature, verify_signature
from sshwire.wire import MAX_STRING_BYTES, Reader, encode_string, encode_text, encode_uint32

if TYPE_CHECKING:
    from sshwire.allowed_signers import AllowedSigners

HashName = Literal["sha256", "sha512"]

MAX_ARMOR_BYTES: Final = MAX_STRING_BYTES * 2
"""Longest armored signature we take: the longest blob in base64, and blanks."""

_MAGIC: Final = b"SSHSIG"
_VERSION: Final = 1
_BEGIN: Final = b"-----BEGIN SSH SIGNATURE-----\n"
_END: Final = b"\n-----END SSH SIGNATURE-----"
_ARMOR_COLUMNS: Final = 70
_BLANKS: Final = b" \t\n\r\v\f"
_RSA_FLAGS: Final = {"sha256": SignFlag.RSA_SHA2_256, "sha512": SignFlag.RSA_SHA2_512}


class Signer(Protocol):
    """Whatever holds a private key: a key in memory, or an agent asked for one of its keys."""

    @property
    def public_key(self) -> PublicKey:
        """The key that signatures are made with."""
        ...

    def sign(self, data: bytes, flags: int = 0) -> bytes:
        """A signature blob over the data; `flags` as in a sign request of the agent protocol."""
        ...


@dataclass(frozen=True, slots=True)
class MessageDigest:
    """A message known by its hash alone, for what is too large or already hashed."""

    hash_name: str
    value: bytes


Message = bytes | bytearray | memoryview | MessageDigest | Iterable[bytes]
"""The message itself, its digest, or its chunks in order."""


@dataclass(frozen=True, slots=True)
class SshSig:
    """One parsed signature. Nothing in it is trusted before `verify_message` said so."""

    public_key: PublicKey
    namespace: str
    hash_name: str
    signature: bytes
    reserved: bytes = b""


@dataclass(frozen=True, slots=True)
class Verified:
    """Proof that `principal` signed the message: only `verify_message` makes one."""

    principal: str
    public_key: PublicKey
    namespace: str
    hash_name: str
    fingerprint: str


def sign_message(
    message: Message, *, signer: Signer, namespace: str, hash_name: HashName = "sha512"
) -> bytes:
    """The armored signature over a message, as `ssh-keygen -Y sign` writes it."""
    _check_namespace(namespace)
    digest = _digest(message, hash_name)
    key = signer.public_key
    rsa = find_algorithm(key.algorithm).family == "rsa"
    signature = signer.sign(
        _signed_bytes(namespace, hash_name, digest), _RSA_FLAGS[hash_name] if rsa else 0
    )
    _check_format(key, signature)
    return encode_sshsig(SshSig(key, namespace, hash_name, signature))


def parse_sshsig(armored: bytes) -> SshSig:
    """Take an armored signature apart; raises `WireError` where ssh-keygen would refuse it.

    A hash or key type that we do not know is an `UnsupportedError`.
    """
    reader = Reader(_parse_armor(armored))
    if reader.take(len(_MAGIC)) != _MAGIC:
        raise WireError("not an SSHSIG blob")
    version = reader.uint32()
    if version != _VERSION:
        raise UnsupportedError(f"unknown SSHSIG version {version}")
    key_blob, namespace, reserved = reader.string(), reader.text(), reader.string()
    hash_name, signature = reader.text(), reader.string()
    reader.finish()
    _check_namespace(namespace)
    _check_hash(hash_name)
    return SshSig(parse_public_key(key_blob), namespace, hash_name, signature, reserved)


def encode_sshsig(sshsig: SshSig) -> bytes:
    """The armored form, byte for byte as ssh-keygen writes it."""
    encoded = base64.b64encode(
        _MAGIC
        + encode_uint32(_VERSION)
        + encode_string(sshsig.public_key.blob)
        + encode_text(sshsig.namespace)
        + encode_string(sshsig.reserved)
        + encode_text(sshsig.hash_name)
        + encode_string(sshsig.signature)
    )
    starts = range(0, len(encoded), _ARMOR_COLUMNS)
    lines = (encoded[start : start + _ARMOR_COLUMNS] for start in starts)
    return _BEGIN + b"\n".join(lines) + _END + b"\n"


def is_canonical(armored: bytes) -> bool:
    """Whether this is the one text that ssh-keygen writes for this signature; False for junk."""
    try:
        parsed = parse_sshsig(armored)
    except WireError:
        return False
    return not parsed.reserved and encode_sshsig(parsed) == armored


def verify_message(
    message: Message,
    armored: bytes,
    *,
    namespace: str,
    principal: str,
    now: datetime,
    allowed: AllowedSigners,
) -> Verified:
    """Say who signed, or raise `VerificationError` with a reason; `now` carries its zone.

    Reasons: `bad_armor`, `unsupported`, `wrong_namespace`, `signature_invalid`, and those of
    `AllowedSigners.find`: `unknown_signer`, `wrong_principal`, `namespace_not_allowed`,
    `key_not_yet_valid`, `key_expired`. Chunks are read only once the signature could be parsed.
    """
    sshsig = check_message(message, armored, namespace=namespace)
    key = sshsig.public_key
    allowed.find(key, principal=principal, namespace=namespace, now=now)
    return Verified(principal, key, namespace, sshsig.hash_name, fingerprint(key.blob))


def check_message(message: Message, armored: bytes, *, namespace: str) -> SshSig:
    """What `ssh-keygen -Y check-novalidate` does: the signature holds, by whomever.

    Raises `VerificationError` for the reasons of `verify_message` that are not about trust.
    """
    sshsig = _parse_untrusted(armored)
    if sshsig.namespace != namespace:
        raise VerificationError(
            "wrong_namespace", f"signed for {sshsig.namespace!r}, not for {namespace!r}"
        )
    digest = _digest(message, sshsig.hash_name)
    _verify(sshsig, _signed_bytes(namespace, sshsig.hash_name, digest))
    return sshsig


def _parse_armor(armored: bytes) -> bytes:
    """What sshsig_dearmor does: header first, up to the first footer, blanks anywhere between."""
    if len(armored) > MAX_ARMOR_BYTES:
        raise WireError(f"signature of {len(armored)} bytes is over the limit of {MAX_ARMOR_BYTES}")
    if not armored.startswith(_BEGIN):
        raise WireError("signature does not begin with BEGIN SSH SIGNATURE")
    end = armored.find(_END, len(_BEGIN))
    if end < 0:
        raise WireError("signature has no END SSH SIGNATURE")
    text = armored[len(_BEGIN) : end].translate(None, _BLANKS)
    try:
        blob = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise WireError("signature is not base64") from error
    # b64decode forgives bits after the last byte and text after the padding; OpenSSH does not.
    if base64.b64encode(blob) != text:
        raise WireError("signature is not base64 in its one form")
    return blob


def _signed_bytes(namespace: str, hash_name: str, digest: bytes) -> bytes:
    return (
        _MAGIC
        + encode_text(namespace)
        + encode_string(b"")
        + encode_text(hash_name)
        + encode_string(digest)
    )


def _digest(message: Message, hash_name: str) -> bytes:
    _check_hash(hash_name)
    if isinstance(message, MessageDigest):
        if (
            message.hash_name != hash_name
            or len(message.value) != hashlib.new(hash_name).digest_size
        ):
            raise WireError(f"a {hash_name} digest is needed, not {message.hash_name}")
        return message.value
    hasher = hashlib.new(hash_name)
    chunks = (message,) if isinstance(message, bytes | bytearray | memoryview) else message
    for chunk in chunks:
        hasher.update(chunk)
    return hasher.digest()


def _check_hash(hash_name: str) -> None:
    if hash_name not in _RSA_FLAGS:
        raise UnsupportedError(f"message hash {hash_name[:40]!r} is not sha256 or sha512")


def _check_namespace(namespace: str) -> None:
    """PROTOCOL.sshsig: it must not be empty; ssh-keygen keeps it as a C string."""
    if not namespace or "\0" in namespace:
        raise WireError("a signature needs a namespace, and no NUL in it")


def _check_format(key: PublicKey, signature: bytes) -> None:
    signed_with = parse_signature(signature).format
    usable = find_algorithm(key.algorithm).signature_formats
    if signed_with not in usable or signed_with == SHA1_SIGNATURE_FORMAT:
        raise UnsupportedError(f"the signer answered with {signed_with} for a {key.algorithm} key")


def _parse_untrusted(armored: bytes) -> SshSig:
    try:
        return parse_sshsig(armored)
    except UnsupportedError as error:
        raise VerificationError("unsupported", str(error)) from error
    except WireError as error:
        raise VerificationError("bad_armor", str(error)) from error


def _verify(sshsig: SshSig, signed: bytes) -> None:
    try:
        verify_signature(sshsig.public_key, sshsig.signature, signed)
    except VerificationError as error:
        unsupported = error.reason in ("unsupported_signature", "sha1_refused")
        raise VerificationError(
            "unsupported" if unsupported else "signature_invalid", str(error)
        ) from error
    except WireError as error:
        raise VerificationError("signature_invalid", str(error)) from error
