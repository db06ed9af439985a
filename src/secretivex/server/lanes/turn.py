"""A request's place in the order of replies of its connection, wherever it waits.

Rule for editors: queues hand turns on and fill none; only the connection takes a reply.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Protocol

from secretivex.engine import SignJob, SignOutcome
from secretivex.peer import Peer

GONE = "client_gone"
"""The word for what nobody waits for any more."""

CUT_OFF = "cut_off"
"""The word for what was in hand when the agent's time to finish was over."""


class TurnOwner(Hashable, Protocol):
    """A connection, as its turns see it."""

    @property
    def peer(self) -> Peer:
        """Who is at the other end."""
        ...

    @property
    def caller(self) -> Hashable:
        """Whose connection it is: its process, where the system tells."""
        ...

    def fill(self, turn: Turn, frame: bytes) -> None:
        """The reply of a turn became known."""
        ...


class Turn:
    """One request's place in its connection's order of replies.

    `since_s` is when the request was whole, or allowed by a person; `wait_s` how long its signature
    then waited, `begun_s` and `ended_s` when its making began and ended, 0 before. `is_dropped` once
    its connection is gone. `kind` is the word for a change. A signature has its `job` from when it is
    queued, and its `outcome` when it is finished.
    """

    __slots__ = (
        *("begun_s", "ended_s", "frame", "is_dropped", "job", "kind"),
        *("outcome", "owner", "since_s", "wait_s"),
    )

    job: SignJob
    outcome: SignOutcome
    kind: str
    wait_s: float

    def __init__(self, owner: TurnOwner, since_s: float = 0.0) -> None:
        self.owner = owner
        self.since_s = since_s
        self.frame: bytes | None = None
        self.is_dropped = False
        self.begun_s = self.ended_s = 0.0
