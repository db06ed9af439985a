"""The engine as a function: every request one reply, every refusal its word."""

from __future__ import annotations

import pytest

from secretivex.engine import Change, ConfirmJob, Engine, Reply, SignJob, Terms
from secretivex.identity import Identity
from secretivex.key_table import KeyTable, build_entry, build_table
from secretivex.peer import Peer, is_admitted
from secretivex.policy import Decision, SignQuery
from sshwire.agent.numbers import MAX_FRAME_BYTES, MAX_IDENTITIES
from sshwire.agent.replies import IdentitiesAnswer, SignResponse, parse_reply
from sshwire.agent.requests import (
    AddRequest,
    ListRequest,
    LockRequest,
    RemoveAllRequest,
    RemoveRequest,
    Request,
    SignRequest,
    UnlockRequest,
    encode_request,
)
from sshwire.wire import encode_string, encode_text

ME = Peer(uid=1000, gid=1000, pid=7)
SUCCESS = b"\0\0\0\x01\x06"
FAILURE = b"\0\0\0\x01\x05"


class EchoKey:
    """Signs by repeating what it was given."""

    def sign(self, data: bytes, flags: int = 0) -> bytes:
        return data + bytes([flags])


def blob_of(number: int) -> bytes:
    return encode_text("ssh-ed25519") + encode_string(number.to_bytes(32, "big"))


def table_of(*comments: str, generation: int = 1) -> KeyTable:
    identities = [
        Identity(blob_of(n), text, "ssh-ed25519", "file") for n, text in _number(comments)
    ]
    return build_table(generation, (build_entry(identity, EchoKey()) for identity in identities))


def _number(comments: tuple[str, ...]) -> list[tuple[int, str]]:
    return list(enumerate(comments, start=1))


def allow(_query: SignQuery) -> Decision:
    return Decision(allowed=True, rule="", reason="no_rules")


def deny(_query: SignQuery) -> Decision:
    return Decision(allowed=False, rule="deny_comments", reason="denied")


def ask(engine: Engine, payload: bytes) -> Reply | SignJob | ConfirmJob | Change:
    return engine.handle(payload, ME, 0.0)


def sign_payload(number: int = 1, data: bytes = b"data", flags: int = 0) -> bytes:
    return encode_request(SignRequest(blob_of(number), data, flags))


def start_job(engine: Engine, payload: bytes | None = None) -> SignJob:
    job = ask(engine, payload or sign_payload())
    assert isinstance(job, SignJob)
    return job


def test_a_list_has_the_keys_in_the_order_of_the_table() -> None:
    reply = ask(Engine(allow, table_of("b", "a")), encode_request(ListRequest()))
    assert isinstance(reply, Reply)
    answer = parse_reply(reply.frame[4:])
    assert isinstance(answer, IdentitiesAnswer)
    assert [identity.comment for identity in answer.identities] == ["b", "a"]


def test_a_signature_is_made_by_the_key_that_was_named_with_its_flags() -> None:
    engine = Engine(allow, table_of("a", "b"))
    job = start_job(engine, sign_payload(2, b"data", 4))
    assert job.entry.identity.comment == "b"
    reply = engine.complete(job, job.entry.key.sign(job.data, job.flags), 0.0)
    assert parse_reply(reply.frame[4:]) == SignResponse(b"data\x04")
    assert reply.outcome == "ok"


@pytest.mark.parametrize(
    ("payload", "outcome"),
    [
        (b"", "malformed"),
        (b"\x0d\0\0\0\xff", "malformed"),
        (b"\xc8", "unknown_message"),
        (sign_payload(9), "key_not_found"),
        (sign_payload(flags=1), "unsupported_flags"),
        (sign_payload(flags=8), "unsupported_flags"),
        (b"\x1b" + encode_text("unheard@of"), "unsupported_extension"),
        (b"\x16" + encode_text(""), "empty_passphrase"),
        (b"\x16" + encode_text("x" * 4097), "passphrase_too_long"),
        (b"\x17" + encode_text("lock"), "not_locked"),
    ],
)
def test_what_cannot_be_served_is_one_failure_frame_with_a_word(
    payload: bytes, outcome: str
) -> None:
    assert ask(Engine(allow, table_of("a")), payload) == Reply(FAILURE, outcome)


def test_policy_refuses_before_anything_is_signed() -> None:
    reply = ask(Engine(deny, table_of("a")), sign_payload())
    assert reply == Reply(FAILURE, "policy_denied", rule="deny_comments")


def test_policy_is_asked_about_the_caller_and_the_key() -> None:
    asked: list[SignQuery] = []

    def remember(query: SignQuery) -> Decision:
        asked.append(query)
        return allow(query)

    ask(Engine(remember, table_of("a")), sign_payload())
    (query,) = asked
    assert (query.comment, query.store, query.peer_uid) == ("a", "file", 1000)
    assert query.key_blob == blob_of(1)
    assert query.fingerprint_sha256 is not None
    assert query.fingerprint_sha256.startswith("SHA256:")


def test_a_signature_that_failed_is_a_failure_with_its_reason() -> None:
    engine = Engine(allow, table_of("a"))
    job = start_job(engine)
    assert engine.complete(job, "sign_timeout", 0.0).outcome == "sign_timeout"


def test_a_key_removed_meanwhile_does_not_sign() -> None:
    engine = Engine(allow, table_of("a"))
    job = start_job(engine)
    engine.replace(allow, table_of(generation=2))
    assert engine.complete(job, b"sig", 0.0) == Reply(FAILURE, "key_gone")


def test_a_key_denied_meanwhile_does_not_sign() -> None:
    engine = Engine(allow, table_of("a"))
    job = start_job(engine)
    engine.replace(deny, table_of("a", generation=2))
    assert engine.complete(job, b"sig", 0.0).outcome == "policy_denied"


def test_a_list_is_cut_to_what_openssh_takes_and_the_rest_still_signs() -> None:
    many = table_of(*(f"key {number}" for number in range(MAX_IDENTITIES + 5)))
    assert many.listed == MAX_IDENTITIES
    assert many.find(blob_of(MAX_IDENTITIES + 5)) is not None


def test_a_list_never_outgrows_a_frame() -> None:
    long = table_of(*("x" * 100_000 for _ in range(4)))
    assert long.listed == 2
    assert len(long.list_frame) <= 4 + MAX_FRAME_BYTES


def test_only_the_owner_and_root_are_admitted() -> None:
    assert is_admitted(ME, 1000)
    assert is_admitted(Peer(0, 0), 1000)
    assert not is_admitted(Peer(1001, 1000), 1000)


ADD = AddRequest("ssh-ed25519", encode_string(bytes(32)) + encode_string(bytes(64)), "new")


@pytest.mark.parametrize(
    "request_",
    [ADD, RemoveRequest(blob_of(9)), RemoveAllRequest(), LockRequest(b"secret")],
)
def test_a_change_is_left_to_the_authority_and_answered_by_its_outcome(
    request_: AddRequest | RemoveRequest | RemoveAllRequest | LockRequest,
) -> None:
    engine = Engine(allow, table_of("a"))
    assert ask(engine, encode_request(request_)) == Change(request_)
    assert engine.settle("ok") == Reply(SUCCESS, "ok")
    assert engine.settle("key_not_found") == Reply(FAILURE, "key_not_found")


def test_query_names_itself_in_the_form_of_the_rfc() -> None:
    reply = ask(Engine(allow, table_of("a")), b"\x1b" + encode_text("query"))
    assert isinstance(reply, Reply)
    assert reply.frame[4:] == b"\x1d" + encode_text("query") * 2 + encode_text(
        "session-bind@openssh.com"
    )


def test_query_is_answered_in_the_form_of_the_drafts_where_that_is_set() -> None:
    engine = Engine(allow, table_of("a"))
    engine.replace(allow, table_of("a"), terms=Terms(query_reply="draft"))
    reply = ask(engine, b"\x1b" + encode_text("query"))
    assert isinstance(reply, Reply)
    names = encode_text("query") + encode_text("session-bind@openssh.com")
    assert reply.frame[4:] == b"\x06" + names


def locked_engine() -> Engine:
    engine = Engine(allow)
    engine.replace(allow, table_of("a"), is_locked=True)
    return engine


def test_a_locked_agent_lists_nothing_and_takes_an_attempt_to_unlock() -> None:
    reply = ask(locked_engine(), encode_request(ListRequest()))
    assert isinstance(reply, Reply)
    assert reply.frame == b"\0\0\0\x05\x0c\0\0\0\0"
    assert isinstance(ask(locked_engine(), encode_request(UnlockRequest(b"secret"))), Change)


@pytest.mark.parametrize(
    "request_",
    [ADD, RemoveRequest(blob_of(1)), RemoveAllRequest(), LockRequest(b"secret")],
)
def test_a_locked_agent_does_nothing_else(request_: Request) -> None:
    assert ask(locked_engine(), encode_request(request_)) == Reply(FAILURE, "locked")
    assert ask(locked_engine(), sign_payload()) == Reply(FAILURE, "locked")


def test_a_signature_that_a_lock_overtook_is_not_given_out() -> None:
    engine = Engine(allow, table_of("a"))
    job = start_job(engine)
    engine.replace(allow, table_of("a", generation=2), is_locked=True)
    assert engine.complete(job, b"sig", 0.0) == Reply(FAILURE, "locked")
