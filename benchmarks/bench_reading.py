"""Reports, drift and history of a large fleet, beside reading the rows that they tell.

Every command is a process of its own that writes to a file; what it is compared with is a process
that reads and decodes the same rows and throws them away. The memory of each is told too.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from bench_check import check, fill
from fleet import NOW
from fleetmdm.store.sqlite import open_store
from ratio import Measured, finish, judge, read_options, with_note

AT_MOST = 3.0
ROUNDS = 5

READ = {
    "results": "for row in store.results(2): pass",
    "transitions": "for row in store.transitions(1, 2): pass",
    "intervals": "for row in store.intervals(): pass",
}
COMMANDS = {
    "report --format json": ("results", ["report", "--format", "json"]),
    "report --format sarif": ("results", ["report", "--format", "sarif"]),
    "report --format junit": ("results", ["report", "--format", "junit"]),
    "report --format csv": ("results", ["report", "--format", "csv"]),
    "drift --format json": ("transitions", ["drift", "--format", "json"]),
    "history --format json": ("intervals", ["history", "--limit", "0", "--format", "json"]),
}


def run(argv: list[str]) -> tuple[float, float]:
    """Wall seconds and the most memory, in MiB, of a process."""
    begun = time.perf_counter()
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{argv} exits with {process.returncode}")
    return time.perf_counter() - begun, usage.ru_maxrss / 1024


def read_rows(path: Path, what: str) -> list[str]:
    """A process that reads rows and keeps none."""
    code = (
        "import sys, datetime, pathlib\n"
        "from fleetmdm.store.sqlite import open_store\n"
        "now = datetime.datetime.now(datetime.timezone.utc)\n"
        f"store = open_store(pathlib.Path({str(path)!r}), now=now)\n{READ[what]}\n"
    )
    return [sys.executable, "-c", code]


def measure(name: str, path: Path, folder: Path) -> Measured:
    """One command in turn with reading its rows."""
    what, words = COMMANDS[name]
    output = ["--db", str(path), "--output", str(folder / "out")]
    argv = [sys.executable, "-m", "fleetmdm", *words, *output]
    ours, theirs = [], []
    for _ in range(ROUNDS):
        ours.append(run(argv))
        theirs.append(run(read_rows(path, what)))
        (folder / "out").unlink()
    row = judge(
        name,
        f"reading its rows ({what})",
        [seconds for seconds, _ in ours],
        [seconds for seconds, _ in theirs],
        at_most=AT_MOST,
    )
    peak, base = max(mib for _, mib in ours), max(mib for _, mib in theirs)
    return with_note(row, f"{peak:.0f} MiB at most; reading alone {base:.0f} MiB")


def main() -> None:
    """Two runs, of which the second finds a fifth of the fleet changed; then every command."""
    options = read_options(devices=100_000)
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "fleet.db"
        fill(path, options.devices, keep=False)
        with closing(open_store(path, now=NOW)) as store:
            check(store)
            devices = [one for number, one in enumerate(store.devices()) if number % 5 == 0]
            later = NOW + timedelta(seconds=1)
            store.put_devices(
                (
                    replace(one, last_seen=later, facts={**one.facts, "uptime_s": 0})
                    for one in devices
                ),
                now=later,
            )
            check(store, full=False)
        rows = [measure(each, path, Path(name)) for each in COMMANDS]
    finish(rows, options)


if __name__ == "__main__":
    main()
