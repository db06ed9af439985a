"""FleetMDM's settings: one table, resolved option > environment `FLEETMDM_*` > file > default."""

from __future__ import annotations

from clikit.config import Setting
from fleetmdm.device import DEFAULT_LIMITS

ENV_PREFIX = "FLEETMDM_"

REPORT_FORMATS = (
    "table",
    "json",
    "csv",
    "junit",
    "sarif",
    "html",
    "oscal",
    "markdown",
)
"""The forms of a report."""

SETTINGS = (
    Setting("db", "path", "~/.fleetmdm/fleet.db", "where the fleet is kept"),
    Setting(
        "report.format",
        "text",
        "table",
        "how `report` writes its result unless --format says otherwise",
        choices=REPORT_FORMATS,
    ),
    Setting(
        "report.redaction",
        "text",
        "none",
        "what of inventory `report` lets through, by the profiles of evidence",
        choices=("none", "minimal", "strict"),
    ),
    Setting("report.top", "int", 0, "policies that `report` shows; 0 is all", minimum=0),
    Setting(
        "evidence_export.redaction_profile",
        "text",
        "strict",
        "what an evidence pack lets through",
        choices=("none", "minimal", "strict"),
    ),
    Setting(
        "evidence_export.redact_config",
        "path",
        "",
        "rules for facts that an evidence pack shows or withholds; empty is none",
    ),
    Setting(
        "evidence_export.keyring_dir",
        "path",
        "~/.fleetmdm/keyring",
        "where `evidence keygen` and `evidence key` keep signing keys",
    ),
    Setting(
        "check.fail_on",
        "list",
        (),
        "states that make `check` exit with 1",
    ),
    Setting(
        "check.workers",
        "int",
        0,
        "processes that judge; 0 is one for each core where the fleet is large enough",
        minimum=0,
        maximum=16,
    ),
    Setting(
        "check.stale_after",
        "text",
        "30d",
        "how old inventory may be before its verdicts are stale; 0d is any age",
    ),
    *(
        Setting(
            f"ingest.{name}", "int", getattr(DEFAULT_LIMITS, name), text, minimum=1, maximum=top
        )
        for name, text, top in (
            ("max_document_bytes", "bytes of one device document", 1024**3),
            ("max_depth", "levels of nested facts", 200),
            ("max_values", "keys and list items of one document", 10_000_000),
            ("max_key_chars", "characters of a key", 65_536),
            ("max_text_chars", "characters of a text", 100_000_000),
            ("max_identifier_chars", "characters of an id, a hostname, a serial", 4096),
            ("max_tags", "tags of one document", 10_000),
            ("max_tag_chars", "characters of a tag", 4096),
            ("max_clock_skew_s", "seconds that last_seen may lie in the future", 10 * 365 * 86_400),
        )
    ),
    Setting(
        "ingest.workers",
        "int",
        0,
        "processes that read device documents; 0 is one for each core where there are many",
        minimum=0,
        maximum=16,
    ),
    Setting(
        "ingest.watch_interval_s",
        "float",
        2.0,
        "seconds between two looks of `ingest --watch`",
        minimum=0.05,
        maximum=86_400,
    ),
    Setting("collect.concurrency", "int", 20, "hosts at a time", minimum=1, maximum=1000),
    Setting("collect.timeout_s", "float", 60.0, "seconds for one host", minimum=0.1),
    Setting("collect.retries", "int", 2, "further tries after a lost connection", minimum=0),
)
