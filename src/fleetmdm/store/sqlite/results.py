"""Verdicts of a run and the differences between two, read from the intervals.

What the first run packed holds at every run, so that only whole answers are merged with it: it is
never what differs between two runs, nor what follows an older row.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from heapq import merge

from fleetmdm.results import ResultRow, Status, Transition
from fleetmdm.store.port import PopulationChange, Presence
from fleetmdm.store.sqlite.first.answers import HOLD, Wanted, read_answers
from fleetmdm.store.sqlite.recording.findings import decode_known
from fleetmdm.store.sqlite.runs import revision_of

_RESULTS = """
SELECT device_names.name, policy_names.name, status, findings.data, since_run, until_run
FROM results JOIN device_names USING (device) JOIN policy_names USING (policy)
JOIN findings ON findings.number = results.finding
WHERE since_run <= :run AND (until_run IS NULL OR until_run > :run)
AND (:device IS NULL OR device_names.name = :device)
AND (:policy IS NULL OR policy_names.name = :policy)
ORDER BY device_names.name, policy_names.name
"""


def read_results(
    connection: sqlite3.Connection,
    run_id: int,
    *,
    device_id: str | None,
    policy_id: str | None,
    statuses: frozenset[Status],
) -> Iterator[ResultRow]:
    """The stored verdicts of a run. Raises `run_not_found`."""
    revision_of(connection, run_id)
    chosen = {"run": run_id, "device": device_id, "policy": policy_id}
    held = connection.execute(HOLD)
    packed = read_answers(connection, Wanted(device_id, policy_id, statuses))
    rows = _parse_rows(connection.execute(_RESULTS, chosen), statuses)
    yield from merge(rows, packed, key=lambda row: (row.device_id, row.policy_id))
    del held


_INTERVALS = """
SELECT device_names.name, policy_names.name, status, findings.data, since_run, until_run
FROM results JOIN device_names USING (device) JOIN policy_names USING (policy)
JOIN findings ON findings.number = results.finding
WHERE (:last IS NULL OR since_run <= :last) AND (until_run IS NULL OR until_run > :first)
AND (:device IS NULL OR device_names.name = :device)
AND (:policy IS NULL OR policy_names.name = :policy)
AND EXISTS (
    SELECT 1 FROM runs WHERE NOT runs.pruned AND runs.run >= results.since_run
    AND (results.until_run IS NULL OR runs.run < results.until_run)
)
ORDER BY since_run DESC, device_names.name, policy_names.name
"""


def read_intervals(
    connection: sqlite3.Connection,
    runs: tuple[int, int | None],
    *,
    device_id: str | None,
    policy_id: str | None,
    statuses: frozenset[Status],
) -> Iterator[ResultRow]:
    """Intervals that hold at a run from the first to the last, newest first."""
    first, last = runs
    chosen = {"first": first, "last": last, "device": device_id, "policy": policy_id}
    held = connection.execute(HOLD)
    packed = read_answers(connection, Wanted(device_id, policy_id, statuses, last))
    rows = _parse_rows(connection.execute(_INTERVALS, chosen), statuses)
    yield from merge(rows, packed, key=lambda row: (-row.since_run, row.device_id, row.policy_id))
    del held


def _parse_rows(rows: sqlite3.Cursor, statuses: frozenset[Status]) -> Iterator[ResultRow]:
    for device, policy, status, findings, since, until in rows:
        if not statuses or status in statuses:
            decoded = decode_known(findings)
            yield ResultRow(device, policy, Status(status), decoded, since, until)


_FAILING_SINCE = """
WITH RECURSIVE line (device, policy, since_run) AS (
    SELECT this.device, this.policy, older.since_run
    FROM results AS this JOIN results AS older
    ON older.device = this.device AND older.policy = this.policy
    AND older.until_run = this.since_run
    WHERE this.since_run <= :run AND (this.until_run IS NULL OR this.until_run > :run)
    AND this.status IN ('fail', 'error', 'unknown')
    AND older.status IN ('fail', 'error', 'unknown')
    UNION ALL
    SELECT line.device, line.policy, older.since_run
    FROM line JOIN results AS older
    ON older.device = line.device AND older.policy = line.policy
    AND older.until_run = line.since_run
    WHERE older.status IN ('fail', 'error', 'unknown')
)
SELECT device_names.name, policy_names.name, min(since_run)
FROM line JOIN device_names USING (device) JOIN policy_names USING (policy)
GROUP BY device, policy
"""


def read_failing_since(connection: sqlite3.Connection, run_id: int) -> dict[tuple[str, str], int]:
    """The first run of each unbroken line of problems that is longer than the row of a run."""
    revision_of(connection, run_id)
    rows = connection.execute(_FAILING_SINCE, {"run": run_id})
    return {(device, policy): run for device, policy, run in rows}


# A row that holds at both runs is the same verdict, so only rows that hold at one of them matter.
_AT = "({0}.since_run <= :{1} AND ({0}.until_run IS NULL OR {0}.until_run > :{1}))"
_BEFORE = f"{_AT.format('old', 'before')} AND NOT {_AT.format('old', 'after')}"
_AFTER = f"{_AT.format('new', 'after')} AND NOT {_AT.format('new', 'before')}"

_TRANSITIONS = f"""
SELECT device_names.name, policy_names.name, changed.before, changed.after, findings.data
FROM (
    SELECT old.device, old.policy, old.status AS before, new.status AS after, new.finding
    FROM results AS old
    LEFT JOIN results AS new
    ON new.device = old.device AND new.policy = old.policy AND {_AFTER}
    WHERE {_BEFORE} AND old.status IS NOT new.status
    UNION ALL
    SELECT new.device, new.policy, NULL, new.status, new.finding
    FROM results AS new
    WHERE {_AFTER} AND NOT EXISTS (
        SELECT 1 FROM results AS old
        WHERE old.device = new.device AND old.policy = new.policy AND {_BEFORE}
    )
) AS changed JOIN device_names USING (device) JOIN policy_names USING (policy)
LEFT JOIN findings ON findings.number = changed.finding
ORDER BY device_names.name, policy_names.name
"""  # noqa: S608 - constants of this file


def read_transitions(
    connection: sqlite3.Connection, before: int, after: int
) -> Iterator[Transition]:
    """Pairs whose status differs between two runs. Raises `run_not_found`."""
    for run_id in (before, after):
        revision_of(connection, run_id)
    rows = connection.execute(_TRANSITIONS, {"before": before, "after": after})
    for device, policy, old, new, findings in rows:
        yield Transition(
            device_id=device,
            policy_id=policy,
            before=None if old is None else Status(old),
            after=None if new is None else Status(new),
            findings=() if findings is None else decode_known(findings),
        )


_HOLDS = "(since_revision <= {0} AND (until_revision IS NULL OR until_revision > {0}))"

_KNOWN = """
SELECT DISTINCT name FROM {table} JOIN {names} USING ({column})
WHERE {holds} AND {column} NOT IN (SELECT {column} FROM {table} WHERE {held})
ORDER BY name
"""

_POPULATIONS = (
    ("device", {"table": "documents", "names": "device_names", "column": "device"}),
    ("policy", {"table": "policies", "names": "policy_names", "column": "policy"}),
)


def read_population_changes(
    connection: sqlite3.Connection, before: int, after: int
) -> Iterator[PopulationChange]:
    """Devices, then policies, that only one of two runs knew. Raises `run_not_found`."""
    first, second = revision_of(connection, before), revision_of(connection, after)
    for kind, words in _POPULATIONS:
        new = _only(connection, words, at=second, not_at=first)
        gone = _only(connection, words, at=first, not_at=second)
        changes = [PopulationChange(kind, name, Presence.NEW) for name in new]
        changes += [PopulationChange(kind, name, Presence.VANISHED) for name in gone]
        yield from sorted(changes, key=lambda change: change.id)


def _only(
    connection: sqlite3.Connection, words: dict[str, str], *, at: int, not_at: int
) -> list[str]:
    sql = _KNOWN.format(holds=_HOLDS.format(":at"), held=_HOLDS.format(":not_at"), **words)
    return [name for (name,) in connection.execute(sql, {"at": at, "not_at": not_at})]
