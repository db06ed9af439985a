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
from sshwire.agent.numbers import REQUEST_WORDS, RequestNumber
from sshwire.agent.requests import RemoveRequest
from sshwire.errors import WireError
from sshwire.pubkey import fingerprint

UNKNOWN_EVENT = "unknown_message"

_MEMO = 4096

_SIGNED = '%s%06d%s%d"%s,"wait_us":%d,"sign_us":%d}\n'
"""A signature's record around what is remembered; this way of putting figures in cuts them by itself."""


_Known = tuple[TableEntry, Peer, Bindings, str]
"""What a text is kept for, and the text."""

_Made = tuple[float, str, int, str, float, float]
"""A signature: when it was made, its text, its number, what else was decided, wait and beginning."""


class Auditor:
    """Makes the records of one worker."""

    def __init__(
        self,
        feed: AuditFeed,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._feed = feed
        self._now = now
        self._clock = clock
        self._second = -1
        self._head = ""
        self._number = 0
        self._pid = os.getpid()
        self._changes: dict[Turn, tuple[str, Peer, str]] = {}
        # What a signature's record says, made once for a key, a caller and a path. They are kept
        # with it, so that no other object can have their number meanwhile.
        self._texts: dict[tuple[int, int, int], _Known] = {}
        self._waiting: list[_Made | str] = []
        feed.source = self._render

    @property
    def is_refusing(self) -> bool:
        """Whether nothing may be signed or changed now, for it could not be recorded."""
        return self._feed.is_refusing

    def close(self) -> None:
        """Hand over what waits: the process is about to end."""
        self._feed.close()

    def answered(
        self, payload: bytes | memoryview, peer: Peer, bindings: Bindings, reply: Reply
    ) -> None:
        """A request that was answered at once; a refusal tells for which key it was, and whereto."""
        number = payload[0] if payload else 0
        fields = f',"rule":{quote(reply.rule)}' if reply.rule else ""
        if number == RequestNumber.SIGN_REQUEST:
            fields += _asked_key(bytes(payload))
        if bindings.hops:
            fields += _path(bindings)
        self._put(REQUEST_WORDS.get(number, UNKNOWN_EVENT), reply.outcome, peer, fields)

    def signed(self, job: SignJob, turn: Turn) -> None:
        """A signature that was made: the way of nearly every record, which is put in words later."""
        key = id(job.entry), id(job.peer), id(job.bindings)
        known = self._texts.get(key) or self._remember(key, job)
        more = _decided(job) if job.rule or job.is_confirmed else ""
        self._number = number = self._number + 1
        done = turn.ended_s or self._clock()
        self._waiting.append((done, known[3], number, more, turn.wait_s, turn.begun_s))
        if not self._feed.is_due:
            self._feed.wake()

    def _render(self) -> str:
        """What waits, as lines; many at a time cost less each than one at a time."""
        waiting, self._waiting = self._waiting, []
        # Each was timed by the clock that nobody sets; what that is in wall time is found out once.
        offset = self._now() - self._clock()
        return "".join(
            one if isinstance(one, str) else self._line_of(one, offset) for one in waiting
        )

    def _line_of(self, made: _Made, offset: float) -> str:
        done, text, number, more, wait_s, begun_s = made
        since = done + offset - self._second
        if not 0 <= since < 1:
            self._begin_second(done + offset)
            since = done + offset - self._second
        sign_us = (done - begun_s) * 1e6
        return _SIGNED % (self._head, since * 1e6, text, number, more, wait_s * 1e6, sign_us)

    def not_signed(self, job: SignJob, outcome: str, turn: Turn) -> None:
        """A signature that was refused, or that could not be made."""
        fields = _about(job) + _decided(job)
        if turn.begun_s:
            sign_us = ((turn.ended_s or self._clock()) - turn.begun_s) * 1e6
            fields += f',"wait_us":{int(turn.wait_s * 1e6)},"sign_us":{int(sign_us)}'
        self._put("sign", outcome, job.peer, fields)

    def _remember(self, key: tuple[int, int, int], job: SignJob) -> _Known:
        """What records of signatures by this key, for this caller, on this path have in common."""
        if len(self._texts) >= _MEMO:
            self._texts.clear()
        fields = f"{_caller(job.peer)}{_about(job)}"
        text = f'Z","event":"sign","outcome":"ok"{fields},"request":"{self._pid}.'
        known = self._texts[key] = job.entry, job.peer, job.bindings, text
        return known

    def change_begun(self, change: Change, peer: Peer, turn: Turn) -> None:
        """Remember whose change a turn stands for."""
        request = change.request
        key = ""
        if isinstance(request, RemoveRequest):
            key = _key(request.key_blob)
        self._changes[turn] = (change_event(change), peer, key)

    def change_ended(self, turn: Turn, outcome: str) -> None:
        """What came of it."""
        event, peer, fields = self._changes.pop(turn)
        self._put(event, outcome, peer, fields)

    def rejected(self, why: str, peer: Peer | None) -> None:
        """A connection that was not let in."""
        self._put("connect", why, peer, "")

    def _put(self, event: str, outcome: str, peer: Peer | None, fields: str) -> None:
        self._number += 1
        now = self._now()
        if not 0 <= now - self._second < 1:
            self._begin_second(now)
        self._waiting.append(
            f'{self._head}{int((now - self._second) * 1e6):06d}Z","event":"{event}",'
            f'"outcome":"{outcome}"{_caller(peer)}{fields},"request":"{self._pid}.{self._number}"}}\n'
        )
        if not self._feed.is_due:
            self._feed.wake()

    def _begin_second(self, now: float) -> None:
        """The beginning of a record, to the point before the microseconds, is made once a second."""
        self._second = int(now)
        second = datetime.fromtimestamp(self._second, UTC)
        self._head = second.strftime('{"time":"%Y-%m-%dT%H:%M:%S.')


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


def _caller(peer: Peer | None) -> str:
    """A peer's part of a record."""
    if peer is None:
        return ""
    pid = "" if peer.pid is None else f',"pid":{peer.pid}'
    program = "" if peer.caller is None else _program(peer.caller.executable)
    return f',"uid":{peer.uid}{pid}{program}'


@lru_cache(_MEMO)
def _program(path: str) -> str:
    return f',"executable":{quote(path)}' if path else ""


def _about(job: SignJob) -> str:
    """Which key was asked for, and whereto."""
    entry = job.entry
    fields = f',"key":"{entry.sha256}","algorithm":"{entry.identity.algorithm}"'
    return fields + _path(job.bindings) if job.bindings.hops else fields


def _decided(job: SignJob) -> str:
    """The rule that decided, and whether a person was asked."""
    rule = f',"rule":{quote(job.rule)}' if job.rule else ""
    return rule + ',"confirmed":true' if job.is_confirmed else rule


_KEY_AT = 5
"""In a sign request: its number and the length of the key's blob come first."""


def _asked_key(payload: bytes) -> str:
    """The key that a sign request names, whether or not there is such a key."""
    blob = payload[_KEY_AT : _KEY_AT + int.from_bytes(payload[1:_KEY_AT], "big")]
    return _key(blob)


@lru_cache(_MEMO)
def _key(blob: bytes) -> str:
    """A key by the blob that a client sent; nothing for what is none."""
    try:
        return f',"key":"{fingerprint(blob)}"'
    except WireError:
        return ""


@lru_cache(_MEMO)
def _path(bindings: Bindings) -> str:
    """The destination, and whether the request came by a forwarded connection."""
    host = fingerprint(bindings.hops[-1].host_key)
    forwarded = "true" if bindings.is_remote else "false"
    return f',"destination":{quote(host)},"forwarded":{forwarded}'
