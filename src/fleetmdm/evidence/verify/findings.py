"""What verification can find: one row a code, and the report that collects them. Pure.

Rule for editors: a code is a promise, and each has a test that makes exactly that fault.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from fleetmdm.evidence.agent_audit import AuditSegment
from fleetmdm.evidence.rules import NO_RULES, Rules
from fleetmdm.evidence.view import Shown

CODES: Mapping[str, str] = {
    "agent_audit_invalid": "the chain of the SSH agent's audit log does not hold",
    "archive_bomb": "an archive is far longer unpacked than any pack",
    "archive_malformed": "a .tar.zst file is not an archive of a pack",
    "archive_not_canonical": "an archive is not in the one form of its files",
    "attestation_mismatch": "a DSSE envelope is not about this manifest",
    "drift_mismatch": "drift.json does not count what transitions.ndjson holds",
    "file_altered": "a file is not the one that was listed",
    "file_missing": "a listed file is absent",
    "file_not_regular": "a link, device or pipe stands where a file should",
    "file_size": "a file is longer or shorter than listed",
    "file_unexpected": "a file or folder that nothing lists",
    "file_unreadable": "a file cannot be read",
    "ledger_mismatch": "log/, manifest.json and run.json do not speak of the same leaf",
    "ledger_other_fleet": "the older pack is of another fleet's log",
    "ledger_proof_invalid": "the run's place in the log is not proven",
    "ledger_rewritten": "the log does not begin with that of the older pack: it was cut or rewritten",
    "ledger_shorter": "the older pack knows a longer log than this one",
    "manifest_incomplete": "manifest.json does not list a file that every pack has",
    "manifest_malformed": "manifest.json is not a manifest",
    "manifest_not_canonical": "manifest.json says the same in other bytes",
    "manifest_unsupported": "a newer version wrote this pack",
    "metadata_mismatch": "metadata.json and manifest.json do not speak of the same tool and fleet",
    "name_collision": "two names differ in letter case alone",
    "name_duplicate": "an archive holds two files of one name",
    "name_unsafe": "a name that could leave the pack, or mean something else elsewhere",
    "no_trust_anchor": "no allowed signers were given, so nobody vouches for this pack",
    "note_mismatch": "a signed note is not about this pack's checkpoint",
    "older_pack_invalid": "the older pack does not verify itself",
    "reconciliation_mismatch": "reconciliation.json does not add up, or not with the files",
    "record_count_mismatch": "a file holds more or fewer records than the manifest says",
    "record_malformed": "a line is not a record in canonical form",
    "record_root_mismatch": "the records are not those that the manifest commits to",
    "run_mismatch": "run.json and the run's leaf differ",
    "signature_invalid": "a signature does not hold",
    "signature_malformed": "a file under signatures/ is no signature",
    "signature_misnamed": "a signature is not by the key in its name",
    "signature_missing": "a signature that the manifest announces is absent",
    "signature_not_canonical": "a signature file is not in the one form of its signature",
    "signature_unexpected": "a file under signatures/ that this version does not know",
    "signature_unsupported": "a signature uses something that this version does not know",
    "signature_wrong_namespace": "a signature was made for another purpose",
    "signer_expired": "the allowed signers say that the key is no longer valid",
    "signer_namespace_not_allowed": "the allowed signers do not let the key sign evidence",
    "signer_not_yet_valid": "the allowed signers say that the key is not valid yet",
    "signer_revoked": "the key was revoked, and nothing proves that it signed before",
    "signer_unexpected": "a key signed that the manifest does not announce",
    "signer_unknown": "the key is not among the allowed signers",
    "signer_wrong_principal": "the allowed signers know the key by another name",
    "signers_too_few": "fewer trusted signers than were asked for",
    "sums_incomplete": "SHA256SUMS does not list a file of the pack",
    "sums_malformed": "SHA256SUMS is not a list of digests and names",
    "sums_mismatch": "a file is not the one in SHA256SUMS",
    "sums_not_canonical": "SHA256SUMS is not sorted, or lists a name twice",
    "sums_unexpected": "SHA256SUMS lists a file that does not belong to the pack",
    "timestamp_invalid": "a time-stamp token does not hold",
    "timestamp_malformed": "a file is no time-stamp token, or has parts that nothing signs",
    "timestamp_mismatch": "a time-stamp token is over something else",
    "timestamp_untrusted": "a time-stamp token leads to no authority that is believed",
    "too_many_files": "the folder holds more files than any pack",
    "too_many_findings": "more was found than is listed",
    "unsigned": "the pack was exported without a signing key",
    "view_malformed": "view.json is not a view",
    "view_mismatch": "view.json does not describe this view",
    "view_shows_more": "a field is open that the view's profile withholds",
    "witness_missing": "none of the witnesses that were named has co-signed the checkpoint",
}
"""Every code that makes a pack invalid, with what it means; sorted."""

WARNINGS: Mapping[str, str] = {
    "agent_audit_unsealed": "records of the SSH agent's audit log that no seal of the agent covers",
    "archive_recompressed": "the archive's compressed form is not the one that this version writes",
    "cosigner_untrusted": "a co-signature by a key that the allowed signers do not let sign",
    "outside_list_differs": "the outside list and the fleet do not know the same devices",
    "signed_before_revocation": "the key was revoked after the time at which it provably signed",
    "signer_surplus_untrusted": "enough signers are trusted, and this one is not",
    "timestamp_unverified": "a time-stamp token, and no authority was given to judge it by",
    "trust_line_skipped": "the allowed signers list a key of a kind that is not known here",
    "witness_untrusted": "a witness co-signed whom nobody was told to trust",
}
"""Every code that is told and does not make a pack invalid, unless strictness is asked for."""

MAX_FINDINGS = 1000
"""Findings that are kept; a pack with more has one cause."""


@dataclass(frozen=True, slots=True)
class PackFinding:
    """One thing that is wrong; `file` is empty when it is the pack as a whole."""

    code: str
    file: str
    message: str


@dataclass(frozen=True, slots=True)
class GoodSignature:
    """A signature that holds and is trusted."""

    fingerprint: str
    principal: str
    subject: str
    proven_at: datetime | None = None
    """By a time-stamp token; of a witness, what it says itself."""


@dataclass(frozen=True, slots=True)
class Continued:
    """Proof that the log of the pack begins with that of an older one; hex, RFC 6962 2.1.2."""

    older_size: int
    size: int
    proof: tuple[str, ...]


@dataclass(slots=True)
class PackReport:
    """What verification saw; good when `findings` is empty."""

    findings: list[PackFinding] = field(default_factory=list)
    warnings: list[PackFinding] = field(default_factory=list)
    signatures: list[GoodSignature] = field(default_factory=list)
    files: int = 0
    run_id: int | None = None
    as_of: str = ""
    """The moment by which the run judged, as run.json has it."""
    profile: str | None = None
    rules: Rules = NO_RULES
    """Facts that the view shows, or withholds, whatever its profile says."""
    derived: bool | None = None
    manifest_sha256: str | None = None
    shown: dict[str, Shown] = field(default_factory=dict)
    continues: Continued | None = None
    agent_audit: AuditSegment | None = None

    def add(self, code: str, file: str, message: str = "") -> None:
        """Note a finding or a warning; an unknown code is a bug."""
        if code in WARNINGS:
            self.warnings.append(PackFinding(code, file, message or WARNINGS[code]))
            return
        meaning = CODES[code]
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(PackFinding(code, file, message or meaning))
        elif self.findings[-1].code != "too_many_findings":
            text = CODES["too_many_findings"]
            self.findings.append(PackFinding("too_many_findings", "", text))
