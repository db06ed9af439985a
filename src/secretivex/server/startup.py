"""Starts the agent: harden, listen, say so, start stores' processes, split off the zygote, serve.

Rule for editors: nothing heavy is imported before the socket listens, and no key is read before
the process is hardened.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clikit.output import write_atomic
from secretivex.config import AgentConfig
from secretivex.errors import SecretiveError
from secretivex.hardening import MemoryLock, harden, lock_memory
from secretivex.identity import AddRules
from secretivex.server.listen_unix import Listener, adopt, listen
from secretivex.server.report.entrance import open_control
from secretivex.server.signals import Hangup, Interrupt, SignalPipe
from secretivex.server.surroundings.importing import uncollected
from secretivex.server.surroundings.init import leave_process_one
from secretivex.server.surroundings.notify import Notifier
from secretivex.server.surroundings.reloading import Read, Reloader

if TYPE_CHECKING:
    from secretivex.server.audit.process import AuditLog
    from secretivex.server.surroundings.around import Around

LOG = logging.getLogger("secretivex.server")


@dataclass(frozen=True, slots=True)
class Manner:
    """How an agent behaves towards whoever started it."""

    hangup: Hangup = "reload"
    interrupt: Interrupt = "stop"
    has_control_socket: bool = True


def serve(
    config: AgentConfig,
    *,
    environ: Mapping[str, str],
    manner: Manner = Manner(),
    rules: AddRules | None = None,
    read: Read | None = None,
    on_listening: Callable[[], None] = lambda: None,
) -> None:
    """Run the agent in the foreground until it is told to stop; raises `Failure`.

    `read` reads the configuration again, for a reload.
    """
    environ = leave_process_one(environ)
    memory = _harden(config)
    signals = SignalPipe(manner.hangup, manner.interrupt)
    audit = _start_audit(config, signals)
    try:
        listener = _listen(config, environ)
    except BaseException:
        _finish_audit(audit)
        raise
    reports_at = listener.path if manner.has_control_socket else None
    try:
        with _pid_file(config.pid_file), told_limits(), _control_at(reports_at) as control:
            on_listening()
            fields = {"socket": str(listener.path), "workers": config.workers}
            LOG.info("listening", extra={"fields": fields})
            parts = (signals, Notifier(environ), Reloader(config, read), audit, memory)
            around = _around(parts, reports_at, control)
            _run(listener, around, environ, rules or AddRules())
    finally:
        listener.close()
        signals.close()
        _finish_audit(audit)
    LOG.info("stopped")


@contextlib.contextmanager
def _control_at(socket_path: Path | None) -> Iterator[Listener | None]:
    """The control socket beside the agent's, for an agent that is to have one."""
    control = None if socket_path is None else open_control(socket_path)
    try:
        yield control
    finally:
        if control is not None:
            control.close()


FEWEST_DESCRIPTORS = 32
"""Besides those that are open: for sockets, pipes, the audit log and a client or two, whatever is
configured. With fewer, a part of the agent starts and another does not, as chance has it."""

DESCRIPTORS_EACH = 4
"""For each worker and each store's process."""

_LIMITS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN})
"""What the system says when it has given all that it may."""


@contextlib.contextmanager
def told_limits() -> Iterator[None]:
    """What cannot be had to serve with is no bug of ours."""
    try:
        yield
    except (OSError, MemoryError) as error:
        if isinstance(error, OSError) and error.errno not in _LIMITS:
            raise
        reason = getattr(error, "strerror", None) or "no memory"
        raise SecretiveError(
            "limit_too_low",
            f"the system gives the agent too little to run: {reason}",
            hint="raise LimitNOFILE=, TasksMax= or MemoryMax= of its service (ulimit -n, -u, -v)",
        ) from error


def _around(parts: tuple[Any, ...], reports_at: Path | None, control: Listener | None) -> Around:
    """Imported late: what it needs is not light."""
    from secretivex.server.surroundings.around import Around

    started_unix_ms = time.time_ns() // 1_000_000
    around = Around(*parts)
    made = replace(around, reports_at=reports_at, control=control)
    return replace(made, started_unix_ms=started_unix_ms)


def _harden(config: AgentConfig) -> MemoryLock:
    """Before anything is opened or read; raises `SecretiveError` where that leaves too little."""
    for refused in harden():
        LOG.warning("the system would not let us forbid %s", refused)
    needed = FEWEST_DESCRIPTORS + DESCRIPTORS_EACH * (config.workers + len(config.stores))
    room = _count_free_descriptors(needed)
    if room < needed:
        raise SecretiveError(
            "limit_too_low",
            f"the system lets the agent open {room} more files, and it takes {needed} to serve",
            hint="raise LimitNOFILE= of its service, or the hard limit (ulimit -Hn)",
        )
    return _lock_memory(config)


def _count_free_descriptors(most: int) -> int:
    """How many more can be opened, counted to `most`: limits say nothing of what is open already."""
    held: list[int] = []
    try:
        while len(held) < most:
            held.append(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        if error.errno not in _LIMITS:
            raise
    finally:
        for descriptor in held:
            os.close(descriptor)
    return len(held)


def _lock_memory(config: AgentConfig) -> MemoryLock:
    """For the supervisor itself; raises `SecretiveError` where the setting demands it in vain."""
    memory = lock_memory(config.memory_lock)
    if memory.is_failed:
        raise SecretiveError("memory_not_locked", memory.refusal, hint=memory.remedy)
    if memory.refusal and memory.wanted != "off":
        LOG.info("memory may be swapped", extra={"fields": {"reason": memory.refusal}})
    return memory


def _run(listener: Listener, around: Around, environ: Mapping[str, str], rules: AddRules) -> None:
    config = around.reloader.last.config
    with uncollected():
        from secretivex.server.authority import Authority
        from secretivex.stores.opening import host_stores

        authority = Authority(config, environ, rules, open_=host_stores)
        authority.start_stores()
        if config.workers == 1:
            from secretivex.server.single import run_single as run
        else:
            from secretivex.server.supervisor import run_supervised as run
    run(listener, authority, around)


def _listen(config: AgentConfig, environ: Mapping[str, str]) -> Listener:
    """The socket of a service manager where one handed it over, else our own."""
    given = adopt(environ, os.getpid()) if "LISTEN_FDS" in environ else None
    return given or listen(config.socket_path, config.socket_backlog)


def _start_audit(config: AgentConfig, signals: SignalPipe) -> AuditLog | None:
    """Open the audit log before anything can happen that it should hold."""
    if not config.audit_requests:
        return None
    from secretivex.server.audit.process import AuditLog, plan_of

    audit = AuditLog(plan_of(config), config.workers)
    audit.start([signals.close])
    audit.say("start", pid=os.getpid())
    return audit


def _finish_audit(audit: AuditLog | None) -> None:
    if audit is not None:
        audit.finish()


@contextlib.contextmanager
def _pid_file(path: Path | None) -> Iterator[None]:
    """Our number in a file while we run; what stands there at the end is removed only if ours."""
    if path is None:
        yield
        return
    line = f"{os.getpid()}\n".encode()
    write_atomic(path, [line], mode=0o644)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            if path.read_bytes() == line:
                path.unlink()
