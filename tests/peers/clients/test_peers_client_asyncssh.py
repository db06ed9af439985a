"""asyncssh: an agent's keys listed, signed with and logged in with; both ends of forwarding."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from sshwire.pubkey import parse_public_key
from sshwire.signature import verify_signature

KINDS = ("ed25519", "p256", "p384", "p521", "rsa")
Connect = Callable[..., Any]
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def connect(hosts: Any, agent: Any) -> Connect:
    """Connect with the agent's keys, and nothing of the caller's."""

    def open_connection(address: str, **more: Any) -> Any:
        return asyncssh.connect(
            address,
            **{"port": hosts.port, "known_hosts": str(hosts.known_hosts), **more},
            username=hosts.user,
            agent_path=agent.address,
            agent_forwarding=True,
            config=None,
        )

    return open_connection


async def signed_with_every_key(client: Any) -> list[str]:
    """Sign and verify with each key of an agent; their comments."""
    keys = await client.get_keys()
    for key in keys:
        signature = await key.sign_async(b"data")
        verify_signature(parse_public_key(key.public_data), signature, b"data")
    return [key.get_comment() for key in keys]


def test_asyncssh_lists_and_signs_with_every_key(agent: Any) -> None:
    async def story() -> list[str]:
        async with asyncssh.connect_agent(agent.address) as client:
            return await signed_with_every_key(client)

    assert asyncio.run(story()) == sorted(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_asyncssh_logs_in_with_the_key_that_the_host_trusts(
    connect: Connect, hosts: Any, kind: str
) -> None:
    async def story() -> Any:
        async with connect(hosts.only[kind]) as connection:
            return (await connection.run("echo in", check=True)).stdout

    assert asyncio.run(story()) == "in\n"


def test_asyncssh_logs_in_many_times_at_once(connect: Connect, hosts: Any) -> None:
    async def login(address: str) -> Any:
        async with connect(address) as connection:
            return (await connection.run("echo in", check=True)).stdout

    async def story() -> list[Any]:
        return await asyncio.gather(*map(login, hosts.fleet))

    assert asyncio.run(story()) == ["in\n"] * len(hosts.fleet)


def test_asyncssh_forwards_the_agent(connect: Connect, hosts: Any) -> None:
    async def story() -> Any:
        async with connect(hosts.addresses[9]) as connection:
            return (await connection.run("ssh-add -l", check=True)).stdout

    assert [line.split()[2] for line in asyncio.run(story()).splitlines()] == sorted(KINDS)


async def use_the_forwarded_agent(process: Any) -> None:
    """What our host does for whoever logs in: sign with every key of the client's agent."""
    connection = process.channel.get_connection()
    async with asyncssh.connect_agent(connection) as client:
        process.stdout.write(" ".join(await signed_with_every_key(client)))
    process.exit(0)


def serve(hosts: Any, host_key: Any) -> Any:
    return asyncssh.listen(
        "127.0.0.1",
        0,
        server_host_keys=[host_key],
        authorized_client_keys=str(hosts.authorized),
        process_factory=use_the_forwarded_agent,
        agent_forwarding=True,
        config=None,
    )


@pytest.mark.parametrize("client", ["ssh", "asyncssh"])
def test_an_asyncssh_server_uses_the_agent_that_is_forwarded_to_it(
    connect: Connect,
    client_env: dict[str, str],
    hosts: Any,
    require_program: Callable[[str], str],
    tmp_path: Path,
    client: str,
) -> None:
    host_key = asyncssh.generate_private_key("ssh-ed25519")
    known = tmp_path / "known"

    async def by_ssh(port: int) -> str:
        options = ("-F", "none", "-o", f"UserKnownHostsFile={known}", "-o", "BatchMode=yes")
        process = await asyncio.create_subprocess_exec(
            *(require_program("ssh"), "-A", *options, "-p", str(port)),
            *("-l", hosts.user, "127.0.0.1", "whatever"),
            env=client_env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
        )
        stdout, _ = await asyncio.wait_for(process.communicate(), 60)
        return stdout.decode()

    async def by_asyncssh(port: int) -> str:
        async with connect("127.0.0.1", port=port, known_hosts=str(known)) as connection:
            told: str = (await connection.run("whatever", check=True)).stdout
            return told

    async def story() -> str:
        async with serve(hosts, host_key) as server:
            port = server.get_port()
            public = host_key.export_public_key().decode()
            known.write_text(f"[127.0.0.1]:{port} {public}")
            return await (by_ssh(port) if client == "ssh" else by_asyncssh(port))

    assert asyncio.run(story()).split() == sorted(KINDS)


def test_asyncssh_adds_removes_and_locks(start_agent: Callable[[str], Any]) -> None:
    address = start_agent("secretive-agent").address
    key = asyncssh.generate_private_key("ecdsa-sha2-nistp384", comment="added")

    async def story() -> None:
        async with asyncssh.connect_agent(address) as client:
            await client.add_keys([key], lifetime=600)
            assert await signed_with_every_key(client) == [*sorted(KINDS), "added"]
            await client.lock("secret")
            async with asyncssh.connect_agent(address) as other:
                assert await other.get_keys() == []
                with pytest.raises(ValueError, match="unlock"):
                    await other.unlock("guess")
                await other.unlock("secret")
            (added,) = (k for k in await client.get_keys() if k.get_comment() == "added")
            await client.remove_keys([added])
            assert await signed_with_every_key(client) == sorted(KINDS)

    asyncio.run(story())


@pytest.mark.parametrize("form", ["rfc9987", "draft"])
def test_asyncssh_asks_for_the_extensions_of_an_agent_that_speaks_its_form(
    run_client: Callable[..., Any], tmp_path: Path, form: str
) -> None:
    """2.24.1 knows the form of the drafts alone; the request tells an agent nothing of that."""
    code = (
        "import asyncio, asyncssh\n"
        "async def story():\n"
        "    async with asyncssh.connect_agent() as agent:\n"
        "        print(*await agent.query_extensions())\n"
        "asyncio.run(story())\n"
    )
    agent = (sys.executable, "-m", "secretivex.cli.agent", "-O", f"query-reply={form}")
    done = run_client(
        *(*agent, sys.executable, "-c", code),
        env={"PYTHONPATH": str(ROOT / "src"), "TMPDIR": str(tmp_path)},
        ok=False,
    )
    if form == "draft":
        assert done.stdout == "query session-bind@openssh.com\n"
    else:
        assert "ValueError: Unknown SSH agent response: 29" in done.stderr
