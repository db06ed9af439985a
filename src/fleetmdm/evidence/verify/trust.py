"""Who vouches for a pack: each signature file against the verifier's own allowed signers.

Rule for editors: a key inside the pack is never a reason to trust it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from fleetmdm.evidence.manifest import NAMESPACE, Manifest
from fleetmdm.evidence.names import SIGNATURES
from fleetmdm.evidence.sign import SUBJECTS, parse_signature_name, signature_name
from fleetmdm.evidence.verify.files import Contents
from fleetmdm.evidence.verify.findings import GoodSignature, PackReport
from fleetmdm.evidence.verify.tree import Tree
from sshwire.allowed_signers import AllowedSigners, parse_allowed_signers
from sshwire.errors import VerificationError, WireError
from sshwire.pubkey import PublicKey, encode_public_line, fingerprint
from sshwire.sshsig import MAX_ARMOR_BYTES, is_canonical, parse_sshsig, verify_message

REASONS = {
    "bad_armor": "signature_malformed",
    "key_expired": "signer_expired",
    "key_not_yet_valid": "signer_not_yet_valid",
    "namespace_not_allowed": "signer_namespace_not_allowed",
    "signature_invalid": "signature_invalid",
    "unknown_signer": "signer_unknown",
    "unsupported": "signature_unsupported",
    "wrong_namespace": "signature_wrong_namespace",
    "wrong_principal": "signer_wrong_principal",
}
"""Codes by the reasons that `sshwire` gives."""

_ANYONE = "anyone"


@dataclass(frozen=True, slots=True)
class Trust:
    """Whom the verifier trusts, under which names, and when."""

    allowed: AllowedSigners | None
    principals: Sequence[str]
    now: datetime


def check_signatures(tree: Tree, contents: Contents, trust: Trust, report: PackReport) -> None:
    """Every file under signatures/, then those that should be there."""
    if trust.allowed is None:
        report.add("no_trust_anchor", "")
    prefix = f"{SIGNATURES}/"
    for name in sorted(name for name in tree.files if name.startswith(prefix)):
        parsed = parse_signature_name(name.removeprefix(prefix))
        if parsed is None:
            report.add("signature_unexpected", name)
        else:
            _check_one(name, *parsed, tree, contents, trust, report)
    if contents.manifest is not None:
        _check_complete(tree, contents, contents.manifest, report)


def _check_complete(tree: Tree, contents: Contents, manifest: Manifest, report: PackReport) -> None:
    if not manifest.signers:
        report.add("unsigned", "")
    derived = contents.view is not None and contents.view.derived
    for signer in manifest.signers:
        for subject in ("manifest",) if derived else SUBJECTS:
            name = signature_name(signer.fingerprint, subject)
            if name not in tree.files:
                report.add("signature_missing", name)


def _check_one(
    name: str,
    claimed: str,
    subject: str,
    tree: Tree,
    contents: Contents,
    trust: Trust,
    report: PackReport,
) -> None:
    try:
        armored = tree.read(name, MAX_ARMOR_BYTES)
        key = parse_sshsig(armored).public_key
    except (OSError, WireError) as error:
        report.add("signature_malformed", name, str(error))
        return
    if not is_canonical(armored):
        report.add("signature_not_canonical", name)
    if fingerprint(key.blob) != claimed:
        report.add("signature_misnamed", name, f"by {fingerprint(key.blob)}")
    expected = contents.manifest.signers if contents.manifest is not None else ()
    if contents.manifest is not None and claimed not in {each.fingerprint for each in expected}:
        report.add("signer_unexpected", name, f"{claimed} is not announced by the manifest")
    data = contents.manifest_bytes if subject == "manifest" else contents.sums_bytes
    if data is not None:
        _verify(name, subject, key, armored, data, trust, report)


def _verify(
    name: str,
    subject: str,
    key: PublicKey,
    armored: bytes,
    data: bytes,
    trust: Trust,
    report: PackReport,
) -> None:
    allowed, principals = trust.allowed, trust.principals
    if allowed is None:
        # Without an anchor the signature is still checked, by the key that it names itself.
        allowed, principals = parse_allowed_signers(f"{_ANYONE} {encode_public_line(key)}"), ()
    refusals: list[VerificationError] = []
    for principal in principals or (_ANYONE,):
        try:
            verify_message(
                data,
                armored,
                namespace=NAMESPACE,
                principal=principal,
                now=trust.now,
                allowed=allowed,
            )
        except VerificationError as error:
            refusals.append(error)
            continue
        if trust.allowed is not None:
            report.signatures.append(GoodSignature(fingerprint(key.blob), principal, subject))
        return
    report.add(REASONS[refusals[-1].reason], name, str(refusals[-1]))
