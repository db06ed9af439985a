"""Starting the audit writer: the log is opened before anything is served, or nothing is served.

Rule for editors: like the zygote, the writer is forked while the process has no thread and no loop;
it closes what it does not need, ignores signals, and ends when the pipe has no other end.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import secrets
import signal
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from secretivex.audit.chain import ROOT_KEY_BYTES, Chain
from secretivex.audit.record import AuditRecord, encode_record
from secretivex.config import AgentConfig
from secretivex.errors import SecretiveError
from secretivex.server.audit.cells import AuditCells
from secretivex.server.audit.feed import AuditLine
from secretivex.server.audit.file_sink import open_own
from secretivex.server.audit.sinks import Sink, open_sink
from secretivex.server.audit.writer import AuditWriter, WriterRules, gather_s_for
from secretivex.server.signals import TAKEN

LOG = logging.getLogger("secretivex.audit")

PIPE_ROOM_BYTES = 1024 * 1024
"""What the pipe may hold, where the system lets us ask: some thousands of records."""

LEAST_ROOM_BYTES = 16 * 1024
"""What it holds where the system does not tell: macOS begins with that."""

CHAIN_NAME_BYTES = 8


@dataclass(frozen=True, slots=True)
class AuditPlan:
    """What the configuration says of the audit log; paths are absolute.

    `target` is file, stderr, syslog or journald; `key_path` is where the first key of each chain is
    kept for the verifier, None to keep it nowhere.
    """

    target: str
    path: Path | None
    key_path: Path | None
    max_bytes: int
    keep: int
    fsync: str
    must_record: bool


def plan_of(config: AgentConfig) -> AuditPlan:
    """The plan that a configuration asks for."""
    path = config.audit_path
    target = config.audit_to or ("file" if path else "stderr")
    key_path = config.audit_key_path
    if key_path is None and target == "file" and path is not None:
        key_path = path.with_name(path.name + ".key")
    return AuditPlan(
        target,
        path,
        key_path,
        config.audit_max_bytes,
        config.audit_keep,
        config.audit_fsync,
        must_record=config.audit_on_full == "refuse",
    )


class AuditLog:
    """The supervisor's hand on the writer: begins it, begins another if it dies, waits for its end."""

    def __init__(self, plan: AuditPlan, workers: int) -> None:
        self._plan = plan
        self._source, pipe = os.pipe()
        os.set_blocking(pipe, False)
        self._room_bytes = _widen(pipe)
        self.line = AuditLine(pipe, AuditCells(workers), plan.must_record)
        self._pid = 0
        self._life: socket.socket | None = None
        self._lost = 0

    @property
    def life(self) -> socket.socket:
        """Readable once the writer is gone."""
        if self._life is None:
            raise RuntimeError("the writer was not started")
        return self._life

    def start(self, closers: Iterable[Callable[[], None]] = ()) -> None:
        """Open the log and fork its writer; raises `SecretiveError` with `audit_failed`.

        A writer that died took the chain's key with it: the next one opens a chain of its own.
        """
        plan = self._plan
        self._bury()
        sink = open_sink(plan.target, plan.path, max_bytes=plan.max_bytes, keep=plan.keep)
        name, root_key = secrets.token_hex(CHAIN_NAME_BYTES), secrets.token_bytes(ROOT_KEY_BYTES)
        try:
            if plan.key_path is not None:
                _keep_key(plan.key_path, name, root_key)
        except SecretiveError:
            sink.close()
            raise
        if self._life is not None:
            self._life.close()
        try:
            self._fork_writer(sink, (name, Chain(root_key)), closers)
        except OSError as error:
            message = f"the audit log's writer cannot be started: {error.strerror}"
            raise SecretiveError("audit_failed", message, hint="raise LimitNOFILE=") from error
        finally:
            sink.close()

    def _fork_writer(
        self, sink: Sink, chain: tuple[str, Chain], closers: Iterable[Callable[[], None]]
    ) -> None:
        self._life, theirs = socket.socketpair()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, TAKEN)
        try:
            self._pid = os.fork()
            if self._pid == 0:
                ours = (self._life.close, partial(os.close, self.line.pipe))
                self._become_writer(sink, chain, (*ours, *closers))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            theirs.close()

    def _bury(self) -> None:
        """Wait for the end of a writer before: until then its lock on the log may still hold."""
        if self._pid:
            with contextlib.suppress(OSError):
                os.kill(self._pid, signal.SIGKILL)
                os.waitpid(self._pid, 0)
            # From now on the number may be another process's.
            self._pid = 0
            self.count_lost()

    def _become_writer(
        self, sink: Sink, chain: tuple[str, Chain], closers: Iterable[Callable[[], None]]
    ) -> None:
        """Does not return."""
        status = 1
        try:
            signal.set_wakeup_fd(-1)
            for number in TAKEN:
                signal.signal(number, signal.SIG_IGN)
            for close in closers:
                close()
            rules = WriterRules(self._plan.fsync, gather_s_for(self._room_bytes))
            AuditWriter(self._source, sink, chain, self.line.cells, rules, now=utc_now).run()
            status = 0
        except BaseException:
            LOG.exception("the audit writer failed")
        finally:
            os._exit(status)

    def say(self, event: str, outcome: str = "ok", **fields: Any) -> None:
        """Record an event of the agent itself; where the pipe is full it is dropped and counted."""
        record = AuditRecord(utc_now(), event, outcome, **{k: v for k, v in fields.items() if v})
        try:
            os.write(self.line.pipe, encode_record(record))
        except BlockingIOError:
            self.line.cells.drop(-1, 1)

    def count_lost(self) -> None:
        """Count as dropped what a writer that is gone had read and not written."""
        lost = self.line.cells.lose_held()
        if lost:
            LOG.error("audit records lost", extra={"fields": {"records": lost}})
        self._lost += lost

    def say_replaced(self) -> None:
        """Record, in the new writer's chain, that there was another, and how much went with it."""
        lost, self._lost = self._lost, 0
        self.say("writer_replaced", "records_lost" if lost else "ok", lost=lost)

    def drop(self) -> None:
        """Close, in another forked process, what only the supervisor needs."""
        os.close(self._source)
        self.life.close()

    def finish(self) -> None:
        """Wait until all that was recorded is written; nobody else may hold the pipe any more."""
        os.close(self.line.pipe)
        if self._pid:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self._pid, 0)
        self.drop()


def _widen(pipe: int) -> int:
    """Give a pipe as much room as the system lets us; how much it has then."""
    if not hasattr(fcntl, "F_SETPIPE_SZ"):
        return LEAST_ROOM_BYTES
    with contextlib.suppress(OSError):
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_ROOM_BYTES)
    return fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ)


def _keep_key(path: Path, name: str, root_key: bytes) -> None:
    """Add the first key of a chain to the file that verifies it; raises `SecretiveError`."""
    try:
        file = open_own(path, os.O_WRONLY)
        try:
            _add_line(file, f"{name} {root_key.hex()}\n".encode())
        finally:
            os.close(file)
    except OSError as error:
        raise SecretiveError(
            "audit_failed",
            f"cannot keep the audit key in {path}: {error.strerror}",
            hint="correct audit_key_path or its folder's permissions",
        ) from error


def _add_line(file: int, line: bytes) -> None:
    """All of it, durably, or nothing: half a key would spoil those that follow."""
    before = os.fstat(file)
    if before.st_mode & 0o044:
        raise OSError(errno.EPERM, "others may read it (chmod go-r)")
    if os.write(file, line) < len(line):
        os.ftruncate(file, before.st_size)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.fsync(file)


def utc_now() -> str:
    """The time of a record."""
    return datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
