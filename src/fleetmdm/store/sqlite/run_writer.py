"""A run in the making.

Rules for editors: verdicts are staged in temporary tables and compared with what is open before any
lock is taken; the write transaction applies the difference alone, in one piece. A killed or failed
run leaves nothing, because temporary tables die with the connection.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from fleetmdm.device import Device
from fleetmdm.results import SILENT, Run, Status, Verdict
from fleetmdm.store.codec import encode_findings, encode_stamp
from fleetmdm.store.failures import translated
from fleetmdm.store.port import NewRun, RunHashes
from fleetmdm.store.sqlite.connection import staging, writing
from fleetmdm.store.sqlite.inventory import count_devices, read_devices
from fleetmdm.store.sqlite.ledger import append_leaf
from fleetmdm.store.sqlite.policies import policy_numbers, read_policies
from fleetmdm.store.sqlite.revisions import latest_revision
from fleetmdm.store.sqlite.runs import newest_run

_STAGING = (
    """
    CREATE TABLE temp.staged (
        device INTEGER NOT NULL,
        policy INTEGER NOT NULL,
        status TEXT NOT NULL,
        findings BLOB NOT NULL,
        valid_until TEXT,
        PRIMARY KEY (device, policy)
    ) STRICT, WITHOUT ROWID
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
    """
    CREATE TABLE temp.opening (
        device INTEGER NOT NULL,
        policy INTEGER NOT NULL,
        PRIMARY KEY (device, policy)
    ) STRICT, WITHOUT ROWID
    """,
)

_TABLES = ("staged", "closing", "renewing", "opening")

_COMPARE = (
    "DELETE FROM temp.closing",
    "DELETE FROM temp.renewing",
    "DELETE FROM temp.opening",
    """
    INSERT INTO temp.closing
    SELECT open.device, open.policy
    FROM main.results AS open INDEXED BY results_open
    LEFT JOIN temp.staged AS new ON new.device = open.device AND new.policy = open.policy
    WHERE open.until_run IS NULL
    AND (new.device IS NULL OR new.status != open.status OR new.findings != open.findings)
    """,
    """
    INSERT INTO temp.renewing
    SELECT new.device, new.policy, new.valid_until
    FROM temp.staged AS new
    JOIN main.results AS open ON open.device = new.device AND open.policy = new.policy
    WHERE open.until_run IS NULL AND new.valid_until IS NOT open.valid_until
    AND new.status = open.status AND new.findings = open.findings
    """,
    """
    INSERT INTO temp.opening
    SELECT new.device, new.policy
    FROM temp.staged AS new
    LEFT JOIN main.results AS open
    ON open.device = new.device AND open.policy = new.policy AND open.until_run IS NULL
    LEFT JOIN temp.closing AS gone ON gone.device = new.device AND gone.policy = new.policy
    WHERE open.device IS NULL OR gone.device IS NOT NULL
    """,
)
"""What ends, what only lasts longer, what begins."""

_APPLY = (
    """
    UPDATE results SET until_run = :run FROM temp.closing AS gone
    WHERE results.device = gone.device AND results.policy = gone.policy
    AND results.until_run IS NULL
    """,
    """
    UPDATE results SET valid_until = later.valid_until FROM temp.renewing AS later
    WHERE results.device = later.device AND results.policy = later.policy
    AND results.until_run IS NULL
    """,
    """
    INSERT INTO results (device, policy, since_run, status, findings, valid_until)
    SELECT device, policy, :run, status, findings, valid_until
    FROM temp.staged JOIN temp.opening USING (device, policy)
    """,
)

_Row = tuple[int, int, str, bytes, str | None]


class SqliteRunWriter:
    """The run of one `begin_run` block."""

    def __init__(self, connection: sqlite3.Connection, path: Path, new: NewRun) -> None:
        self._connection = connection
        self._path = path
        self._new = new
        self._revision = latest_revision(connection)
        self._policies = policy_numbers(connection, self._revision)
        self._counts: dict[str, Counter[Status]] = {name: Counter() for name in self._policies}
        self._device: tuple[str, int] = ("", 0)
        self._drop()
        for table in _STAGING:
            connection.execute(table)

    def close(self) -> None:
        """Forget what is staged."""
        # After a full disk even this may fail; what went wrong first is what is told.
        with suppress(sqlite3.Error):
            self._drop()

    def _drop(self) -> None:
        for table in _TABLES:
            self._connection.execute(f"DROP TABLE IF EXISTS temp.{table}")

    def devices(self) -> Iterator[Device]:
        """The documents to judge."""
        with translated(self._path):
            yield from read_devices(self._connection, self._revision)

    def device_count(self) -> int:
        """How many documents there are to judge."""
        with translated(self._path):
            return count_devices(self._connection, self._revision)

    def policy_sources(self) -> Iterator[tuple[str, bytes]]:
        """The policies to judge by."""
        with translated(self._path):
            yield from read_policies(self._connection, self._revision)

    def add(self, verdicts: Iterable[Verdict]) -> None:
        """Count the verdicts and stage those that are stored."""
        with translated(self._path), staging(self._connection):
            self._connection.executemany(
                "INSERT INTO temp.staged VALUES (?, ?, ?, ?, ?)", self._stored(verdicts)
            )

    def _stored(self, verdicts: Iterable[Verdict]) -> Iterator[_Row]:
        for verdict in verdicts:
            self._counts[verdict.policy_id][verdict.status] += 1
            if verdict.status not in SILENT:
                until = verdict.valid_until
                yield (
                    self._device_number(verdict.device_id),
                    self._policies[verdict.policy_id],
                    verdict.status.value,
                    encode_findings(verdict.findings),
                    None if until is None else encode_stamp(until),
                )

    def _device_number(self, device_id: str) -> int:
        # Verdicts arrive device by device.
        if self._device[0] != device_id:
            row = self._connection.execute(
                "SELECT device FROM device_names WHERE name = ?", (device_id,)
            ).fetchone()
            if row is None:
                raise KeyError(device_id)
            self._device = (device_id, row[0])
        return self._device[1]

    def finish(
        self, *, finished_at: datetime, hashes: RunHashes, leaf: Callable[[Run], bytes]
    ) -> Run:
        """Compare with the newest run, then apply the difference in one transaction."""
        with translated(self._path):
            devices = count_devices(self._connection, self._revision)
            compared_with = self._compare()
            with writing(self._connection):
                if newest_run(self._connection) != compared_with:
                    self._compare_again()
                run = self._number_run(devices, finished_at, hashes)
                index = append_leaf(self._connection, leaf(run))
                _insert_run(self._connection, run, self._revision, index)
                for statement in _APPLY:
                    self._connection.execute(statement, {"run": run.run_id})
            return run

    def _compare(self) -> int:
        # One transaction, so that the run and its open results are read at one moment.
        with staging(self._connection):
            newest = newest_run(self._connection)
            self._compare_again()
        return newest

    def _compare_again(self) -> None:
        for statement in _COMPARE:
            self._connection.execute(statement)

    def _number_run(self, devices: int, finished_at: datetime, hashes: RunHashes) -> Run:
        return Run(
            run_id=newest_run(self._connection) + 1,
            started_at=self._new.started_at,
            finished_at=finished_at,
            as_of=self._new.as_of,
            devices=devices,
            policies=len(self._policies),
            counts=dict(sum(self._counts.values(), Counter())),
            tool_version=self._new.tool_version,
            policy_set_hash=hashes.policy_set_hash,
            inventory_root=hashes.inventory_root,
            result_root=hashes.result_root,
            policy_counts={name: dict(counts) for name, counts in self._counts.items()},
        )


_INSERT_RUN = """
INSERT INTO runs (
    run, started_at, finished_at, as_of, revision, devices, policies, counts, policy_counts,
    tool_version, policy_set_hash, inventory_root, result_root, leaf
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""


def _insert_run(connection: sqlite3.Connection, run: Run, revision: int, leaf: int) -> None:
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
        ),
    )


def _named(counts: dict[Status, int]) -> dict[str, int]:
    return {status.value: count for status, count in counts.items()}
