"""Each form of a report of a whole run, beside reading the rows of that report and writing none.

Reading is what any form needs first: the policies read, each row with its effective state. Target:
at most three times as long. Memory is the peak of an interpreter of its own: what ten times as many
devices take above a hundred, which is to stay the same whatever the fleet's size.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterable
from contextlib import closing
from datetime import timedelta
from functools import partial
from importlib import import_module
from pathlib import Path

from fleet import NOW, make_documents, make_policies
from fleetmdm.cli.judging.gathering import find_run, gather_stored
from fleetmdm.device import parse_device
from fleetmdm.engines.local import record_run
from fleetmdm.report.selection import EVERYTHING
from fleetmdm.store.port import NewRun
from fleetmdm.store.sqlite import SqliteStore, open_store
from ratio import Measured, bound, compare, finish, read_options, with_note

FORMS = ("table", "json", "csv", "sarif", "junit", "html", "markdown", "oscal")
AT_MOST = 3.0
SMALL = 100
MOST_GROWTH_MIB = 32.0
TIMES_FOR_MEMORY = 10


def fill(path: Path, devices: int) -> None:
    """A store with one run."""
    with closing(open_store(path, create=True, now=NOW)) as store:
        documents = (parse_device(one, now=NOW) for one in make_documents(devices))
        store.put_devices(documents, now=NOW)
        store.put_policies(make_policies(), now=NOW)
        record_run(store, NewRun(NOW, NOW, "benchmark"), clock=lambda: NOW + timedelta(seconds=1))


def drain(chunks: Iterable[object]) -> None:
    """Take everything and keep nothing."""
    for _ in chunks:
        pass


def read_rows(store: SqliteStore) -> None:
    """What every report has to do at least."""
    drain(gather_stored(store, find_run(store, None), EVERYTHING).rows)


def render(store: SqliteStore, form: str) -> None:
    """One report from the store to its last piece of text."""
    report = gather_stored(store, find_run(store, None), EVERYTHING)
    options = {"width": None} if form == "table" else {}
    drain(import_module(f"fleetmdm.report.to_{form}").render(report, **options))


ALONE = """
import sys; from pathlib import Path; sys.path[:0] = sys.argv[1:2]
import bench_report
bench_report.open_and_render(Path(sys.argv[2]), sys.argv[3])
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""
"""A fork would begin with the memory of what measures, and hide as much growth."""


def peak_mebibytes(path: Path, form: str) -> float:
    """The most memory that a process held whose whole work was one report."""
    command = (sys.executable, "-c", ALONE, str(Path(__file__).parent), str(path), form)
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) / 1024


def open_and_render(path: Path, form: str) -> None:
    """One report."""
    with closing(open_store(path, now=NOW)) as store:
        render(store, form)


def main() -> None:
    """Time every form; say how memory grows from a hundred devices to all of them."""
    options = read_options(devices=10_000)
    rows: list[Measured] = []
    with tempfile.TemporaryDirectory() as folder:
        small, large = Path(folder) / "small.db", Path(folder) / "large.db"
        fill(small, SMALL)
        fill(large, options.devices)
        with closing(open_store(large, now=NOW)) as store:
            rows += [
                compare(
                    f"report --format {form}",
                    f"reading the rows of {options.devices} devices",
                    partial(render, store, form),
                    partial(read_rows, store),
                    at_most=AT_MOST,
                )
                for form in FORMS
            ]
        many, most_path = TIMES_FOR_MEMORY * options.devices, Path(folder) / "most.db"
        fill(most_path, many)
        for form in FORMS:
            least, most = (peak_mebibytes(path, form) for path in (small, most_path))
            row = bound(
                f"memory of report --format {form}, {many} devices above {SMALL}",
                [most - least],
                at_most=MOST_GROWTH_MIB,
                unit="MiB",
            )
            rows.append(with_note(row, f"{least:.0f} MiB at {SMALL}, {most:.0f} MiB at all"))
    finish(rows, options)


if __name__ == "__main__":
    main()
