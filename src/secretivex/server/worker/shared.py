"""What every worker inherits by being forked, beside its number and its channel."""

from __future__ import annotations

import socket
from dataclasses import dataclass

from secretivex.server.audit.feed import AuditLine
from secretivex.server.worker.cells import ConnectionCells


@dataclass(frozen=True, slots=True)
class Shared:
    """The listener, the memory that all share, and the way to the audit log, if there is one."""

    listener: socket.socket
    cells: ConnectionCells
    audit: AuditLine | None = None
