"""Each form of a report of a whole run, beside reading the rows of that report and writing none.

Reading is what any form needs first: the policies read, each row with its effective state. Target:
at most three times as long. Memory is the peak of a process of its own: what the whole fleet takes
above a hundred devices, which is to stay the same whatever the fleet's size.
"""

from __future__ import annotations

import os
import resource
import tempfile
from collections.abc import Callable, Iterable
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


def peak_mebibytes(work: Callable[[], object]) -> float:
    """The most memory that a process of its own held while it did this."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        work()
        kibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        os.write(writer, str(kibibytes).encode())
        os._exit(0)
    os.wait()
    return int(os.read(reader, 32)) / 1024


def open_and_render(path: Path, form: str) -> None:
    """One report in a process of its own."""
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
        for form in FORMS:
            least, most = (
                peak_mebibytes(partial(open_and_render, path, form)) for path in (small, large)
            )
            row = bound(
                f"memory of report --format {form}, {options.devices} devices above {SMALL}",
                [most - least],
                at_most=MOST_GROWTH_MIB,
                unit="MiB",
            )
            rows.append(with_note(row, f"{least:.0f} MiB at {SMALL}, {most:.0f} MiB at all"))
    finish(rows, options)


if __name__ == "__main__":
    main()
