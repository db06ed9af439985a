"""Which requests share a person's answer: those that the person could not tell apart."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from ssh_hosts import blob_of, login_data, path, session_of

from secretivex.context.bindings import UNBOUND, bind
from secretivex.engine import SignJob
from secretivex.identity import Identity
from secretivex.key_table import build_entry
from secretivex.peer import Caller, Peer
from secretivex.server.confirm.asked import Asked, encode_asked, key_of, parse_asked
from secretivex.stores.token.askpass import Question
from sshwire.wire import encode_string, encode_text


class NoKey:
    def sign(self, data: bytes, flags: int = 0) -> bytes:
        raise NotImplementedError


def entry_of(name: str) -> Any:
    return build_entry(Identity(blob_of(name), name, "ssh-ed25519", "file"), NoKey())


def sshsig(namespace: str, message: bytes = b"h" * 64) -> bytes:
    texts = b"".join(map(encode_text, (namespace, "", "sha512")))
    return b"SSHSIG" + texts + encode_string(message)


def to(host: str, user: str = "ada", number: int = 0) -> bytes:
    return login_data(session_of(number), user=user, host=blob_of(host))


CALLER = Caller("/usr/bin/ssh", ("/bin/bash",), 77)
PEER = Peer(1000, 100, 7, CALLER)
LOGIN = SignJob(entry_of("key"), to("host"), 0, PEER, 1)


@pytest.mark.parametrize(
    "alike",
    [
        LOGIN._replace(data=to("host", number=1)),
        LOGIN._replace(generation=9, rule="another", is_confirmed=True),
        LOGIN._replace(peer=replace(PEER, pid=8)),
        LOGIN._replace(peer=replace(PEER, gid=8)),
        LOGIN._replace(peer=replace(PEER, caller=replace(CALLER, ancestors=None))),
    ],
)
def test_one_answer_serves_a_fan_out(alike: SignJob) -> None:
    assert key_of(alike) == key_of(LOGIN) != ""


@pytest.mark.parametrize(
    "other",
    [
        LOGIN._replace(entry=entry_of("other")),
        LOGIN._replace(flags=4),
        LOGIN._replace(peer=replace(PEER, uid=0)),
        LOGIN._replace(peer=replace(PEER, caller=replace(CALLER, executable="/usr/bin/scp"))),
        LOGIN._replace(peer=replace(PEER, caller=replace(CALLER, session=78))),
        LOGIN._replace(data=to("elsewhere")),
        LOGIN._replace(data=to("host", "root")),
        LOGIN._replace(data=sshsig("git")),
        LOGIN._replace(bindings=bind(UNBOUND, b"junk").bindings),
        LOGIN._replace(bindings=path("host", arrived=False)),
        LOGIN._replace(bindings=path("host")),
        LOGIN._replace(data=to("host", number=1), bindings=path("jump", "host")),
    ],
)
def test_an_answer_serves_nothing_that_differs(other: SignJob) -> None:
    assert key_of(other) not in ("", key_of(LOGIN))


def test_namespaces_kinds_and_the_ways_to_a_host_are_told_apart() -> None:
    dsse = b"DSSEv1 3 git 2 hi"
    ways = [path("a", "c", arrived=False), path("b", "c", arrived=False)]
    jobs = [
        LOGIN._replace(data=sshsig("git")),
        LOGIN._replace(data=sshsig("file")),
        LOGIN._replace(data=dsse),
        *(LOGIN._replace(data=sshsig("git"), bindings=way) for way in ways),
    ]
    assert len({*map(key_of, jobs)}) == len(jobs)
    assert key_of(jobs[0]) == key_of(LOGIN._replace(data=sshsig("git", b"another")))


@pytest.mark.parametrize(
    "unknown",
    [
        LOGIN._replace(data=b"data"),
        LOGIN._replace(data=login_data(session_of(0))),
        LOGIN._replace(peer=Peer(1000, 100, 7)),
        LOGIN._replace(peer=replace(PEER, caller=replace(CALLER, executable=""))),
        LOGIN._replace(peer=replace(PEER, caller=replace(CALLER, session=None))),
        LOGIN._replace(entry=replace(LOGIN.entry, asks_each_time=True)),
    ],
)
def test_what_cannot_be_told_shares_with_nobody(unknown: SignJob) -> None:
    assert key_of(unknown) == ""


def test_a_question_arrives_as_it_was_sent() -> None:
    asked = Asked(Question("a\nb ☃", {"NAME": "value"}), key_of(LOGIN), "7.1")
    assert parse_asked(encode_asked(asked)) == asked
