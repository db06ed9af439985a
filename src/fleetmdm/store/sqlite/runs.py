"""What past runs were."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator

from fleetmdm.errors import FleetError
from fleetmdm.results import Run, Status
from fleetmdm.store.codec import parse_stamp


def newest_run(connection: sqlite3.Connection) -> int:
    """The highest number that a run ever had; 0 before the first."""
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'runs'").fetchone()
    return 0 if row is None else int(row[0])


_RUNS = """
SELECT run, started_at, finished_at, as_of, devices, policies, counts, tool_version,
    policy_set_hash, inventory_root, result_root, policy_counts
FROM runs
"""


def read_runs(connection: sqlite3.Connection, *, limit: int) -> Iterator[Run]:
    """Runs, newest first; 0 is all."""
    rows = connection.execute(f"{_RUNS} ORDER BY run DESC LIMIT ?", (limit or -1,))
    for row in rows:
        yield _parse_run(row)


def read_run(connection: sqlite3.Connection, run_id: int) -> Run:
    """One run. Raises `run_not_found`."""
    row = connection.execute(f"{_RUNS} WHERE run = ?", (run_id,)).fetchone()
    if row is None:
        raise no_run(run_id)
    return _parse_run(row)


def _parse_run(row: tuple[int, str, str, str, int, int, str, str, str, str, str, str]) -> Run:
    counts = _parse_counts(json.loads(row[6]))
    policies = {name: _parse_counts(each) for name, each in json.loads(row[11]).items()}
    started_at, finished_at, as_of = (parse_stamp(text) for text in row[1:4])
    return Run(row[0], started_at, finished_at, as_of, row[4], row[5], counts, *row[7:11], policies)


def _parse_counts(counts: dict[str, int]) -> dict[Status, int]:
    return {Status(name): count for name, count in counts.items()}


def revision_of(connection: sqlite3.Connection, run_id: int) -> int:
    """The revision that a run judged. Raises `run_not_found`."""
    row = connection.execute("SELECT revision FROM runs WHERE run = ?", (run_id,)).fetchone()
    if row is None:
        raise no_run(run_id)
    return int(row[0])


def leaf_of(connection: sqlite3.Connection, run_id: int) -> int:
    """The index of a run's leaf. Raises `run_not_found`."""
    row = connection.execute("SELECT leaf FROM runs WHERE run = ?", (run_id,)).fetchone()
    if row is None:
        raise no_run(run_id)
    return int(row[0])


def no_run(run_id: int) -> FleetError:
    """What is raised where a run is not there."""
    hint = "see `fleetmdm runs` for those there are"
    return FleetError("run_not_found", f"there is no run {run_id}", hint=hint)
