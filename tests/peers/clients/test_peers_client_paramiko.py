"""paramiko: keys of the agent listed, signed with, logged in with and forwarded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import paramiko
import pytest
from paramiko.agent import AgentRequestHandler

from sshwire.pubkey import parse_public_key
from sshwire.signature import verify_signature

KINDS = ("ed25519", "p256", "p384", "p521", "rsa")
Connect = Callable[..., Any]


@pytest.fixture
def paramiko_agent(agent: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """Paramiko's own agent client, which finds the agent by the environment."""
    monkeypatch.setenv("SSH_AUTH_SOCK", agent.address)
    opened = paramiko.Agent()
    yield opened
    opened.close()


@pytest.fixture
def connect(hosts: Any, paramiko_agent: Any) -> Connect:
    @contextmanager
    def open_client(address: str, **more: Any) -> Iterator[Any]:
        with paramiko.SSHClient() as client:
            client.load_host_keys(str(hosts.known_hosts))
            client.set_missing_host_key_policy(paramiko.RejectPolicy())
            patience = {"timeout": 60, "banner_timeout": 60, "auth_timeout": 60}
            more = {"port": hosts.port, "username": hosts.user, **patience, **more}
            client.connect(address, look_for_keys=False, **more)
            yield client

    return open_client


def output_of(client: Any, command: str) -> bytes:
    stdin, stdout, stderr = client.exec_command(command, timeout=60)
    told = stdout.read()
    for stream in (stdin, stdout, stderr):
        stream.close()
    assert isinstance(told, bytes)
    return told


def test_paramiko_lists_every_key(paramiko_agent: Any, key_files: dict[str, Path]) -> None:
    listed = {key.comment: key.get_base64() for key in paramiko_agent.get_keys()}
    lines = {kind: path.with_suffix(".pub").read_text() for kind, path in key_files.items()}
    assert listed == {kind: line.split()[1] for kind, line in lines.items()}


@pytest.mark.parametrize("algorithm", [None, "rsa-sha2-256", "rsa-sha2-512"])
def test_paramiko_signs_with_every_key(paramiko_agent: Any, algorithm: str | None) -> None:
    for key in paramiko_agent.get_keys():
        signature = key.sign_ssh_data(b"data", algorithm)
        verify_signature(parse_public_key(key.asbytes()), signature, b"data")
        if key.comment == "rsa" and algorithm:
            assert algorithm.encode() in signature


@pytest.mark.parametrize("kind", KINDS)
def test_paramiko_logs_in_with_the_key_that_the_host_trusts(
    connect: Connect, hosts: Any, kind: str
) -> None:
    with connect(hosts.only[kind]) as client:
        assert output_of(client, "echo in") == b"in\n"


def test_paramiko_logs_in_with_the_key_it_is_given(
    connect: Connect, hosts: Any, paramiko_agent: Any
) -> None:
    rsa = next(key for key in paramiko_agent.get_keys() if key.comment == "rsa")
    with connect(hosts.addresses[0], pkey=rsa, allow_agent=False) as client:
        assert output_of(client, "echo in") == b"in\n"


def test_paramiko_forwards_the_agent(connect: Connect, hosts: Any) -> None:
    with connect(hosts.addresses[8]) as client:
        channel = client.get_transport().open_session()
        forwarding = AgentRequestHandler(channel)
        channel.exec_command("ssh-add -l")
        with channel.makefile() as stdout:
            listed = stdout.read().decode().splitlines()
        channel.close()
        forwarding.close()
    assert [line.split()[2] for line in listed] == sorted(KINDS)


def test_paramiko_copies_by_sftp(connect: Connect, hosts: Any, tmp_path: Path) -> None:
    (tmp_path / "here").write_text("words\n")
    with connect(hosts.addresses[8]) as client, client.open_sftp() as sftp:
        sftp.put(str(tmp_path / "here"), str(tmp_path / "there"))
    assert (tmp_path / "there").read_text() == "words\n"
