"""Every file under signatures/: whether it is what its name says, in its one form, and holds.

Nobody is trusted here; `trust` judges the keys whose signatures hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from fleetmdm.evidence.attest.authority import require_trusted
from fleetmdm.evidence.attest.dsse import MAX_ENVELOPE_BYTES, encode_statement, verify_envelope
from fleetmdm.evidence.attest.note import MAX_NOTE_BYTES, parse_note, verify_note
from fleetmdm.evidence.attest.timestamp import MAX_TOKEN_BYTES, TokenError, read_token
from fleetmdm.evidence.manifest import NAMESPACE
from fleetmdm.evidence.names import LOG_CHECKPOINT, SIGNATURES
from fleetmdm.evidence.sign import LATER, WITNESS_NAMESPACE, parse_signature_name, signature_name
from fleetmdm.evidence.verify.files import Contents
from fleetmdm.evidence.verify.findings import PackReport
from fleetmdm.evidence.verify.tree import Tree
from sshwire.errors import VerificationError, WireError
from sshwire.pubkey import PublicKey, fingerprint
from sshwire.sshsig import MAX_ARMOR_BYTES, SshSig, check_message, encode_sshsig, parse_sshsig

if TYPE_CHECKING:
    # Imported for its name alone: most packs have no time-stamp token.
    from cryptography.x509 import Certificate

REASONS = {
    "bad_armor": "signature_malformed",
    "key_differs": "signature_misnamed",
    "malformed": "signature_malformed",
    "not_canonical": "signature_not_canonical",
    "payload_differs": "attestation_mismatch",
    "signature_invalid": "signature_invalid",
    "text_differs": "note_mismatch",
    "unsupported": "signature_unsupported",
    "wrong_namespace": "signature_wrong_namespace",
}
"""Codes by the reasons that the formats give."""

TOKEN_REASONS = {
    "invalid": "timestamp_invalid",
    "malformed": "timestamp_malformed",
    "mismatch": "timestamp_mismatch",
    "untrusted": "timestamp_untrusted",
}

_SSHSIG = {
    "manifest": NAMESPACE,
    "sums": NAMESPACE,
    "cosign": NAMESPACE,
    "witness": WITNESS_NAMESPACE,
}
_LIMITS = {
    "dsse": MAX_ENVELOPE_BYTES,
    "checkpoint": MAX_NOTE_BYTES,
    "witness_note": MAX_NOTE_BYTES,
    "timestamp": MAX_TOKEN_BYTES,
}


@dataclass(slots=True)
class Sound:
    """Signatures that hold, by the fingerprint of the key that made them."""

    keys: dict[str, PublicKey] = field(default_factory=dict)
    kinds: dict[str, list[str]] = field(default_factory=dict)
    proven: dict[str, datetime] = field(default_factory=dict)
    """When the signature over the manifest was there, by a believed token."""
    witnessed: dict[str, datetime] = field(default_factory=dict)
    """When a witness says that it saw the checkpoint."""

    def add(self, mark: str, kind: str, key: PublicKey) -> None:
        """Note one that holds."""
        self.keys.setdefault(mark, key)
        self.kinds.setdefault(mark, []).append(kind)


@dataclass(frozen=True, slots=True)
class _File:
    name: str
    mark: str
    kind: str
    data: bytes
    sshsig: SshSig | WireError | None
    """Of an SSHSIG: what stands in it, or why nothing does."""


def _parse(kind: str, data: bytes) -> SshSig | WireError | None:
    if kind not in _SSHSIG:
        return None
    try:
        return parse_sshsig(data)
    except WireError as error:
        return error


def read_signatures(
    tree: Tree, contents: Contents, authorities: Sequence[Certificate], report: PackReport
) -> Sound:
    """Check every file; those in forms without a key inside come after those with one."""
    sound = Sound()
    files = list(_read_files(tree, contents, report))
    keys = {each.mark: key for each in files if (key := _key_inside(each)) is not None}
    for each in files:
        try:
            if each.kind == "timestamp":
                _check_token(each, tree, authorities, sound, report)
            elif each.kind in _SSHSIG:
                _check_sshsig(each, contents, sound, report)
            else:
                _check_other(each, contents, keys, sound)
        except VerificationError as error:
            report.add(REASONS[error.reason], each.name, str(error))
        except TokenError as error:
            report.add(TOKEN_REASONS[error.reason], each.name, str(error))
    return sound


def _read_files(tree: Tree, contents: Contents, report: PackReport) -> list[_File]:
    prefix = f"{SIGNATURES}/"
    files: list[_File] = []
    announced = (
        {signer.fingerprint for signer in contents.manifest.signers} if contents.manifest else None
    )
    for name in sorted(name for name in tree.files if name.startswith(prefix)):
        parsed = parse_signature_name(name.removeprefix(prefix))
        if parsed is None:
            report.add("signature_unexpected", name)
            continue
        mark, kind = parsed
        try:
            data = tree.read(name, _LIMITS.get(kind, MAX_ARMOR_BYTES))
        except OSError as error:
            report.add("signature_malformed", name, str(error))
            continue
        if announced is not None and kind not in LATER and mark not in announced:
            report.add("signer_unexpected", name, f"{mark} is not announced by the manifest")
        files.append(_File(name, mark, kind, data, _parse(kind, data)))
    return files


def _key_inside(file: _File) -> PublicKey | None:
    """The key in an SSHSIG, where it is the one in the file's name."""
    if not isinstance(file.sshsig, SshSig):
        return None
    key = file.sshsig.public_key
    return key if fingerprint(key.blob) == file.mark else None


def _check_sshsig(file: _File, contents: Contents, sound: Sound, report: PackReport) -> None:
    sshsig = file.sshsig
    if not isinstance(sshsig, SshSig):
        report.add("signature_malformed", file.name, str(sshsig))
        return
    key = sshsig.public_key
    if sshsig.reserved or encode_sshsig(sshsig) != file.data:
        report.add("signature_not_canonical", file.name)
    mark = fingerprint(key.blob)
    if mark != file.mark:
        report.add("signature_misnamed", file.name, f"by {mark}")
    subjects = {
        "manifest": contents.manifest_bytes,
        "cosign": contents.manifest_bytes,
        "sums": contents.sums_bytes,
        "witness": contents.kept.get(LOG_CHECKPOINT),
    }
    data = subjects[file.kind]
    if data is not None:
        check_message(data, file.data, namespace=_SSHSIG[file.kind])
        if mark == file.mark:
            sound.add(file.mark, file.kind, key)


def _check_other(file: _File, contents: Contents, keys: dict[str, PublicKey], sound: Sound) -> None:
    """An attestation or a note: the key that made it stands in an SSHSIG beside it."""
    key = keys.get(file.mark)
    if key is None:
        raise VerificationError("malformed", "no SSHSIG by the same key stands beside it")
    if file.kind == "dsse":
        if contents.manifest is None or contents.manifest_bytes is None:
            return
        verify_envelope(file.data, key=key, payload=encode_statement(contents.manifest_bytes))
    else:
        note = parse_note(file.data, witness=file.kind == "witness_note")
        text = contents.kept.get(LOG_CHECKPOINT)
        if text is None:
            return
        verify_note(note, text=text, key=key)
        if note.time is not None:
            sound.witnessed[file.mark] = note.time
    sound.add(file.mark, file.kind, key)


def _check_token(
    file: _File, tree: Tree, authorities: Sequence[Certificate], sound: Sound, report: PackReport
) -> None:
    try:
        stamped = tree.read(signature_name(file.mark, "manifest"), MAX_ARMOR_BYTES)
    except OSError:
        raise TokenError("mismatch", "the signature that it is over is absent") from None
    stamp = read_token(file.data, stamped=stamped)
    if not authorities:
        message = f"says {stamp.time.isoformat()} by {stamp.authority}"
        report.add("timestamp_unverified", file.name, message)
        return
    require_trusted(stamp, authorities)
    sound.proven[file.mark] = stamp.time
