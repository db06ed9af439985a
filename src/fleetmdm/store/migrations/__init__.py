"""Schema versions of the SQLite store, one file each, forward only.

`NNNN_topic.sql` brings the schema from version NNNN - 1 to NNNN. Rule for editors: a file that was
released never changes; its statements run in one transaction.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from sqlite3 import complete_statement

_NAME = re.compile(r"(?P<version>[0-9]{4})_[a-z_]+\.sql", re.ASCII)


@dataclass(frozen=True, slots=True)
class Migration:
    """The statements that make one schema version out of the one before."""

    version: int
    script: str

    def statements(self) -> Iterator[str]:
        """The script's statements one by one; a trigger is one statement."""
        pending = ""
        for line in self.script.splitlines(keepends=True):
            pending += line
            if complete_statement(pending):
                yield pending
                pending = ""


def load_migrations() -> tuple[Migration, ...]:
    """Every migration that ships, oldest first, without a gap."""
    found = []
    for entry in files(__name__).iterdir():
        matched = _NAME.fullmatch(entry.name)
        if matched:
            found.append(Migration(int(matched["version"]), entry.read_text("utf-8")))
    found.sort(key=lambda migration: migration.version)
    if [migration.version for migration in found] != list(range(1, len(found) + 1)):
        raise ValueError("the schema migrations have a gap")
    return tuple(found)
