"""Close a pack: manifest, view and sums, each over what was written before it; then signatures."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import datetime

from fleetmdm.evidence.manifest import Manifest, encode_manifest
from fleetmdm.evidence.names import MANIFEST, SIGNATURES, SUMS, VIEW
from fleetmdm.evidence.pack.contents import PackContents
from fleetmdm.evidence.pack.folder import PackFolder
from fleetmdm.evidence.redact import Redaction
from fleetmdm.evidence.sign import (
    FORMS,
    SUBJECTS,
    expected_signer,
    sign_form,
    sign_subject,
    signature_name,
)
from fleetmdm.evidence.view import View, encode_sums, encode_view
from fleetmdm.ledger.checkpoint import encode_checkpoint
from fleetmdm.ledger.entries import parse_leaf
from fleetmdm.ledger.merkle import leaf_hash
from sshwire.sshsig import Signer


def seal(
    folder: PackFolder,
    contents: PackContents,
    signers: Sequence[Signer],
    *,
    redaction: Redaction,
    tool_version: str,
    now: datetime,
) -> str:
    """Write what closes the pack; answers the SHA-256 of its manifest."""
    manifest = encode_manifest(_manifest(folder, contents, signers, tool_version))
    digest = hashlib.sha256(manifest).hexdigest()
    folder.write(MANIFEST, manifest)
    view = View(digest, redaction.profile, False, folder.shown, redaction.rules)
    folder.write(VIEW, encode_view(view))
    signed = {"manifest": manifest, "sums": encode_sums(folder.digests)}
    folder.write(SUMS, signed["sums"])
    (folder.root / SIGNATURES).mkdir(mode=0o700)
    for signer in signers:
        mark = expected_signer(signer).fingerprint
        for kind in SUBJECTS:
            signature = sign_subject(signer, signed[kind], now=now)
            folder.write(signature_name(mark, kind), signature)
        _sign_forms(folder, contents, signer, manifest)
    return digest


def _sign_forms(
    folder: PackFolder, contents: PackContents, signer: Signer, manifest: bytes
) -> None:
    """What the key says beside SSHSIG, in the forms that the manifest announces."""
    checkpoint = encode_checkpoint(contents.proof.checkpoint)
    expected = expected_signer(signer)
    for form in expected.forms:
        if form != "sshsig":
            (kind,) = FORMS[form]
            data = sign_form(
                signer, form, manifest=manifest, checkpoint=checkpoint, origin=contents.origin
            )
            folder.write(signature_name(expected.fingerprint, kind), data)


def _manifest(
    folder: PackFolder, contents: PackContents, signers: Sequence[Signer], tool_version: str
) -> Manifest:
    proof, run = contents.proof, contents.run
    return Manifest(
        tool_version=tool_version,
        run={
            "run_id": run.run_id,
            "finished_at": parse_leaf(proof.leaf)["finished_at"],
            "leaf": leaf_hash(proof.leaf).hex(),
        },
        ledger={
            "origin": proof.checkpoint.origin,
            "size": proof.checkpoint.size,
            "root": proof.checkpoint.root.hex(),
        },
        signers=tuple(expected_signer(signer) for signer in signers),
        files=folder.entries,
    )
