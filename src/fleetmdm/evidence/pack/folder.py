"""A folder that appears whole or not at all, and the files that are written into it.

Rule for editors: nothing is ever written under the final name; what is not finished is removed.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from clikit.output import sync_folder, write_failure
from fleetmdm.errors import FleetError
from fleetmdm.evidence.manifest import Records, Whole
from fleetmdm.evidence.records.commit import Block, Written, pack_block
from fleetmdm.evidence.view import Shown
from fleetmdm.ledger.merkle import TreeHasher


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """A temporary sibling to fill; it takes the name `path` when the block ends well.

    Raises `output_exists`, and what `write_failure` makes of an OSError.
    """
    refuse_existing(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        try:
            temporary.mkdir(mode=0o700)
            yield temporary
            for folder, _, _ in os.walk(temporary):
                sync_folder(Path(folder))
            refuse_existing(path)
            temporary.rename(path)
            sync_folder(path.parent)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    except OSError as error:
        raise write_failure(path, error) from error


def refuse_existing(path: Path) -> None:
    """Raise `output_exists` for a name that is taken, by a dangling link too."""
    if os.path.lexists(path):
        raise FleetError(
            "output_exists",
            f"{path} exists and is not overwritten",
            hint="name a folder that does not exist yet",
        )


class PackFolder:
    """The files of a pack in the making: written, synced, hashed, and listed in the manifest."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.entries: dict[str, Whole | Records] = {}
        self.digests: dict[str, str] = {}
        self.shown: dict[str, Shown] = {}

    def add_whole(self, name: str, data: bytes) -> None:
        """A file that is the same in every view."""
        self.write(name, data)
        self.entries[name] = Whole(self.digests[name], len(data))

    def write(self, name: str, data: bytes) -> None:
        """A file that the manifest does not list."""
        with self._open(name) as file:
            file.write(data)
        self.digests[name] = hashlib.sha256(data).hexdigest()

    @contextmanager
    def records(self, name: str) -> Iterator[RecordWriter]:
        """A file of records, listed by its Merkle root when the block ends."""
        with self._open(name) as file:
            writer = RecordWriter(file)
            yield writer
            writer.flush()
        self.digests[name] = writer.sha256.hexdigest()
        self.entries[name] = Records(writer.tree.root().hex(), writer.tree.size)
        self.shown[name] = Shown(writer.opened, writer.hidden)

    @contextmanager
    def _open(self, name: str) -> Iterator[BinaryIO]:
        path = self.root / name
        path.parent.mkdir(mode=0o700, exist_ok=True)
        with path.open("xb") as file:
            path.chmod(0o600)
            yield file
            file.flush()
            os.fsync(file.fileno())


BATCH_RECORDS = 256
BATCH_BYTES = 1024 * 1024
"""Records that are hashed and written together: so many, or the least that have so many bytes."""


class RecordWriter:
    """Appends records to one file and keeps its root and its counts."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._waiting: list[Written] = []
        self._waiting_bytes = 0
        self.sha256 = hashlib.sha256()
        self.tree = TreeHasher()
        self.opened = 0
        self.hidden = 0

    def add(self, record: Written) -> None:
        """One further line."""
        self._waiting.append(record)
        self._waiting_bytes += len(record.line)
        if len(self._waiting) >= BATCH_RECORDS or self._waiting_bytes >= BATCH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what waits."""
        waiting, self._waiting, self._waiting_bytes = self._waiting, [], 0
        if waiting:
            self.add_block(pack_block(waiting))

    def add_block(self, block: Block) -> None:
        """Many further lines; none may wait."""
        self._file.write(block.data)
        self.sha256.update(block.data)
        self.tree.add_hashes(list(block.leaves))
        self.opened += block.opened
        self.hidden += block.hidden
