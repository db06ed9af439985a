"""Every request that OpenSSH's tools send is understood, and encoded again byte for byte."""

import os
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from sshwire.agent.connection import NEED_DATA, FrameReader
from sshwire.agent.constraints import RESTRICT_DESTINATION
from sshwire.agent.replies import encode_reply, parse_reply
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
    Ssh1RemoveAllRequest,
    UnlockRequest,
    encode_request,
    parse_request,
)


class Recorder:
    """A relay in front of an agent that keeps the frames of both directions."""

    def __init__(self, address: str, upstream: str) -> None:
        self.address = address
        self._upstream = upstream
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(address)
        self._listener.listen(8)
        self.requests: list[bytes] = []
        self.replies: list[bytes] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                agent = socket.socket(socket.AF_UNIX)
                agent.connect(self._upstream)
                for pair in ((client, agent, self.requests), (agent, client, self.replies)):
                    threading.Thread(target=self._relay, args=pair, daemon=True).start()

    def _relay(self, source: socket.socket, sink: socket.socket, kept: list[bytes]) -> None:
        reader = FrameReader()
        with suppress(OSError):
            while data := source.recv(65536):
                reader.receive_data(data)
                while (frame := reader.next_frame()) is not NEED_DATA:
                    kept.append(frame)
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)
        source.close()


@pytest.fixture
def recorder(tmp_path: Path, start_agent: Callable[[str], Any]) -> Iterator[Recorder]:
    relay = Recorder(str(tmp_path / "relay.sock"), start_agent("ssh-agent").address)
    yield relay
    relay.close()


@pytest.fixture
def run(recorder: Recorder, tmp_path: Path) -> Callable[..., list[Request]]:
    """Run a tool of OpenSSH and say what it asked the agent."""

    def run(*command: str | Path, stdin: str = "") -> list[Request]:
        before = len(recorder.requests)
        environ = {
            **os.environ,
            "SSH_AUTH_SOCK": recorder.address,
            "SSH_ASKPASS": str(tmp_path / "askpass"),
            "SSH_ASKPASS_REQUIRE": "force",
        }
        subprocess.run(
            [str(word) for word in command],
            input=stdin.encode(),
            env=environ,
            capture_output=True,
            timeout=60,
            check=False,
        )
        frames = recorder.requests[before:]
        requests = [parse_request(frame) for frame in frames]
        assert [encode_request(request) for request in requests] == frames
        assert all(encode_reply(parse_reply(reply)) == reply for reply in recorder.replies)
        return requests

    askpass = tmp_path / "askpass"
    askpass.write_text("#!/bin/sh\necho passphrase\n")
    askpass.chmod(0o700)
    return run


@pytest.mark.parametrize("kind", ["ed25519", "p256", "p384", "p521", "rsa"])
def test_keys_of_every_type_are_added(
    kind: str, run: Callable[..., list[Request]], key_files: dict[str, Path]
) -> None:
    key = key_files[kind]
    (added,) = run("ssh-add", "-q", key)
    assert isinstance(added, AddRequest)
    assert (added.comment, bool(added.constraints)) == (kind, False)
    (added,) = run("ssh-add", "-q", "-c", "-t", "3600", key)
    assert isinstance(added, AddRequest)
    assert (added.constraints.confirm, added.constraints.lifetime_s) == (True, 3600)


def test_destination_constraint_is_kept_whole(
    run: Callable[..., list[Request]], key_files: dict[str, Path], tmp_path: Path
) -> None:
    host_key = key_files["p384"].with_suffix(".pub").read_text()
    (tmp_path / "known_hosts").write_text(f"host.example {host_key}")
    known = ["-H", tmp_path / "known_hosts"]
    (added,) = run("ssh-add", "-q", *known, "-h", "user@host.example", key_files["p256"])
    assert isinstance(added, AddRequest)
    (extension,) = added.constraints.extensions
    assert extension.name == RESTRICT_DESTINATION
    assert b"host.example" in extension.body


def test_certificate_is_added_beside_its_key(
    run: Callable[..., list[Request]], key_files: dict[str, Path], tmp_path: Path
) -> None:
    for kind in ("ed25519", "p256", "rsa"):
        key = tmp_path / f"certified-{kind}"
        key.write_bytes(key_files[kind].read_bytes())
        key.chmod(0o600)
        key.with_suffix(".pub").write_bytes(key_files[kind].with_suffix(".pub").read_bytes())
        authority = key_files["p384"]
        command = ["ssh-keygen", "-q", "-s", authority, "-I", "id", "-n", "me", f"{key}.pub"]
        subprocess.run([str(word) for word in command], check=True, timeout=60)
        plain, certified = run("ssh-add", "-q", key)
        assert isinstance(plain, AddRequest)
        assert isinstance(certified, AddRequest)
        assert certified.algorithm.endswith("-cert-v01@openssh.com")
        assert certified.algorithm.startswith(plain.algorithm)


def test_the_other_requests_of_ssh_add(
    run: Callable[..., list[Request]], key_files: dict[str, Path]
) -> None:
    assert run("ssh-add", "-l") == [ListRequest()]
    (removed,) = run("ssh-add", "-q", "-d", key_files["rsa"])
    assert isinstance(removed, RemoveRequest)
    assert [type(one) for one in run("ssh-add", "-T", f"{key_files['p256']}.pub")] == [SignRequest]
    assert run("ssh-add", "-x") == [LockRequest(b"passphrase")]
    assert run("ssh-add", "-X") == [UnlockRequest(b"passphrase")]
    assert run("ssh-add", "-q", "-D") == [RemoveAllRequest(), Ssh1RemoveAllRequest()]
    (loaded,) = run("ssh-add", "-q", "-s", "/nonexistent.so")
    assert isinstance(loaded, AddSmartcardRequest)
    assert (loaded.provider, loaded.pin) == ("/nonexistent.so", b"passphrase")
    (dropped,) = run("ssh-add", "-q", "-e", "/nonexistent.so")
    assert isinstance(dropped, RemoveSmartcardRequest)


def test_ssh_keygen_lists_and_signs(
    run: Callable[..., list[Request]], key_files: dict[str, Path]
) -> None:
    public = f"{key_files['ed25519']}.pub"
    asked = run("ssh-keygen", "-Y", "sign", "-f", public, "-n", "file", stdin="message")
    assert [type(one) for one in asked] == [ListRequest, SignRequest]
    assert isinstance(asked[1], SignRequest)
    assert asked[1].data.startswith(b"SSHSIG\0\0\0\x04file")


def test_extension_with_a_name_and_a_body_is_answered(recorder: Recorder) -> None:
    from agentclient.client import AgentClient

    with AgentClient(recorder.address, timeout_s=60) as client:
        client.call(ExtensionRequest("session-bind@openssh.com", b"garbage"))
    assert recorder.replies[-1] in {b"\x05", b"\x1c"}
