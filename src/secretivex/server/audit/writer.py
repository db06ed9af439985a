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

from secretivex.audit.chain import Chain, encode_seal
from secretivex.audit.head import HeadSigner
from secretivex.audit.record import PIPE_BYTES, encode_line
from secretivex.audit.sheet import Clock, count_records, cut_pieces, render_piece
from secretivex.server.audit.batch import Batch
from secretivex.server.audit.cells import AuditCells
from secretivex.server.audit.file_sink import Place
from secretivex.server.audit.sinks import Sink

LOG = logging.getLogger("secretivex.audit")

READ_BYTES = 256 * PIPE_BYTES
"""Most that is read at a time: what the pipe holds where the system let us ask for it, so that no
piece is left in it by halves."""

BATCH_BYTES = 256 * PIPE_BYTES
"""A batch that has come to this is sealed: a sheet makes many times its own size of lines."""

MOST_BYTES_PER_S = 10_000_000
"""As fast as records come: half of the pipe is filled before it is read. A full one makes them wait."""

RETRY_S = 0.5
"""Pause before a failed write is tried again."""

ROTATE_RETRY_S = 10.0
"""Pause before a new file is tried again that could not be begun; the old one grows meanwhile."""

SYNC_S = 1.0
"""Time from a write to its fdatasync, with `audit_fsync = "batch"`."""


@dataclass(frozen=True, slots=True)
class WriterRules:
    """How the log is written: `fsync` is none, batch or record.

    What can be read is left to grow for `gather_s`, for each batch costs a seal and two wake-ups.
    """

    fsync: str = "batch"
    gather_s: float = 0.0


def gather_s_for(room_bytes: int) -> float:
    """How long a pipe of that size can be left alone."""
    return room_bytes / 2 / MOST_BYTES_PER_S


class _Pieces:
    """The pipe's other end; what is read goes through one buffer, for a new one costs its pages."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe
        self._buffer = bytearray(READ_BYTES)
        self._room = memoryview(self._buffer)
        self._kept = 0

    def take(self) -> list[bytes] | None:
        """What can be read of whole pieces; None if nobody can write any more."""
        size = os.readv(self._pipe, [self._room[self._kept :]])
        if not size:
            return None
        filled = self._kept + size
        pieces = cut_pieces(bytes(self._room[:filled]))
        end = sum(map(len, pieces))
        self._kept = filled - end
        self._room[: self._kept] = bytes(self._room[end:filled])
        return pieces


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
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        self._pipe = pipe
        self._sink = sink
        self._name, self._chain = chain
        self._cells = cells
        self._rules = rules
        self._now = now
        self._signer = HeadSigner(random)
        self._pieces = _Pieces(pipe)
        self._clock = Clock()
        self._batch = Batch(BATCH_BYTES + READ_BYTES)
        self._sync_at: float | None = None
        self._rotate_at = 0.0
        self._is_new = False
        """Whether the file was just opened under the log's name, and says nothing yet."""

    def run(self) -> None:
        """Write everything; the last thing is that the chain is closed."""
        before = {"before": self._sink.standing} if self._sink.standing else {}
        opened = {"chain": self._name, "signer": self._signer.line, **before}
        self._add_word("chain_opened", **opened)
        self._put()
        fields = {"chain": self._name, "signer": self._signer.fingerprint}
        LOG.info("audit chain opened", extra={"fields": fields})
        while True:
            if not self._is_readable():
                continue
            time.sleep(self._rules.gather_s)
            pieces = self._pieces.take()
            if pieces is None:
                break
            self._put_all(pieces)
        self._sign_head()
        self._add_word("chain_closed", chain=self._name)
        self._append()
        self._sync()

    def _add_word(self, event: str, **fields: object) -> None:
        self._cells.hold(1)
        self._batch.add(self._word(event, **fields), 1)

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

    def _put_all(self, pieces: list[bytes]) -> None:
        """Put into words what came, and write it in as few batches as may be."""
        self._cells.hold(sum(map(count_records, pieces)))
        for piece in pieces:
            self._batch.add(*render_piece(piece, self._clock))
            if self._batch.size >= BATCH_BYTES:
                self._put()
        if self._batch.size:
            self._put()

    def _put(self) -> None:
        """Seal the batch and write it, however long that takes."""
        self._append()
        if self._rules.fsync == "record":
            self._sync()
        elif self._rules.fsync == "batch" and self._sync_at is None:
            self._sync_at = time.monotonic() + SYNC_S
        self._rotate()

    def _append(self) -> None:
        """Write the batch with its seal, and tell everybody where the chain stands now.

        Tried until it works, or until nobody is left who could see to that.
        """
        is_failing = False
        while not self._try(is_again=is_failing):
            is_failing = True
            time.sleep(RETRY_S)
            if self._is_alone():
                lost = {"records": self._batch.records}
                LOG.error("audit records lost", extra={"fields": lost})
                break
        else:
            if is_failing:
                LOG.warning("the audit log is written again")
        self._batch.clear()

    def _try(self, *, is_again: bool) -> bool:
        """Whether the batch could be written; if not, the chain stands where it did."""
        batch = self._batch
        try:
            first = self._find_place()
            records = batch.records + bool(first)
            seal = self._chain.make(batch.lines(first), records)
            self._sink.write(batch.sealed(first, encode_seal(seal)))
        except OSError as error:
            self._cells.failed()
            if not is_again:
                LOG.error("cannot write the audit log", extra=_reason(error))  # noqa: TRY400 - the reason is all
            return False
        self._is_new = False
        self._chain.advance(seal)
        self._cells.wrote(records)
        self._cells.hold(-batch.records)
        self._cells.stands_at(self._chain.digest)
        return True

    def _find_place(self) -> bytes:
        """Go on under the log's name if its file was taken away; what is written there first.

        Nothing is lost of a file that was renamed. Who removed or emptied one is not known; what
        comes next tells that something is missing.
        """
        place = self._sink.place
        if place is Place.HERE and not self._is_new:
            return b""
        if place in (Place.EMPTIED, Place.REMOVED):
            LOG.error("the audit log was taken away", extra={"fields": {"how": place.name.lower()}})
        if place is not Place.HERE:
            self._sink.reopen()
            self._is_new = True
        stands = {"seals": self._chain.seals, "hash": self._chain.head}
        return self._word("chain_continued", chain=self._name, **stands, signer=self._signer.line)

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

    def _sign_head(self) -> None:
        """Sign where the chain stands: a record of its own, under a seal of its own."""
        head = self._signer.sign(self._name, self._chain.seals, self._chain.head)
        self._add_word("head", **head)
        self._append()
        fields = {"chain": self._name, "seals": head["seals"], "hash": head["hash"]}
        LOG.info("audit head signed", extra={"fields": fields})

    def _rotate(self) -> None:
        """Sign where the chain stands, and go on in a new file, which says so too."""
        if not self._sink.is_full or time.monotonic() < self._rotate_at:
            return
        self._sign_head()
        try:
            self._sink.rotate()
        except OSError as error:
            self._rotate_at = time.monotonic() + ROTATE_RETRY_S
            LOG.error("cannot rotate the audit log", extra=_reason(error))  # noqa: TRY400 - same
            return
        self._append()


def _reason(error: OSError) -> dict[str, object]:
    return {"fields": {"reason": error.strerror or str(error)}}
