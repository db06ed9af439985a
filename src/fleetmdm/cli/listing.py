"""Which rows a list shows, in which order: --limit, --offset, --sort and --filter, alike everywhere.

A program gets all rows, a person a screenful or two. Keys are those of the rows in JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

import click

from clikit.nearest import nearest
from clikit.table import show_text
from fleetmdm.cli.session import FleetCall
from fleetmdm.errors import FleetError

TERMINAL_ROWS = 100
"""Rows on a terminal unless --limit says otherwise."""

T = TypeVar("T")


def limit_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --limit."""
    text = f"Rows to show; 0 is all [{TERMINAL_ROWS} on a terminal, else all]."
    return click.option("--limit", type=click.IntRange(min=0), help=text)(function)


def rows_to_show(call: FleetCall, limit: int | None) -> int | None:
    """The bound in force; None is none."""
    if limit is None:
        on_terminal = call.width is not None and call.format == "table"
        return TERMINAL_ROWS if on_terminal else None
    return limit or None


def list_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add --limit, --offset, --sort and --filter; the command gets a `Listing` as `listing`.

    Stands above `fleet_options`.
    """

    def command(**options: Any) -> Any:
        listing = Listing(*(options.pop(name) for name in ("limit", "offset", "sort", "filters")))
        return function(listing=listing, **options)

    command.__doc__ = function.__doc__
    command.__name__ = function.__name__
    command.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined] # how click hands parameters on
    click.option(
        "--filter",
        "filters",
        multiple=True,
        metavar="KEY=VALUE",
        help="Only rows in which this JSON key has this value, or holds it; may be repeated.",
    )(command)
    click.option(
        "--sort", metavar="[-]KEY", help="Order by a JSON key; with - in front, the other way."
    )(command)
    click.option("--offset", type=click.IntRange(min=0), default=0, help="Rows to skip.")(command)
    return limit_option(command)


@dataclass(frozen=True, slots=True)
class Listing:
    """What was asked of a list."""

    limit: int | None = None
    offset: int = 0
    sort: str | None = None
    filters: Sequence[str] = ()

    def choose(
        self, call: FleetCall, rows: Iterable[T], document: Callable[[T], Mapping[str, Any]]
    ) -> list[T]:
        """The rows to show; streams where nothing has to be sorted. Raises `usage`."""
        wanted = [_Filter(*_parse_filter(text)) for text in self.filters]
        chosen: Iterator[T] = (
            row for row in rows if all(one.lets_through(document(row)) for one in wanted)
        )
        if self.sort:
            key = self.sort.removeprefix("-")
            back = self.sort.startswith("-")
            ordered = sorted(chosen, key=lambda row: _rank(_look(document(row), key)), reverse=back)
            chosen = iter(ordered)
        bound = rows_to_show(call, self.limit)
        end = None if bound is None else self.offset + bound
        shown = list(islice(chosen, self.offset, end))
        if not shown:
            for one in wanted:
                one.tell(call)
        return shown


MAX_VALUES = 20
"""So many values of a key are named where none is the one asked for."""


@dataclass(slots=True)
class _Filter:
    """A --filter, and what the rows have in its place."""

    key: str
    value: str
    held: bool = False
    seen: dict[str, None] = field(default_factory=dict)

    def lets_through(self, document: Mapping[str, Any]) -> bool:
        """Whether a row has the value, or holds it."""
        found = _look(document, self.key)
        if _holds(found, self.value):
            self.held = True
            return True
        if not self.held and len(self.seen) <= MAX_VALUES:
            for one in found if isinstance(found, list) else [found]:
                self.seen[_text(one)] = None
        return False

    def tell(self, call: FleetCall) -> None:
        """Say which values there are, if no row has the one asked for."""
        if self.held or not self.seen:
            return
        known = list(self.seen)
        near = nearest(self.value, known)
        hint = f"did you mean {near}? " if near else ""
        more = ", ..." if len(known) > MAX_VALUES else ""
        values = ", ".join(show_text(one[:80]) for one in known[:MAX_VALUES])
        call.note(f"no row has {self.key}={self.value}; {hint}there are: {values}{more}")


def _parse_filter(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise FleetError("usage", f"--filter takes KEY=VALUE, not {text!r}")
    return key, value


def _look(document: Mapping[str, Any], path: str) -> Any:
    """What stands at a dotted path; raises `usage` for a key that no row has."""
    value: Any = document
    for name in path.split("."):
        if value is None:
            return None
        if not isinstance(value, Mapping):
            raise FleetError("usage", f"{path}: there is nothing below {name!r}")
        if name not in value and value is document:
            near = nearest(name, list(value))
            hint = f"did you mean {near}? " if near else ""
            known = ", ".join(value)
            raise FleetError("usage", f"rows have no key {name!r}", hint=f"{hint}keys: {known}")
        value = value.get(name)
    return value


def _holds(value: Any, wanted: str) -> bool:
    if isinstance(value, list):
        return any(_holds(member, wanted) for member in value)
    return _text(value) == wanted


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _rank(value: Any) -> tuple[int, Any]:
    """Nothing first, then numbers by size, then texts."""
    if value is None:
        return 0, 0
    if isinstance(value, int | float):
        return 1, value
    return 2, _text(value).casefold()
