"""libssh2, by its Python binding ssh2-python."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from ssh2.session import Session

from sshwire.pubkey import parse_public_line

KINDS = ("ed25519", "p256", "p384", "p521", "rsa")
Connect = Callable[[str], Any]


@pytest.fixture
def connect(hosts: Any, agent: Any, monkeypatch: pytest.MonkeyPatch) -> Connect:
    """A session with a host up to the login; libssh2 reads the agent's address itself."""
    monkeypatch.setenv("SSH_AUTH_SOCK", agent.address)

    @contextmanager
    def open_session(address: str) -> Iterator[Any]:
        with socket.create_connection((address, hosts.port), timeout=60) as opened:
            session = Session()
            session.handshake(opened)
            yield session
            session.disconnect()

    return open_session


def output_of(session: Any, command: str) -> bytes:
    channel = session.open_session()
    channel.execute(command)
    _, told = channel.read()
    channel.close()
    assert isinstance(told, bytes)
    return told


@pytest.mark.parametrize("kind", KINDS)
def test_libssh2_logs_in_with_the_key_that_the_host_trusts(
    connect: Connect, hosts: Any, kind: str
) -> None:
    with connect(hosts.only[kind]) as session:
        session.agent_auth(hosts.user)
        assert output_of(session, "echo in") == b"in\n"


def test_libssh2_lists_the_keys_and_logs_in_with_the_one_it_chooses(
    connect: Connect, hosts: Any, key_files: Any
) -> None:
    with connect(hosts.addresses[0]) as session:
        agent = session.agent_init()
        agent.connect()
        agent.list_identities()
        listed = {key.comment: key for key in agent.get_identities()}
        assert sorted(listed) == [kind.encode() for kind in sorted(KINDS)]
        for kind in KINDS:
            line = key_files[kind].with_suffix(".pub").read_text()
            assert bytes(listed[kind.encode()].blob) == parse_public_line(line)[0].blob
        agent.userauth(hosts.user, listed[b"p256"])
        assert session.userauth_authenticated()
        agent.disconnect()
