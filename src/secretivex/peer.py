"""Who is at the other end of a connection, as the operating system says it.

Rule for editors: a peer is decided once, when its connection is accepted, and travels with every
request; nothing below the server asks the system about it again.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Peer:
    """One caller; `pid` is None where the system does not tell."""

    uid: int
    gid: int
    pid: int | None = None


def is_admitted(peer: Peer, owner_uid: int) -> bool:
    """Whether the peer may speak to the agent at all: its owner and root, as in OpenSSH."""
    return peer.uid in (owner_uid, 0)
