"""What a worker records of each request: who asked what, for which key, and what came of it.

Rule for editors: this is on the path of every request. Texts that repeat are made once; of a request
nothing but its kind, its key's fingerprint and its outcome ever gets into a record.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache

from secretivex.audit.record import quote
from secretivex.context.bindings import Bindings
from secretivex.engine import Change, Reply, SignJob
from secretivex.key_table import TableEntry
from secretivex.peer import Peer
from secretivex.server.audit.feed import AuditFeed
from secretivex.server.worker.signing import Turn
from sshwire.agent.numbers import REQUEST_WORDS
from sshwire.agent.requests import RemoveRequest
from sshwire.pubkey import fingerprint

UNKNOWN_EVENT = "unknown_message"

_MEMO = 4096


class Auditor:
    """Makes the records of one worker."""

    def __init__(self, feed: AuditFeed, now: Callable[[], float] = time.time) -> None:
        self._feed = feed
        self._now = now
        self._second = -1
        self._second_text = ""
        self._number = 0
        self._pid = os.getpid()
        self._changes: dict[Turn, tuple[str, Peer, str]] = {}
        # What a signature's record says, made once for a key, a caller and a path. The objects are
        # kept with it, so that a number which another one has now is not taken for theirs.
        self._texts: dict[tuple[int, int, int, str], tuple[TableEntry, Peer, Bindings, str]] = {}

    @property
    def is_refusing(self) -> bool:
        """Whether nothing may be signed or changed now, for it could not be recorded."""
        return self._feed.is_refusing

    def answered(self, payload: bytes | memoryview, peer: Peer, reply: Reply) -> None:
        """A request that was answered at once."""
        event = REQUEST_WORDS.get(payload[0], UNKNOWN_EVENT) if payload else UNKNOWN_EVENT
        rule = f',"rule":{quote(reply.rule)}' if reply.rule else ""
        self._put(event, reply.outcome, peer, rule)

    def signed(self, job: SignJob, outcome: str) -> None:
        """A signature that was made or refused."""
        entry, peer, bindings = job.entry, job.peer, job.bindings
        known = self._texts.get((id(entry), id(peer), id(bindings), outcome))
        if (
            known is None
            or known[0] is not entry
            or known[1] is not peer
            or known[2] is not bindings
        ):
            fields = f',"key":"{entry.sha256}","algorithm":"{entry.identity.algorithm}"'
            if bindings.hops:
                fields += _path(bindings)
            text = f'","event":"sign","outcome":"{outcome}"{_caller(peer)}{fields},"request":"'
            if len(self._texts) >= _MEMO:
                self._texts.clear()
            known = (entry, peer, bindings, text)
            self._texts[id(entry), id(peer), id(bindings), outcome] = known
        self._write(known[3])

    def change_begun(self, change: Change, peer: Peer, turn: Turn) -> None:
        """Remember whose change a turn stands for."""
        request = change.request
        key = ""
        if isinstance(request, RemoveRequest):
            key = f',"key":"{fingerprint(request.key_blob)}"'
        self._changes[turn] = (change_event(change), peer, key)

    def change_ended(self, turn: Turn, outcome: str) -> None:
        """What came of it."""
        event, peer, fields = self._changes.pop(turn)
        self._put(event, outcome, peer, fields)

    def rejected(self, why: str, peer: Peer | None) -> None:
        """A connection that was not let in."""
        self._put("connect", why, peer, "")

    def _put(self, event: str, outcome: str, peer: Peer | None, fields: str) -> None:
        self._write(f'","event":"{event}","outcome":"{outcome}"{_caller(peer)}{fields},"request":"')

    def _write(self, text: str) -> None:
        """A record around what it says."""
        self._number += 1
        line = f'{{"time":"{self._time()}{text}{self._pid}.{self._number}"}}\n'
        self._feed.put(line.encode())

    def _time(self) -> str:
        """RFC 3339 with microseconds; the part before them is made once a second."""
        now = self._now()
        second = int(now)
        if second != self._second:
            self._second = second
            self._second_text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return f"{self._second_text}.{int((now - second) * 1e6):06d}Z"


def change_event(change: Change) -> str:
    """`add`, `remove_all` and so on, from the kind of the request."""
    return _CHANGE_EVENTS[type(change.request).__name__]


_CHANGE_EVENTS = {
    "AddRequest": "add",
    "RemoveRequest": "remove",
    "RemoveAllRequest": "remove_all",
    "AddSmartcardRequest": "add_smartcard",
    "RemoveSmartcardRequest": "remove_smartcard",
    "LockRequest": "lock",
    "UnlockRequest": "unlock",
}


@lru_cache(_MEMO)
def _caller(peer: Peer | None) -> str:
    """A peer's part of a record."""
    if peer is None:
        return ""
    pid = "" if peer.pid is None else f',"pid":{peer.pid}'
    known = peer.caller.executable if peer.caller is not None else ""
    program = f',"executable":{quote(known)}' if known else ""
    return f',"uid":{peer.uid}{pid}{program}'


@lru_cache(_MEMO)
def _path(bindings: Bindings) -> str:
    """The destination, and whether the request came by a forwarded connection."""
    host = fingerprint(bindings.hops[-1].host_key)
    forwarded = "true" if bindings.is_remote else "false"
    return f',"destination":{quote(host)},"forwarded":{forwarded}'
