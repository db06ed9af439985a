"""What an agent tells of callers that mean harm: nothing of their texts, no more series, whole lines."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from listening import is_listening
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.parser import text_string_to_metric_families as parse_plain

from secretivex.server.report.control_socket import ask, control_path
from sshwire.agent.connection import encode_frame
from sshwire.agent.requests import (
    AddRequest,
    AddSmartcardRequest,
    ExtensionRequest,
    LockRequest,
    SignRequest,
    UnlockRequest,
    encode_request,
)
from sshwire.privkey import PrivateKey, encode_private_fields
from sshwire.wire import encode_string

Start = Callable[..., Any]
Wait = Callable[[Callable[[], bool], str], None]

SECRET = "canary-77e1"
NASTY = f'{SECRET}\n\x1b[31m"\\\u202e\u2066\x00\x85'
"""A text that would end a line, colour a terminal, end a label and turn what follows around."""


@dataclass(frozen=True)
class Scene:
    """An agent that tells all it can to everybody that it can."""

    service: Any
    listens: Path
    textfile: Path

    def send(self, *payloads: bytes) -> list[int]:
        """Requests that are sent in one go; the kinds of the replies."""
        kinds = []
        with self.service.connect() as connected:
            for payload in payloads:
                connected.sendall(encode_frame(payload))
                size = int.from_bytes(connected.recv(4, socket.MSG_WAITALL), "big")
                kinds.append(connected.recv(size, socket.MSG_WAITALL)[0])
        return kinds

    def page(self, accept: str) -> str:
        with socket.socket(socket.AF_UNIX) as connected:
            connected.settimeout(60)
            connected.connect(str(self.listens))
            head = f"GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n\r\n"
            connected.sendall(head.encode())
            answer = b"".join(iter(lambda: connected.recv(65_536), b""))
        return answer.partition(b"\r\n\r\n")[2].decode()

    def series(self) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
        families = list(text_string_to_metric_families(self.page("*/*")))
        samples = [sample for family in families for sample in family.samples]
        return {(sample.name, tuple(sorted(sample.labels.items()))) for sample in samples}

    def told(self) -> str:
        """Everything that anybody can read of it."""
        control = control_path(self.service.address)
        verbs = [json.dumps(ask(control, verb, timeout_s=60)) for verb in ("health", "metrics")]
        pages = [self.page("*/*"), self.page("text/plain")]
        list(parse_plain(pages[1]))
        return "\n".join((*verbs, *pages))


@pytest.fixture
def scene(start_service: Start, key_files: dict[str, Path], tmp_path: Path, wait: Wait) -> Scene:
    key, config = tmp_path / "named", tmp_path / "agent.toml"
    shutil.copy2(key_files["ed25519"], key)
    command = ("ssh-keygen", "-q", "-c", "-C", f"{SECRET}-comment", "-f", str(key))
    subprocess.run(command, check=True, timeout=60)
    listens, textfile = tmp_path / "m.sock", tmp_path / "agent.prom"
    config.write_text(
        'audit_requests = true\naudit_to = "stderr"\nmetrics_json = true\nmetrics_every = 1\n'
        f'metrics_listen = "{listens}"\nmetrics_output_path = "{textfile}"\n'
        f'[[stores]]\ntype = "file"\nscan_default_dir = false\npaths = ["{key}"]\n'
        '[[policy.rules]]\nname = "no \\"files\\" \\\\ /"\neffect = "deny"\nnamespaces = ["no-*"]\n'
    )
    service = start_service("--config", config, "--log-level", "debug")
    wait(lambda: is_listening(control_path(service.address)), "no control socket")
    wait(lambda: is_listening(listens), "no metrics")
    return Scene(service, listens, textfile)


def sign_request(blob: bytes, data: str) -> bytes:
    return encode_request(SignRequest(blob, data.encode()))


def attack(scene: Scene, key: PrivateKey) -> None:
    """Texts wherever the protocol has room for one."""
    fields = encode_private_fields(key)
    scene.send(
        encode_request(AddRequest("ssh-ed25519", fields, NASTY)),
        encode_request(AddRequest("ssh-ed25519", fields, SECRET * 6000)),
        encode_request(AddRequest(NASTY, fields, NASTY)),
        encode_request(AddRequest("ssh-ed25519", encode_string(NASTY.encode()), NASTY)),
        encode_request(AddSmartcardRequest("/usr/lib/none.so", SECRET.encode())),
        encode_request(LockRequest(SECRET.encode())),
        encode_request(UnlockRequest(f"not {SECRET}".encode())),
        encode_request(UnlockRequest(SECRET.encode())),
        encode_request(ExtensionRequest("session-bind@openssh.com", NASTY.encode())),
        encode_request(ExtensionRequest("query", NASTY.encode())),
        sign_request(key.public.blob, NASTY),
        sign_request(NASTY.encode(), NASTY),
        sign_request(encode_string(NASTY.encode()) + bytes(32), NASTY),
        b"\xc8" + NASTY.encode(),
        b"\x0d" + NASTY.encode(),
    )
    message = scene.textfile.with_name("message")
    message.write_text(SECRET)
    public = message.with_name("named.pub")
    for namespace in (f"{SECRET}-namespace", f"no-{SECRET}"):
        command = ("ssh-keygen", "-Y", "sign", "-n", namespace, "-f", str(public), str(message))
        scene.service.tool(*command)
        message.with_name("message.sig").unlink(missing_ok=True)


def test_nothing_that_callers_say_is_told_and_each_line_is_a_line(
    scene: Scene, make_key: Callable[[int], PrivateKey]
) -> None:
    attack(scene, make_key(3))
    told = scene.told()
    assert SECRET not in told
    assert "secretivex_policy_decisions_total" in told
    assert scene.service.stop() == 0
    said = scene.service.log.read_text()
    assert '"event":"sign"' in said
    assert "metrics_json" in said
    assert SECRET not in said + scene.textfile.read_text()
    assert "�" not in said
    assert all(char.isprintable() for line in said.split("\n") for char in line)


def test_however_many_keys_names_and_numbers_come_series_do_not(scene: Scene) -> None:
    def come(first: int) -> None:
        numbers = range(first, first + 300)
        requests = [sign_request(encode_string(b"%032d" % number), "data") for number in numbers]
        requests += [encode_request(ExtensionRequest(f"name-{number}")) for number in numbers]
        scene.send(*requests, *(bytes([number]) for number in range(30, 256)))

    # Twice, so that what tells of an outcome at all is there.
    come(0)
    come(300)
    before = scene.series()
    come(600)
    come(900)
    assert scene.series() == before
    assert not any("name-" in value for _, labels in before for _, value in labels)
