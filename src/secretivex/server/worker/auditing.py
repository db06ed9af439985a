"""What a worker records of each request: who asked what, for which key, and what came of it.

Rule for editors: this is on the path of every request. Texts that repeat are made once; of a request
nothing but its kind, its key's fingerprint and its outcome ever gets into a record.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from secretivex.audit.record import quote
from secretivex.audit.sheet import MOST_IN_A_RUN, Clock, Piece, Sheet
from secretivex.context.bindings import Bindings
from secretivex.engine import ALLOWANCE, Change, Reply, SignJob
from secretivex.key_table import TableEntry
from secretivex.peer import Peer
from secretivex.server.audit.feed import AuditFeed
from secretivex.server.lanes.turn import Turn
from sshwire.agent.numbers import REQUEST_WORDS, RequestNumber
from sshwire.agent.requests import AddRequest, RemoveRequest
from sshwire.errors import WireError
from sshwire.privkey import parse_stated_public
from sshwire.pubkey import fingerprint

UNKNOWN_EVENT = "unknown_message"

_MEMO = 4096

MAX_CHAIN = 256
"""Characters of all programs that started a caller, in quotation marks: a record has no room for more."""

MAX_NAME = 64
"""Characters of an extension's name; RFC 4251 has as many for any name."""

_Known = tuple[bytes, TableEntry, tuple[Any, ...]]
"""Words, and what they tell of: a job's key and its allowance."""

Made = tuple[SignJob, float, Sequence[int], Sequence[int]]
"""Signatures of one go for jobs that differ in their data alone: one of the jobs, and the moment when
all of them were made; how long each waited, and how long it took with that wait, in nanoseconds."""


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
        self._begin = Clock().begin
        self._number = 0
        self._pid = os.getpid()
        self._changes: dict[Turn, tuple[str, Peer, str]] = {}
        # What a signature's record says, made once for a caller. The peer is kept with it, so that no
        # other can have its number meanwhile.
        self._known: dict[int, _Known] = {}
        self._made: list[Made] = []
        self._sheet = Sheet()
        self._waiting: list[Piece] = []
        feed.source = self._take_waiting

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
        elif number == RequestNumber.EXTENSION:
            fields += _extension(bytes(payload))
        path = reply.bindings or bindings
        if path.hops:
            fields += _path(path)
        self._put(REQUEST_WORDS.get(number, UNKNOWN_EVENT), reply.outcome, peer, fields)

    def signed(self, made: Made) -> None:
        """Signatures that were made in one go: the way of nearly every record.

        They are only noted here. What puts them on sheets is in no cache of a core that signs, so it
        runs for many of them.
        """
        self._made.append(made)
        self._wake()

    def _fill_sheets(self) -> None:
        """Put what was signed on sheets."""
        for job, at_s, waits_ns, spans_ns in self._made:
            words, at_us = self._known_of(job), int(at_s * 1e6)
            if not self._sheet.add(words, at_us, waits_ns, spans_ns):
                self._add_in_parts(words, at_us, waits_ns, spans_ns)
        self._made.clear()

    def _add_in_parts(
        self, words: bytes, at_us: int, waits_ns: Sequence[int], spans_ns: Sequence[int]
    ) -> None:
        """What finds no room on a sheet, on as many as it needs."""
        for at in range(0, len(waits_ns), MOST_IN_A_RUN):
            part = slice(at, at + MOST_IN_A_RUN)
            run = words, at_us, waits_ns[part], spans_ns[part]
            if not self._sheet.add(*run):
                self._end_sheet()
                self._sheet.add(*run)

    def _end_sheet(self) -> None:
        """What follows is on another one."""
        records = self._sheet.records
        if records:
            self._waiting.append(self._sheet.encode(self._number))
            self._number += records
            self._sheet = Sheet()

    def _take_waiting(self) -> list[Piece]:
        """All that was recorded and not handed over yet."""
        self._fill_sheets()
        self._end_sheet()
        waiting, self._waiting = self._waiting, []
        return waiting

    def not_signed(self, job: SignJob, outcome: str, turn: Turn) -> None:
        """A signature that was refused, or that could not be made."""
        fields = _about(job) + _decided(job)
        if turn.begun_s:
            sign_us = ((turn.ended_s or self._clock()) - turn.begun_s) * 1e6
            fields += f',"wait_us":{int(turn.wait_s * 1e6)},"sign_us":{int(sign_us)}'
        self._put("sign", outcome, job.peer, fields)

    def _known_of(self, job: SignJob) -> bytes:
        """What records of signatures by this key, for this caller, on this path have in common."""
        known = self._known.get(id(job.peer))
        if known is not None and known[1] is job.entry and known[2] == job[ALLOWANCE:]:
            return known[0]
        if len(self._known) >= _MEMO:
            self._known.clear()
        fields = f"{_caller(job.peer)}{_about(job)}{_decided(job)}"
        words = f'"event":"sign","outcome":"ok"{fields},"request":"{self._pid}.'.encode()
        self._known[id(job.peer)] = words, job.entry, job[ALLOWANCE:]
        return words

    def change_begun(self, change: Change, peer: Peer, turn: Turn) -> None:
        """Remember whose change a turn stands for."""
        request = change.request
        key = ""
        if isinstance(request, RemoveRequest):
            key = _key(request.key_blob)
        elif isinstance(request, AddRequest):
            key = _added_key(request)
        self._changes[turn] = (change_event(change), peer, key)

    def change_ended(self, turn: Turn, outcome: str) -> None:
        """What came of it."""
        event, peer, fields = self._changes.pop(turn)
        self._put(event, outcome, peer, fields)

    def rejected(self, why: str, peer: Peer | None) -> None:
        """A connection that was not let in."""
        self._put("connect", why, peer, "")

    def _put(self, event: str, outcome: str, peer: Peer | None, fields: str) -> None:
        self._fill_sheets()
        self._end_sheet()
        self._number += 1
        line = (
            f'{self._begin(int(self._now() * 1e6))}"event":"{event}","outcome":"{outcome}"'
            f'{_caller(peer)}{fields},"request":"{self._pid}.{self._number}"}}\n'
        )
        self._waiting.append((line.encode(), 1))
        self._wake()

    def _wake(self) -> None:
        """See that what waits is asked for."""
        if not self._feed.is_due:
            self._feed.wake()


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


def _extension(payload: bytes) -> str:
    """The name of an extension, as far as it may be one."""
    name = payload[_KEY_AT : _KEY_AT + int.from_bytes(payload[1:_KEY_AT], "big")]
    return f',"extension":{quote(name[:MAX_NAME].decode("latin-1"))}' if name else ""


def _added_key(request: AddRequest) -> str:
    """The key that a client wants held: what it says of its public half."""
    try:
        return _key(parse_stated_public(request.algorithm, request.private_fields))
    except WireError:
        return ""


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
