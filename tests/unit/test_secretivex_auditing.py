"""A worker's records: what each kind of request leaves in the audit log, and in how many pieces."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from secretivex.audit.record import PIPE_BYTES
from secretivex.audit.sheet import Clock, cut_pieces, render_piece
from secretivex.context.bindings import UNBOUND, Binding, Bindings
from secretivex.engine import Change, SignJob, failure
from secretivex.identity import Identity
from secretivex.key_table import TableEntry
from secretivex.peer import Caller, Peer
from secretivex.server.audit.cells import AuditCells
from secretivex.server.audit.feed import MAX_BLOCKED, AuditFeed, AuditLine
from secretivex.server.lanes.turn import Turn
from secretivex.server.worker.auditing import Auditor
from sshwire.agent.requests import RemoveRequest, SignRequest, encode_request
from sshwire.pubkey import fingerprint
from sshwire.wire import encode_string, encode_text

HOST, NOBODY = (encode_text("ssh-ed25519") + encode_string(bytes([n]) * 32) for n in (1, 2))
PEER = Peer(7, 8, 9, Caller("/usr/bin/ssh", ("/usr/bin/bash", "", "/usr/sbin/init")))
PATH = Bindings((Binding(HOST, b"session", is_forwarding=True),), is_attempted=True, is_remote=True)


class NoKey:
    """Never asked to sign here."""

    def sign(self, data: bytes, flags: int = 0) -> bytes:
        raise NotImplementedError


class Loop:
    """Calls back when it is told to."""

    def __init__(self) -> None:
        self.due: list[Callable[..., Any]] = []

    def call_later(self, _delay: float, callback: Callable[..., Any], /) -> None:
        self.due.append(callback)

    def turn(self) -> None:
        due, self.due = self.due, []
        for callback in due:
            callback()


class Desk:
    """An auditor over a real pipe."""

    def __init__(self, *, must_record: bool = True) -> None:
        self.source, pipe = os.pipe()
        os.set_blocking(pipe, False)
        os.set_blocking(self.source, False)
        self.pipe = pipe
        self.loop = Loop()
        self.cells = AuditCells(1)
        self.feed = AuditFeed(AuditLine(pipe, self.cells, must_record=must_record), 0, self.loop)
        self.now = [1_700_000_000.25, 100.0]
        self.auditor = Auditor(self.feed, lambda: self.now[0], lambda: self.now[1])

    def sign(self, job: SignJob) -> None:
        """A signature that is made now, in half a second after half a second."""
        self.auditor.signed((job, self.now[0], (500_000_000,), (1_000_000_000,)))

    def records(self) -> list[dict[str, Any]]:
        self.loop.turn()
        return [json.loads(line) for line in self.read().splitlines()]

    def read(self) -> bytes:
        """What the writer would make of it."""
        parts = []
        while True:
            try:
                parts.append(os.read(self.source, 65_536))
            except BlockingIOError:
                return rendered(b"".join(parts))

    def close(self) -> None:
        os.close(self.source)
        os.close(self.pipe)


def rendered(data: bytes) -> bytes:
    pieces = cut_pieces(data)
    assert b"".join(pieces) == data
    clock = Clock()
    lines = [render_piece(piece, clock) for piece in pieces]
    assert all(text.count(b"\n") == records for text, records in lines)
    return b"".join(text for text, _ in lines)


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk()
    yield made
    made.close()


@pytest.fixture
def job() -> SignJob:
    identity = Identity(b"blob", "a comment", "ssh-ed25519", "file")
    entry = TableEntry(identity, NoKey(), True, "SHA256:abc", "SHA512:abc")
    return SignJob(entry, b"data", 0, PEER, 1, PATH)


def turn_of(*, whole_s: float = 99.0, begun_s: float = 99.5, wait_s: float = 0.5) -> Turn:
    turn = Turn(None, whole_s)  # type: ignore[arg-type] # nobody asks whose it is
    turn.begun_s, turn.wait_s, turn.ended_s = begun_s, wait_s, begun_s + 0.5
    return turn


def test_a_signature_tells_who_for_what_whereto_and_how_long(desk: Desk, job: SignJob) -> None:
    desk.sign(job._replace(rule='say "yes"', is_confirmed=True))
    desk.now = [at_s + 1 for at_s in desk.now]
    desk.sign(job)
    first, second = desk.records()
    assert first == {
        "time": "2023-11-14T22:13:20.250000Z",
        "event": "sign",
        "outcome": "ok",
        "uid": 7,
        "gid": 8,
        "pid": 9,
        "executable": "/usr/bin/ssh",
        "ancestors": ["/usr/bin/bash", "", "/usr/sbin/init"],
        "key": job.entry.sha256,
        "algorithm": job.entry.identity.algorithm,
        "destination": fingerprint(HOST),
        "forwarded": True,
        "request": f"{os.getpid()}.1",
        "rule": 'say "yes"',
        "confirmed": True,
        "wait_us": 500_000,
        "sign_us": 500_000,
    }
    assert (second["time"], second["request"]) == (
        "2023-11-14T22:13:21.250000Z",
        f"{os.getpid()}.2",
    )
    assert "rule" not in second


def test_a_record_tells_of_its_own_key_path_rule_and_confirmation(desk: Desk, job: SignJob) -> None:
    other = TableEntry(Identity(b"other", "", "ssh-rsa", "file"), NoKey(), True, "SHA256:x", "")
    jobs = [
        job,
        job._replace(entry=other),
        job._replace(bindings=UNBOUND),
        job._replace(rule="night"),
        job._replace(is_confirmed=True),
        job._replace(peer=Peer(7, 8, 10)),
        job,
    ]
    for one in jobs:
        desk.sign(one)
    names = ("key", "destination", "rule", "confirmed", "pid")
    records = desk.records()
    said = [tuple(record.get(name) for name in names) for record in records]
    host = fingerprint(HOST)
    assert said == [
        ("SHA256:abc", host, None, None, 9),
        ("SHA256:x", host, None, None, 9),
        ("SHA256:abc", None, None, None, 9),
        ("SHA256:abc", host, "night", None, 9),
        ("SHA256:abc", host, None, True, 9),
        ("SHA256:abc", host, None, None, 10),
        ("SHA256:abc", host, None, None, 9),
    ]


def test_as_many_as_one_likes_are_signed_in_one_go(desk: Desk, job: SignJob) -> None:
    waits_ns = tuple(range(0, 1_000_000, 1000))
    desk.sign(job)
    desk.auditor.signed((job, desk.now[0], waits_ns, tuple(wait + 7000 for wait in waits_ns)))
    records = desk.records()[1:]
    assert [record["wait_us"] for record in records] == list(range(1000))
    assert {record["sign_us"] for record in records} == {7}
    numbers = [int(record["request"].partition(".")[2]) for record in records]
    assert numbers == list(range(2, 1002))


def test_records_stand_in_the_order_of_what_happened_whatever_the_clock_does(
    desk: Desk, job: SignJob
) -> None:
    moments = [0.0, 0.999_999_4, 1.031_25, 0.5, 7200.25, -3600.0]
    for number, since_s in enumerate(moments):
        desk.now[0] = 1_700_000_000 + since_s
        if number % 3:
            desk.sign(job)
        else:
            desk.auditor.rejected("too_many", PEER)
    records = desk.records()
    assert [record["time"][11:] for record in records] == [
        "22:13:20.000000Z",
        "22:13:20.999999Z",
        "22:13:21.031250Z",
        "22:13:20.500000Z",
        "00:13:20.250000Z",
        "21:13:20.000000Z",
    ]
    numbers = [int(record["request"].partition(".")[2]) for record in records]
    assert numbers == list(range(1, len(moments) + 1))


def test_a_refused_signature_tells_its_key_and_destination(desk: Desk, job: SignJob) -> None:
    request = encode_request(SignRequest(NOBODY, b"secret", 0))
    desk.auditor.answered(request, PEER, PATH, failure("policy_denied", "no git"))
    desk.auditor.not_signed(job._replace(rule="ask"), "confirm_denied", Turn(None))  # type: ignore[arg-type] # as above
    desk.auditor.not_signed(job._replace(bindings=UNBOUND), "token_gone", turn_of())
    refused, denied, failed = desk.records()
    assert (refused["key"], refused["rule"]) == (fingerprint(NOBODY), "no git")
    assert refused["destination"] == denied["destination"] == fingerprint(HOST)
    assert refused["executable"] == "/usr/bin/ssh"
    assert (denied["outcome"], denied["rule"], "wait_us" in denied) == (
        "confirm_denied",
        "ask",
        False,
    )
    assert (failed["outcome"], failed["wait_us"]) == ("token_gone", 500_000)
    assert "destination" not in failed


@pytest.mark.parametrize("payload", [b"\x0d", b"\x0d\0\0\0\xff", b"\x0d\xff\xff\xff\xffabc", b""])
def test_a_malformed_request_is_a_record_too(desk: Desk, payload: bytes) -> None:
    desk.auditor.answered(payload, PEER, UNBOUND, failure("malformed"))
    (record,) = desk.records()
    assert record["outcome"] == "malformed"


def test_removing_what_is_no_key_is_a_record_too(desk: Desk) -> None:
    turn = Turn(None)  # type: ignore[arg-type] # as above
    desk.auditor.change_begun(Change(RemoveRequest(b"no key")), PEER, turn)
    desk.auditor.change_ended(turn, "key_not_found")
    (record,) = desk.records()
    assert (record["event"], record["outcome"], "key" in record) == (
        "remove",
        "key_not_found",
        False,
    )


def test_what_is_written_at_once_is_never_more_than_a_pipe_takes_whole(
    desk: Desk, job: SignJob
) -> None:
    long = job._replace(
        peer=Peer(*(4_294_967_295,) * 3, Caller("\U0001f600" * 4096, ("\U0001f600",) * 32)),
        rule="\0" * 4096,
    )
    # Packets keep the pieces apart that a pipe would join.
    source, end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with source, end:
        line = AuditLine(end.fileno(), desk.cells, must_record=True)
        auditor = Auditor(AuditFeed(line, 0, desk.loop))
        for _ in range(20):
            for one in (long, job):
                auditor.signed((one, desk.now[0], (1,), (2,)))
        desk.loop.turn()
        source.setblocking(False)
        pieces = []
        with suppress(BlockingIOError):
            while True:
                pieces.append(source.recv(65_536))
    assert max(map(len, pieces)) <= PIPE_BYTES
    assert rendered(b"".join(pieces)).count(b"\n") == 40
    assert len(pieces) <= 20


@pytest.mark.parametrize("must_record", [True, False])
def test_a_full_pipe_refuses_or_drops_and_counts(job: SignJob, *, must_record: bool) -> None:
    desk = Desk(must_record=must_record)
    lines = 0
    while not (desk.feed.is_refusing or desk.cells.dropped):
        desk.sign(job)
        lines += 1
        if lines % 10 == 0:
            desk.loop.turn()
        assert lines < 100 * MAX_BLOCKED
    assert desk.feed.is_refusing == must_record
    found = b""
    while part := desk.read():
        found += part
        desk.loop.turn()
        desk.feed.flush()
    assert found.count(b"\n") + desk.cells.dropped == lines
    assert all(map(json.loads, found.splitlines()))
    desk.close()


def test_the_newest_head_is_seen_by_all() -> None:
    cells = AuditCells(2)
    assert (cells.head, cells.seals) == ("", 0)
    cells.stands_at(bytes(range(32)))
    cells.stands_at(bytes(range(32, 64)))
    assert (cells.head, cells.seals) == (bytes(range(32, 64)).hex(), 2)


@pytest.mark.parametrize("is_full", [False, True])
def test_what_waits_at_the_end_is_written_or_counted(job: SignJob, *, is_full: bool) -> None:
    desk = Desk()
    filler = 0
    with suppress(BlockingIOError):
        while is_full:
            filler += os.write(desk.pipe, b"\n" * PIPE_BYTES)
    for _ in range(40):
        desk.sign(job)
    desk.auditor.close()
    written = desk.read().count(b"\n") - filler
    assert (written, desk.cells.dropped) == ((0, 40) if is_full else (40, 0))
    desk.close()
