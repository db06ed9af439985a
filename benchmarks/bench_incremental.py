"""A check after 1 % of the fleet changed, beside a full one; and what a check without change writes."""

from __future__ import annotations

import random
import tempfile
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from itertools import count
from pathlib import Path

from bench_check import check, fill
from fleet import NOW, SEED
from fleetmdm.device import Device
from fleetmdm.store.sqlite import SqliteStore, open_store
from ratio import ROUNDS, bound, judge, read_options, seconds
from ratio import finish as finish_rows

AT_MOST = 0.05
CHANGED = 0.01
MOST_ROWS = 10
"""Rows that a run without change may write, whatever the size of the fleet."""


def change(store: SqliteStore, devices: list[Device], round_: int) -> None:
    """Ingest some devices with other facts, drawn anew each time."""
    draw = random.Random(SEED + round_)  # noqa: S311 - the same changes every time
    chosen = draw.sample(devices, max(1, int(len(devices) * CHANGED)))
    moment = NOW + timedelta(seconds=round_)
    store.put_devices(
        [
            replace(
                one, last_seen=moment, facts={**one.facts, "uptime_s": draw.randrange(8_000_000)}
            )
            for one in chosen
        ],
        now=moment,
    )


def written_by(store: SqliteStore) -> int:
    """Rows that the store's connection wrote so far."""
    return store._connection.total_changes  # noqa: SLF001 - no caller but this asks


def main() -> None:
    """Time both in turn."""
    options = read_options(devices=100_000)
    numbers = count(1)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "fleet.db"
        fill(path, options.devices)
        with closing(open_store(path, now=NOW)) as store:
            devices = list(store.devices())
            check(store)
            pairs = []
            for _ in range(ROUNDS + 1):
                change(store, devices, next(numbers))
                quick = seconds(lambda: check(store, full=False))
                pairs.append((quick, seconds(lambda: check(store))))
            before = written_by(store)
            check(store, full=False)
            written = written_by(store) - before
    work = f"incremental check, 1 % of {options.devices} devices changed"
    first, second = [one for one, _ in pairs[1:]], [other for _, other in pairs[1:]]
    rows = [
        judge(work, "full check in the same run", first, second, at_most=AT_MOST),
        bound(
            f"run without change on {options.devices} devices",
            [written],
            at_most=MOST_ROWS,
            unit="rows written",
        ),
    ]
    finish_rows(rows, options)


if __name__ == "__main__":
    main()
