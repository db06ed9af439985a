"""An incremental check leaves what a full one leaves, whatever happened since, whenever it is made.

Random sequences of everything that can change a verdict; `as_of` moves forwards and backwards.
"""

from __future__ import annotations

import tempfile
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fleetmdm.device import Device
from fleetmdm.engines.local import record_run
from fleetmdm.ingest.sources import Source
from fleetmdm.policy_yaml import parse_policy
from fleetmdm.store.port import NewRun
from fleetmdm.store.sqlite import SqliteStore, open_store

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DEVICES = ("a", "b", "c", "d", "e", "f")
CHECKS = {
    "p": "{key: x, op: eq, value: 1}",
    "q": "{key: seen, op: within, value: 14d}",
    "r": "{key: l, op: subset_of, value: [1, 2]}",
    "s": "{key: last_seen, op: within, value: 3d}",
    "t": "{any: [{key: o.y, op: gte, value: 2}, {key: seen, op: after, value: now-5d}]}",
    "u": "{key: 'm[*].at', op: within, value: 5d}",
}

facts = st.fixed_dictionaries(
    {},
    optional={
        "x": st.sampled_from([0, 1, 1.0, True, None, "1", {"y": 1}]),
        "seen": st.sampled_from(["2026-02-20T00:00:00Z", "2026-02-27T00:00:00Z", "2026-03-01", 5]),
        "l": st.lists(st.integers(1, 3), max_size=2),
        "o": st.sampled_from([{"y": 1}, {"y": 2.5}, {}, None, [1]]),
        "m": st.lists(
            st.sampled_from(["2026-02-20T00:00:00Z", "2026-02-27T00:00:00Z"]).map(
                lambda at: {"at": at}
            ),
            max_size=3,
        ),
    },
)
moments = st.integers(-20, 20).map(lambda days: NOW + timedelta(days=days))
ingest = st.tuples(
    st.sampled_from(["ingest", "ingest", "second"]),
    st.lists(st.tuples(st.sampled_from(DEVICES), st.integers(0, 2), facts), min_size=1, max_size=6),
)
runs = st.tuples(st.just("run"), moments)
steps = st.one_of(
    ingest,
    ingest,
    runs,
    runs,
    runs,
    st.tuples(st.just("retire"), st.sampled_from(DEVICES)),
    st.tuples(st.just("tag"), st.sampled_from(DEVICES)),
    st.tuples(st.just("remove"), st.sampled_from(list(CHECKS))),
    st.tuples(st.just("put"), st.tuples(st.sampled_from(list(CHECKS)), st.booleans())),
    st.tuples(st.just("prune"), st.just(None)),
)


class Fleet:
    """A store whose runs are all full, or all built on the one before."""

    def __init__(self, path: Path, stack: ExitStack, *, full: bool) -> None:
        self.store: SqliteStore = stack.enter_context(
            closing(open_store(path, create=True, now=NOW))
        )
        self.full = full
        self.known: set[str] = set()
        # What is tested is what is written, not that the disk keeps it.
        self.store._connection.execute("PRAGMA synchronous = OFF")

    def take(self, step: tuple[str, Any]) -> None:
        name, argument = step
        if name in ("ingest", "second"):
            source = Source.DOCUMENT if name == "ingest" else Source.CSV
            batch = [
                Device(one, "h", "linux", "12", None, NOW + timedelta(hours=hour), found)
                for one, hour, found in argument
            ]
            self.store.put_devices(batch, source=source, now=NOW)
            self.known.update(one for one, _, _ in argument)
        elif name == "retire" and argument in self.known:
            self.store.retire_device(argument, now=NOW)
            self.known.discard(argument)
        elif name == "tag" and argument in self.known:
            self.store.tag_device(argument, add=["web"], remove=[], now=NOW)
        elif name == "remove" and argument in dict(self.store.policy_sources()):
            self.store.remove_policy(argument, now=NOW)
        elif name == "put":
            self.put(*argument)
        elif name == "prune":
            self.prune()
        elif name == "run" and self.known and list(self.store.policy_sources()):
            new = NewRun(started_at=NOW, as_of=argument, tool_version="0")
            record_run(self.store, new, clock=lambda: NOW, full=self.full)

    def put(self, name: str, targeted: bool) -> None:
        tags = "targets: {tags: [web]}\n" if targeted else ""
        text = f"id: {name}\nname: n\n{tags}checks: [{CHECKS[name]}]\n"
        self.store.put_policies([parse_policy(text.encode(), name="p")], now=NOW)

    def prune(self) -> None:
        old = [run.run_id for run in self.store.runs()][1:]
        self.store.prune_runs(old, now=NOW, leaf=lambda _removed: b'{"type":"prune"}')

    def told(self) -> list[object]:
        stands = self.store._connection.execute(
            "SELECT d.name, p.name, r.since_run, r.until_run, r.valid_until"
            " FROM results r JOIN device_names d USING (device) JOIN policy_names p USING (policy)"
            " ORDER BY 1, 2, 3"
        ).fetchall()
        runs = [
            (run.run_id, run.as_of, run.devices, run.counts, run.policy_counts)
            for run in self.store.runs()
        ]
        roots = [(run.inventory_root, run.result_root) for run in self.store.runs()]
        return [runs, list(self.store.intervals()), stands, roots, list(self.store.find_problems())]


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(sequence=st.lists(steps, min_size=4, max_size=16))
def test_building_on_the_newest_run_changes_no_answer(sequence: list[tuple[str, Any]]) -> None:
    begin = [("put", (name, False)) for name in CHECKS]
    first = ("ingest", [(name, 0, {"x": 1, "seen": "2026-02-20T00:00:00Z"}) for name in DEVICES])
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        fleets = [Fleet(Path(folder) / f"{full}.db", stack, full=full) for full in (False, True)]
        # Both keep the same secret, so that their roots can be compared.
        (key,) = (
            fleets[0]
            .store._connection.execute("SELECT value FROM properties WHERE name = 'fleet_key'")
            .fetchone()
        )
        fleets[1].store._connection.execute("UPDATE properties SET value = ?", (key,))
        for step in [*begin, first, *sequence, ("run", NOW)]:
            for fleet in fleets:
                fleet.take(step)
            assert fleets[0].told() == fleets[1].told()
