"""Who is at the other end of a connection, as the operating system says it.

Rule for editors: a peer is decided once, when its connection is accepted, and travels with every
request; nothing below the server asks the system about it again. What program it runs is looked up
once, when that first matters.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Caller:
    """The program that a peer runs, and those that it was started by.

    `executable` is "" where it cannot be told for certain. `ancestors` are the programs of its
    parents, nearest first, as far as they run for the same user; one that cannot be told is "", and
    None where it cannot be told who they are. `session` is its session's leader, by its process.
    """

    executable: str = ""
    ancestors: tuple[str, ...] | None = None
    session: int | None = None


UNKNOWN_CALLER = Caller()
"""A peer of which nothing more can be told."""


@dataclass(frozen=True, slots=True)
class Peer:
    """One caller; `pid` is None where the system does not tell, `caller` where nobody looked."""

    uid: int
    gid: int
    pid: int | None = None
    caller: Caller | None = None


def is_admitted(peer: Peer, owner_uid: int) -> bool:
    """Whether the peer may speak to the agent at all: its owner and root, as in OpenSSH."""
    return peer.uid in (owner_uid, 0)
