"""What may be added to a pack after its export: co-signatures, a witness's, a time-stamp token.

Rule for editors: nothing else under a finished pack is ever written, and nothing is replaced.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from clikit.output import write_atomic
from fleetmdm.errors import FleetError
from fleetmdm.evidence.archive.read import editable
from fleetmdm.evidence.attest.note import can_note, cosign_note
from fleetmdm.evidence.attest.timestamp import TimeStamp, TokenError, read_token, token_of
from fleetmdm.evidence.examine.sound import TOLERATED, SoundPack
from fleetmdm.evidence.manifest import MAX_MANIFEST_BYTES
from fleetmdm.evidence.names import LOG_CHECKPOINT, MANIFEST
from fleetmdm.evidence.sign import WITNESS_NAMESPACE, sign_subject, signature_name
from fleetmdm.evidence.verify import Trust, verify_pack
from sshwire.errors import WireError
from sshwire.pubkey import fingerprint
from sshwire.sshsig import MAX_ARMOR_BYTES, Signer


def add_cosignature(
    root: Path, signers: Sequence[Signer], *, now: datetime, older: Path | None = None
) -> list[str]:
    """Sign the manifest of a pack whose bytes hold; answers the names of what was added."""
    with editable(root) as folder:
        pack = _open(folder, root, older)
        data = pack.tree.read(MANIFEST, MAX_MANIFEST_BYTES)
        files = {_name(signer, "cosign"): sign_subject(signer, data, now=now) for signer in signers}
        return _add(pack, files)


def add_witness(
    root: Path,
    signers: Sequence[Signer],
    *,
    name: str,
    now: datetime,
    older: Path | None = None,
) -> list[str]:
    """Sign the log's checkpoint: as SSHSIG, and with a time as a note where the key can."""
    with editable(root) as folder:
        pack = _open(folder, root, older)
        data = pack.read(LOG_CHECKPOINT)
        files: dict[str, bytes] = {}
        for signer in signers:
            files.update(_witness(signer, data, name=name, now=now))
        return _add(pack, files)


def _witness(signer: Signer, data: bytes, *, name: str, now: datetime) -> dict[str, bytes]:
    signature = sign_subject(signer, data, now=now, namespace=WITNESS_NAMESPACE)
    files = {_name(signer, "witness"): signature}
    if can_note(signer.public_key):
        try:
            files[_name(signer, "witness_note")] = cosign_note(signer, data, name=name, now=now)
        except WireError as error:
            raise FleetError("usage", f"--name: {error}") from error
    return files


def add_timestamp(root: Path, answer: bytes) -> tuple[str, TimeStamp]:
    """Add the token in a TSA's answer beside the signature that it is over.

    Raises `timestamp_invalid` for one that does not hold or is over something else.
    """
    with editable(root) as folder:
        return _add_token(_open(folder, root, None), answer)


def _add_token(pack: SoundPack, answer: bytes) -> tuple[str, TimeStamp]:
    refusal: TokenError | None = None
    for signer in pack.manifest.signers:
        signature = signature_name(signer.fingerprint, "manifest")
        try:
            token = token_of(answer)
            stamp = read_token(token, stamped=pack.tree.read(signature, MAX_ARMOR_BYTES))
        except TokenError as error:
            refusal = error
            continue
        (name,) = _add(pack, {signature_name(signer.fingerprint, "timestamp"): token})
        return name, stamp
    reason = str(refusal) if refusal is not None else "the pack has no signature to stamp"
    raise FleetError(
        "timestamp_invalid", reason, hint="it must be over a file signatures/*.manifest.sshsig"
    )


def _name(signer: Signer, kind: str) -> str:
    return signature_name(fingerprint(signer.public_key.blob), kind)


def _open(root: Path, path: Path, older: Path | None) -> SoundPack:
    pack = SoundPack(root, path)
    if older is not None:
        nobody = Trust(None, (), datetime.fromtimestamp(0, UTC))
        report = verify_pack(root, nobody, older=older)
        codes = sorted({finding.code for finding in report.findings} - TOLERATED)
        if codes:
            raise FleetError(
                "evidence_invalid", f"{path} does not continue {older}: {', '.join(codes)}"
            )
    return pack


def _add(pack: SoundPack, files: dict[str, bytes]) -> list[str]:
    for name in files:
        if os.path.lexists(pack.root / name):
            raise FleetError("output_exists", f"{pack.root / name} is there already")
    for name, data in files.items():
        (pack.root / name).parent.mkdir(mode=0o700, exist_ok=True)
        write_atomic(pack.root / name, [data])
    return sorted(files)
