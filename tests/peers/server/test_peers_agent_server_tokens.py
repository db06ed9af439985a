"""Security keys and PKCS#11 modules in a running agent, with OpenSSH's own clients and helpers."""

from __future__ import annotations

import itertools
import os
import secrets
import signal
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import pytest

from sshwire.privkey import PrivateKey, encode_private_key, parse_private_keys
from sshwire.pubkey import PublicKey, encode_public_line
from sshwire.wire import encode_text

PIN = "1234"
SIGNING_ROUNDS = 8
"""Connections, so that more than one worker gets to sign."""


class SoftHsm(Protocol):
    """The fixture of this name."""

    module: str
    config: str


Service = Any  # the fixture's own class, which tests cannot import
StartService = Callable[..., Service]
Wait = Callable[[Callable[[], bool], str], None]


def executable(path: Path, text: str) -> str:
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def make_key(tmp_path: Path, fido: str) -> Callable[..., Path]:
    """A key on the virtual authenticator."""

    def make(kind: str, *options: str) -> Path:
        path = tmp_path / kind
        command = ["ssh-keygen", "-q", "-t", kind, "-w", fido, "-N", "", "-f", str(path), *options]
        subprocess.run(command, check=True, timeout=60, stdin=subprocess.DEVNULL)
        return path

    return make


@pytest.fixture
def pin_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """What `ssh-add -s` is told when it asks for a PIN."""

    def tell(pin: str) -> None:
        program = executable(tmp_path / "tell-pin", f"#!/bin/sh\necho {pin}\n")
        monkeypatch.setenv("SSH_ASKPASS", program)
        monkeypatch.setenv("SSH_ASKPASS_REQUIRE", "force")

    tell(PIN)
    return tell


@pytest.fixture
def token_agent(start_service: StartService, softhsm: SoftHsm, pin_entry: object) -> Service:
    """Two workers that may load SoftHSM."""
    return start_service(
        *("--no-scan-default-dir", "--allowed-providers", str(Path(softhsm.module).parent) + "/*"),
        env={"SOFTHSM2_CONF": softhsm.config},
    )


_NUMBERS = itertools.count()


def public_lines(service: Service) -> list[str]:
    listed = service.ssh_add("-L")
    return [] if listed.returncode else [str(line) for line in listed.stdout.splitlines()]


def can_sign(service: Service, folder: Path, line: str) -> bool:
    """Whether a signature is made and verifies: `ssh-add -T`."""
    public = folder / f"{next(_NUMBERS)}.pub"
    public.write_text(line + "\n")
    return bool(service.ssh_add("-T", str(public)).returncode == 0)


@pytest.mark.parametrize("kind", ["ed25519-sk", "ecdsa-sk"])
def test_a_security_key_signs_on_every_worker(
    kind: str,
    start_service: StartService,
    make_key: Callable[..., Path],
    fido: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    service = start_service("--no-scan-default-dir", "--allowed-providers", fido)
    monkeypatch.setenv("SSH_SK_PROVIDER", fido)
    key = make_key(kind)
    assert service.ssh_add("-q", str(key)).returncode == 0
    key.unlink()
    with ThreadPoolExecutor(SIGNING_ROUNDS) as pool:
        line = public_lines(service)[0]
        tests = [pool.submit(can_sign, service, tmp_path, line) for _ in range(SIGNING_ROUNDS)]
        assert all(test.result() for test in tests)
    signed = service.tool(
        *("ssh-keygen", "-Y", "sign", "-f", f"{key}.pub", "-n", "test"), stdin="message"
    )
    (tmp_path / "signature").write_text(signed.stdout)
    check = ("ssh-keygen", "-Y", "check-novalidate", "-n", "test", "-s", tmp_path / "signature")
    assert service.tool(*map(str, check), stdin="message").returncode == 0


def test_middleware_that_is_not_allowed_is_not_loaded(
    start_service: StartService,
    make_key: Callable[..., Path],
    fido: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    service = start_service("--no-scan-default-dir")
    monkeypatch.setenv("SSH_SK_PROVIDER", fido)
    assert service.ssh_add("-q", str(make_key("ed25519-sk"))).returncode == 1
    assert service.logged("provider_not_allowed")


def give_to_web_site(path: Path) -> None:
    """Change a key file's application, for ssh-keygen makes keys of "ssh:" only."""
    (key,) = parse_private_keys(path.read_bytes())
    blob = key.public.blob.replace(encode_text("ssh:"), encode_text("https://example.org"))
    public = PublicKey(key.public.algorithm, blob)
    changed = PrivateKey(public, key.comment, key.secret)
    path.write_bytes(encode_private_key(changed, random_bytes=secrets.token_bytes))
    path.with_suffix(".pub").write_text(encode_public_line(public, key.comment) + "\n")


def test_a_web_site_s_key_signs_ssh_s_own_data_only(
    start_service: StartService,
    make_key: Callable[..., Path],
    fido: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSH_SK_PROVIDER", fido)
    key = make_key("ed25519-sk")
    give_to_web_site(key)
    common = ("--no-scan-default-dir", "--allowed-providers", fido)
    strict = start_service(*common, address=tmp_path / "strict.sock")
    lenient = start_service(*common, "--no-restrict-websafe", address=tmp_path / "lenient.sock")
    for service, allowed in ((strict, False), (lenient, True)):
        assert service.ssh_add("-q", str(key)).returncode == 0
        # What ssh-add -T has signed is a random challenge, as a web site's may be.
        assert can_sign(service, tmp_path, public_lines(service)[0]) == allowed
        sign = ("ssh-keygen", "-Y", "sign", "-f", f"{key}.pub", "-n", "test")
        assert service.tool(*sign, stdin="message").returncode == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_a_client_that_leaves_ends_its_wait_for_a_touch(  # noqa: PLR0917 - fixtures
    workers: int,
    start_service: StartService,
    make_key: Callable[..., Path],
    fido: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    wait: Wait,
    running: Callable[[int], bool],
) -> None:
    """And an agent that is told to stop does not wait for the touch either."""
    monkeypatch.setenv("SSH_SK_PROVIDER", fido)
    pids = tmp_path / "pids"
    helper = executable(tmp_path / "helper", f"#!/bin/sh\necho $$ >> {pids}\nexec sleep 300\n")
    service = start_service(
        *("--no-scan-default-dir", "--allowed-providers", fido, "--drain-timeout-ms", "500"),
        workers=workers,
        env={"SSH_SK_HELPER": helper},
    )
    key = make_key("ed25519-sk")
    assert service.ssh_add("-q", str(key)).returncode == 0
    environ = {**os.environ, "SSH_AUTH_SOCK": str(service.address)}

    def begin() -> subprocess.Popen[bytes]:
        return subprocess.Popen(["ssh-add", "-T", f"{key}.pub"], env=environ)

    def helpers() -> list[int]:
        return [int(word) for word in pids.read_text().split()] if pids.exists() else []

    client = begin()
    wait(lambda: len(helpers()) == 1, "no helper was started")
    assert service.ssh_add("-l").returncode == 0
    client.kill()
    client.wait()
    wait(lambda: not running(helpers()[0]), "the helper still waits for a touch")
    client = begin()
    wait(lambda: len(helpers()) == 2, "no second helper was started")
    assert service.stop() == 0
    client.wait()
    wait(lambda: not running(helpers()[1]), "a helper outlives its agent")


def test_the_keys_of_a_module_sign_on_every_worker_until_it_is_removed(
    token_agent: Service, softhsm: SoftHsm, tmp_path: Path, wait: Wait
) -> None:
    assert token_agent.ssh_add("-s", softhsm.module).returncode == 0
    lines = public_lines(token_agent)
    assert sorted(line.split(" ", 2)[2] for line in lines) == [
        "EC:prime256v1",
        "EC:secp384r1",
        "rsa:2048",
    ]
    with ThreadPoolExecutor(SIGNING_ROUNDS) as pool:
        tests = [
            pool.submit(can_sign, token_agent, tmp_path, line)
            for line in lines
            for _ in range(SIGNING_ROUNDS)
        ]
        assert all(test.result() for test in tests)
    assert len(helpers_of(token_agent)) == 1, "one for both workers"
    assert token_agent.ssh_add("-s", softhsm.module).returncode == 1, "there is no new key"
    assert token_agent.ssh_add("-e", softhsm.module).returncode == 0
    assert public_lines(token_agent) == []
    wait(lambda: not helpers_of(token_agent), "a helper stays")


def helpers_of(service: Service) -> list[int]:
    """Children of workers, which load modules, and of the processes that sign with their keys."""
    found: list[int] = []
    for parent in (*service.workers, *service.stores):
        for task in Path(f"/proc/{parent}/task").glob("*/children"):
            with suppress(OSError):  # a thread that ended meanwhile
                found += map(int, task.read_text().split())
    return found


def test_a_worker_or_a_helper_that_dies_loses_no_key_of_a_module(
    token_agent: Service, softhsm: SoftHsm, tmp_path: Path, wait: Wait
) -> None:
    assert token_agent.ssh_add("-s", softhsm.module).returncode == 0
    line = public_lines(token_agent)[0]
    assert can_sign(token_agent, tmp_path, line)
    for pid in (*helpers_of(token_agent), *token_agent.stores):
        os.kill(pid, signal.SIGKILL)
        assert can_sign(token_agent, tmp_path, line)
    before = token_agent.workers
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    wait(lambda: len(set(token_agent.workers) - set(before)) == 2, "no new workers")
    assert can_sign(token_agent, tmp_path, line)


def test_a_wrong_pin_a_missing_file_and_a_path_not_allowed_are_refused(
    token_agent: Service,
    softhsm: SoftHsm,
    pin_entry: Callable[[str], None],
    tmp_path: Path,
) -> None:
    elsewhere = tmp_path / "module.so"
    elsewhere.symlink_to("/bin/sh")
    for path, reason in (("/nonexistent.so", "not_found"), (str(elsewhere), "not_allowed")):
        assert token_agent.ssh_add("-s", path).returncode == 1
        assert token_agent.logged(f"provider_{reason}")
    pin_entry("9999")
    assert token_agent.ssh_add("-s", softhsm.module).returncode == 1
    pin_entry(PIN)
    assert token_agent.ssh_add("-s", softhsm.module).returncode == 0
    assert PIN not in token_agent.log.read_text().replace(str(token_agent.process.pid), "")


def test_no_module_is_loaded_unless_a_setting_says_so(
    start_service: StartService, softhsm: SoftHsm, pin_entry: object
) -> None:
    service = start_service("--no-scan-default-dir", env={"SOFTHSM2_CONF": softhsm.config})
    assert service.ssh_add("-s", softhsm.module).returncode == 1
    assert service.logged("provider_not_allowed")


def test_a_lifetime_and_a_lock_hold_for_the_keys_of_a_module(
    token_agent: Service, softhsm: SoftHsm, tmp_path: Path, wait: Wait
) -> None:
    assert token_agent.ssh_add("-s", softhsm.module).returncode == 0
    line = public_lines(token_agent)[0]
    assert token_agent.ssh_add("-e", softhsm.module).returncode == 0
    assert token_agent.ssh_add("-t", "5", "-s", softhsm.module).returncode == 0
    assert token_agent.ssh_add("-x").returncode == 0
    assert not can_sign(token_agent, tmp_path, line)
    assert token_agent.ssh_add("-X").returncode == 0
    wait(lambda: not public_lines(token_agent), "the keys outlive their lifetime")


def test_a_module_that_hangs_keeps_no_other_key_waiting(
    start_service: StartService,
    softhsm: SoftHsm,
    pin_entry: object,
    tmp_path: Path,
) -> None:
    """The helper is stopped in the middle of its work, as a driver that hangs would be."""
    rsa = tmp_path / "rsa"
    make = ["ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", str(rsa)]
    subprocess.run(make, check=True, timeout=60)
    service = start_service(
        *("--no-scan-default-dir", "--allowed-providers", softhsm.module),
        *("--max-signers", "1", "--drain-timeout-ms", "500"),
        workers=1,
        env={"SOFTHSM2_CONF": softhsm.config},
    )
    assert service.ssh_add("-q", str(rsa)).returncode == 0
    assert service.ssh_add("-s", softhsm.module).returncode == 0
    file_key, token_key = (
        next(line for line in public_lines(service) if line.endswith(end))
        for end in (rsa.with_suffix(".pub").read_text().split(" ", 2)[2].strip(), "rsa:2048")
    )
    assert can_sign(service, tmp_path, token_key)
    helpers = helpers_of(service)
    assert len(helpers) == 1
    for pid in helpers:
        os.kill(pid, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as pool:
        stuck = pool.submit(can_sign, service, tmp_path, token_key)
        time.sleep(0.5)
        for _ in range(3):
            assert can_sign(service, tmp_path, file_key)
        assert not stuck.done()
        for pid in helpers:
            os.kill(pid, signal.SIGCONT)
        assert stuck.result()


@pytest.fixture
def answer_of_a_person(tmp_path: Path) -> Callable[[str], dict[str, str]]:
    """An askpass of the agent's that notes its question and ends with a status."""
    asked = tmp_path / "asked"

    def say(status: str) -> dict[str, str]:
        text = (
            f'#!/bin/sh\necho "$SSH_ASKPASS_PROMPT $1" >> {asked}\n[ ! -e {tmp_path}/{status} ]\n'
        )
        program = executable(tmp_path / "person", text)
        return {"SSH_ASKPASS": program, "SSH_ASKPASS_REQUIRE": "force"}

    return say


def times_asked(folder: Path) -> int:
    asked = folder / "asked"
    return asked.read_text().count("confirm May this key be used?") if asked.exists() else 0


def test_a_security_key_added_with_c_is_asked_about_before_it_is_touched(
    start_service: StartService,
    make_key: Callable[..., Path],
    fido: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    answer_of_a_person: Callable[[str], dict[str, str]],
) -> None:
    monkeypatch.setenv("SSH_SK_PROVIDER", fido)
    service = start_service(
        *("--no-scan-default-dir", "--allowed-providers", fido), env=answer_of_a_person("no")
    )
    assert service.ssh_add("-q", "-c", str(make_key("ed25519-sk"))).returncode == 0
    (line,) = public_lines(service)
    assert can_sign(service, tmp_path, line)
    assert times_asked(tmp_path) == 1
    (tmp_path / "no").touch()
    assert not can_sign(service, tmp_path, line)
    assert times_asked(tmp_path) == 2
    assert service.logged("confirm_denied")


def test_the_keys_of_a_module_added_with_c_are_asked_about_at_every_use(
    start_service: StartService,
    softhsm: SoftHsm,
    pin_entry: object,
    tmp_path: Path,
    answer_of_a_person: Callable[[str], dict[str, str]],
) -> None:
    service = start_service(
        *("--no-scan-default-dir", "--allowed-providers", softhsm.module),
        env={"SOFTHSM2_CONF": softhsm.config, **answer_of_a_person("no")},
    )
    assert service.ssh_add("-c", "-s", softhsm.module).returncode == 0
    lines = public_lines(service)
    assert all(can_sign(service, tmp_path, line) for line in lines)
    assert times_asked(tmp_path) == len(lines)
    (tmp_path / "no").touch()
    assert not any(can_sign(service, tmp_path, line) for line in lines)
    assert times_asked(tmp_path) == 2 * len(lines)
