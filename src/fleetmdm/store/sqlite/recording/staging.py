"""The verdicts of a run in the making, and how they differ from what is open.

Batches are compared as they come, in memory, with the open results of their devices; that stands as
long as no other run is recorded. A run that builds on the newest gives up where one is, so that it
keeps only what begins, packed. Any other compares all that it staged again by one set of statements,
which is right whatever happened, unless every open result was met on the way. What the first run of
a store begins stays packed for good, by block.
Rule for editors: all ways end, prolong and begin the same rows; temporary tables take no lock.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Collection, Sequence
from typing import Final

from fleetmdm.store.port import RunOvertaken
from fleetmdm.store.sqlite.blocks.documents import BLOCK_DEVICES
from fleetmdm.store.sqlite.connection import cache_more, staging
from fleetmdm.store.sqlite.first.form import first_run
from fleetmdm.store.sqlite.first.keep import (
    count_first,
    first_of_devices,
    lift_first,
    read_first,
    write_first,
)
from fleetmdm.store.sqlite.recording.findings import Findings
from fleetmdm.store.sqlite.recording.rows import Row, pack_rows, unpack_rows
from fleetmdm.store.sqlite.runs import newest_run

_STAGING: Final = (
    """
    CREATE TABLE temp.staged (
        item INTEGER PRIMARY KEY,
        device INTEGER NOT NULL,
        policy INTEGER NOT NULL,
        status TEXT NOT NULL,
        findings BLOB NOT NULL,
        valid_until TEXT
    ) STRICT
    """,
    """
    CREATE TABLE temp.closing (
        device INTEGER NOT NULL,
        policy INTEGER NOT NULL,
        PRIMARY KEY (device, policy)
    ) STRICT, WITHOUT ROWID
    """,
    """
    CREATE TABLE temp.renewing (
        device INTEGER NOT NULL,
        policy INTEGER NOT NULL,
        valid_until TEXT,
        PRIMARY KEY (device, policy)
    ) STRICT, WITHOUT ROWID
    """,
    "CREATE TABLE temp.opening (item INTEGER PRIMARY KEY) STRICT",
    "CREATE TABLE temp.packed (first INTEGER NOT NULL, rows BLOB NOT NULL) STRICT",
    """
    CREATE TABLE temp.held (
        device INTEGER NOT NULL,
        policy INTEGER NOT NULL,
        status TEXT NOT NULL,
        finding INTEGER NOT NULL,
        valid_until TEXT,
        PRIMARY KEY (device, policy)
    ) STRICT, WITHOUT ROWID
    """,
)

_TABLES: Final = ("staged", "closing", "renewing", "opening", "packed", "held")

_OPEN: Final = """(
    SELECT device, policy, status, finding, valid_until
    FROM main.results INDEXED BY results_open WHERE until_run IS NULL
    UNION ALL SELECT * FROM temp.held
)"""

_COMPARE: Final = (
    "DELETE FROM temp.closing",
    "DELETE FROM temp.renewing",
    "DELETE FROM temp.opening",
    "CREATE UNIQUE INDEX IF NOT EXISTS temp.staged_pairs ON staged (device, policy)",
    f"""
    INSERT INTO temp.closing
    SELECT open.device, open.policy
    FROM {_OPEN} AS open
    LEFT JOIN temp.staged AS new ON new.device = open.device AND new.policy = open.policy
    LEFT JOIN main.findings AS known ON known.data = new.findings
    WHERE new.device IS NULL OR new.status != open.status OR known.number IS NOT open.finding
    """,  # noqa: S608 - constants of this file
    f"""
    INSERT INTO temp.renewing
    SELECT new.device, new.policy, new.valid_until
    FROM {_OPEN} AS open
    CROSS JOIN temp.staged AS new ON open.device = new.device AND open.policy = new.policy
    CROSS JOIN main.findings AS known ON known.number = open.finding
    WHERE new.valid_until IS NOT open.valid_until
    AND new.status = open.status AND new.findings = known.data
    """,  # noqa: S608 - constants of this file
    """
    INSERT INTO temp.opening
    SELECT new.item
    FROM temp.staged AS new
    WHERE EXISTS (
        SELECT 1 FROM temp.closing AS gone
        WHERE gone.device = new.device AND gone.policy = new.policy
    )
    OR NOT EXISTS (
        SELECT 1 FROM main.results AS open
        WHERE open.device = new.device AND open.policy = new.policy AND open.until_run IS NULL
        UNION ALL
        SELECT 1 FROM temp.held AS open
        WHERE open.device = new.device AND open.policy = new.policy
    )
    """,
)
"""What ends, what only lasts longer, what begins."""

# Row by row: left to itself the planner reads all of `results` to find the few that are meant.
_END: Final = """
UPDATE results INDEXED BY results_open SET until_run = {run:d}
WHERE device = ? AND policy = ? AND until_run IS NULL
"""

_PROLONG: Final = """
UPDATE results INDEXED BY results_open SET valid_until = ?
WHERE device = ? AND policy = ? AND until_run IS NULL
"""

_FIND: Final = """
INSERT INTO findings (data)
SELECT DISTINCT findings FROM temp.staged WHERE true
ON CONFLICT (data) DO NOTHING
"""

_BEGIN_ALL: Final = """
INSERT INTO results (device, policy, since_run, status, finding, valid_until)
SELECT device, policy, :run, status, number, valid_until
FROM temp.staged CROSS JOIN findings ON data = findings
"""

_BEGIN: Final = f"{_BEGIN_ALL} WHERE item IN (SELECT item FROM temp.opening)"  # noqa: S608 - constants of this file

_BEGIN_PACKED: Final = """
INSERT INTO results (device, policy, since_run, status, finding, valid_until)
VALUES (?, ?, {run:d}, ?, ?, ?)
"""

_OPEN_COUNT: Final = "SELECT count(*) FROM results INDEXED BY results_open WHERE until_run IS NULL"

_ANY_OPEN: Final = (
    "SELECT EXISTS (SELECT 1 FROM results INDEXED BY results_open WHERE until_run IS NULL)"
)

_OPEN_ROWS: Final = """
SELECT open.device, open.policy, open.status, known.data, open.valid_until
FROM json_each(?) AS wanted
CROSS JOIN results AS open INDEXED BY results_open
ON open.device = wanted.value AND open.until_run IS NULL
CROSS JOIN findings AS known ON known.number = open.finding
"""


class Staging:
    """What one run found, in temporary tables of its connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._items = 0
        self._compared_with: int | None = None
        """The newest run when the first batch came; None before."""
        self._open = 0
        """How many results were open then."""
        self._met = 0
        """How many of these the batches met."""
        self._basis: int | None = None
        cache_more(connection)
        self.drop()
        for table in _STAGING:
            connection.execute(table)

    def build_on(self, run: int) -> None:
        """Take what no batch meets for what `run` found, which is the newest."""
        self._basis = run

    def drop(self) -> None:
        """Forget everything."""
        for table in _TABLES:
            self._connection.execute(f"DROP TABLE IF EXISTS temp.{table}")

    def add_packed(
        self, packed: bytes, devices: Sequence[int], policies: Collection[int] | None = None
    ) -> None:
        """Stage the rows that are all that there is to say on some devices.

        With `policies` (numbers), all that there is to say under these.
        """
        if self._basis is None:
            self.add(unpack_rows(packed).whole(), devices)
            return
        with staging(self._connection):
            self._begin()
            if self._open:
                rows = unpack_rows(packed)
                opening = self._compare_rows(rows.whole(), devices, policies)
                packed = pack_rows(rows.chosen(opening)) if opening else b""
            if packed:
                self._connection.execute(
                    "INSERT INTO temp.packed VALUES (?, ?)", (min(devices), packed)
                )

    def add(self, rows: Sequence[Row], devices: Sequence[int] = ()) -> None:
        """Stage rows; `devices` are those on which these rows are all that there is to say."""
        with staging(self._connection):
            self._begin()
            first = self._items
            self._items += len(rows)
            self._connection.executemany(
                "INSERT INTO temp.staged VALUES (?, ?, ?, ?, ?, ?)",
                ((item, *row) for item, row in enumerate(rows, first)),
            )
            if self._open and devices:
                opening = self._compare_rows(rows, devices)
                self._connection.executemany(
                    "INSERT INTO temp.opening VALUES (?)", ((first + item,) for item in opening)
                )

    def _begin(self) -> None:
        if self._compared_with is None:
            self._compared_with = newest_run(self._connection)
            self._open = self._count_open()

    def _count_open(self) -> int:
        """How many are open; of a run that builds on the newest only whether any are."""
        if self._basis is None:
            sql, more = _OPEN_COUNT, count_first(self._connection)
        else:
            sql, more = _ANY_OPEN, int(first_run(self._connection) is not None)
        count: int = self._connection.execute(sql).fetchone()[0]
        return count + more

    def _compare_rows(
        self, rows: Sequence[Row], devices: Sequence[int], policies: Collection[int] | None = None
    ) -> list[int]:
        """Note what ends and what lasts longer; answers the places of the rows that begin."""
        kept: list[Row] = self._connection.execute(
            _OPEN_ROWS, (json.dumps(list(devices)),)
        ).fetchall()
        kept += first_of_devices(self._connection, devices)
        self._met += len(kept)
        if policies is not None:
            kept = [row for row in kept if row[1] in policies]
        same = set(rows).intersection(kept)
        before = {row[:2]: row for row in kept if row not in same}
        opening, renewing, closing = [], [], []
        for item, row in enumerate(rows):
            if row not in same:
                pair = row[:2]
                old = before.pop(pair, None)
                if old is not None and old[2:4] == row[2:4]:
                    renewing.append((*pair, row[4]))
                    continue
                if old is not None:
                    closing.append(pair)
                opening.append(item)
        closing.extend(before)
        run = self._connection.executemany
        run("INSERT INTO temp.renewing VALUES (?, ?, ?)", renewing)
        run("INSERT INTO temp.closing VALUES (?, ?)", closing)
        return opening

    def settle(self) -> None:
        """Know the difference; nothing that others may do meanwhile is locked."""
        with staging(self._connection):
            self.settle_again()

    def settle_again(self) -> None:
        """The same inside the caller's transaction: quick, unless another run came between."""
        newest = newest_run(self._connection)
        if self._basis is not None:
            if newest != self._basis:
                raise RunOvertaken
            return
        if newest != self._compared_with or self._met != self._open:
            self._hold_first()
            for statement in _COMPARE:
                self._connection.execute(statement)
            self._compared_with = newest
            self._open = self._met = self._count_open()

    def _hold_first(self) -> None:
        """Have what the first run packed beside the results, to be compared like these."""
        self._connection.execute("DELETE FROM temp.held")
        for rows in read_first(self._connection):
            self._connection.executemany(
                "INSERT INTO temp.held VALUES (?, ?, ?, ?, ?)", rows.stored(int)
            )

    def apply(self, run_id: int) -> None:
        """Close, renew and open what was settled."""
        chosen = {"run": run_id}
        run = self._connection.executemany
        lift_first(self._connection, "closing", run_id)
        lift_first(self._connection, "renewing", None)
        run(_END.format(run=run_id), self._listed("SELECT device, policy FROM temp.closing"))
        run(_PROLONG, self._listed("SELECT valid_until, device, policy FROM temp.renewing"))
        if self._items:
            self._connection.execute(_FIND)
            # Where nothing was open, everything opens.
            self._connection.execute(_BEGIN if self._open else _BEGIN_ALL, chosen)
        findings = Findings(self._connection)
        for first, packed in self._listed("SELECT first, rows FROM temp.packed ORDER BY first"):
            rows = unpack_rows(packed)
            numbers = findings.numbers(rows.texts)
            if self._basis == 0:
                write_first(self._connection, first // BLOCK_DEVICES, run_id, rows, numbers)
            else:
                run(_BEGIN_PACKED.format(run=run_id), rows.told(numbers))

    def _listed(self, sql: str) -> sqlite3.Cursor:
        return self._connection.execute(sql)
