"""The files of a pack by name. Pure; importable with nothing but the base install."""

from __future__ import annotations

MANIFEST = "manifest.json"
VIEW = "view.json"
SUMS = "SHA256SUMS"
SIGNATURES = "signatures"
POLICIES = "policies"

METADATA = "metadata.json"
RUN = "run.json"
RECONCILIATION = "reconciliation.json"
CONTROLS = "controls.csv"
DRIFT = "drift.json"
LOG_LEAF = "log/leaf.json"
LOG_CHECKPOINT = "log/checkpoint"
LOG_INCLUSION = "log/inclusion.json"
LOG_HASHES = "log/hashes"
ALLOWED_SIGNERS = "keys/allowed_signers"
README = "README.txt"

WHOLE_FILES = frozenset(
    {
        ALLOWED_SIGNERS,
        CONTROLS,
        DRIFT,
        LOG_CHECKPOINT,
        LOG_HASHES,
        LOG_INCLUSION,
        LOG_LEAF,
        METADATA,
        README,
        RECONCILIATION,
        RUN,
    }
)
"""Files that every pack has and that are the same in every view; beside them the policies."""

AGENT_AUDIT = "log/agent-audit.jsonl"
OSCAL = "oscal.json"

OPTIONAL_FILES = frozenset({AGENT_AUDIT, OSCAL})
"""Whole files that a pack has if its export was asked for them."""

POPULATION = "population.ndjson"
INVENTORY = "inventory.ndjson"
RESULTS = "results.ndjson"
TRANSITIONS = "transitions.ndjson"
ASSIGNMENTS = "assignments.ndjson"
WAIVERS = "waivers.ndjson"
ATTESTATIONS = "attestations.ndjson"

RECORD_FILES = frozenset(
    {ASSIGNMENTS, ATTESTATIONS, INVENTORY, POPULATION, RESULTS, TRANSITIONS, WAIVERS}
)
"""Files that every pack has and of which views open different fields; one record a line."""

HISTORY = "history.ndjson"

OPTIONAL_RECORDS = frozenset({HISTORY})
"""Files of records that a pack has if its export was asked for them."""

FOLDERS = frozenset({"keys", "log", POLICIES, SIGNATURES})
"""The folders of a pack."""
