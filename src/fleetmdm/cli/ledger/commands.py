"""`fleetmdm ledger show` and `fleetmdm ledger verify`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from clikit.table import render_table
from fleetmdm.cli.listing import Listing, list_options
from fleetmdm.cli.session import FleetCall, fleet_options
from fleetmdm.errors import FleetError

if TYPE_CHECKING:
    # Imported for its name alone.
    from fleetmdm.ledger.replay import Replay


@click.command("show")
@list_options
@fleet_options()
def show(call: FleetCall, *, listing: Listing) -> None:
    """List the newest leaves of the log, oldest first, each with its hash.

    --limit and --offset count from the newest, --sort from its first.
    """
    from fleetmdm.ledger.entries import LeafError, parse_leaf
    from fleetmdm.ledger.merkle import leaf_hash

    with call.open_store() as store:
        leaves = list(enumerate(store.leaves()))

    def parsed() -> Iterator[dict[str, Any]]:
        for index, leaf in reversed(leaves):
            try:
                entry = parse_leaf(leaf)
            except LeafError as error:
                message, hint = f"leaf {index}: {error}", "fleetmdm ledger verify"
                raise FleetError("ledger_invalid", message, hint=hint) from error
            yield {"index": index, "leaf_hash": leaf_hash(leaf).hex(), "entry": entry}

    rows = listing.choose(call, parsed(), lambda row: row)
    if not listing.sort:
        rows.reverse()
    call.emit(rows, lambda: [render_table(_HEADERS, map(_row, rows), width=call.width)])


_HEADERS = ("leaf", "type", "run", "time", "hash")


def _row(row: dict[str, Any]) -> tuple[object, ...]:
    entry = row["entry"]
    time = entry.get("finished_at") or entry.get("exported_at") or entry.get("at") or ""
    return row["index"], entry["type"], entry.get("run_id", ""), time, row["leaf_hash"][:16]


@click.command("verify")
@fleet_options()
def verify(call: FleetCall) -> None:
    """Read the whole log again: every leaf, and whether each run stands in it as it is stored.

    Keep the root, or a pack, elsewhere: only that shows that nothing was cut off later.
    """
    from fleetmdm.evidence.keys import FleetKeys
    from fleetmdm.ledger.replay import replay

    with call.open_store() as store:
        runs = {run.run_id: run for run in store.runs()}
        seen = replay(store.leaves(), runs)
        origin = FleetKeys(store.fleet_key()).origin()
    data = {
        "origin": origin,
        "size": seen.size,
        "root": seen.root.hex(),
        "entries": dict(sorted(seen.counts.items())),
        "problems": seen.problems,
    }
    call.emit(data, lambda: _tell(origin, seen), found=_failure(seen))


def _tell(origin: str, seen: Replay) -> Iterator[str]:
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(seen.counts.items()))
    yield f"{origin}: {seen.size} leaves ({counts or 'none'})\n"
    yield f"  root {seen.root.hex()}\n"
    for problem in seen.problems:
        yield f"  {problem}\n"


def _failure(seen: Replay) -> FleetError | None:
    if not seen.problems:
        return None
    return FleetError(
        "ledger_invalid",
        f"the ledger does not hold: {seen.problems[0]}",
        hint="compare with an older pack or backup",
        details={"problems": len(seen.problems)},
    )
