"""Full checks of ever larger fleets: how time grows with devices, and the most memory it takes.

Each size is filled and checked in a process of its own; the memory is that of the first check and
a full one after it. `--largest 1000000` is the row of the table of targets and takes a while.
"""

from __future__ import annotations

import json
import math
import os
import resource
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from bench_check import check, fill
from fleet import NOW
from fleetmdm.store.sqlite import open_store
from ratio import bound, finish, read_options, seconds

EXPONENT = 1.05
MEBIBYTES = 1024
SMALLEST = 10_000
ROUNDS = 3
LARGE = 100_000
"""Of more devices than this one full check is enough: it takes long, and varies less."""


def measure(path: Path, devices: int) -> dict[str, float]:
    """Of a store that is filled: the first check, the best of some full ones, the peak."""
    rounds = ROUNDS if devices <= LARGE else 1
    with closing(open_store(path, now=NOW)) as store:
        first = seconds(lambda: check(store))
        again = min(seconds(lambda: check(store)) for _ in range(rounds))
    usage = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    children = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    # Of the others that judge only the largest is known; with this one they are as many as cores.
    together = usage + children * ((os.cpu_count() or 1) - 1)
    return {"first_s": first, "again_s": again, "peak_mib": together / 1024}


def in_process(mode: str, path: Path, devices: int) -> str:
    """This file again, for one part of the work."""
    argv = [sys.executable, __file__, mode, str(path), str(devices)]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def main() -> None:
    """Every size, then the exponent between the first and the last."""
    options = read_options(largest=100_000)
    sizes: list[int] = []
    while len(sizes) < 2 or sizes[-1] < options.largest:
        sizes.append(SMALLEST * 10 ** len(sizes))
    measured = {}
    for devices in sizes:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "fleet.db"
            in_process("--fill", path, devices)
            measured[devices] = json.loads(in_process("--measure", path, devices))
        print(devices, measured[devices], flush=True)
    span = math.log(sizes[-1] / sizes[0])
    rows = [
        bound(
            f"{name} check, {sizes[0]} to {sizes[-1]} devices",
            [math.log(measured[sizes[-1]][key] / measured[sizes[0]][key]) / span],
            at_most=EXPONENT,
            unit="exponent",
        )
        for name, key in (("first", "first_s"), ("full", "again_s"))
    ]
    peak = measured[sizes[-1]]["peak_mib"]
    rows.append(
        bound(
            f"check of {sizes[-1]} devices, memory of all its processes",
            [peak],
            at_most=MEBIBYTES,
            unit="MiB",
        )
    )
    finish(rows, options)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--fill"]:
        fill(Path(sys.argv[2]), int(sys.argv[3]), keep=False)
    elif sys.argv[1:2] == ["--measure"]:
        print(json.dumps(measure(Path(sys.argv[2]), int(sys.argv[3]))))
    else:
        main()
