"""Taking in a file of device documents, beside `sqlite3` inserting the same bytes with one index."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing
from functools import partial
from itertools import count
from pathlib import Path

import msgspec

from fleet import NOW, make_documents
from fleetmdm.engines.intake import read_blocks
from fleetmdm.ingest.files import CHUNK_BYTES
from fleetmdm.ingest.read import InventoryFile, Reading
from fleetmdm.store.incoming import ColumnsWanted, IncomingBlock
from fleetmdm.store.sqlite import open_store
from ratio import compare, finish, read_options

AT_MOST = 5.0


def ingest(source: Path, target: Path) -> None:
    """What the command does between opening its files and printing its counts."""
    files = [InventoryFile(source.name, lambda: _chunks(source))]

    def blocks(wanted: ColumnsWanted) -> Iterator[IncomingBlock]:
        for read in read_blocks(files, Reading(NOW), wanted, workers=0):
            if read.refused:
                raise SystemExit(read.refused[0].message)
            yield read.block

    with closing(open_store(target, create=True, now=NOW)) as store:
        counts = store.put_blocks(blocks, now=NOW)
    if not counts.added:
        raise SystemExit("nothing went in")


def _chunks(source: Path) -> Iterator[bytes]:
    with source.open("rb") as file:
        yield from iter(partial(file.read, CHUNK_BYTES), b"")


def insert(rows: Iterable[tuple[str, bytes]], target: Path) -> None:
    """The same bytes, with the same promise that they stay after a power cut."""
    with closing(sqlite3.connect(target, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("CREATE TABLE documents (name TEXT UNIQUE, data BLOB)")
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO documents VALUES (?, ?)", rows)
        connection.execute("COMMIT")


def main() -> None:
    """Time both."""
    options = read_options(devices=100_000)
    numbers = count()
    with tempfile.TemporaryDirectory() as folder:
        rows = [
            (document["device_id"], msgspec.json.encode(document))
            for document in make_documents(options.devices)
        ]
        source = Path(folder) / "fleet.ndjson"
        source.write_bytes(b"".join(data + b"\n" for _, data in rows))

        def fresh() -> Path:
            return Path(folder) / f"{next(numbers)}.db"

        row = compare(
            f"ingest {options.devices} documents",
            "sqlite3 inserting their bytes",
            lambda: ingest(source, fresh()),
            lambda: insert(rows, fresh()),
            at_most=AT_MOST,
        )
    finish([row], options)


if __name__ == "__main__":
    main()
