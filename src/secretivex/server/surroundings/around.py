"""What a server has around it, whichever way its workers run."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from secretivex.hardening import MemoryLock
from secretivex.server.report.plan import ReportPlan, plan_of
from secretivex.server.signals import SignalPipe
from secretivex.server.surroundings.notify import Notifier, ready, reloading, stopping
from secretivex.server.surroundings.reloading import Apply, Reload, Reloader

if TYPE_CHECKING:
    from secretivex.server.audit.process import AuditLog
    from secretivex.server.listen_unix import Listener


KILL_GRACE_S = 0.5
"""After the time to drain is over, until what is left is killed."""


@dataclass(frozen=True, slots=True)
class Around:
    """Signals, the service manager, the configuration, and the audit log if there is one."""

    signals: SignalPipe | None
    notifier: Notifier
    reloader: Reloader
    audit: AuditLog | None = None
    memory: MemoryLock = field(default_factory=MemoryLock)
    reports_at: Path | None = None
    """The agent's socket, for one that has a control socket beside it."""
    control: Listener | None = None
    """That control socket, if it could be had."""
    started_unix_ms: int = 0

    @property
    def drain_timeout_s(self) -> float:
        """How long requests in hand may take at the end."""
        return self.reloader.last.config.drain_timeout_ms / 1000

    @property
    def plan(self) -> ReportPlan | None:
        """What is reported, as the configuration in force has it; None without a control socket."""
        if self.reports_at is None:
            return None
        return plan_of(self.reloader.last.config, self.reports_at, self.started_unix_ms)

    def say(self, event: str, outcome: str = "ok", **fields: str | int) -> None:
        """Have an event of the agent itself recorded."""
        if self.audit is not None:
            self.audit.say(event, outcome, **fields)

    def reload(self, apply: Apply) -> Reload:
        """Read the configuration again, and let everybody know what came of it."""
        self.notifier.tell(*reloading())
        result = self.reloader.reload(apply)
        self.say("reload", "rejected" if result.rejected else "ok", detail=result.rejected)
        self.notifier.tell(*ready(result.rejected))
        return result

    def say_stop(self) -> None:
        """Have the end recorded, and the service manager wait for it."""
        self.say("stop")
        self.notifier.tell(*stopping(self.drain_timeout_s + KILL_GRACE_S))
