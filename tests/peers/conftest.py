"""Real agents and real keys for the tests that talk to them."""

from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).resolve().parents[2]
START_S = 60.0
"""Longest start of an agent: our own loads Python on a busy machine."""

KEY_KINDS = {
    "ed25519": ("-t", "ed25519"),
    "p256": ("-t", "ecdsa", "-b", "256"),
    "p384": ("-t", "ecdsa", "-b", "384"),
    "p521": ("-t", "ecdsa", "-b", "521"),
    "rsa": ("-t", "rsa", "-b", "3072"),
}


@dataclass(frozen=True)
class RunningAgent:
    """An agent that serves the keys of `key_files`."""

    kind: str
    address: str
    process: subprocess.Popen[bytes]

    def signal_all(self, number: int) -> None:
        """Signal the agent and the processes it made."""
        os.killpg(self.process.pid, number)

    def kill_all(self) -> None:
        """End them without warning, and wait until the last one has let go of the socket."""
        self.signal_all(signal.SIGKILL)
        self.process.wait()
        deadline = time.monotonic() + START_S
        while _is_listening(self.address):
            assert time.monotonic() < deadline, f"{self.address} is still served"
            time.sleep(0.01)


StartAgent = Callable[..., RunningAgent]


@pytest.fixture(scope="session")
def key_files(
    tmp_path_factory: pytest.TempPathFactory, require_program: Callable[[str], str]
) -> dict[str, Path]:
    """One key of each kind without a passphrase; its comment is the kind."""
    folder = tmp_path_factory.mktemp("keys")
    keygen = require_program("ssh-keygen")
    for kind, options in KEY_KINDS.items():
        command = [keygen, "-q", *options, "-N", "", "-C", kind, "-f", str(folder / kind)]
        subprocess.run(command, check=True, timeout=60)
    return {kind: folder / kind for kind in KEY_KINDS}


@pytest.fixture
def start_agent(
    tmp_path: Path, key_files: dict[str, Path], require_program: Callable[[str], str]
) -> Iterator[StartAgent]:
    """Start an agent for this test alone, which may change or kill it."""
    with ExitStack() as stack:
        yield lambda kind: stack.enter_context(_agent(kind, tmp_path, key_files, require_program))


@pytest.fixture(scope="session")
def standing_agent(
    tmp_path_factory: pytest.TempPathFactory,
    key_files: dict[str, Path],
    require_program: Callable[[str], str],
) -> Iterator[StartAgent]:
    """An agent that all tests share and none may change."""
    folder = tmp_path_factory.mktemp("agents")
    with ExitStack() as stack:
        yield cache(
            lambda kind: stack.enter_context(_agent(kind, folder, key_files, require_program))
        )


@contextmanager
def _agent(
    kind: str, folder: Path, key_files: dict[str, Path], require_program: Callable[[str], str]
) -> Iterator[RunningAgent]:
    """`ssh-agent` or `secretive-agent` with every key in it."""
    address = str(folder / f"{kind}.sock")
    if kind == "ssh-agent":
        command = [require_program("ssh-agent"), "-D", "-a", address]
    else:
        command = _secretive_agent(folder, address, key_files)
    with _running(command, address) as process:
        if kind == "ssh-agent":
            add = [require_program("ssh-add"), "-q", *map(str, key_files.values())]
            environ = {**os.environ, "SSH_AUTH_SOCK": address}
            subprocess.run(add, env=environ, check=True, timeout=30)
        yield RunningAgent(kind, address, process)


def _secretive_agent(folder: Path, address: str, key_files: dict[str, Path]) -> list[str]:
    config = folder / "agent.toml"
    paths = ", ".join(f'"{path}"' for path in key_files.values())
    config.write_text(f'[[stores]]\ntype = "file"\nscan_default_dir = false\npaths = [{paths}]\n')
    module = [sys.executable, "-m", "secretivex.cli.agent", "run"]
    return [*module, "--config", str(config), "--socket", address, "--workers", "2"]


@contextmanager
def _running(command: list[str], address: str) -> Iterator[subprocess.Popen[bytes]]:
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    process = subprocess.Popen(
        command, env=environ, stdout=subprocess.DEVNULL, start_new_session=True
    )
    try:
        _wait_until_listening(process, address)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=60)


def _wait_until_listening(process: subprocess.Popen[bytes], address: str) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        assert process.poll() is None, f"{process.args!r} ended with {process.returncode}"
        if _is_listening(address):
            return
        time.sleep(0.02)
    raise AssertionError(f"{process.args!r} does not listen")


def _is_listening(address: str) -> bool:
    with suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
        probe.connect(address)
        return True
    return False


@pytest.fixture
def junk_agent(tmp_path: Path) -> Iterator[Callable[[bytes], str]]:
    """Something that takes one connection and answers its first request with this payload."""
    with ExitStack() as stack:
        counter = itertools.count()

        def serve(payload: bytes) -> str:
            address = str(tmp_path / f"junk{next(counter)}.sock")
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(address)
            listener.listen(1)
            listener.settimeout(30)
            thread = threading.Thread(target=_answer_once, args=(listener, payload))
            thread.start()
            stack.callback(thread.join, 30)
            return address

        yield serve


def _answer_once(listener: socket.socket, payload: bytes) -> None:
    with suppress(OSError):
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(30)
            connection.recv(5)
            if payload:
                connection.sendall(len(payload).to_bytes(4, "big") + payload)
            connection.recv(1)


FIDO = Path("/usr/lib/openssh/regress/misc/sk-dummy/sk-dummy.so")
"""OpenSSH's virtual authenticator, from Debian's openssh-tests."""

MODULES = ("/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so", "/usr/lib/softhsm/libsofthsm2.so")
TOKEN_KEYS = ("rsa:2048", "EC:prime256v1", "EC:secp384r1")


@pytest.fixture(scope="session")
def fido(give_up: Callable[[str], NoReturn]) -> str:
    """A virtual authenticator, as the middleware of security keys."""
    for path in (FIDO, Path("/usr/lib/openssh/ssh-sk-helper")):
        if not path.exists():
            give_up(str(path))
    return str(FIDO)


@dataclass(frozen=True)
class SoftHsm:
    """A PKCS#11 module in software; its token has a key of each of `TOKEN_KEYS`, and PIN 1234."""

    module: str
    config: str


@pytest.fixture(scope="session")
def softhsm(
    tmp_path_factory: pytest.TempPathFactory,
    give_up: Callable[[str], NoReturn],
    require_program: Callable[[str], str],
) -> SoftHsm:
    """Made once, for no test changes it; used through SOFTHSM2_CONF."""
    util, tool = require_program("softhsm2-util"), require_program("pkcs11-tool")
    found = next((path for path in MODULES if Path(path).exists()), "")
    if not found or not Path("/usr/lib/openssh/ssh-pkcs11-helper").exists():
        give_up("libsofthsm2.so and ssh-pkcs11-helper")
    folder = tmp_path_factory.mktemp("softhsm")
    config = folder / "softhsm2.conf"
    config.write_text(f"directories.tokendir = {folder}\nobjectstore.backend = file\n")
    environ = {**os.environ, "SOFTHSM2_CONF": str(config)}

    def run(*command: str) -> None:
        subprocess.run(command, env=environ, check=True, timeout=60, capture_output=True)

    pins = ("--pin", "1234", "--so-pin", "12345678")
    run(util, "--init-token", "--free", "--label", "test", *pins)
    make = (tool, "--module", found, "--login", "--pin", "1234", "--keypairgen")
    for number, kind in enumerate(TOKEN_KEYS, start=1):
        run(*make, "--key-type", kind, "--id", f"0{number}", "--label", kind)
    return SoftHsm(str(Path(found).resolve()), str(config))
