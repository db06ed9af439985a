"""FleetMDM's error codes: one table, printed by `fleetmdm errors` and documented in docs/errors.md.

Rule for editors: rows are sorted by code; a code is a promise and never changes its meaning.
"""

from __future__ import annotations

from typing import ClassVar

from clikit.errors import COMMON_ROWS, ErrorRow, ErrorTable, Exit, Failure

CODES = ErrorTable(
    (
        *COMMON_ROWS,
        ErrorRow(
            "agent_audit_invalid",
            Exit.INVALID,
            "an agent's audit log is not one, or its chain does not hold",
        ),
        ErrorRow("agent_refused", Exit.REFUSED, "the SSH agent would not sign"),
        ErrorRow(
            "agent_unavailable", Exit.UNAVAILABLE, "no SSH agent answers at the given address"
        ),
        ErrorRow("attestation_refused", Exit.REFUSED, "this policy cannot be attested like that"),
        ErrorRow("database_invalid", Exit.INVALID, "the database is not ours, or is damaged"),
        ErrorRow(
            "database_locked", Exit.UNAVAILABLE, "another process holds the database too long"
        ),
        ErrorRow("database_not_found", Exit.NOT_FOUND, "the database does not exist yet"),
        ErrorRow("database_read_only", Exit.UNAVAILABLE, "the database cannot be written"),
        ErrorRow("database_too_new", Exit.INVALID, "a newer version made this database"),
        ErrorRow("database_unsound", Exit.FOUND, "the check of the database found problems"),
        ErrorRow("device_not_found", Exit.NOT_FOUND, "no device has this id"),
        ErrorRow("drift_found", Exit.FOUND, "verdicts changed between the two runs"),
        ErrorRow("evidence_invalid", Exit.FOUND, "the evidence pack does not verify"),
        ErrorRow("evidence_unreadable", Exit.INVALID, "the evidence pack cannot be read at all"),
        ErrorRow("fleet_not_empty", Exit.REFUSED, "the database holds a fleet of its own already"),
        ErrorRow("host_unreachable", Exit.FOUND, "at least one host gave no inventory"),
        ErrorRow("hosts_invalid", Exit.INVALID, "the list of hosts to collect from is invalid"),
        ErrorRow("identity_conflicts", Exit.FOUND, "several devices claim the same serial number"),
        ErrorRow("ingest_errors", Exit.FOUND, "some documents were refused; the others went in"),
        ErrorRow("input_not_found", Exit.NOT_FOUND, "a file or folder to read does not exist"),
        ErrorRow("input_unreadable", Exit.INVALID, "a file to read cannot be read"),
        ErrorRow("insufficient_runs", Exit.NOT_FOUND, "two runs are needed and there are fewer"),
        ErrorRow("inventory_findings", Exit.FOUND, "some inventory documents are invalid"),
        ErrorRow("inventory_invalid", Exit.INVALID, "an inventory document is invalid"),
        ErrorRow("key_exists", Exit.REFUSED, "the keyring has this key, or a key of this name"),
        ErrorRow(
            "key_name_invalid",
            Exit.INVALID,
            "a key's name has characters that names of files must not have",
        ),
        ErrorRow("key_not_found", Exit.NOT_FOUND, "no signing key matches"),
        ErrorRow(
            "key_unusable", Exit.REFUSED, "the key is revoked, expired, replaced or not yet valid"
        ),
        ErrorRow("keyring_invalid", Exit.INVALID, "the keyring cannot be read"),
        ErrorRow("keyring_not_found", Exit.NOT_FOUND, "there is no keyring in the folder"),
        ErrorRow("ledger_invalid", Exit.FOUND, "the ledger does not hold what it must hold"),
        ErrorRow("lint_findings", Exit.FOUND, "policy lint found something"),
        ErrorRow(
            "mutations_unnoticed", Exit.FOUND, "a check can be made wrong and no test notices"
        ),
        ErrorRow("no_devices", Exit.NOT_FOUND, "there is no device to evaluate"),
        ErrorRow("no_policies", Exit.NOT_FOUND, "there is no policy to evaluate"),
        ErrorRow("output_exists", Exit.REFUSED, "the output exists and is not overwritten"),
        ErrorRow("policy_failures", Exit.FOUND, "devices fail policies that --fail-on names"),
        ErrorRow("policy_invalid", Exit.INVALID, "a policy document is invalid"),
        ErrorRow("policy_not_found", Exit.NOT_FOUND, "no policy has this id"),
        ErrorRow("policy_tests_failed", Exit.FOUND, "a policy's own test gave another state"),
        ErrorRow("pseudonym_unknown", Exit.NOT_FOUND, "nothing in this fleet gives this pseudonym"),
        ErrorRow("reconciliation_failed", Exit.INTERNAL, "the counts of a pack do not add up"),
        ErrorRow(
            "redaction_impossible", Exit.REFUSED, "a view of a pack cannot show more than the pack"
        ),
        ErrorRow("replay_differs", Exit.FOUND, "judging the pack again gives other results"),
        ErrorRow(
            "replay_needs_hidden_fields",
            Exit.REFUSED,
            "the view withholds what the policies look at",
        ),
        ErrorRow("run_not_found", Exit.NOT_FOUND, "no run has this id"),
        ErrorRow("statement_exists", Exit.REFUSED, "a waiver or an attestation had this id before"),
        ErrorRow(
            "statement_not_found", Exit.NOT_FOUND, "no waiver or attestation in force has this id"
        ),
        ErrorRow(
            "tag_not_removable",
            Exit.REFUSED,
            "a document of the device bears the tag, not a person",
        ),
        ErrorRow(
            "timestamp_invalid",
            Exit.INVALID,
            "a time-stamp token does not hold, or is over something else",
        ),
        ErrorRow("trust_invalid", Exit.INVALID, "the allowed signers file is invalid"),
        ErrorRow("waiver_findings", Exit.FOUND, "waivers are unused, expired or overlap"),
        ErrorRow("waiver_invalid", Exit.INVALID, "a waiver is incomplete, over, or covers nothing"),
    )
)


class FleetError(Failure):
    """The root of every error that FleetMDM raises on purpose."""

    table: ClassVar[ErrorTable] = CODES
