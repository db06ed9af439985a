"""What a worker records of each request: who asked what, for which key, and what came of it.

Rule for editors: this is on the path of every request. Texts that repeat are made once; of a request
nothing but its kind, its key's fingerprint and its outcome ever gets into a record.
"""

from __future__ import annotations

import math
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

MAX_CHAIN = 256
"""Characters of all programs that started a caller, in quotation marks: a record has no room for more."""

_SIGNED = b'%s%d","wait_us":%d,"sign_us":%d}\n'
"""A signature's record after its time: what is remembered, its number, wait and making. This way of
putting figures in cuts them by itself."""

_Made = tuple[SignJob, float, float]
"""A signature, how long it waited for its turn and how long its making took, in seconds."""

_Batch = tuple[float, int, list[_Made]]
"""What was signed at a time: when that was, and how many requests there were before."""

_Known = tuple[bytes, TableEntry, Peer, Bindings, str, bool]
"""A text, and what it says: key, caller, path, rule and whether a person was asked."""


_NOTHING = b"", None, None, None, "", False


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
        # What a signature's record says, made once for a connection. Its peer is kept with it, so that
        # no other can have its number meanwhile.
        self._texts: dict[int, _Known] = {}
        self._made: list[_Made] = []
        self._waiting: list[_Batch | bytes] = []
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
        """A signature that was made: the way of nearly every record. `end_batch` is to follow."""
        self._made.append((job, turn.wait_s, turn.ended_s - turn.begun_s))

    def end_batch(self) -> None:
        """What was signed since the last time is recorded as of now."""
        if self._made:
            self._add((self._now(), self._number, self._made))
            self._number += len(self._made)
            self._made = []

    def _render(self) -> bytes:
        """What waits, as lines: one form for all of them, for to fill many costs each much more."""
        self.end_batch()
        forms: list[bytes] = []
        figures: list[bytes | float] = []
        for one in self._waiting:
            if isinstance(one, bytes):
                forms.append(b"%s")
                figures.append(one)
            else:
                at_s, number, made = one
                forms.append((self._time(at_s).encode() + _SIGNED) * len(made))
                self._tell_signed(number, made, figures)
        self._waiting.clear()
        return b"".join(forms) % tuple(figures)

    def _tell_signed(self, number: int, made: list[_Made], figures: list[bytes | float]) -> None:
        """Add what differs between the records of a batch."""
        texts = self._texts
        for job, wait_s, sign_s in made:
            text, entry, _, bindings, rule, is_confirmed = texts.get(id(job.peer), _NOTHING)
            is_same = entry is job.entry and bindings is job.bindings and rule is job.rule
            if not is_same or is_confirmed is not job.is_confirmed:
                text = self._remember(job)
            number += 1
            figures += text, number, wait_s * 1e6, sign_s * 1e6

    def not_signed(self, job: SignJob, outcome: str, turn: Turn) -> None:
        """A signature that was refused, or that could not be made."""
        fields = _about(job) + _decided(job)
        if turn.begun_s:
            sign_us = ((turn.ended_s or self._clock()) - turn.begun_s) * 1e6
            fields += f',"wait_us":{int(turn.wait_s * 1e6)},"sign_us":{int(sign_us)}'
        self._put("sign", outcome, job.peer, fields)

    def _remember(self, job: SignJob) -> bytes:
        """What records of signatures by this key, for this caller, on this path have in common."""
        if len(self._texts) >= _MEMO:
            self._texts.clear()
        fields = f"{_caller(job.peer)}{_about(job)}{_decided(job)}"
        text = f'"event":"sign","outcome":"ok"{fields},"request":"{self._pid}.'.encode()
        about = job.entry, job.peer, job.bindings, job.rule, job.is_confirmed
        self._texts[id(job.peer)] = text, *about
        return text

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
        self.end_batch()
        self._number += 1
        line = (
            f'{self._time(self._now())}"event":"{event}","outcome":"{outcome}"'
            f'{_caller(peer)}{fields},"request":"{self._pid}.{self._number}"}}\n'
        )
        self._add(line.encode())

    def _add(self, waiting: _Batch | bytes) -> None:
        self._waiting.append(waiting)
        if not self._feed.is_due:
            self._feed.wake()

    def _time(self, at_s: float) -> str:
        """The beginning of a record of that moment; up to its second it is made once a second."""
        if not 0 <= at_s - self._second < 1:
            self._second = math.floor(at_s)
            second = datetime.fromtimestamp(self._second, UTC)
            self._head = second.strftime('{"time":"%Y-%m-%dT%H:%M:%S.')
        return f'{self._head}{int((at_s - self._second) * 1e6):06d}Z",'


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
    fields = f',"uid":{peer.uid},"gid":{peer.gid}{pid}'
    if peer.caller is None:
        return fields
    return fields + _program(peer.caller.executable) + _chain(peer.caller.ancestors or ())


@lru_cache(_MEMO)
def _program(path: str) -> str:
    return f',"executable":{quote(path)}' if path else ""


@lru_cache(_MEMO)
def _chain(ancestors: tuple[str, ...]) -> str:
    """Who started the program, nearest first, where the policy had it looked up; as many as fit."""
    told: list[str] = []
    room = MAX_CHAIN
    for path in map(quote, ancestors):
        room -= len(path) + 1
        if room < 0:
            break
        told.append(path)
    return f',"ancestors":[{",".join(told)}]' if told else ""


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
