"""`fleetmdm completion`: what makes a shell complete commands, options, and ids of this fleet.

The shell asks by running `fleetmdm` with `_FLEETMDM_COMPLETE` set. Rule for editors: an answer is
never late and never an error: where the database cannot be read, there is nothing to offer.
"""

from __future__ import annotations

from typing import Any, Final

import click
from click.shell_completion import CompletionItem, get_completion_class

from clikit.errors import Failure
from fleetmdm.cli.session import FleetCall, fleet_options
from fleetmdm.errors import FleetError

SHELLS: Final = ("bash", "zsh", "fish")
VARIABLE: Final = "_FLEETMDM_COMPLETE"
MAX_OFFERED: Final = 200
"""Ids; more is no help."""

_INSTALL: Final = {
    "bash": "fleetmdm completion bash > ~/.local/share/bash-completion/completions/fleetmdm",
    "zsh": "fleetmdm completion zsh > ~/.zfunc/_fleetmdm  # a folder of $fpath",
    "fish": "fleetmdm completion fish > ~/.config/fish/completions/fleetmdm.fish",
}


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@fleet_options(formats=("raw", "json"))
def command(call: FleetCall, shell: str) -> None:
    """Print what makes a shell complete this program's words."""
    completion = get_completion_class(shell)
    if completion is None:
        raise FleetError("internal", f"no completion for {shell}")
    script = completion(click.Group("fleetmdm"), {}, "fleetmdm", VARIABLE).source()
    call.emit(
        {"shell": shell, "script": script, "install": _INSTALL[shell]}, lambda: [script + "\n"]
    )


def add_completions(command: click.Command) -> click.Command:
    """Let every option and argument that names a device, a policy or a run offer those there are."""
    if isinstance(command, click.Group):
        for name in command.commands:
            add_completions(command.commands[name])
    for param in command.params:
        offer = _OFFERS.get(_meaning(param))
        if offer is not None:
            param._custom_shell_complete = offer  # noqa: SLF001 - click takes it when a parameter is made, and these are many
    return command


def _meaning(param: click.Parameter) -> str:
    name = (param.name or "").removesuffix("s").removesuffix("_id")
    takes_text = param.type is click.STRING or isinstance(param.type, click.IntRange)
    return name if takes_text and not getattr(param, "is_flag", False) else ""


def _devices(ctx: click.Context, _param: click.Parameter, start: str) -> list[CompletionItem]:
    try:
        with _call(ctx).open_store() as store:
            found = store.device_ids(prefix=start, limit=MAX_OFFERED)
            return [CompletionItem(name) for name in found if name.isprintable()]
    except (Failure, OSError):
        return []


def _policies(ctx: click.Context, _param: click.Parameter, start: str) -> list[CompletionItem]:
    try:
        with _call(ctx).open_store() as store:
            names = [name for name, _ in store.policy_sources() if name.startswith(start)]
            return [CompletionItem(name) for name in names[:MAX_OFFERED]]
    except (Failure, OSError):
        return []


def _runs(ctx: click.Context, _param: click.Parameter, start: str) -> list[CompletionItem]:
    try:
        with _call(ctx).open_store() as store:
            found = [(str(run.run_id), f"as of {run.as_of:%Y-%m-%d %H:%M}") for run in store.runs()]
            return [CompletionItem(n, help=text) for n, text in found if n.startswith(start)][
                :MAX_OFFERED
            ]
    except (Failure, OSError):
        return []


def _call(ctx: click.Context) -> FleetCall:
    return FleetCall(db=ctx.params.get("db"), config=ctx.params.get("config"))


_OFFERS: Final[dict[str, Any]] = {
    "device": _devices,
    "policy": _policies,
    "policie": _policies,
    "run": _runs,
    "before": _runs,
    "after": _runs,
}
