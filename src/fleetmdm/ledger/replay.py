"""Replay the ledger against the runs that it should hold. Pure.

It shows what the log itself can show: leaves that are not ours, runs that the log does not hold or
holds otherwise. That nothing was cut off or written anew, only an older checkpoint shows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fleetmdm.ledger.entries import LeafError, encode_run_leaf, parse_leaf
from fleetmdm.ledger.merkle import TreeHasher
from fleetmdm.results import Run


@dataclass(slots=True)
class Replay:
    """What was read, and what is wrong with it."""

    size: int = 0
    root: bytes = b""
    counts: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def replay(leaves: Iterable[bytes], runs: Mapping[int, Run]) -> Replay:
    """Read every leaf in order; `runs` are those that the store has, by number."""
    tree = TreeHasher()
    seen = Replay()
    logged: set[int] = set()
    for index, leaf in enumerate(leaves):
        tree.add(leaf)
        try:
            entry = parse_leaf(leaf)
        except LeafError as error:
            seen.problems.append(f"leaf {index}: {error}")
            continue
        seen.counts[entry["type"]] = seen.counts.get(entry["type"], 0) + 1
        _check_entry(index, leaf, entry, runs, logged, seen)
    for run_id in sorted(set(runs) - logged):
        seen.problems.append(f"run {run_id} is not in the log")
    seen.size, seen.root = tree.size, tree.root()
    return seen


def _check_entry(
    index: int,
    leaf: bytes,
    entry: Mapping[str, Any],
    runs: Mapping[int, Run],
    logged: set[int],
    seen: Replay,
) -> None:
    run_id = entry.get("run_id")
    if entry["type"] == "run" and isinstance(run_id, int):
        if run_id in logged:
            seen.problems.append(f"leaf {index}: run {run_id} is in the log twice")
        logged.add(run_id)
        if run_id in runs and encode_run_leaf(runs[run_id]) != leaf:
            seen.problems.append(f"leaf {index}: run {run_id} is stored otherwise than logged")
    elif entry["type"] == "export" and run_id not in logged:
        seen.problems.append(f"leaf {index}: an export of run {run_id}, which is not logged before")
