"""What only the supervisor knows, for reports: workers, stores, the last reload.

Rule for editors: an answer is made of what is at hand; nothing here asks a store or a worker.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from secretivex.metrics.cells import Meter
from secretivex.server.audit.cells import AuditCells
from secretivex.server.authority import Authority
from secretivex.server.report.vitals import EVERY_S, Vitals
from secretivex.server.surroundings.around import Around

QUIET_S = 60.0
"""A reporter that is lost twice within this time is not made again by itself."""


class Books:
    """Kept by whoever owns the authority."""

    def __init__(self, authority: Authority, around: Around, meter: Meter) -> None:
        self._authority = authority
        self._around = around
        self._meter = meter
        self._vitals: Vitals | None = None
        self._reload_at_s: float | None = None
        self._reporter_lost_s = -QUIET_S
        self.due_s = 0.0
        """When figures are put down next, on the clock that `keep` is called with."""

    def keep(self, now: float) -> None:
        """Put figures down from time to time."""
        if now < self.due_s:
            return
        self.due_s = now + EVERY_S
        # Only who keeps books from time to time is a process beside the workers.
        self._vitals = self._vitals or Vitals(self._meter)
        self._vitals.look()
        self.note_state()

    def note_state(self) -> None:
        """What is served now."""
        meter, authority = self._meter, self._authority
        meter.put(meter.place("generation"), authority.generation)
        meter.put(meter.place("keys"), authority.served)
        meter.put(meter.place("memory_locked"), int(not self._around.memory.refusal))
        for health in authority.health():
            meter.put(meter.place("store_keys", health.store), health.identities)
            meter.put(meter.place("store_well", health.store), int(health.is_well))
        audit = self._audit_cells
        if audit is not None:
            meter.put(meter.place("audit_records"), audit.records)
            meter.put(meter.place("audit_dropped"), audit.dropped)
            meter.put(meter.place("audit_failures"), audit.failures)
            meter.put(meter.place("audit_stuck"), int(audit.is_stuck))

    @property
    def _audit_cells(self) -> AuditCells | None:
        return None if self._around.audit is None else self._around.audit.line.cells

    def _audit(self) -> dict[str, Any] | None:
        """The audit log, and where its chain stands: a head worth noting down elsewhere."""
        cells = self._audit_cells
        if cells is None:
            return None
        return {
            "head": cells.head,
            "seals": cells.seals,
            "records": cells.records,
            "dropped": cells.dropped,
            "failures": cells.failures,
            "is_stuck": cells.is_stuck,
        }

    def lost_worker(self) -> None:
        """A worker ended that was not told to."""
        self._meter.count("workers_lost")

    def has_lost_reporter(self) -> bool:
        """Note it; whether that was so a short while ago."""
        now = time.monotonic()
        before, self._reporter_lost_s = self._reporter_lost_s, now
        return now - before < QUIET_S

    def reloaded(self) -> None:
        """A reload came to its end."""
        self._reload_at_s = time.time()
        outcome = "rejected" if self._around.reloader.last.rejected else "ok"
        self._meter.count("reloads", outcome)

    def reload_answer(self) -> dict[str, Any]:
        """What came of the last reload."""
        last = self._around.reloader.last
        return {
            "rejected": last.rejected,
            "problems": list(last.problems),
            "needs_restart": list(last.needs_restart),
            "generation": self._authority.generation,
        }

    def status(self, workers: Sequence[dict[str, Any]], reporter: int) -> dict[str, Any]:
        """Everything, as JSON."""
        own = "supervisor" if len(workers) > 1 or reporter else "agent"
        processes = [{"name": f"worker-{row['number']}", "pid": row["pid"]} for row in workers]
        processes = [] if own == "agent" else processes
        processes.append({"name": own, "pid": os.getpid()})
        if reporter:
            processes.append({"name": "reporter", "pid": reporter})
        rules = sum(map(len, self._around.reloader.last.config.rule_lists.values()))
        memory = self._around.memory
        return {
            "generation": self._authority.generation,
            "keys": self._authority.served,
            "locked": bool(self._authority.lock.salt),
            "workers": list(workers),
            "workers_wanted": self._authority.workers,
            "stores": [asdict(health) for health in self._authority.health()],
            "policy": {"rules": rules},
            "audit": self._audit(),
            "memory": {
                "locked": not memory.refusal,
                "reason": memory.refusal,
                "remedy": memory.remedy,
            },
            "reload": {"at_unix_s": self._reload_at_s, **self.reload_answer()},
            "processes": processes,
        }
