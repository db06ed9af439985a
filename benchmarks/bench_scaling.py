"""Ingest and full checks of ever larger fleets: how time grows with devices, and the most memory.

Each size is ingested and checked in processes of their own. Time is the processor's: it grows as the
work does, also where others use the machine. Of a check it is that of one process at every size, for
a second one from some size on is a step and says nothing of the slope; memory is that of as many as
pay. `--largest 1000000` is the row of the table of targets and takes a while.
"""

from __future__ import annotations

import json
import math
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from threading import Event, Thread

import msgspec

from bench_check import check
from bench_ingest import ingest
from fleet import NOW, make_documents, make_policies
from fleetmdm.store.sqlite import open_store
from ratio import Measured, bound, finish, read_options, with_note

EXPONENT = 1.05
MEBIBYTES = 1024
SMALLEST = 10_000
LOOK_S = 0.05
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
    peak = Peak()
    taken = cpu_seconds(lambda: ingest(source, source.with_suffix(".db")))
    return {"ingest_s": taken, "ingest_mib": peak.mib()}


def judge(source: Path, devices: int) -> dict[str, float]:
    """Of a copy of the store, by one process: the first check, the best of some full ones."""
    rounds = ROUNDS if devices <= LARGE else 1
    copy = source.with_suffix(".copy")
    shutil.copyfile(source.with_suffix(".db"), copy)
    with closing(open_store(copy, now=NOW)) as store:
        store.put_policies(make_policies(), now=NOW)
        first = cpu_seconds(lambda: check(store, workers=1))
        again = min(cpu_seconds(lambda: check(store, workers=1)) for _ in range(rounds))
    copy.unlink()
    return {"first_s": first, "again_s": again}


def judge_together(source: Path, _devices: int) -> dict[str, float]:
    """Of the store, by all processes: the most memory of a first check and a full one."""
    peak = Peak()
    with closing(open_store(source.with_suffix(".db"), now=NOW)) as store:
        store.put_policies(make_policies(), now=NOW)
        for _ in range(2):
            check(store)
    return {"check_mib": peak.mib()}


def cpu_seconds(work: Callable[[], object]) -> float:
    """Of this process and of those that it started and that ended."""
    begun = _processor_s()
    work()
    return _processor_s() - begun


def _processor_s() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


class Peak:
    """The most memory of this process and of those that it started, which are looked at often.

    What the system says of processes that ended counts what this one had when it started them.
    """

    def __init__(self) -> None:
        self._others = 0
        self._ended = Event()
        self._looking = Thread(target=self._look, daemon=True)
        self._looking.start()

    def mib(self) -> float:
        """Of all of them together; nothing is looked at any more."""
        self._ended.set()
        self._looking.join()
        return (_peak_kib("self") + self._others) / 1024

    def _look(self) -> None:
        while not self._ended.wait(LOOK_S):
            lists = Path("/proc/self/task").glob("*/children")
            others = {pid for each in lists for pid in each.read_text().split()}
            self._others = max(self._others, sum(map(_peak_kib, others)))


def _peak_kib(pid: str) -> int:
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    return 0


STEPS = {"--make": make, "--ingest": take_in, "--check": judge, "--memory": judge_together}


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
