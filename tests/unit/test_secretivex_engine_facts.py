"""Every fact of a request reaches the rules: the engine with real policies and real counts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from ssh_hosts import blob_of, certificate_of, login_data, path, session_of

from secretivex.context.bindings import UNBOUND, Bindings, bind
from secretivex.engine import ConfirmJob, Engine, Reply, SignJob
from secretivex.identity import Identity
from secretivex.key_table import build_entry, build_table
from secretivex.peer import Caller, Peer
from secretivex.policy import Charge, SigningPolicy
from secretivex.rule_tables import parse_policy
from secretivex.server.judging.rates import RateTable
from secretivex.server.judging.terms import judge_by, wants_callers
from secretivex.server.state import ServerLimits
from sshwire.agent.requests import SignRequest, encode_request
from sshwire.pubkey import fingerprint
from sshwire.wire import encode_mpint, encode_string, encode_text

KEY, OTHER = blob_of("key"), blob_of("other")
RSA = encode_text("ssh-rsa") + encode_mpint(65537) + encode_mpint(2**2047 + 1)
NOON_S = 1_795_608_000.0
SSHSIG = b"SSHSIG" + b"".join(map(encode_text, ("git", "", "sha512"))) + encode_string(b"h" * 64)
CERTIFIED = certificate_of("host", "ca", valid=(int(NOON_S), int(NOON_S) + 60))


class NoKey:
    def sign(self, data: bytes, flags: int = 0) -> bytes:
        raise NotImplementedError


@dataclass(frozen=True)
class Asked:
    """A request as it comes to the engine."""

    blob: bytes = KEY
    data: bytes = SSHSIG
    flags: int = 2
    now: float = NOON_S
    bindings: Bindings = field(default=UNBOUND)
    peer: Peer = field(
        default=Peer(1000, 100, 7, Caller("/usr/bin/ssh", ("/usr/bin/git", "/bin/bash"), 7))
    )


def parse(*tables: dict[str, Any]) -> SigningPolicy:
    policy, problems = parse_policy({"rules": tables})
    assert problems == ()
    return policy


def engine_of(policy: SigningPolicy, rates: RateTable | None = None) -> Engine:
    decide, terms = judge_by(policy, rates or RateTable(buckets=64), ServerLimits())
    entries = (
        build_entry(Identity(KEY, "ada@laptop", "ssh-ed25519", "file"), NoKey()),
        build_entry(Identity(OTHER, "ada@desk", "ssh-ed25519", "memory"), NoKey()),
        build_entry(Identity(RSA, "old", "ssh-rsa", "file"), NoKey()),
    )
    engine = Engine(decide)
    engine.replace(decide, build_table(1, entries), terms=terms)
    return engine


def ask(engine: Engine, asked: Asked = Asked()) -> Any:
    request = encode_request(SignRequest(asked.blob, asked.data, asked.flags))
    return engine.handle(request, asked.peer, asked.now, asked.bindings)


def line_of(blob: bytes) -> str:
    return blob.hex()


LOGIN = login_data(session_of(0), user="root")
HOSTED = login_data(session_of(9), host=CERTIFIED)
ROWS: dict[str, tuple[dict[str, Any], Asked, Asked]] = {
    "blob": ({"key_blobs": [line_of(KEY)]}, Asked(), Asked(blob=OTHER)),
    "sha256": ({"fingerprints": [fingerprint(KEY)]}, Asked(), Asked(blob=OTHER)),
    "sha512": ({"fingerprints": [fingerprint(KEY, "sha512")]}, Asked(), Asked(blob=OTHER)),
    "comment": ({"comments": ["*@LAPTOP"]}, Asked(), Asked(blob=OTHER)),
    "type": ({"key_types": ["ssh-rsa"]}, Asked(blob=RSA), Asked()),
    "store": ({"stores": ["memory"]}, Asked(blob=OTHER), Asked()),
    "uid": ({"uids": [1000]}, Asked(), Asked(peer=Peer(0, 100, 7))),
    "gid": ({"gids": [100]}, Asked(), Asked(peer=Peer(100, 1000, 7))),
    "executable": (
        {"executables": ["/usr/bin/ssh"]},
        Asked(),
        Asked(peer=Peer(1000, 100, 7, Caller("/bin/x", ()))),
    ),
    "executable, nobody looked": (
        {"executables": ["/bin/other"]},
        Asked(peer=Peer(1000, 100, 7)),
        Asked(),
    ),
    "ancestors": (
        {"ancestors": ["/usr/bin/git"]},
        Asked(),
        Asked(peer=Peer(1000, 100, 7, Caller("/usr/bin/ssh", ("/bin/bash",)))),
    ),
    "ancestors, unknown": (
        {"ancestors": ["/bin/other"]},
        Asked(peer=Peer(1000, 100, 7, Caller("/usr/bin/ssh", None))),
        Asked(),
    ),
    "forwarded": ({"forwarded": True}, Asked(bindings=path("a", arrived=False)), Asked()),
    "forwarded, bound for a login": (
        {"forwarded": False},
        Asked(bindings=path("a")),
        Asked(bindings=path("a", "b")),
    ),
    "forwarded, forged": (
        {"forwarded": True},
        Asked(bindings=bind(UNBOUND, b"junk").bindings),
        Asked(bindings=path("a")),
    ),
    "kind": ({"kinds": ["sshsig"]}, Asked(), Asked(data=LOGIN)),
    "namespace": ({"namespaces": ["g*"]}, Asked(), Asked(data=SSHSIG.replace(b"git", b"net"))),
    "user": ({"users": ["root"]}, Asked(data=LOGIN), Asked(data=login_data(session_of(0)))),
    "host, bound": (
        {"hosts": [line_of(blob_of("a"))]},
        Asked(data=LOGIN, bindings=path("a")),
        Asked(data=LOGIN, bindings=path("b")),
    ),
    "host, unbound": (
        {"hosts": [line_of(blob_of("a"))]},
        Asked(data=LOGIN),
        Asked(data=LOGIN, bindings=path("b")),
    ),
    "host, of another session": (
        {"hosts": [line_of(blob_of("a"))]},
        Asked(data=login_data(session_of(3)), bindings=path("b")),
        Asked(data=LOGIN, bindings=path("b")),
    ),
    "host, named by the data": (
        {"hosts": [line_of(blob_of("a"))]},
        Asked(data=login_data(session_of(9), host=blob_of("a"))),
        Asked(data=login_data(session_of(9), host=blob_of("b"))),
    ),
    "authority, before": (
        {"hosts": [line_of(blob_of("ca"))]},
        Asked(data=HOSTED),
        Asked(data=HOSTED, now=NOON_S - 1),
    ),
    "authority, after": (
        {"hosts": [line_of(blob_of("ca"))]},
        Asked(data=HOSTED, now=NOON_S + 59),
        Asked(data=HOSTED, now=NOON_S + 60),
    ),
    "algorithm": (
        {"algorithms": ["rsa-sha2-512"]},
        Asked(blob=RSA, flags=4),
        Asked(blob=RSA, flags=6),
    ),
    "algorithm without flags": (
        {"algorithms": ["rsa-sha2-256"]},
        Asked(blob=RSA, flags=0),
        Asked(blob=RSA, flags=4),
    ),
    "flags": ({"flags": [2]}, Asked(), Asked(flags=4)),
    "hours": ({"hours": "12:00-13:00"}, Asked(), Asked(now=NOON_S + 3600)),
}


@pytest.mark.parametrize("row", ROWS.values(), ids=[*ROWS])
def test_a_fact_of_a_request_decides(row: tuple[dict[str, Any], Asked, Asked]) -> None:
    table, fits, other = row
    denying = engine_of(parse({"effect": "deny", **table}))
    asking = engine_of(parse({"effect": "confirm", **table}))
    for _ in range(2):
        refused = ask(denying, fits)
        assert isinstance(refused, Reply)
        assert refused.outcome in ("policy_denied", "policy_undetermined")
        assert refused.rule == "rule 1"
        assert isinstance(ask(denying, other), SignJob)
        assert isinstance(ask(asking, fits), ConfirmJob)
        assert isinstance(ask(asking, other), SignJob)


def test_a_question_that_a_rule_wants_is_asked_once_a_request_and_of_known_callers() -> None:
    policy = parse({"effect": "confirm", "namespaces": ["git"]})
    engine = engine_of(policy)
    job = ask(engine)
    assert isinstance(job, ConfirmJob)
    assert job.rule == "rule 1"
    signing = engine.go_on(job, NOON_S)
    assert isinstance(signing, SignJob)
    assert engine.complete(signing, b"signature", NOON_S).outcome == "ok"
    _, terms = judge_by(policy, RateTable(buckets=64), ServerLimits())
    assert wants_callers(policy, terms), "people are told who asks"
    for table, is_wanted in (
        ({"effect": "deny", "comments": ["x"]}, False),
        ({"effect": "deny", "executables": ["/x"]}, True),
        ({"effect": "deny", "rate": {"over": 1, "per_s": 1, "each": "caller"}}, True),
        ({"effect": "deny", "rate": {"over": 1, "per_s": 1, "each": "key"}}, False),
    ):
        found = parse(table)
        _, terms = judge_by(found, RateTable(buckets=64), ServerLimits())
        assert wants_callers(found, terms) is is_wanted, table


def test_a_rule_that_asks_since_refuses_what_nobody_was_asked_about() -> None:
    engine = engine_of(SigningPolicy())
    job = ask(engine)
    assert isinstance(job, SignJob)
    entry = build_entry(Identity(KEY, "ada@laptop", "ssh-ed25519", "file"), NoKey())
    policy = parse({"effect": "confirm", "kinds": ["sshsig"]})
    decide, terms = judge_by(policy, RateTable(buckets=64), ServerLimits())
    engine.replace(decide, build_table(2, [entry]), terms=terms)
    assert engine.complete(job, b"signature", NOON_S).outcome == "not_confirmed"


LIMITED = {"effect": "allow", "rate": {"at_most": 2, "per_s": 60}}


def test_a_signature_is_counted_once_and_not_judged_by_its_own_count() -> None:
    rates = RateTable(buckets=64)
    engine = engine_of(parse(LIMITED), rates)
    jobs = [ask(engine) for _ in range(2)]
    assert [type(job) for job in jobs] == [SignJob, SignJob]
    refused = ask(engine)
    assert (refused.outcome, refused.rule) == ("policy_no_allow_matches", "")
    # The same rules again, after a reload: what was counted when it was allowed stays allowed.
    entry = build_entry(Identity(KEY, "ada@laptop", "ssh-ed25519", "file"), NoKey())
    decide, terms = judge_by(parse(LIMITED), rates, ServerLimits())
    engine.replace(decide, build_table(2, [entry]), terms=terms)
    assert [engine.complete(job, b"s", NOON_S).outcome for job in jobs] == ["ok", "ok"]
    assert ask(engine).outcome == "policy_no_allow_matches"


def test_a_question_counts_when_it_is_answered() -> None:
    engine = engine_of(parse(LIMITED, {"effect": "confirm"}))
    asked = [ask(engine) for _ in range(3)]
    assert [type(one) for one in asked] == [ConfirmJob] * 3
    assert isinstance(engine.go_on(asked[0], NOON_S, "confirm_denied"), Reply)
    answers = [engine.go_on(one, NOON_S) for one in asked]
    assert [type(one) for one in answers] == [SignJob, SignJob, Reply]


class Contended(RateTable):
    """Other processes take the last room of a count between looking and charging."""

    def __init__(self, times: int) -> None:
        super().__init__(buckets=64)
        self._times = times

    def charge(self, charges: tuple[Charge, ...]) -> bool:
        self._times -= 1
        return self._times < 0 and super().charge(charges)


@pytest.mark.parametrize(("times", "is_signed"), [(1, True), (3, True), (4, False)])
def test_a_count_that_others_fill_meanwhile_is_looked_at_again(times: int, is_signed: bool) -> None:
    answer = ask(engine_of(parse(LIMITED), Contended(times)))
    assert isinstance(answer, SignJob) is is_signed
    if not is_signed:
        assert answer.outcome == "policy_rate_contended"


def test_every_rule_user_and_program_has_counts_of_its_own() -> None:
    peers = [
        Peer(1000, 100, 7, Caller("/usr/bin/ssh", ())),
        Peer(1000, 100, 8, Caller("/usr/bin/scp", ())),
        Peer(0, 100, 9, Caller("/usr/bin/ssh", ())),
    ]
    rate = {"at_most": 1, "per_s": 60, "each": "caller"}
    engine = engine_of(parse({"effect": "allow", "rate": rate}))
    signed = [isinstance(ask(engine, Asked(peer=peer)), SignJob) for peer in peers * 2]
    assert signed == [True] * 3 + [False] * 3
    tables = [
        {**LIMITED, "name": "git", "namespaces": ["git"]},
        {**LIMITED, "name": "logins", "kinds": ["userauth"]},
    ]
    engine = engine_of(parse(*tables))
    both = [isinstance(ask(engine, Asked(data=data)), SignJob) for data in (SSHSIG, LOGIN) * 3]
    assert both == [True] * 4 + [False] * 2
