"""How many rows a list shows: all of them to a program, a screenful or two to a person."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from fleetmdm.cli.session import FleetCall

TERMINAL_ROWS = 100
"""Rows on a terminal unless --limit says otherwise."""


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
