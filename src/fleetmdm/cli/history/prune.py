"""`fleetmdm history prune`: let go of old runs and of what only they needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from functools import partial
from importlib.metadata import version
from typing import Any

import click

from clikit.table import render_table
from fleetmdm.cli.history.values import parse_moment
from fleetmdm.cli.session import FleetCall, fleet_options
from fleetmdm.errors import FleetError
from fleetmdm.ledger.entries import encode_prune_leaf
from fleetmdm.results import Run


@click.command()
@click.option("--before", metavar="TIME", help="Let go of runs as of before this RFC 3339 time.")
@click.option("--keep", type=click.IntRange(min=1), metavar="N", help="Keep the newest N runs.")
@fleet_options()
def command(call: FleetCall, *, before: str | None, keep: int | None) -> None:
    """Let go of old runs, and of documents and policies that no run which stays needs.

    The newest run always stays, the ledger keeps every leaf, and since when something fails is
    still known.
    """
    moment = parse_moment("--before", before)
    if (moment is None) == (keep is None):
        raise FleetError("usage", "say how much to let go of: --before TIME or --keep N")
    now = call.now()
    with call.open_store() as store:
        runs = list(store.runs())
        chosen = _choose(runs, moment, keep)
        leaf = partial(_leaf, chosen, now)
        pruned = store.prune_runs(chosen, now=now, leaf=leaf)
    data = {
        "runs": list(pruned.run_ids),
        "left": len(runs) - len(pruned.run_ids),
        "removed": dict(pruned.removed),
        "leaf": pruned.leaf,
    }
    call.emit(data, lambda: _text(call, data))


def _choose(runs: Sequence[Run], before: datetime | None, keep: int | None) -> list[int]:
    """The runs to let go of, oldest first; they come newest first, and the newest stays."""
    old = runs[keep:] if before is None else [run for run in runs[1:] if run.as_of < before]
    return sorted(run.run_id for run in old)


def _leaf(run_ids: Sequence[int], now: datetime, removed: Mapping[str, int]) -> bytes:
    return encode_prune_leaf(
        run_ids=run_ids,
        pruned_at=now,
        removed=removed,
        tool_version=version("secretivex-fleetmdm"),
    )


def _text(call: FleetCall, data: dict[str, Any]) -> Iterator[str]:
    if not data["runs"]:
        yield f"nothing to let go of; {data['left']} runs stay\n"
        return
    cells = list(data["removed"].items())
    yield render_table(("removed", "rows"), cells, width=call.width)
    yield f"{data['left']} runs stay; the ledger says so in leaf {data['leaf']}\n"
    yield "`fleetmdm doctor --vacuum` gives the space back\n"
