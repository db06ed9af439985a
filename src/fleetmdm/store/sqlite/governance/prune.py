"""Letting go of old runs, and of what neither a run that stays nor the present needs.

The ledger keeps every leaf, those of pruned runs included, and gets one that says what went. A row
of a pruned run stays while it tells since when something that still stands has not passed; the run
itself then stays as a stub that no list shows.
Rule for editors: all of it is one transaction; nothing is removed that a run in `kept` pins.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Final

from fleetmdm.store.governance_port import Pruned
from fleetmdm.store.sqlite.connection import writing
from fleetmdm.store.sqlite.first.form import forget_first
from fleetmdm.store.sqlite.ledger import append_leaf
from fleetmdm.store.sqlite.recording.findings import forget_findings
from fleetmdm.store.sqlite.revisions import new_revision
from fleetmdm.store.sqlite.runs import no_run

_PRUNE_RUNS: Final = """
UPDATE runs SET pruned = 1, counts = '{}', policy_counts = '{}'
WHERE run IN (SELECT value FROM json_each(?)) AND NOT pruned
"""

_HELD: Final = """
EXISTS (
    SELECT 1 FROM runs WHERE NOT runs.pruned
    AND runs.run >= {0}.since_run AND runs.run < {0}.until_run
)
"""

_DOOM: Final = f"""
INSERT INTO temp.doomed
SELECT device, policy, since_run FROM results
WHERE until_run IS NOT NULL AND NOT {_HELD.format("results")}
"""  # noqa: S608 - constants of this file

_PROBLEM: Final = "{0}.status IN ('fail', 'error', 'unknown')"

_SPARE: Final = f"""
DELETE FROM temp.doomed WHERE EXISTS (
    SELECT 1 FROM results AS this JOIN results AS later
    ON later.device = this.device AND later.policy = this.policy
    AND later.since_run = this.until_run
    WHERE this.device = doomed.device AND this.policy = doomed.policy
    AND this.since_run = doomed.since_run
    AND {_PROBLEM.format("this")} AND {_PROBLEM.format("later")}
    AND NOT EXISTS (
        SELECT 1 FROM temp.doomed AS other WHERE other.device = later.device
        AND other.policy = later.policy AND other.since_run = later.since_run
    )
)
"""  # noqa: S608 - constants of this file
"""A row stays while it leads, without a pass between, to one that stays: it tells the age."""

_RESULTS: Final = """
DELETE FROM results WHERE (device, policy, since_run) IN (SELECT * FROM temp.doomed)
"""

_PINS: Final = """
INSERT INTO temp.pins
SELECT revision FROM runs WHERE NOT pruned
UNION SELECT revision FROM judged UNION SELECT revision FROM fact_blocks
"""
"""What is derived from documents notices what changed since its own revision."""

_UNPINNED: Final = """
DELETE FROM {table} WHERE until_revision IS NOT NULL AND NOT EXISTS (
    SELECT 1 FROM temp.pins
    WHERE pins.revision >= {table}.since_revision AND pins.revision < {table}.until_revision
)
"""

_STUBS: Final = """
DELETE FROM runs WHERE pruned
AND run NOT IN (SELECT since_run FROM results)
AND run NOT IN (SELECT until_run FROM results WHERE until_run IS NOT NULL)
AND run NOT IN (SELECT run FROM first_results)
"""

_FORMS: Final = "DELETE FROM policy_forms WHERE sha256 NOT IN (SELECT sha256 FROM policies)"

_INTERVAL_TABLES: Final = ("documents", "sightings", "policies", "assignments")


def prune_runs(
    connection: sqlite3.Connection,
    run_ids: Sequence[int],
    *,
    now: datetime,
    leaf: Callable[[Mapping[str, int]], bytes],
) -> Pruned:
    """Forget runs and what only they needed; the newest run stays. Raises `run_not_found`."""
    with writing(connection):
        chosen = _without_newest(connection, run_ids)
        if not chosen:
            return Pruned((), {}, None)
        connection.execute(_PRUNE_RUNS, (json.dumps(chosen),))
        removed = {"runs": len(chosen), "results": _prune_results(connection)}
        removed |= _prune_intervals(connection)
        connection.execute(_STUBS)
        new_revision(connection, "pruned", {"runs": len(chosen), **removed}, now=now)
        index = append_leaf(connection, leaf(removed))
    return Pruned(tuple(chosen), removed, index)


def _without_newest(connection: sqlite3.Connection, run_ids: Sequence[int]) -> list[int]:
    stored = [run for (run,) in connection.execute("SELECT run FROM runs WHERE NOT pruned")]
    missing = sorted(set(run_ids) - set(stored))
    if missing:
        raise no_run(missing[0])
    return sorted(set(run_ids) - {max(stored, default=0)})


def _prune_intervals(connection: sqlite3.Connection) -> dict[str, int]:
    connection.execute("DROP TABLE IF EXISTS temp.pins")
    connection.execute("CREATE TABLE temp.pins (revision INTEGER PRIMARY KEY) STRICT")
    connection.execute(_PINS)
    removed = {
        table: connection.execute(_UNPINNED.format(table=table)).rowcount
        for table in _INTERVAL_TABLES
    }
    connection.execute("DROP TABLE temp.pins")
    connection.execute(_FORMS)
    return removed


def _prune_results(connection: sqlite3.Connection) -> int:
    connection.execute("DROP TABLE IF EXISTS temp.doomed")
    connection.execute(
        "CREATE TABLE temp.doomed (device INTEGER, policy INTEGER, since_run INTEGER,"
        " PRIMARY KEY (device, policy, since_run)) STRICT, WITHOUT ROWID"
    )
    connection.execute(_DOOM)
    while connection.execute(_SPARE).rowcount:
        pass
    count = connection.execute(_RESULTS).rowcount
    connection.execute("DROP TABLE temp.doomed")
    forget_first(connection)
    forget_findings(connection)
    return count
