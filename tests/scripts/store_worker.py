"""A process that writes to a store and says what is done; the crash tests kill it while it works.

usage: store_worker.py DATABASE ingest|check|judge|migrate|prune|restore FIRST LAST
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

from fleetmdm.device import Device
from fleetmdm.engines.local import record_run
from fleetmdm.ledger.entries import encode_prune_leaf, encode_run_leaf
from fleetmdm.policy import CompliancePolicy
from fleetmdm.policy_yaml import parse_policy
from fleetmdm.results import Finding, Run, Status, Verdict
from fleetmdm.store.port import NewRun, RunHashes
from fleetmdm.store.sqlite import SqliteStore, open_store

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
BATCH = 150
"""Devices of one ingest, and of the fleet that is checked."""


def batch_size(number: int) -> int:
    """How many documents an ingest has: the second has enough for a block with columns."""
    return 2 * BATCH if number == 2 else BATCH


def batch(number: int) -> Iterator[Device]:
    """The documents of one ingest."""
    for place in range(batch_size(number)):
        facts = {"batch": number, "filler": "x" * 400}
        yield Device(f"b{number}-{place:04}", "h", "linux", "12", None, NOW, facts)


def verdicts(run_id: int) -> Iterator[Verdict]:
    """The verdicts that the run of this number gives: half of the fleet changes each time."""
    for place in range(BATCH):
        device_id = f"b0-{place:04}"
        if (place + run_id) % 2:
            finding = Finding("checks[0]", "x", "eq", 1, run_id, "mismatch", "x")
            yield Verdict(device_id, "p", Status.FAIL, (finding,))
        else:
            yield Verdict(device_id, "p", Status.PASS)


def check(store: SqliteStore, run_id: int) -> None:
    """Record one run."""
    with store.begin_run(NewRun(NOW, NOW, "0")) as run:
        run.add(verdicts(run_id))
        run.finish(finished_at=NOW, hashes=RunHashes("a", "b", "c"), leaf=encode_run_leaf)


def asked(number: int) -> list[CompliancePolicy]:
    """Two policies, of which one is another each time."""
    texts = ("id: p\nname: P\nchecks: [{key: batch, op: lt, value: 2}]\n", OTHER.format(number))
    return [parse_policy(text.encode(), name="p") for text in texts]


OTHER = "id: q\nname: Q\nchecks: [{{key: batch, op: gte, value: {}}}]\n"


def judge(store: SqliteStore, number: int, *, full: bool = False) -> Run:
    """Change some documents and a policy, and record the run that finds it out."""
    moved = (replace(one, facts={"batch": number}) for one in islice(batch(0), 0, BATCH, 9))
    store.put_devices(moved, now=NOW)
    store.put_policies(asked(number), now=NOW)
    new = NewRun(NOW, NOW, "0")
    return record_run(store, new, clock=lambda: NOW, full=full, workers=1).run


def prune(store: SqliteStore, run_id: int) -> None:
    """Let go of one run."""

    def leaf(removed: Mapping[str, int]) -> bytes:
        return encode_prune_leaf(run_ids=[run_id], pruned_at=NOW, removed=removed, tool_version="0")

    store.prune_runs([run_id], now=NOW, leaf=leaf)


def restored(path: Path, number: int) -> Path:
    """Where the database is put when it is restored from `path`."""
    return path.with_name(f"{path.name}.restored-{number}")


def main() -> None:
    """Do the work and acknowledge each piece once it is done."""
    path, action, first, last = sys.argv[1:]
    # Writers wait for each other however slow the disk is.
    store = open_store(Path(path), now=NOW, busy_timeout_s=120)
    for number in range(int(first), int(last) + 1):
        if action == "ingest":
            store.put_devices(batch(number), now=NOW)
        elif action == "check":
            check(store, number)
        elif action == "judge":
            judge(store, number)
        elif action == "prune":
            prune(store, number)
        elif action == "restore":
            store.back_up(restored(Path(path), number))
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()
    store.close()


if __name__ == "__main__":
    main()
