"""The audit writer: a process of its own that reads records from a pipe, seals and writes them.

It holds the chain's key, and nothing else of worth: no key of a user, no socket. Rule for editors:
nothing is read from the pipe while something read before is not written, so memory is bounded and a
full disk reaches the workers.
"""

from __future__ import annotations

import logging
import os
import select
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from secretivex.audit.chain import Chain
from secretivex.audit.record import PIPE_BYTES, encode_line
from secretivex.server.audit.cells import AuditCells
from secretivex.server.audit.sinks import Sink

LOG = logging.getLogger("secretivex.audit")

READ_BYTES = 16 * PIPE_BYTES
"""Most that one batch holds: what a pipe holds by default."""

GATHER_S = 0.01
"""How long what can be read is left to grow: fewer and larger batches, fewer seals."""

RETRY_S = 0.5
"""Pause before a failed write is tried again."""

SYNC_S = 1.0
"""Time from a write to its fdatasync, with `audit_fsync = "batch"`."""


@dataclass(frozen=True, slots=True)
class WriterRules:
    """How the log is written: `fsync` is none, batch or record."""

    fsync: str = "batch"
    on_rotated: Callable[[Path, str], None] | None = None


class AuditWriter:
    """Runs until every other process has closed the pipe."""

    def __init__(
        self,
        pipe: int,
        sink: Sink,
        chain: tuple[str, Chain],
        cells: AuditCells,
        rules: WriterRules,
        *,
        now: Callable[[], str],
    ) -> None:
        self._pipe = pipe
        self._sink = sink
        self._name, self._chain = chain
        self._cells = cells
        self._rules = rules
        self._now = now
        self._rest = b""
        self._sync_at: float | None = None

    def run(self) -> None:
        """Write everything; the last thing is that the chain is closed."""
        self._put(self._word("chain_opened", chain=self._name))
        while True:
            if not self._is_readable():
                continue
            time.sleep(GATHER_S)
            data = os.read(self._pipe, READ_BYTES)
            if not data:
                break
            whole, _, self._rest = (self._rest + data).rpartition(b"\n")
            if whole:
                self._put(whole + b"\n")
        self._put(self._word("chain_closed", chain=self._name))
        self._sync()

    def _word(self, event: str, **fields: object) -> bytes:
        return encode_line({"time": self._now(), "event": event, "outcome": "ok", **fields})

    def _is_readable(self) -> bool:
        """Wait for records; make durable what is due meanwhile."""
        if self._sync_at is None:
            return bool(select.select([self._pipe], [], [])[0])
        patience_s = max(0.0, self._sync_at - time.monotonic())
        readable = bool(select.select([self._pipe], [], [], patience_s)[0])
        if time.monotonic() >= self._sync_at:
            self._sync()
        return readable

    def _put(self, batch: bytes) -> None:
        """Seal a batch and write it, however long that takes."""
        self._write(batch + self._chain.seal(batch), batch.count(b"\n"))
        if self._rules.fsync == "record":
            self._sync()
        elif self._rules.fsync == "batch" and self._sync_at is None:
            self._sync_at = time.monotonic() + SYNC_S
        self._rotate()

    def _write(self, sealed: bytes, records: int) -> None:
        is_failing = False
        while True:
            try:
                self._sink.write(sealed)
            except OSError as error:
                self._cells.failed()
                if not is_failing:
                    LOG.error("cannot write the audit log", extra=_reason(error))  # noqa: TRY400 - the reason is all
                is_failing = True
                time.sleep(RETRY_S)
                if self._is_alone():
                    LOG.error("audit records lost", extra={"fields": {"records": records}})  # noqa: TRY400 - same
                    return
                continue
            self._cells.wrote(records)
            if is_failing:
                LOG.warning("the audit log is written again")
            return

    def _is_alone(self) -> bool:
        """Whether nobody is left who could write to the pipe: then there is no end to wait for."""
        poll = select.poll()
        poll.register(self._pipe, 0)
        return any(event & select.POLLHUP for _, event in poll.poll(0))

    def _sync(self) -> None:
        self._sync_at = None
        try:
            self._sink.sync()
        except OSError as error:
            self._cells.failed()
            LOG.error("cannot make the audit log durable", extra=_reason(error))  # noqa: TRY400 - same

    def _rotate(self) -> None:
        """Go on in a new file, which says where the chain stands."""
        try:
            old = self._sink.rotate()
        except OSError as error:
            LOG.error("cannot rotate the audit log", extra=_reason(error))  # noqa: TRY400 - same
            return
        if old is None:
            return
        head = self._chain.head
        seals = self._chain.seals
        line = self._word("chain_continued", chain=self._name, seals=seals, hash=head)
        self._write(line + self._chain.seal(line), 1)
        if self._rules.on_rotated is not None:
            self._rules.on_rotated(old, head)


def _reason(error: OSError) -> dict[str, object]:
    return {"fields": {"reason": error.strerror}}
