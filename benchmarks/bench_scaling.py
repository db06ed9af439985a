"""Ingest and full checks of ever larger fleets: how time grows with devices, and the most memory.

Each size is ingested and checked in processes of their own; the memory of a check is that of the
first one and a full one after it. Time is the processor's, of all processes together: it grows as
the work does, also where others use the machine. `--largest 1000000` is the row of the table of
targets and takes a while.
"""

from __future__ import annotations

import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import msgspec

from bench_check import check
from bench_ingest import ingest
from fleet import NOW, make_documents, make_policies
from fleetmdm.store.sqlite import open_store
from ratio import Measured, bound, finish, read_options, with_note

EXPONENT = 1.05
MEBIBYTES = 1024
SMALLEST = 10_000
ROUNDS = 3
LARGE = 100_000
"""Of more devices than this one full check is enough: it takes long, and varies less."""


def make(source: Path, devices: int) -> dict[str, float]:
    """The documents of a fleet; nothing of it is measured."""
    with source.open("wb") as file:
        for document in make_documents(devices):
            file.write(msgspec.json.encode(document) + b"\n")
    return {}


def take_in(source: Path, _devices: int) -> dict[str, float]:
    """A new store of these documents."""
    taken = cpu_seconds(lambda: ingest(source, source.with_suffix(".db")))
    return {"ingest_s": taken, "ingest_mib": peak_mib()}


def judge(source: Path, devices: int) -> dict[str, float]:
    """Of the store: the first check, the best of some full ones, the peak."""
    rounds = ROUNDS if devices <= LARGE else 1
    with closing(open_store(source.with_suffix(".db"), now=NOW)) as store:
        store.put_policies(make_policies(), now=NOW)
        first = cpu_seconds(lambda: check(store))
        again = min(cpu_seconds(lambda: check(store)) for _ in range(rounds))
    return {"first_s": first, "again_s": again, "check_mib": peak_mib()}


def cpu_seconds(work: Callable[[], object]) -> float:
    """Of this process and of those that it started and that ended."""
    begun = _processor_s()
    work()
    return _processor_s() - begun


def _processor_s() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def peak_mib() -> float:
    """Of this process and those it started together."""
    usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Of the others only the largest is known; with this one they are as many as cores.
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return (usage + children * ((os.cpu_count() or 1) - 1)) / 1024


STEPS = {"--make": make, "--ingest": take_in, "--check": judge}


def measure(devices: int) -> dict[str, float]:
    """Every step for a fleet of this size, each by this file in a process of its own."""
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "fleet.ndjson"
        for step in STEPS:
            argv = [sys.executable, __file__, step, str(source), str(devices)]
            done = subprocess.run(argv, check=True, stdout=subprocess.PIPE, text=True)
            figures |= json.loads(done.stdout)
    return figures


def main() -> None:
    """Every size, then the exponent between the first and the last."""
    options = read_options(largest=100_000)
    sizes = [SMALLEST]
    while len(sizes) < 2 or sizes[-1] < options.largest:
        sizes.append(min(sizes[-1] * 10, max(options.largest, LARGE)))
    measured = {}
    for devices in sizes:
        measured[devices] = measure(devices)
        print(devices, measured[devices], flush=True)
    finish(_rows(sizes, measured), options)


def _rows(sizes: list[int], measured: dict[int, dict[str, float]]) -> list[Measured]:
    last = measured[sizes[-1]]
    rows = []
    for name, key in (
        ("ingest", "ingest_s"),
        ("first check", "first_s"),
        ("full check", "again_s"),
    ):
        grown = math.log(last[key] / measured[sizes[0]][key]) / math.log(sizes[-1] / sizes[0])
        work = f"{name}, {sizes[0]} to {sizes[-1]} devices"
        row = bound(work, [grown], at_most=EXPONENT, unit="exponent")
        told = ", ".join(f"{measured[size][key]:.3g} s of {size}" for size in sizes)
        rows.append(with_note(row, f"of processor time: {told}"))
    for name in ("ingest", "check"):
        work = f"{name} of {sizes[-1]} devices, memory of all its processes"
        rows.append(bound(work, [last[f"{name}_mib"]], at_most=MEBIBYTES, unit="MiB"))
    return rows


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in STEPS:
        print(json.dumps(STEPS[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3]))))
    else:
        main()
