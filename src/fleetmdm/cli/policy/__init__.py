"""`fleetmdm policy`: one module for each group of subcommands."""

from __future__ import annotations

from typing import Final

from clikit.command.group import LazyGroup

_COMMANDS: Final = {
    "add": ("fleetmdm.cli.policy.stored:add", "Add policies, or replace them by id."),
    "update": ("fleetmdm.cli.policy.exchange:update", "Replace policies that are there."),
    "list": ("fleetmdm.cli.policy.stored:list_policies", "List the policies in force."),
    "show": ("fleetmdm.cli.policy.stored:show", "Show one policy."),
    "remove": ("fleetmdm.cli.policy.stored:remove", "Remove a policy; past runs keep it."),
    "assign": ("fleetmdm.cli.governance.assign:assign", "Let a policy apply to some devices."),
    "unassign": ("fleetmdm.cli.governance.assign:unassign", "End an assignment."),
    "assignments": (
        "fleetmdm.cli.governance.assign:assignments",
        "List where policies are assigned.",
    ),
    "export": ("fleetmdm.cli.policy.exchange:export_policies", "Write policies as given."),
    "import": ("fleetmdm.cli.policy.exchange:import_policies", "Take in what export wrote."),
    "lint": ("fleetmdm.cli.policy.quality:lint", "Look for mistakes in policy files."),
    "test": ("fleetmdm.cli.policy.quality:test", "Run the tests that policies carry."),
}

command = LazyGroup("policy", table=_COMMANDS, help="Add, list, assign, lint and test policies.")
