"""Who vouches for a pack: each signature file against the verifier's own allowed signers.

First every file must be what its name says and hold by its own key (`signatures`), then each key is
judged once. Rule for editors: a key inside the pack is never a reason to trust it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from fleetmdm.evidence.keyring.revocation import Revocation, Revocations
from fleetmdm.evidence.manifest import NAMESPACE, ExpectedSigner, Manifest
from fleetmdm.evidence.names import MANIFEST
from fleetmdm.evidence.sign import (
    FORMS,
    OF_THE_VIEW,
    SUBJECTS,
    WITNESS_NAMESPACE,
    signature_name,
)
from fleetmdm.evidence.verify.files import Contents
from fleetmdm.evidence.verify.findings import GoodSignature, PackReport
from fleetmdm.evidence.verify.signatures import Sound, read_signatures
from fleetmdm.evidence.verify.tree import Tree
from sshwire.allowed_signers import AllowedSigners
from sshwire.errors import VerificationError

if TYPE_CHECKING:
    # Imported for its name alone: most packs have no time-stamp token.
    from cryptography.x509 import Certificate

REASONS = {
    "key_expired": "signer_expired",
    "key_not_yet_valid": "signer_not_yet_valid",
    "namespace_not_allowed": "signer_namespace_not_allowed",
    "signature_invalid": "signature_invalid",
    "unknown_signer": "signer_unknown",
    "unsupported": "signature_unsupported",
    "wrong_principal": "signer_wrong_principal",
}
"""Codes by the reasons that `sshwire` gives."""

WITNESS_KINDS = frozenset({"witness", "witness_note"})


@dataclass(frozen=True, slots=True)
class Trust:
    """Whom the verifier trusts, under which names, and when.

    `required` is how many signers must be trusted; None is all whom the manifest names.
    """

    allowed: AllowedSigners | None
    principals: Sequence[str]
    now: datetime
    required: int | None = None
    revoked: Revocations = field(default_factory=Revocations)
    witnesses: Sequence[str] = ()
    """Names of whom one must have co-signed the log's checkpoint; empty asks for none."""
    authorities: Sequence[Certificate] = ()
    """Time-stamping authorities that are believed."""


def check_signatures(tree: Tree, contents: Contents, trust: Trust, report: PackReport) -> None:
    """Every file under signatures/, then those that should be there, then who is trusted."""
    if trust.allowed is None:
        report.add("no_trust_anchor", "")
    elif trust.allowed.skipped:
        lines = ", ".join(str(each.line) for each in trust.allowed.skipped)
        report.add("trust_line_skipped", "", f"lines of the allowed signers not used: {lines}")
    sound = read_signatures(tree, contents, trust.authorities, report)
    if contents.manifest is not None:
        _check_complete(tree, contents, contents.manifest, report)
    if trust.allowed is not None:
        expected = contents.manifest.signers if contents.manifest is not None else ()
        judge = _Judge(sound, trust, trust.allowed)
        _check_signers(judge, expected, report)
        _check_witnesses(judge, report)


def _check_complete(tree: Tree, contents: Contents, manifest: Manifest, report: PackReport) -> None:
    if not manifest.signers:
        report.add("unsigned", "")
    derived = contents.view is not None and contents.view.derived
    for signer in manifest.signers:
        for form in sorted(set(signer.forms) - set(FORMS)):
            message = f"the manifest announces the form {form!r}"
            report.add("signature_unsupported", MANIFEST, message)
        # Whatever a manifest says of forms, a pack without its signatures is not signed.
        wanted = [*SUBJECTS, *(kind for form in signer.forms for kind in FORMS.get(form, ()))]
        for kind in dict.fromkeys(wanted):
            name = signature_name(signer.fingerprint, kind)
            if name not in tree.files and not (derived and kind in OF_THE_VIEW):
                report.add("signature_missing", name)


@dataclass(frozen=True, slots=True)
class _Refused:
    """One key that is not trusted, to be told once it is known whether it had to be."""

    code: str
    fingerprint: str
    file: str
    message: str


class _Judge:
    """Decides about keys, each by all that is known of it."""

    def __init__(self, sound: Sound, trust: Trust, allowed: AllowedSigners) -> None:
        self.sound = sound
        self.trust = trust
        self._allowed = allowed

    def decide(self, mark: str, kind: str) -> str | _Refused:
        """The name by which a key is trusted, or why it is not.

        Validity is judged at the time that a believed token proves, else at the verifier's now.
        """
        file, key, proven = (
            signature_name(mark, kind),
            self.sound.keys[mark],
            self.sound.proven.get(mark),
        )
        revocation = self.trust.revoked.find(key)
        if revocation is not None and not _stands(revocation, proven):
            since = "" if revocation.at is None else f" since {revocation.at.isoformat()}"
            return _Refused("signer_revoked", mark, file, f"revoked{since}: {revocation.reason}")
        witness = kind in WITNESS_KINDS
        namespace = WITNESS_NAMESPACE if witness else NAMESPACE
        refusals: list[VerificationError] = []
        for principal in self.trust.witnesses if witness else self.trust.principals:
            try:
                now = proven or self.trust.now
                self._allowed.find(key, principal=principal, namespace=namespace, now=now)
            except VerificationError as error:
                refusals.append(error)
            else:
                return principal
        if not refusals:
            return _Refused("signer_unknown", mark, file, "no name was given to look it up by")
        return _Refused(REASONS[refusals[-1].reason], mark, file, str(refusals[-1]))

    def note_revocation(self, mark: str, report: PackReport) -> None:
        """Say so when a trusted key was revoked after it signed."""
        revocation = self.trust.revoked.find(self.sound.keys[mark])
        proven = self.sound.proven.get(mark)
        if revocation is None or revocation.at is None or proven is None:
            return
        message = (
            f"signed by {proven.isoformat()}, revoked since {revocation.at.isoformat()}:"
            f" {revocation.reason}"
        )
        report.add("signed_before_revocation", signature_name(mark, "manifest"), message)


def _stands(revocation: Revocation, proven: datetime | None) -> bool:
    """Whether what a key signed stands although it was revoked: it was proven there before."""
    return revocation.at is not None and proven is not None and proven < revocation.at


def _check_signers(judge: _Judge, expected: Sequence[ExpectedSigner], report: PackReport) -> None:
    announced = {signer.fingerprint for signer in expected}
    names: set[str] = set()
    keys: set[str] = set()
    refused: list[_Refused] = []
    for mark, kinds in sorted(judge.sound.kinds.items()):
        vouching = [kind for kind in kinds if kind not in WITNESS_KINDS]
        if not vouching:
            continue
        answer = judge.decide(mark, vouching[0])
        if isinstance(answer, _Refused):
            refused.append(answer)
            continue
        judge.note_revocation(mark, report)
        if {"manifest", "cosign"} & set(vouching):
            names.add(answer)
            keys.add(mark)
        proven = judge.sound.proven.get(mark)
        report.signatures.extend(GoodSignature(mark, answer, kind, proven) for kind in vouching)
    enough = _has_enough(names, keys, judge.trust, report)
    for each in refused:
        _tell_refused(each, report, needed=each.fingerprint in announced, enough=enough)


def _has_enough(names: set[str], keys: set[str], trust: Trust, report: PackReport) -> bool:
    """Whether a number of signers was asked for and is there.

    Where several names were given, names are counted: one person with two keys is one.
    """
    if trust.required is None:
        return False
    found = min(len(names), len(keys)) if len(set(trust.principals)) > 1 else len(keys)
    if found < trust.required:
        message = f"{found} trusted signers, {trust.required} are required"
        report.add("signers_too_few", "", message)
    return found >= trust.required


def _tell_refused(refused: _Refused, report: PackReport, *, needed: bool, enough: bool) -> None:
    if needed and not enough:
        report.add(refused.code, refused.file, refused.message)
        return
    code = "signer_surplus_untrusted" if needed else "cosigner_untrusted"
    report.add(code, refused.file, f"{refused.message} ({refused.code})")


def _check_witnesses(judge: _Judge, report: PackReport) -> None:
    found = False
    for mark, kinds in sorted(judge.sound.kinds.items()):
        if not WITNESS_KINDS & set(kinds):
            continue
        answer = judge.decide(mark, "witness")
        if isinstance(answer, _Refused):
            report.add("witness_untrusted", answer.file, f"{answer.message} ({answer.code})")
            continue
        found = True
        seen = judge.sound.witnessed.get(mark)
        report.signatures.append(GoodSignature(mark, answer, "witness", seen))
    if judge.trust.witnesses and not found:
        report.add("witness_missing", "")
