"""FleetMDM's settings: one table, resolved option > environment `FLEETMDM_*` > file > default."""

from __future__ import annotations

from clikit.config import Setting

ENV_PREFIX = "FLEETMDM_"

SETTINGS = (
    Setting("db", "path", "~/.fleetmdm/fleet.db", "where the fleet is kept"),
    Setting(
        "report.format",
        "text",
        "table",
        "how `report` writes its result unless --format says otherwise",
        choices=("table", "json", "csv", "junit", "sarif", "markdown", "html"),
    ),
    Setting("report.top", "int", 0, "rows that `report` shows; 0 is all", minimum=0),
    Setting(
        "evidence_export.redaction_profile",
        "text",
        "strict",
        "what an evidence pack lets through",
        choices=("none", "minimal", "strict"),
    ),
    Setting(
        "check.fail_on",
        "list",
        (),
        "states that make `check` exit with 1",
    ),
    Setting("collect.concurrency", "int", 20, "hosts at a time", minimum=1, maximum=1000),
    Setting("collect.timeout_s", "float", 60.0, "seconds for one host", minimum=0.1),
    Setting("collect.retries", "int", 2, "further tries after a lost connection", minimum=0),
)
