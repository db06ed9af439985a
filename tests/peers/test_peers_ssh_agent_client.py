"""Both clients work with a real agent: list, sign with every key, pipelining, refusal, loss."""

import asyncio
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop

from agentclient.aio import AsyncAgentClient
from agentclient.client import AgentClient, AgentSigner
from agentclient.errors import AgentRefused, AgentTimeout, AgentUnavailable
from sshwire.agent.constraints import Constraints
from sshwire.agent.numbers import SignFlag
from sshwire.agent.replies import Identity
from sshwire.agent.requests import (
    AddRequest,
    LockRequest,
    RemoveAllRequest,
    RemoveRequest,
    Request,
    UnlockRequest,
)
from sshwire.privkey import encode_private_fields, parse_private_keys
from sshwire.pubkey import parse_public_key, parse_public_line
from sshwire.signature import parse_signature, verify_signature
from sshwire.wire import Reader

AGENTS = ["ssh-agent", "secretive-agent"]


@pytest.fixture(params=AGENTS)
def agent(request: pytest.FixtureRequest, standing_agent: Callable[[str], Any]) -> Any:
    return standing_agent(request.param)


@pytest.fixture(params=AGENTS)
def mortal_agent(request: pytest.FixtureRequest, start_agent: Callable[[str], Any]) -> Any:
    return start_agent(request.param)


@pytest.fixture
def public_keys(key_files: dict[str, Path]) -> dict[str, bytes]:
    return {
        kind: parse_public_line(path.with_suffix(".pub").read_text())[0].blob
        for kind, path in key_files.items()
    }


@pytest.fixture
def expected(public_keys: dict[str, bytes]) -> set[Identity]:
    return {Identity(blob, kind) for kind, blob in public_keys.items()}


def test_blocking_client_lists_and_signs(agent: Any, expected: set[Identity]) -> None:
    with AgentClient(agent.address, timeout_s=60) as client:
        identities = client.identities()
        assert set(identities) == expected
        for identity in identities:
            signature = client.sign(identity.blob, b"data")
            if identity.comment != "rsa":
                verify_signature(parse_public_key(identity.blob), signature, b"data")


def test_rsa_flags_choose_the_hash(agent: Any, public_keys: dict[str, bytes]) -> None:
    key = parse_public_key(public_keys["rsa"])
    with AgentClient(agent.address, timeout_s=60) as client:
        signer = AgentSigner(client, key)
        for flag, name in (
            (SignFlag.RSA_SHA2_256, "rsa-sha2-256"),
            (SignFlag.RSA_SHA2_512, "rsa-sha2-512"),
        ):
            signature = signer.sign(b"data", flag)
            assert parse_signature(signature).format == name
            verify_signature(key, signature, b"data")


def test_refusal_leaves_the_connection_usable(agent: Any, expected: set[Identity]) -> None:
    with AgentClient(agent.address, timeout_s=60) as client:
        with pytest.raises(AgentRefused):
            client.sign(b"no such key", b"data")
        assert set(client.identities()) == expected
        assert isinstance(client.extensions(), tuple)


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_asyncio_client_overlaps_requests(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
    agent: Any,
    expected: set[Identity],
    public_keys: dict[str, bytes],
) -> None:
    key = parse_public_key(public_keys["ed25519"])

    async def talk() -> None:
        async with AsyncAgentClient(agent.address, timeout_s=60) as client:
            messages = [b"message %d" % number for number in range(50)]
            listed, refused, *signatures = await asyncio.gather(
                client.identities(),
                client.sign(b"no such key", b""),
                *(client.sign(key.blob, message) for message in messages),
                return_exceptions=True,
            )
            assert isinstance(listed, tuple)
            assert set(listed) == expected
            assert isinstance(refused, AgentRefused)
            for message, signature in zip(messages, signatures, strict=True):
                assert isinstance(signature, bytes)
                verify_signature(key, signature, message)

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(talk())


def test_caller_that_gives_up_does_not_shift_the_replies(
    agent: Any, public_keys: dict[str, bytes]
) -> None:
    key = parse_public_key(public_keys["ed25519"])

    async def talk() -> None:
        async with AsyncAgentClient(agent.address, timeout_s=60) as client:
            gone = asyncio.ensure_future(client.sign(public_keys["rsa"], b"slow"))
            kept = asyncio.ensure_future(client.sign(key.blob, b"kept"))
            await asyncio.sleep(0)
            gone.cancel()
            verify_signature(key, await kept, b"kept")

    asyncio.run(talk())


def test_agent_that_stops_answering_times_out(mortal_agent: Any) -> None:
    with AgentClient(mortal_agent.address, timeout_s=60) as client:
        client.identities()  # it listens before it has started altogether
    with AgentClient(mortal_agent.address, timeout_s=4) as client:
        client.identities()
        mortal_agent.signal_all(signal.SIGSTOP)
        try:
            with pytest.raises(AgentTimeout):
                client.identities()
        finally:
            mortal_agent.signal_all(signal.SIGCONT)
        with pytest.raises(AgentUnavailable, match="closed"):
            client.identities()


def test_agent_that_dies_is_unavailable(mortal_agent: Any) -> None:
    with AgentClient(mortal_agent.address, timeout_s=60) as client:
        client.identities()
        mortal_agent.kill_all()
        with pytest.raises(AgentUnavailable):
            client.identities()
    with (
        pytest.raises(AgentUnavailable, match="nobody listens"),
        AgentClient(mortal_agent.address, timeout_s=1),
    ):
        pass

    async def late() -> None:
        async with AsyncAgentClient(mortal_agent.address, timeout_s=1):
            pass

    with pytest.raises(AgentUnavailable, match="nobody listens"):
        asyncio.run(late())


def test_openssh_takes_our_requests_that_change_it(
    start_agent: Callable[[str], Any], key_files: dict[str, Path], public_keys: dict[str, bytes]
) -> None:
    agent = start_agent("ssh-agent")
    with AgentClient(agent.address, timeout_s=60) as client:
        client.perform(RemoveRequest(public_keys["rsa"]))
        assert public_keys["rsa"] not in {identity.blob for identity in client.identities()}
        client.perform(LockRequest(b"passphrase"))
        assert client.identities() == ()
        with pytest.raises(AgentRefused):
            client.perform(UnlockRequest(b"wrong"))
        client.perform(UnlockRequest(b"passphrase"))
        client.perform(RemoveAllRequest())
        for kind, path in key_files.items():
            client.perform(add_request(path, kind))
        assert {(i.blob, i.comment) for i in client.identities()} == {
            (blob, f"added {kind}") for kind, blob in public_keys.items()
        }


def add_request(path: Path, kind: str) -> Request:
    (key,) = parse_private_keys(path.read_bytes())
    fields = Reader(encode_private_fields(key))
    return AddRequest(
        fields.text(),
        fields.rest(),
        f"added {kind}",
        Constraints(lifetime_s=600) if kind == "rsa" else Constraints(),
    )
