"""With `hide_denied`: a list shows what could be signed with, and hides what never could."""

from __future__ import annotations

from typing import Any

import pytest
from ssh_hosts import blob_of, login_data, session_of

from secretivex.context.bindings import UNBOUND, bind
from secretivex.context.signed_data import DataKind
from secretivex.engine import Change, Engine, Reply, SignJob
from secretivex.identity import Identity
from secretivex.key_table import TableEntry, build_entry, build_table
from secretivex.peer import Caller, Peer
from secretivex.policy import Decision, SignQuery
from secretivex.rule_tables import parse_policy
from secretivex.server.judging.rates import RateTable
from secretivex.server.judging.terms import judge_by
from secretivex.server.state import ServerLimits
from sshwire.agent.replies import IdentitiesAnswer, parse_reply
from sshwire.agent.requests import (
    ListRequest,
    RemoveRequest,
    SignRequest,
    encode_request,
)
from sshwire.wire import encode_mpint, encode_text

ED25519 = blob_of("key")
RSA = encode_text("ssh-rsa") + encode_mpint(65537) + encode_mpint(2**2047 + 1)
SSH = Peer(1000, 1000, 7, Caller("/usr/bin/ssh", ("/bin/bash",), 7))
NOON_S = 1_795_608_000.0
KINDS = [kind.value for kind in DataKind]


class NoKey:
    def sign(self, data: bytes, flags: int = 0) -> bytes:
        raise NotImplementedError


def entries() -> tuple[TableEntry, ...]:
    return (
        build_entry(Identity(ED25519, "ed", "ssh-ed25519", "file"), NoKey()),
        build_entry(Identity(RSA, "rsa", "ssh-rsa", "file"), NoKey()),
    )


def engine_of(*tables: dict[str, Any], hides: bool = True) -> Engine:
    policy, problems = parse_policy({"rules": tables})
    assert problems == ()
    decide, terms = judge_by(policy, RateTable(buckets=64), ServerLimits(hide_denied=hides))
    engine = Engine(decide)
    engine.replace(decide, build_table(1, entries()), terms=terms)
    return engine


def listed(engine: Engine, peer: Peer = SSH, now: float = NOON_S, bindings: Any = UNBOUND) -> str:
    reply = engine.handle(encode_request(ListRequest()), peer, now, bindings)
    assert isinstance(reply, Reply)
    answer = parse_reply(reply.frame[4:])
    assert isinstance(answer, IdentitiesAnswer)
    return " ".join(one.comment for one in answer.identities)


DENY, ALLOW, PIN = {"effect": "deny"}, {"effect": "allow"}, {"effect": "pin"}


@pytest.mark.parametrize(
    ("tables", "shown"),
    [
        ((DENY,), ""),
        (({**DENY, "comments": ["ed"]},), "rsa"),
        (({**DENY, "uids": [1000]},), ""),
        (({**DENY, "uids": [0]},), "ed rsa"),
        (({**DENY, "executables": ["/usr/bin/ssh"], "key_types": ["ssh-rsa"]},), "ed"),
        (({**DENY, "hours": "11:00-13:00"},), ""),
        (({**DENY, "hours": "13:00-14:00"},), "ed rsa"),
        (({**DENY, "forwarded": True},), "ed rsa"),
        (({**DENY, "forwarded": False},), ""),
        (({**DENY, "algorithms": ["ssh-ed25519"]},), "rsa"),
        (({**DENY, "algorithms": ["rsa-sha2-256"]},), "ed rsa"),
        (({**DENY, "algorithms": ["rsa-*"]},), "ed"),
        (({**DENY, "flags": [0, 2, 6]},), "ed rsa"),
        (({**DENY, "flags": [0, 2, 4, 6]},), ""),
        (({**DENY, "flags": [4], "algorithms": ["rsa-*"]}, {**ALLOW, "flags": [4]}), "ed"),
        (({**ALLOW, "algorithms": ["rsa-sha2-512"]},), "rsa"),
        (({**PIN, "algorithms": ["ssh-ed25519"]},), "ed"),
        (({**DENY, "kinds": ["userauth"]},), "ed rsa"),
        (({**DENY, "kinds": KINDS},), ""),
        (({**DENY, "kinds": KINDS[:3]}, {**DENY, "kinds": KINDS[3:]}), ""),
        (({**DENY, "kinds": KINDS[1:]}, {**DENY, "users": ["root"]}), "ed rsa"),
        (({**DENY, "kinds": KINDS[1:]}, {**DENY, "users": ["*"]}), ""),
        (({**DENY, "kinds": KINDS[1:]}, {**DENY, "hosts": [ED25519.hex()]}), "ed rsa"),
        (({**ALLOW, "kinds": ["sshsig"]}, {**PIN, "kinds": ["userauth"]}), ""),
        (({**ALLOW, "kinds": ["sshsig"]}, {**PIN, "namespaces": ["git"]}), "ed rsa"),
        (({**ALLOW, "hosts": [ED25519.hex()]}, {**PIN, "payload_types": ["*"]}), ""),
        (({**ALLOW, "hosts": [ED25519.hex()]}, {**PIN, "users": ["root"]}), "ed rsa"),
        (({**PIN, "comments": ["ed"]}, {**ALLOW, "comments": ["rsa"]}), ""),
        (({**ALLOW, "comments": ["rsa"], "rate": {"at_most": 1, "per_s": 9}},), "rsa"),
        (({**DENY, "comments": ["rsa"], "rate": {"over": 1, "per_s": 9}},), "ed rsa"),
        (({"effect": "confirm"},), "ed rsa"),
    ],
)
def test_a_key_is_listed_if_anything_could_be_signed_with_it(
    tables: tuple[dict[str, Any], ...], shown: str
) -> None:
    assert listed(engine_of(*tables)) == shown
    assert listed(engine_of(*tables, hides=False)) == "ed rsa"


def test_what_is_not_known_of_a_caller_hides_as_it_refuses() -> None:
    unknown = Peer(1000, 1000, 7)
    denied = engine_of({**DENY, "executables": ["/usr/bin/git"], "comments": ["ed"]})
    assert (listed(denied), listed(denied, unknown)) == ("ed rsa", "rsa")
    allowed = engine_of({**ALLOW, "executables": ["/usr/bin/ssh"]})
    assert (listed(allowed), listed(allowed, unknown)) == ("ed rsa", "")


def test_a_list_is_of_this_moment_and_of_this_way() -> None:
    hours = engine_of({**DENY, "hours": "13:00-14:00", "comments": ["ed"]})
    assert [listed(hours, now=NOON_S + shift) for shift in (3599, 3600, 7200)] == [
        "ed rsa",
        "rsa",
        "ed rsa",
    ]
    remote = bind(UNBOUND, b"junk").bindings
    forwarded = engine_of({**DENY, "forwarded": True, "comments": ["ed"]})
    assert (listed(forwarded), listed(forwarded, bindings=remote)) == ("ed rsa", "rsa")


def test_a_hidden_key_looks_like_one_that_is_not_there() -> None:
    engine = engine_of({**DENY, "comments": ["ed"]})

    def answer(request: Any, *, hidden: bool) -> object:
        blob = ED25519 if hidden else blob_of("no such key")
        return engine.handle(encode_request(request(blob)), SSH, NOON_S)

    def sign(blob: bytes) -> SignRequest:
        return SignRequest(blob, b"data", 0)

    hidden, missing = answer(sign, hidden=True), answer(sign, hidden=False)
    assert isinstance(hidden, Reply)
    assert isinstance(missing, Reply)
    assert hidden.frame == missing.frame
    # Whoever is told that no such key can be removed learns as much as whoever lists.
    removal = answer(RemoveRequest, hidden=True)
    assert isinstance(removal, Reply)
    assert (removal.frame, removal.outcome) == (missing.frame, "key_hidden")
    for_root = engine.handle(encode_request(RemoveRequest(RSA)), SSH, NOON_S)
    assert isinstance(for_root, Change)
    shown = engine_of({**DENY, "comments": ["ed"]}, hides=False)
    assert isinstance(shown.handle(encode_request(RemoveRequest(ED25519)), SSH, NOON_S), Change)


def begin(engine: Engine, now: float) -> SignJob:
    request = SignRequest(ED25519, login_data(session_of(0)), 0)
    job = engine.handle(encode_request(request), SSH, now)
    assert isinstance(job, SignJob)
    return job


def test_what_the_hour_denies_by_now_is_not_handed_out() -> None:
    engine = engine_of({**DENY, "not_before": "2026-11-25T12:00:10Z"})
    job = begin(engine, NOON_S + 9)
    assert engine.complete(job, b"signature", NOON_S + 9).outcome == "ok"
    late = engine.complete(job, b"signature", NOON_S + 10)
    assert (late.outcome, late.rule) == ("policy_denied", "rule 1")
    asking = engine_of({"effect": "confirm", "not_before": "2026-11-25T12:00:10Z"})
    job = begin(asking, NOON_S + 9)
    assert asking.complete(job, b"signature", NOON_S + 10).outcome == "not_confirmed"
    counting = {**ALLOW, "hours": "00:00-24:00", "rate": {"at_most": 1, "per_s": 9}}
    counted = engine_of(counting)
    assert counted.complete(begin(counted, NOON_S), b"signature", NOON_S).outcome == "ok"


def test_what_expired_meanwhile_is_not_handed_out() -> None:
    def allow(_query: SignQuery) -> Decision:
        return Decision(allowed=True, rule="", reason="no_rules")

    engine = Engine(allow, build_table(1, entries()))
    first = begin(engine, NOON_S)
    engine.narrow(build_table(1, entries()[:1]))
    assert engine.complete(first, b"signature", NOON_S).outcome == "ok"
    second = begin(engine, NOON_S)
    engine.narrow(build_table(1, entries()[1:]))
    assert engine.complete(second, b"signature", NOON_S).outcome == "key_gone"
    assert engine.complete(first, b"signature", NOON_S).outcome == "key_gone"
