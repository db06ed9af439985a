"""A group of commands that are imported when they are called, so that help stays quick."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from clikit.command import examples
from clikit.nearest import nearest

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called, so that help stays quick.

    `table` maps a name to ("module:attribute", short help). What `prepare` of the outermost group
    does is done to every command when it is imported, in groups within the group too, and what its
    `examples` ("module:attribute" of lines by the words of a command) hold ends their help.
    """

    def __init__(
        self,
        name: str,
        *,
        table: Mapping[str, tuple[str, str]],
        prepare: Callable[[click.Command], object] | None = None,
        examples: str = "",
        **options: Any,
    ) -> None:
        super().__init__(name, **options)
        self._table = table
        self.prepare = prepare
        self.examples = examples

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names in the order of the table."""
        return [*self._table, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and answer one command."""
        if cmd_name not in self._table:
            return super().get_command(ctx, cmd_name)
        command = _load(self._table[cmd_name][0])
        if not isinstance(command, click.Command):
            raise TypeError(f"{self._table[cmd_name][0]} is not a command")
        outermost = ctx.find_root().command
        if isinstance(outermost, LazyGroup) and outermost.prepare is not None:
            outermost.prepare(command)
        if isinstance(outermost, LazyGroup) and outermost.examples:
            _exemplify(command, f"{_words(ctx)}{cmd_name}", _load(outermost.examples))
        return command

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing them."""
        rows = [(name, text) for name, (_, text) in self._table.items()]
        with formatter.section("Commands"):
            formatter.write_dl(rows)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; an unknown one is answered with the nearest name."""
        if ctx.resilient_parsing:
            return super().resolve_command(ctx, args)
        if args and not args[0].startswith("-") and args[0] not in self.list_commands(ctx):
            near = nearest(args[0], self.list_commands(ctx))
            ctx.fail(f"no such command '{args[0]}'." + (f" Did you mean '{near}'?" if near else ""))
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Names from the table, so that completing one imports none."""
        from click.shell_completion import CompletionItem

        rows = ((name, text) for name, (_, text) in self._table.items())
        found = [
            CompletionItem(name, help=text) for name, text in rows if name.startswith(incomplete)
        ]
        return (
            found
            if found or not incomplete.startswith("-")
            else super().shell_complete(ctx, incomplete)
        )


def _load(place: str) -> Any:
    module, _, attribute = place.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _words(ctx: click.Context) -> str:
    """The words that lead to a group, the program's name aside."""
    words = ""
    while ctx.parent is not None:
        words, ctx = f"{ctx.info_name} {words}", ctx.parent
    return words


def _exemplify(command: click.Command, words: str, lines: Mapping[str, Sequence[str]]) -> None:
    """End the help of a command, and of all below it, with examples."""
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            _exemplify(below, f"{words} {name}", lines)
    elif not command.epilog and words in lines:
        command.epilog = examples(*lines[words])
