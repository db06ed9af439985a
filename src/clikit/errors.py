"""Failures that a person or a pipeline can act on, and the exit statuses they map to.

Every product keeps one table of `ErrorRow`s and one subclass of `Failure` bound to that table.
Rule for editors: a code is a promise; add rows, never change or re-use one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, ClassVar


class Exit(IntEnum):
    """Exit statuses, the same for every command of both products."""

    OK = 0
    FOUND = 1
    """The work was done and something is wrong."""
    USAGE = 2
    INVALID = 3
    """Invalid configuration or input."""
    NOT_FOUND = 4
    UNAVAILABLE = 5
    REFUSED = 6
    """Refused by policy, lock or person."""
    INTERNAL = 70
    """Our bug (EX_SOFTWARE of sysexits.h)."""
    INTERRUPTED = 130
    """Ctrl-C: 128 + SIGINT, what a shell reports for a program that it ended."""


@dataclass(frozen=True, slots=True)
class ErrorRow:
    """One documented error code."""

    code: str
    exit_status: Exit
    meaning: str


class ErrorTable:
    """Rows by code; refuses a duplicate when it is made."""

    def __init__(self, rows: Iterable[ErrorRow]) -> None:
        self._rows: dict[str, ErrorRow] = {}
        for row in rows:
            if row.code in self._rows:
                raise ValueError(f"error code listed twice: {row.code}")
            self._rows[row.code] = row

    def __iter__(self) -> Iterator[ErrorRow]:
        return iter(self._rows.values())

    def __getitem__(self, code: str) -> ErrorRow:
        return self._rows[code]

    def __contains__(self, code: object) -> bool:
        return code in self._rows


COMMON_ROWS = (
    ErrorRow("usage", Exit.USAGE, "the command line has an unknown option or a malformed value"),
    ErrorRow("config_invalid", Exit.INVALID, "a configuration file, variable or flag is invalid"),
    ErrorRow("config_not_found", Exit.NOT_FOUND, "the named configuration file does not exist"),
    ErrorRow(
        "output_failed", Exit.UNAVAILABLE, "the output could not be written; nothing was kept"
    ),
    ErrorRow("disk_full", Exit.UNAVAILABLE, "no space left; what was being written is undone"),
    ErrorRow("missing_extra", Exit.UNAVAILABLE, "an optional part of the product is not installed"),
    ErrorRow("interrupted", Exit.INTERRUPTED, "stopped by a signal from the keyboard"),
    ErrorRow("internal", Exit.INTERNAL, "a bug in this program"),
)
"""Codes that both products have."""


class Failure(Exception):  # noqa: N818 - a failure is the word of the contract
    """Something could not be done; carries all that the envelope and the exit status need."""

    table: ClassVar[ErrorTable] = ErrorTable(COMMON_ROWS)

    def __init__(
        self,
        code: str,
        message: str,
        *,
        hint: str = "",
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.row = self.table[code]
        self.message = message
        self.hint = hint
        self.details: dict[str, Any] = dict(details or {})

    @property
    def code(self) -> str:
        """The stable code of the row."""
        return self.row.code

    @property
    def exit_status(self) -> Exit:
        """What the process exits with."""
        return self.row.exit_status
