"""What past runs were."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from fleetmdm.errors import FleetError
from fleetmdm.results import Run, Status
from fleetmdm.store.codec import encode_stamp, parse_stamp


def newest_run(connection: sqlite3.Connection) -> int:
    """The highest number that a run ever had; 0 before the first."""
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'runs'").fetchone()
    return 0 if row is None else int(row[0])


_RUNS = """
SELECT run, started_at, finished_at, as_of, devices, policies, counts, tool_version,
    policy_set_hash, inventory_root, result_root, policy_counts, only_assigned, stale_after_s,
    roots
FROM runs WHERE NOT pruned
"""


def read_runs(connection: sqlite3.Connection, *, limit: int) -> Iterator[Run]:
    """Runs, newest first; 0 is all."""
    rows = connection.execute(f"{_RUNS} ORDER BY run DESC LIMIT ?", (limit or -1,))
    for row in rows:
        yield _parse_run(row)


def read_run(connection: sqlite3.Connection, run_id: int) -> Run:
    """One run. Raises `run_not_found`."""
    row = connection.execute(f"{_RUNS} AND run = ?", (run_id,)).fetchone()
    if row is None:
        raise no_run(run_id)
    return _parse_run(row)


def _parse_run(row: tuple[Any, ...]) -> Run:
    counts = _parse_counts(json.loads(row[6]))
    policy_counts = {name: _parse_counts(each) for name, each in json.loads(row[11]).items()}
    started_at, finished_at, as_of = (parse_stamp(text) for text in row[1:4])
    run_id, _, _, _, devices, policies, _, tool_version, policy_set, inventory, result = row[:11]
    return Run(
        run_id,
        started_at,
        finished_at,
        as_of,
        devices,
        policies,
        counts,
        tool_version,
        policy_set,
        inventory,
        result,
        policy_counts,
        only_assigned=bool(row[12]),
        stale_after_s=row[13],
        roots=row[14],
    )


def _parse_counts(counts: dict[str, int]) -> dict[Status, int]:
    return {Status(name): count for name, count in counts.items()}


def read_moments(connection: sqlite3.Connection) -> dict[int, datetime]:
    """The `as_of` of every run, stubs included."""
    return {run: parse_stamp(at) for run, at in connection.execute("SELECT run, as_of FROM runs")}


def revision_of(connection: sqlite3.Connection, run_id: int) -> int:
    """The revision that a run judged. Raises `run_not_found`."""
    row = connection.execute(
        "SELECT revision FROM runs WHERE run = ? AND NOT pruned", (run_id,)
    ).fetchone()
    if row is None:
        raise no_run(run_id)
    return int(row[0])


def leaf_of(connection: sqlite3.Connection, run_id: int) -> int:
    """The index of a run's leaf. Raises `run_not_found`."""
    row = connection.execute(
        "SELECT leaf FROM runs WHERE run = ? AND NOT pruned", (run_id,)
    ).fetchone()
    if row is None:
        raise no_run(run_id)
    return int(row[0])


def no_run(run_id: int) -> FleetError:
    """What is raised where a run is not there."""
    hint = "see `fleetmdm runs` for those there are"
    return FleetError("run_not_found", f"there is no run {run_id}", hint=hint)


_INSERT_RUN = """
INSERT INTO runs (
    run, started_at, finished_at, as_of, revision, devices, policies, counts, policy_counts,
    tool_version, policy_set_hash, inventory_root, result_root, leaf, only_assigned, stale_after_s,
    roots
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""


def insert_run(connection: sqlite3.Connection, run: Run, revision: int, leaf: int) -> None:
    """Note a finished run, inside the caller's transaction."""
    policies = {name: _named(counts) for name, counts in run.policy_counts.items()}
    connection.execute(
        _INSERT_RUN,
        (
            run.run_id,
            encode_stamp(run.started_at),
            encode_stamp(run.finished_at),
            encode_stamp(run.as_of),
            revision,
            run.devices,
            run.policies,
            json.dumps(_named(run.counts), sort_keys=True),
            json.dumps(policies, sort_keys=True),
            run.tool_version,
            run.policy_set_hash,
            run.inventory_root,
            run.result_root,
            leaf,
            run.only_assigned,
            run.stale_after_s,
            run.roots,
        ),
    )


def _named(counts: dict[Status, int]) -> dict[str, int]:
    return {status.value: count for status, count in counts.items()}
