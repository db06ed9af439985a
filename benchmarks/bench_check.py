"""A full check of a fleet, beside decoding each of its documents once.

Two runs are timed apart: the first on a fresh store, which writes a row for each verdict that is
kept, and one on a store where nothing has changed since. The documents to decode lie in memory;
the check reads its own from the store.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from itertools import count
from pathlib import Path

import msgspec

from fleet import NOW, make_documents, make_policies
from fleetmdm.device import Device, encode_device, parse_device
from fleetmdm.engines.local import record_run
from fleetmdm.results import Run
from fleetmdm.store.port import NewRun
from fleetmdm.store.sqlite import SqliteStore, open_store
from ratio import ROUNDS, compare, finish, read_options

AT_MOST = 3.0


def fill(path: Path, devices: int, *, keep: bool = True) -> list[bytes]:
    """Make the store; gives the documents' bytes, if they are to be kept."""
    documents: list[bytes] = []

    def parsed() -> Iterator[Device]:
        for document in make_documents(devices):
            device = parse_device(document, now=NOW)
            if keep:
                documents.append(encode_device(device))
            yield device

    with closing(open_store(path, create=True, now=NOW)) as store:
        store.put_devices(parsed(), now=NOW)
        store.put_policies(make_policies(), now=NOW)
        store.compact()
    return documents


def check(store: SqliteStore, *, full: bool = True, workers: int = 0) -> Run:
    """One run, by as many processes as pay."""
    new = NewRun(started_at=NOW, as_of=NOW, tool_version="benchmark")
    return record_run(
        store, new, clock=lambda: NOW + timedelta(seconds=1), full=full, workers=workers
    ).run


def check_fresh(path: Path) -> None:
    """The first run of a store."""
    with closing(open_store(path, now=NOW)) as store:
        check(store)


def main() -> None:
    """Time both runs."""
    options = read_options(devices=100_000)
    decode = msgspec.json.Decoder().decode
    with tempfile.TemporaryDirectory() as folder:
        original = Path(folder) / "fleet.db"
        documents = fill(original, options.devices)
        for number in range(ROUNDS + 1):
            shutil.copyfile(original, Path(folder) / f"fresh-{number}.db")
        numbers = count()

        def decode_all() -> None:
            for document in documents:
                decode(document)

        against = f"decoding {options.devices} documents"
        first = compare(
            "first check",
            against,
            lambda: check_fresh(Path(folder) / f"fresh-{next(numbers)}.db"),
            decode_all,
            at_most=AT_MOST,
        )
        with closing(open_store(original, now=NOW)) as store:
            kept = sum(check(store).counts.values())
            again = compare(
                "full check again", against, lambda: check(store), decode_all, at_most=AT_MOST
            )
            rows = sum(1 for _ in store.results(1))
        print(f"{kept} verdicts, {rows} of them kept as rows")
    finish([first, again], options)


if __name__ == "__main__":
    main()
