"""`fleetmdm`: the table of commands and the one border where errors become exit statuses."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from clikit.command import run
from clikit.command.group import LazyGroup
from clikit.command.wanted import last_value
from clikit.errors import Failure
from fleetmdm.errors import FleetError

COMMANDS = {
    "init": ("fleetmdm.cli.inventory.init:command", "Make an empty database for a fleet."),
    "seed": ("fleetmdm.cli.inventory.seed:command", "Fill a database with a small sample fleet."),
    "ingest": ("fleetmdm.cli.inventory.ingest:command", "Take in device documents."),
    "inventory": (
        "fleetmdm.cli.inventory.group:command",
        "Validate, list, show and export inventory.",
    ),
    "collect": ("fleetmdm.cli.collect:command", "Gather device documents over SSH."),
    "device": ("fleetmdm.cli.inventory.device:command", "List, show, tag and retire devices."),
    "policy": ("fleetmdm.cli.policy:command", "Add, list, lint and test policies."),
    "check": ("fleetmdm.cli.judging.check:command", "Evaluate the fleet and record a run."),
    "report": ("fleetmdm.cli.judging.report:command", "Show the result of a run."),
    "triage": ("fleetmdm.cli.history.triage:command", "Rank what to fix first."),
    "runs": ("fleetmdm.cli.history.runs:command", "List recorded runs."),
    "history": (
        "fleetmdm.cli.history.group:command",
        "Show since when verdicts have stood.",
    ),
    "drift": ("fleetmdm.cli.history.drift:command", "Show what changed between two runs."),
    "waiver": ("fleetmdm.cli.governance.waiver:command", "Accept risks for a time."),
    "attest": ("fleetmdm.cli.governance.attest:command", "Answer what no fact can answer."),
    "evidence": ("fleetmdm.cli.evidence:command", "Export and verify evidence packs."),
    "ledger": ("fleetmdm.cli.ledger:command", "Show and verify the append-only log."),
    "export-collector": (
        "fleetmdm.cli.export_collector:command",
        "Print the stand-alone exporter.",
    ),
    "db": ("fleetmdm.cli.upkeep.db:command", "Back up, restore and measure the database."),
    "doctor": ("fleetmdm.cli.upkeep.doctor:command", "Check the database."),
    "schema": ("fleetmdm.cli.schema:command", "Print JSON Schemas."),
    "config": ("fleetmdm.cli.config:command", "Show the settings in force."),
    "errors": ("fleetmdm.cli.errors:command", "Print the table of error codes."),
    "completion": (
        "fleetmdm.cli.completion:command",
        "Print what makes a shell complete words.",
    ),
    "version": ("fleetmdm.cli.version:command", "Print the version."),
}


def translate(error: Exception) -> Failure | None:
    """Errors of the packages below this one, as ours."""
    from agentclient.errors import AgentError, AgentRefused
    from sshwire.errors import WireError

    if isinstance(error, AgentRefused):
        return FleetError("agent_refused", str(error), hint=error.hint or "is the agent locked?")
    if isinstance(error, AgentError):
        hint = error.hint or "check SSH_AUTH_SOCK or --agent"
        return FleetError("agent_unavailable", str(error), hint=hint)
    if isinstance(error, WireError):
        return FleetError("input_unreadable", str(error))
    return None


def preferred(argv: Sequence[str]) -> str:
    """The format that settings choose for a command line that names none."""
    words = (word for word in argv if not word.startswith("-"))
    if next(words, "") != "report":
        return ""
    from fleetmdm.cli.session import load_settings

    config = last_value(argv, "--config")
    try:
        resolved = load_settings(Path(config) if config else None, os.environ, {})
        return str(resolved.get_value("report.format"))
    except (Failure, OSError):
        return os.environ.get("FLEETMDM_REPORT_FORMAT", "")


def build() -> click.Group:
    """The whole command line; commands are imported when they are called."""
    group = LazyGroup(
        "fleetmdm",
        table=COMMANDS,
        prepare=_offer_ids if "_FLEETMDM_COMPLETE" in os.environ else None,
        examples="fleetmdm.cli.examples:EXAMPLES",
        help="Local-first compliance: ingest inventory, judge it, prove the result.",
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    return click.version_option(package_name="secretivex-fleetmdm", message="%(version)s")(group)


def _offer_ids(command: click.Command) -> None:
    from fleetmdm.cli.completion import add_completions

    add_completions(command)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; answers the exit status."""
    arguments: Any = sys.argv[1:] if argv is None else argv
    return run(
        build(),
        arguments,
        prog="fleetmdm",
        failure=FleetError,
        translate=translate,
        preferred=preferred,
    )
