"""`fleetmdm history` and `fleetmdm history prune`: the first word decides which."""

from __future__ import annotations

import click

from fleetmdm.cli.history.intervals import command as show
from fleetmdm.cli.history.prune import command as prune

_SHOW = "show"


class _History(click.Group):
    """A group that shows the history unless a command of its own is named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the default command in front of options."""
        named = bool(args) and args[0] in self.commands
        return super().parse_args(ctx, args if named else [_SHOW, *args])


command = _History("history", help="Show since when verdicts have stood; `prune` lets go of runs.")
command.add_command(show, _SHOW)
command.add_command(prune, "prune")
