"""One helper process of a token, and how it is started.

Rule for editors: it gets the environment of its plan and no other, and no descriptor but its own.
"""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field

from secretivex.config.pkcs11_uri import TokenSelector
from secretivex.stores.hosting.endpoint import Endpoint
from secretivex.stores.hosting.process import command_of
from secretivex.stores.pkcs11.conversation import BusyCell, FrameReader

_MODULE = "secretivex.stores.pkcs11.helper"


@dataclass(frozen=True, slots=True)
class CrewPlan:
    """What a crew is made for.

    `deadline_s` is how long a module may take to answer anything, `renew_s` how long until a helper
    is replaced by a new one.
    """

    module: str
    selector: TokenSelector
    size: int
    deadline_s: float
    renew_s: float
    endpoint: Endpoint
    environ: Mapping[str, str] = field(repr=False)
    memory_lock: str = "off"


@dataclass(slots=True, eq=False)
class Member:
    """One helper. Not frozen: it opens its token after it was made."""

    process: subprocess.Popen[bytes]
    channel: socket.socket
    cell: BusyCell
    started_at: float
    is_open: bool = False
    is_listing: bool = False
    reader: FrameReader = field(default_factory=FrameReader)


def spawn(plan: CrewPlan, now: float) -> Member:
    """A helper that has loaded nothing yet; raises OSError."""
    cell = BusyCell()
    listener = plan.endpoint.listener.fileno()
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            process = subprocess.Popen(
                command_of(_MODULE, str(listener), str(cell.descriptor), plan.memory_lock),
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(listener, cell.descriptor),
                env=dict(plan.environ),
                start_new_session=True,
            )
        except OSError:
            ours.close()
            cell.close()
            raise
    return Member(process, ours, cell, now)
