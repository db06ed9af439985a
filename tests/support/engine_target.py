"""The engine as fuzzers see it: one input is one request in one of some situations.

An input is a byte that chooses the situation and then the payload of a frame. Whatever the payload,
the answer must be one frame, a signature to make or a change to ask for; a change must survive its
way to the supervisor, and a key that was added its way back to every worker.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path

from ssh_hosts import blob_of, key_of, path, step

from secretivex.context.bindings import UNBOUND, Bindings, bind
from secretivex.engine import Change, ConfirmJob, Engine, Reply, SignJob
from secretivex.identity import AddRules, Identity
from secretivex.key_table import build_entry, build_table
from secretivex.peer import Peer
from secretivex.policy import decide
from secretivex.policy_keys import parse_flat_policy
from secretivex.server.client_keys import ClientKeys
from secretivex.server.making import sign
from secretivex.server.state import ServerLimits, WorkerState, encode_state, parse_state
from secretivex.server.worker.confirming import make_question
from secretivex.server.worker.tokens import TokenDesk, load_entries
from secretivex.stores.token.tools import TokenTools
from sshwire.agent.connection import FrameReader
from sshwire.agent.constraints import ASSOCIATED_CERTS, RESTRICT_DESTINATION, SK_PROVIDER
from sshwire.agent.destinations import SESSION_BIND
from sshwire.agent.numbers import MAX_FRAME_BYTES
from sshwire.agent.replies import Failure, IdentitiesAnswer, SignResponse, Success, parse_reply
from sshwire.agent.requests import AddRequest, encode_request, parse_request
from sshwire.algorithms import KEY_ALGORITHMS

TESTS = Path(__file__).resolve().parents[1]
CORPUS = TESTS / "fuzz" / "corpus" / "engine.txt"
VECTORS = TESTS / "conformance" / "vectors" / "agent"

WORDS = (
    *KEY_ALGORITHMS,
    *(SESSION_BIND, RESTRICT_DESTINATION, ASSOCIATED_CERTS, SK_PROVIDER),
    *("query", "internal", "ssh-connection", "publickey", "publickey-hostbound-v00@openssh.com"),
    *("nistp256", "nistp384", "nistp521", "rsa-sha2-256", "rsa-sha2-512", "ssh:"),
)
"""Names that decide how a payload is read."""

ME = Peer(1000, 1000, 1)
NOW_S = 1_800_000_000.0
LIST = b"\x0b"
KEYS = ("plain", "denied", "bound", "ssh-only", "confirm")

SITUATIONS: tuple[tuple[bool, Bindings], ...] = tuple(
    (is_locked, bindings)
    for is_locked in (False, True)
    for bindings in (
        UNBOUND,
        path("host"),
        path("host", "next", arrived=False),
        bind(UNBOUND, b"not a bind").bindings,
    )
)
"""Whether the agent is locked, and what the connection was bound to."""

_POLICY = parse_flat_policy({"deny_comments": ["denied"]})[0]


@cache
def engine_of(is_locked: bool) -> Engine:
    """An engine with one key of each kind of restriction."""
    entries = [
        build_entry(
            Identity(blob_of(name), name, "ssh-ed25519", "memory"),
            key_of(name),
            destinations=(step("", "host", "ada"), step("host", "next")) if name == "bound" else (),
            is_ssh_only=name == "ssh-only",
            must_confirm=name == "confirm",
        )
        for name in KEYS
    ]
    engine = Engine(partial(decide, _POLICY))
    engine.replace(partial(decide, _POLICY), build_table(1, entries), is_locked=is_locked)
    return engine


def run_one(data: bytes) -> str:
    """Give the engine one input; the word for what came of it. Raises for a defect alone."""
    is_locked, bindings = SITUATIONS[data[0] % len(SITUATIONS)] if data else SITUATIONS[0]
    payload = data[1:]
    engine = engine_of(is_locked)
    answer = engine.handle(payload, ME, NOW_S, bindings)
    if isinstance(answer, Change):
        return run_change(engine, answer)
    if isinstance(answer, ConfirmJob):
        question = make_question(answer, TokenTools())
        assert all(line.isprintable() for line in question.text.split("\n"))
        answer = engine.go_on(answer, NOW_S)
    if isinstance(answer, SignJob):
        reply = engine.complete(answer, sign(answer), NOW_S)
        check_reply(reply, SignResponse if reply.outcome == "ok" else Failure)
        return f"sign {reply.outcome}"
    check_reply(answer)
    check_growth(bindings, answer.bindings)
    return answer.outcome


def check_reply(reply: Reply, *kinds: type) -> None:
    """One whole frame that a client can read, and nothing after it."""
    assert reply.outcome
    assert len(reply.frame) <= 4 + MAX_FRAME_BYTES
    reader = FrameReader()
    reader.receive_data(reply.frame)
    payload = reader.next_frame()
    assert isinstance(payload, bytes)
    assert reader.buffered_bytes == 0
    parsed = parse_reply(payload)
    assert not kinds or isinstance(parsed, kinds)


def check_growth(before: Bindings, after: Bindings | None) -> None:
    """Nothing that a client sends makes a connection less remote, or forgets a hop."""
    if after is not None:
        assert after.is_attempted
        assert after.is_remote >= before.is_remote
        assert after.hops[: len(before.hops)] == before.hops


def run_change(engine: Engine, change: Change) -> str:
    """The way of a change to the supervisor and of its key to a worker."""
    encoded = encode_request(change.request)
    assert parse_request(encoded) == change.request
    if not isinstance(change.request, AddRequest):
        check_reply(engine.settle("ok"), Success)
        return "change"
    keys = ClientKeys(AddRules(), TokenTools(allowed_providers=""), max_keys=4)
    outcome = keys.add(change.request, 0.0)
    check_reply(engine.settle(outcome), Success if outcome == "ok" else Failure)
    if outcome == "ok":
        serve(keys)
    return f"add {outcome}"


def serve(keys: ClientKeys) -> None:
    """A worker must be able to load, list and use what the supervisor took."""
    state = parse_state(encode_state(WorkerState(1, ServerLimits(), keys=keys.merge(()))))
    entries = load_entries(state, {}, TokenDesk())
    assert len(entries) == 1
    engine = Engine(partial(decide, _POLICY), build_table(1, entries.values()))
    listed = engine.handle(LIST, ME, NOW_S)
    assert isinstance(listed, Reply)
    check_reply(listed, IdentitiesAnswer)
    (entry,) = entries.values()
    if not entry.lane:
        job = SignJob(entry, b"data", 0, ME, 1)
        check_reply(engine.complete(job, sign(job), NOW_S))


def seeds() -> Iterator[bytes]:
    """The corpus, then what stock tools said to an agent, in every situation."""
    for line in CORPUS.read_text().splitlines():
        if not line.startswith("#"):
            yield bytes.fromhex(line)
    for path_ in sorted(VECTORS.glob("*.txt")):
        for line in path_.read_text().splitlines():
            if line.startswith("> "):
                payload = bytes.fromhex(line[2:])
                yield from (bytes([index]) + payload for index in range(len(SITUATIONS)))
