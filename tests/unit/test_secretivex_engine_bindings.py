"""Session binds and destination constraints as the engine answers them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ssh_hosts import bind_body, blob_of, key_of, login_data, path, session_of, step

from secretivex.context.bindings import UNBOUND, Bindings, bind
from secretivex.engine import Change, ConfirmJob, Engine, Reply, SignJob
from secretivex.identity import Identity
from secretivex.key_table import KeyTable, build_entry, build_table
from secretivex.peer import Peer
from secretivex.policy import Decision, SignQuery
from sshwire.agent.constraints import SK_PROVIDER, ConstraintExtension, Constraints
from sshwire.agent.destinations import SESSION_BIND, Destination
from sshwire.agent.replies import IdentitiesAnswer, parse_reply
from sshwire.agent.requests import (
    AddRequest,
    AddSmartcardRequest,
    ExtensionRequest,
    ListRequest,
    LockRequest,
    RemoveAllRequest,
    RemoveRequest,
    RemoveSmartcardRequest,
    Request,
    SignRequest,
    UnlockRequest,
    encode_request,
)
from sshwire.privkey import encode_private_fields
from sshwire.wire import Reader, encode_text

Answer = Reply | SignJob | ConfirmJob | Change
ME = Peer(uid=1000, gid=1000)
SUCCESS, EXTENSION_FAILURE = b"\0\0\0\x01\x06", b"\0\0\0\x01\x1c"
FAILED = bind(UNBOUND, b"junk").bindings
TO_A = (step("", "a"),)


def allow(_query: SignQuery) -> Decision:
    return Decision(allowed=True, rule="", reason="no_rules")


def table_of(destinations: tuple[Destination, ...] = TO_A, generation: int = 1) -> KeyTable:
    """A key that goes everywhere, and one that goes where it is told."""
    return build_table(
        generation,
        [
            build_entry(Identity(blob_of("free"), "free", "ssh-ed25519", "file"), key_of("free")),
            build_entry(
                Identity(blob_of("key"), "key", "ssh-ed25519", "memory"),
                key_of("key"),
                destinations=destinations,
            ),
        ],
    )


@pytest.fixture
def engine() -> Engine:
    return Engine(allow, table_of())


def ask(engine: Engine, request: Request, bindings: Bindings = UNBOUND) -> Answer:
    return engine.handle(encode_request(request), ME, 0.0, bindings)


def comments(engine: Engine, bindings: Bindings) -> list[str]:
    reply = ask(engine, ListRequest(), bindings)
    assert isinstance(reply, Reply)
    answer = parse_reply(reply.frame[4:])
    assert isinstance(answer, IdentitiesAnswer)
    return [identity.comment for identity in answer.identities]


def outcome_of(answer: Answer) -> str:
    return answer.outcome if isinstance(answer, Reply) else type(answer).__name__


def add_of(name: str) -> AddRequest:
    reader = Reader(encode_private_fields(key_of(name)))
    return AddRequest(reader.text(), reader.rest(), name)


def sign_of(name: str, bindings: Bindings) -> SignRequest:
    last = bindings.hops[-1]
    return SignRequest(blob_of(name), login_data(last.session_id, name, host=last.host_key))


def test_a_good_bind_is_a_success_with_the_state_to_keep(engine: Engine) -> None:
    answer = ask(engine, ExtensionRequest(SESSION_BIND, bind_body("a", session_of(0))))
    assert answer == Reply(SUCCESS, "ok", path("a"))


def test_a_bad_bind_is_an_extension_failure_and_an_attempt(engine: Engine) -> None:
    answer = ask(engine, ExtensionRequest(SESSION_BIND, b"junk"))
    assert answer == Reply(EXTENSION_FAILURE, "bind_malformed", FAILED)


@pytest.mark.parametrize(
    ("bindings", "expected"),
    [
        (UNBOUND, ["free", "key"]),
        (path("a"), ["free", "key"]),
        (path("b"), ["free"]),
        (path("a", arrived=False), ["free"]),
        (FAILED, ["free"]),
    ],
)
def test_a_list_holds_what_the_connection_may_see(
    engine: Engine, bindings: Bindings, expected: list[str]
) -> None:
    assert comments(engine, bindings) == expected


def test_without_constraints_every_connection_gets_the_one_list(engine: Engine) -> None:
    engine.replace(allow, table_of(()))
    assert comments(engine, path("b")) == comments(engine, FAILED) == ["free", "key"]


def test_a_signature_is_made_for_the_bound_host_only(engine: Engine) -> None:
    assert isinstance(ask(engine, sign_of("key", path("a")), path("a")), SignJob)
    refused = ask(engine, sign_of("key", path("b")), path("b"))
    assert outcome_of(refused) == "destination_not_permitted"
    assert outcome_of(ask(engine, sign_of("key", path("a")))) == "destination_unbound"
    assert isinstance(ask(engine, sign_of("free", path("b")), path("b")), SignJob)


def test_a_constraint_that_came_meanwhile_holds_for_a_signature_in_hand(engine: Engine) -> None:
    engine.replace(allow, table_of((step("", "b"),), generation=2))
    job = ask(engine, sign_of("key", path("b")), path("b"))
    assert isinstance(job, SignJob)
    made = job.entry.key.sign(job.data)
    assert engine.complete(job, made, 0.0).outcome == "ok"
    engine.replace(allow, table_of(generation=3))
    assert engine.complete(job, made, 0.0).outcome == "destination_not_permitted"


LOCAL_ONLY = [
    add_of("new"),
    RemoveRequest(blob_of("free")),
    RemoveAllRequest(),
    LockRequest(b"secret"),
    UnlockRequest(b"secret"),
    AddSmartcardRequest("/lib/p11.so", b""),
    RemoveSmartcardRequest("/lib/p11.so", b""),
]


@pytest.mark.parametrize("request_", LOCAL_ONLY)
@pytest.mark.parametrize("bindings", [FAILED, path("a", arrived=False), path("a", "b")])
@pytest.mark.parametrize("is_locked", [False, True])
def test_a_remote_connection_changes_nothing(
    engine: Engine, request_: Request, bindings: Bindings, *, is_locked: bool
) -> None:
    engine.replace(allow, table_of(), is_locked=is_locked)
    assert outcome_of(ask(engine, request_, bindings)) == "remote_connection"


def test_a_connection_bound_for_a_login_changes_the_keys_it_sees(engine: Engine) -> None:
    for request in (add_of("key"), RemoveRequest(blob_of("key"))):
        assert isinstance(ask(engine, request, path("a")), Change)
        assert outcome_of(ask(engine, request, path("b"))) == "destination_not_permitted"
    for other in (add_of("new"), RemoveRequest(blob_of("free")), RemoveAllRequest()):
        assert isinstance(ask(engine, other, path("b")), Change)


@pytest.mark.parametrize(
    ("provider", "expected"), [("/usr/lib/sk.so", "remote_connection"), ("internal", "Change")]
)
def test_no_library_is_loaded_for_a_connection_that_was_ever_bound(
    engine: Engine, provider: str, expected: str
) -> None:
    extension = ConstraintExtension(SK_PROVIDER, encode_text(provider))
    add = replace(add_of("new"), constraints=Constraints(extensions=(extension,)))
    assert outcome_of(ask(engine, add, path("a"))) == expected
    assert isinstance(ask(engine, add), Change)
    module = AddSmartcardRequest("/lib/p11.so", b"")
    assert outcome_of(ask(engine, module, path("a"))) == "remote_connection"


def test_a_locked_agent_still_remembers_where_a_connection_comes_from(engine: Engine) -> None:
    engine.replace(allow, table_of(), is_locked=True)
    body = bind_body("a", session_of(0), forwarding=True)
    answer = ask(engine, ExtensionRequest(SESSION_BIND, body))
    assert isinstance(answer, Reply)
    assert answer.bindings is not None
    engine.replace(allow, table_of())
    assert outcome_of(ask(engine, LockRequest(b"x"), answer.bindings)) == "remote_connection"


def test_all_keys_may_be_removed_by_whoever_is_not_remote(engine: Engine) -> None:
    for bindings in (UNBOUND, path("b")):
        assert isinstance(ask(engine, RemoveAllRequest(), bindings), Change)
