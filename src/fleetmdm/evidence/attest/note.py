r"""Signed notes over the log's checkpoint: C2SP signed-note, and a witness's tlog-cosignature.

    note       text ending in a newline, an empty line, one line for each signature:
               U+2014, space, key name, space, base64(key id of 4 bytes, signature)
    key id     SHA-256(name, newline, type, public key)[:4]; type 1 is Ed25519, 4 a cosignature
    witness    signs "cosignature/v1\ntime SECONDS\n" and the text; the time travels before the
               signature as eight bytes

Only Ed25519 keys make notes; others sign the same checkpoint as SSHSIG. Pure.
Rule for editors: one note, one signature line; a reader refuses any other spelling.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime

from sshwire.algorithms import find_algorithm
from sshwire.errors import VerificationError, WireError
from sshwire.keyblob import plain_public_key
from sshwire.pubkey import PublicKey
from sshwire.signature import Signature, encode_signature, parse_signature, verify_signature
from sshwire.sshsig import Signer
from sshwire.wire import Reader

MAX_NOTE_BYTES = 64 * 1024

_ED25519 = b"\x01"
_COSIGNATURE = b"\x04"
_SIGNATURE_BYTES = 64
_LINE = re.compile(r"\u2014 ([^\s+]{1,200}) ([A-Za-z0-9+/]+={0,2})\n\Z")
_NAME = re.compile(r"[^\s+]{1,200}\Z")


@dataclass(frozen=True, slots=True)
class Note:
    """One text and one signature over it; `time` is a witness's, else None."""

    text: bytes
    name: str
    key_id: bytes
    signature: bytes
    time: datetime | None


def can_note(key: PublicKey) -> bool:
    """Whether a key can sign a note: plain Ed25519."""
    row = find_algorithm(key.algorithm)
    return row.family == "ed25519" and not row.is_security_key


def sign_note(signer: Signer, text: bytes, *, name: str) -> bytes:
    """The log's own note over a checkpoint."""
    key = _ed25519(signer.public_key)
    return _encode(text, name, _key_id(name, _ED25519, key), _raw(signer.sign(text)))


def cosign_note(signer: Signer, text: bytes, *, name: str, now: datetime) -> bytes:
    """A witness's note: it saw this checkpoint, consistent with all it saw before, at `now`."""
    key = _ed25519(signer.public_key)
    seconds = int(now.timestamp())
    raw = _raw(signer.sign(_cosigned(text, seconds)))
    body = seconds.to_bytes(8, "big") + raw
    return _encode(text, name, _key_id(name, _COSIGNATURE, key), body)


def parse_note(data: bytes, *, witness: bool) -> Note:
    """Take a note apart; raises `VerificationError` with `malformed`."""
    text, separator, tail = data[:MAX_NOTE_BYTES].partition(b"\n\n")
    try:
        match = _LINE.match(tail.decode())
        payload = base64.b64decode(match[2], validate=True) if match is not None else b""
    except (UnicodeDecodeError, binascii.Error) as error:
        raise VerificationError("malformed", "the file is not a signed note") from error
    wanted = 4 + (8 if witness else 0) + _SIGNATURE_BYTES
    if match is None or not separator or len(payload) != wanted:
        raise VerificationError("malformed", "the file is not a signed note with one signature")
    time = None
    if witness:
        seconds = int.from_bytes(payload[4:12], "big")
        try:
            time = datetime.fromtimestamp(seconds, UTC)
        except (OverflowError, ValueError, OSError) as error:
            raise VerificationError("malformed", "the note's time is out of range") from error
    note = Note(text + b"\n", match[1], payload[:4], payload[-_SIGNATURE_BYTES:], time)
    if _encode(note.text, note.name, note.key_id, payload[4:]) != data:
        raise VerificationError("not_canonical", "the note has another spelling")
    return note


def verify_note(note: Note, *, text: bytes, key: PublicKey) -> None:
    """Raise `VerificationError` unless `key` signed this `text` in the note.

    Reasons: `text_differs`, `key_differs`, `signature_invalid`.
    """
    if note.text != text:
        raise VerificationError("text_differs", "the note is about another checkpoint")
    witness = note.time is not None
    kind = _COSIGNATURE if witness else _ED25519
    if note.key_id != _key_id(note.name, kind, _ed25519(key)):
        raise VerificationError("key_differs", "the note names another key")
    signed = text if note.time is None else _cosigned(text, int(note.time.timestamp()))
    plain = plain_public_key(key)
    try:
        blob = encode_signature(Signature(plain.algorithm, note.signature))
        verify_signature(plain, blob, signed)
    except WireError as error:
        raise VerificationError("signature_invalid", str(error)) from error


def _cosigned(text: bytes, seconds: int) -> bytes:
    return b"cosignature/v1\ntime %d\n" % seconds + text


def _encode(text: bytes, name: str, key_id: bytes, body: bytes) -> bytes:
    if not _NAME.match(name):
        raise WireError("a note's key name has neither blanks nor plus signs")
    line = f"\u2014 {name} {base64.b64encode(key_id + body).decode()}\n"
    return text + b"\n" + line.encode()


def _key_id(name: str, kind: bytes, key: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + kind + key).digest()[:4]


def _ed25519(key: PublicKey) -> bytes:
    """The 32 bytes of the key."""
    if not can_note(key):
        raise WireError(f"{key.algorithm} cannot sign a note; plain Ed25519 can")
    reader = Reader(plain_public_key(key).blob)
    reader.string()
    return reader.string()


def _raw(blob: bytes) -> bytes:
    return parse_signature(blob).blob
