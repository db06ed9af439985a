"""Runs recorded by batches, or by tasks, leave what runs recorded verdict by verdict leave.

Also where another run is recorded in the middle, and where devices and policies come and go. By tasks
the first run of a store packs its rows; what it packed and later rows together are compared.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from fleetmdm.device import Device, encode_batch
from fleetmdm.engines.local import record_run
from fleetmdm.evaluate import Evaluator, compile_policies
from fleetmdm.ingest.sources import Source
from fleetmdm.ledger.entries import encode_run_leaf
from fleetmdm.policy import CompliancePolicy
from fleetmdm.policy_yaml import parse_policy
from fleetmdm.results import Run
from fleetmdm.store.port import NewRun, RunHashes, RunWriter
from fleetmdm.store.sqlite import SqliteStore, open_store
from fleetmdm.store.sqlite.first.form import first_run
from fleetmdm.store.sqlite.first.keep import read_first

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DEVICES = ("a", "b", "c", "d", "e")
CHECKS = {
    "p": "{key: x, op: eq, value: 1}",
    "q": "{key: seen, op: within, value: 14d}",
    "r": "{key: l, op: subset_of, value: [1, 2]}",
}
HASHES = RunHashes("", "", "")

facts = st.fixed_dictionaries(
    {},
    optional={
        "x": st.integers(0, 1),
        "seen": st.sampled_from(["2026-02-20T00:00:00Z", "2026-02-01T00:00:00Z", "2026-03-01"]),
        "l": st.lists(st.integers(1, 3), max_size=2),
    },
)
steps = st.one_of(
    st.tuples(st.just("ingest"), st.sampled_from(DEVICES), facts),
    st.tuples(st.just("ingest second source"), st.sampled_from(DEVICES), facts),
    st.tuples(st.just("retire"), st.sampled_from(DEVICES), st.none()),
    st.tuples(st.just("remove"), st.sampled_from(list(CHECKS)), st.none()),
    st.tuples(st.just("put"), st.sampled_from(list(CHECKS)), st.booleans()),
    st.tuples(st.just("run"), st.integers(1, 3), st.booleans()),
    st.tuples(st.just("run"), st.integers(1, 3), st.booleans()),
)
quiet_steps = st.one_of(
    steps.map(lambda step: (*step[:2], False) if step[0] == "run" else step),
    st.tuples(st.just("prune"), st.none(), st.none()),
)
Record = Callable[[RunWriter, int, Callable[[], None]], None]


def record_batches(writer: RunWriter, size: int, between: Callable[[], None]) -> None:
    evaluator = Evaluator(compile_policies(policies_of(writer)), NOW)
    for documents in writer.documents(size):
        writer.add_batch(documents, evaluator.judge(documents))
        between()
    # An empty fleet has no batch.
    between()


def record_verdicts(writer: RunWriter, _size: int, between: Callable[[], None]) -> None:
    evaluator = Evaluator(compile_policies(policies_of(writer)), NOW)
    devices = list(writer.devices())
    between()
    if devices:
        writer.add(evaluator.judge(encode_batch(devices)))


def record_tasks(_writer: RunWriter, _size: int, _between: Callable[[], None]) -> None:
    """Stands for `record_run`, which begins its runs itself."""


def policies_of(writer: RunWriter) -> list[CompliancePolicy]:
    return list(writer.policies())


def run(store: SqliteStore, record: Record, size: int, between: Callable[[], None]) -> Run:
    with store.begin_run(NewRun(NOW, NOW, "0")) as writer:
        record(writer, size, between)
        return writer.finish(finished_at=NOW, hashes=HASHES, leaf=encode_run_leaf)


class Fleet:
    """A store, a second connection to it, and how its runs are recorded."""

    def __init__(self, folder: Path, record: Record, stack: ExitStack) -> None:
        path = folder / f"{record.__name__}.db"
        self.store = stack.enter_context(closing(open_store(path, create=True, now=NOW)))
        self.other = stack.enter_context(closing(open_store(path, now=NOW)))
        self.record = record
        for store in (self.store, self.other):
            # What is tested is what is written, not that the disk keeps it.
            store._connection.execute("PRAGMA synchronous = OFF")

    def take(self, step: tuple[str, object, object], known: set[str]) -> None:
        name, subject, argument = step
        if name.startswith("ingest"):
            source = Source.DOCUMENT if name == "ingest" else Source.CSV
            device = Device(str(subject), "h", "linux", "12", None, NOW, dict(argument))  # type: ignore[call-overload] # drawn as facts
            self.store.put_devices([device], source=source, now=NOW)
        elif name == "retire" and subject in known:
            self.store.retire_device(str(subject), now=NOW)
        elif name == "remove" and subject in known:
            self.store.remove_policy(str(subject), now=NOW)
        elif name == "put":
            enabled = "true" if argument else "false"
            text = f"id: {subject}\nname: n\nenabled: {enabled}\nchecks: [{CHECKS[str(subject)]}]\n"
            self.store.put_policies([parse_policy(text.encode(), name="p")], now=NOW)
        elif name == "prune":
            old = [run.run_id for run in self.store.runs()][1:]
            self.store.prune_runs(old, now=NOW, leaf=lambda _removed: b'{"type":"prune"}')
        elif name == "run" and self.record is record_tasks:
            # Of an odd size all of it is judged, else what may have changed.
            new = NewRun(NOW, NOW, "0")
            record_run(self.store, new, clock=lambda: NOW, full=int(str(subject)) % 2 > 0)
        elif name == "run":
            self._run(int(str(subject)), interrupted=bool(argument))

    def _run(self, size: int, *, interrupted: bool) -> None:
        left = [1] if interrupted else []

        def another() -> None:
            if left and left.pop():
                # A policy more, so that the other run finds something else.
                text = b"id: z\nname: n\nchecks: [{key: x, op: eq, value: 0}]\n"
                self.other.put_policies([parse_policy(text, name="z")], now=NOW)
                run(self.other, record_verdicts, size, lambda: None)

        run(self.store, self.record, size, another)

    def told(self) -> list[object]:
        runs = [(one.run_id, one.counts, one.policy_counts) for one in self.store.runs()]
        told = [list(self.store.results(one.run_id)) for one in self.store.runs()]
        changes = list(self.store.transitions(runs[-1][0], runs[0][0])) if runs else []
        since = self.store.failing_since(runs[0][0]) if runs else {}
        problems = list(self.store.find_problems())
        return [runs, list(self.store.intervals()), self._stands(), told, changes, since, problems]

    def _stands(self) -> list[object]:
        """Every row, packed or not, and until when it stands."""
        connection = self.store._connection
        stands = connection.execute(
            "SELECT device, policy, since_run, until_run, valid_until FROM results"
        ).fetchall()
        for rows in read_first(connection):
            first = first_run(connection)
            stands += [(*row[:2], first, None, row[4]) for row in rows.stored(int)]
        return sorted(stands, key=lambda row: row[:3])


@given(st.lists(steps, min_size=3, max_size=14))
def test_batches_leave_what_single_verdicts_leave(
    sequence: list[tuple[str, object, object]],
) -> None:
    leave_the_same((record_batches, record_verdicts), sequence)


@given(st.lists(quiet_steps, min_size=3, max_size=14))
def test_tasks_leave_what_single_verdicts_leave(
    sequence: list[tuple[str, object, object]],
) -> None:
    leave_the_same((record_tasks, record_verdicts), sequence)


def leave_the_same(
    records: tuple[Record, Record], sequence: list[tuple[str, object, object]]
) -> None:
    begin = [("put", name, True) for name in CHECKS]
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        fleets = [Fleet(Path(folder), record, stack) for record in records]
        known: set[str] = set()
        for step in [*begin, ("ingest", "c", {"x": 0}), *sequence, ("run", 2, False)]:
            # Of nothing, `record_run` makes no run.
            nothing = not known.intersection(DEVICES) or not known.intersection(CHECKS)
            if step[0] == "run" and record_tasks in records and nothing:
                continue
            for fleet in fleets:
                fleet.take(step, known)
            subject = str(step[1])
            if step[0] in ("retire", "remove"):
                known.discard(subject)
            elif step[0] not in ("run", "prune"):
                known.add(subject)
        assert fleets[0].told() == fleets[1].told()
