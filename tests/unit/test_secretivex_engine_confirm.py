"""Keys that a person must confirm: nothing signs before, and all is decided again after."""

from __future__ import annotations

from secretivex.engine import ConfirmJob, Engine, Reply, SignJob
from secretivex.identity import Identity
from secretivex.key_table import KeyTable, build_entry, build_table
from secretivex.peer import Peer
from secretivex.policy import Decision, SignQuery
from sshwire.agent.requests import SignRequest, encode_request
from sshwire.wire import encode_string, encode_text

ME = Peer(uid=1000, gid=1000, pid=7)
BLOB = encode_text("ssh-ed25519") + encode_string(bytes(32))


class NoKey:
    def sign(self, data: bytes, flags: int = 0) -> bytes:
        raise NotImplementedError


def allow(_query: SignQuery) -> Decision:
    return Decision(allowed=True, rule="", reason="no_rules")


def deny(_query: SignQuery) -> Decision:
    return Decision(allowed=False, rule="deny_comments", reason="denied")


def table_of(*, must_confirm: bool = True, generation: int = 1) -> KeyTable:
    identity = Identity(BLOB, "key", "ssh-ed25519", "memory")
    return build_table(generation, [build_entry(identity, NoKey(), must_confirm=must_confirm)])


def begin(engine: Engine, flags: int = 0) -> Reply | ConfirmJob:
    answer = engine.handle(encode_request(SignRequest(BLOB, b"data", flags)), ME, 0.0)
    assert isinstance(answer, Reply | ConfirmJob)
    return answer


def job_of(engine: Engine) -> ConfirmJob:
    job = begin(engine)
    assert isinstance(job, ConfirmJob)
    return job


def word_of(answer: object) -> str:
    assert isinstance(answer, Reply)
    return answer.outcome


def confirmed(engine: Engine) -> SignJob:
    job = engine.go_on(job_of(engine), 0.0)
    assert isinstance(job, SignJob)
    return job


def test_a_confirmed_request_signs_and_is_not_asked_about_again_on_completion() -> None:
    engine = Engine(allow, table_of())
    job = confirmed(engine)
    assert engine.complete(job, b"signature", 0.0).outcome == "ok"
    engine.replace(allow, table_of(generation=2))
    assert engine.complete(job, b"signature", 0.0).outcome == "ok"


def test_every_request_is_asked_about() -> None:
    engine = Engine(allow, table_of())
    confirmed(engine)
    assert isinstance(begin(engine), ConfirmJob)


def test_a_refusal_is_the_reply() -> None:
    engine = Engine(allow, table_of())
    assert word_of(engine.go_on(job_of(engine), 0.0, "confirm_denied")) == "confirm_denied"


def test_nobody_is_asked_about_what_is_refused_anyway() -> None:
    assert word_of(begin(Engine(deny, table_of()))) == "policy_denied"
    assert word_of(begin(Engine(allow, table_of()), flags=8)) == "unsupported_flags"
    engine = Engine(allow, table_of())
    engine.replace(allow, table_of(), is_locked=True)
    assert word_of(begin(engine)) == "locked"


def test_a_lock_a_removal_and_a_new_denial_outweigh_the_person() -> None:
    for decide, table, is_locked, word in (
        (allow, table_of(generation=2), True, "locked"),
        (allow, build_table(2, ()), False, "key_gone"),
        (deny, table_of(generation=2), False, "policy_denied"),
    ):
        engine = Engine(allow, table_of())
        waiting, signing = job_of(engine), confirmed(engine)
        engine.replace(decide, table, is_locked=is_locked)
        assert word_of(engine.go_on(waiting, 0.0)) == word
        assert engine.complete(signing, b"signature", 0.0).outcome == word


def test_a_key_that_must_be_confirmed_since_signs_for_nobody_who_was_not_asked() -> None:
    engine = Engine(allow, table_of(must_confirm=False))
    job = engine.handle(encode_request(SignRequest(BLOB, b"data", 0)), ME, 0.0)
    assert isinstance(job, SignJob)
    engine.replace(allow, table_of(generation=2))
    assert engine.complete(job, b"signature", 0.0).outcome == "not_confirmed"
