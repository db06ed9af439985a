"""What every worker and the reporter inherit by being forked, beside a number and a channel."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field

from secretivex.metrics.cells import Cells
from secretivex.server.audit.feed import AuditLine
from secretivex.server.judging.rates import RateTable
from secretivex.server.sockets.door import OpenDoor
from secretivex.server.worker.cells import ConnectionCells


@dataclass(frozen=True, slots=True)
class Shared:
    """The listener, the memory that all share, and the way to the audit log, if there is one."""

    listener: socket.socket | None
    cells: ConnectionCells
    meters: Cells
    """A part for each worker, then the supervisor's and the reporter's."""
    audit: AuditLine | None = None
    has_reporter: bool = False
    """Whether the process after the last worker is the reporter."""
    rates: RateTable = field(default_factory=RateTable)
    memory_lock: str = "off"
    """The setting; each worker locks its own memory."""
    door: OpenDoor | None = None
    """What lets clients in where there is no listener."""
