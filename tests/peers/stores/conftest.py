"""Real stores in processes of their own, and the programs that make and take their keys."""

from __future__ import annotations

import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import pytest
from enclave_stand_in import StandIn
from settled import settle

from agentclient.client import AgentClient
from secretivex.identity import Identity, StoreEvent
from secretivex.stores.hosting.endpoint import (
    Endpoint,
    accept_one,
    open_endpoint,
    serve_one,
)
from secretivex.stores.hosting.group import HostGroup
from secretivex.stores.hosting.hosted import HostedStore, HostSpec
from secretivex.stores.kinds import StoreSetup
from secretivex.stores.secure_enclave.store import EnclaveStore
from sshwire.agent.replies import Identity as Offered
from sshwire.pubkey import parse_public_key
from sshwire.signature import verify_signature

ROOT = Path(__file__).resolve().parents[3]
PATIENCE_S = 60.0
SOFTHSM = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so")
PIN, SO_PIN = "1234", "87654321"


def wait_until(condition: Callable[[], object], what: str | Callable[[], object]) -> None:
    """`what` may be called, for what is wrong in the end."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() >= end:
            pytest.fail(what if isinstance(what, str) else f"still: {what()}")
        time.sleep(0.02)


class OpenStore:
    """A hosted store that a thread looks after, as the supervisor would."""

    def __init__(self, spec: HostSpec) -> None:
        self.store = HostedStore(spec)
        self.events: list[StoreEvent] = []
        self._group = HostGroup((self.store,))
        self._group.settle()
        self._is_over, self._is_asked = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._look_after)
        self._thread.start()

    def _look_after(self) -> None:
        while not self._is_over.wait(0.01):
            if self._is_asked.is_set():
                self._is_asked.clear()
                self.events += self.store.refresh()
            self._group.advance()
            self.events += self.store.take_events()

    def find(self, comment: str) -> Identity:
        wait_until(lambda: comment in self.comments, f"no key {comment}: {self.store.health()}")
        return next(one for one in self.store.identities() if one.comment == comment)

    @property
    def comments(self) -> list[str]:
        return [identity.comment for identity in self.store.identities()]

    @property
    def reason(self) -> str:
        return self.store.health().reason

    def reload(self) -> None:
        """What SIGHUP does; the store is for one thread."""
        self._is_asked.set()

    def close(self) -> None:
        self._is_over.set()
        self._thread.join()
        self._group.close()


def base_environ() -> dict[str, str]:
    """What every store's process gets."""
    return {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "PYTHONPATH": str(ROOT / "src")}


@pytest.fixture
def open_store() -> Iterator[Callable[..., OpenStore]]:
    """Open a store by kind and settings; it ends with the test."""
    with ExitStack() as stack:

        def start(
            kind: str,
            settings: Mapping[str, Any],
            environ: Mapping[str, str] | None = None,
            secrets: Mapping[str, bytes] | None = None,
        ) -> OpenStore:
            spec = HostSpec(
                kind, kind, dict(settings), {**base_environ(), **(environ or {})}, secrets or {}
            )
            opened = OpenStore(spec)
            stack.callback(opened.close)
            return opened

        yield start


@dataclass
class Simulator:
    """A TPM 2.0 in software."""

    folder: Path
    program: str
    process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        return f"swtpm:path={self.folder / 'tpm'}"

    def start(self) -> None:
        (self.folder / "state").mkdir(exist_ok=True)
        self.process = subprocess.Popen(
            [
                *(self.program, "socket", "--tpm2", "--flags", "startup-clear,not-need-init"),
                *("--tpmstate", f"dir={self.folder / 'state'}"),
                *("--server", f"type=unixio,path={self.folder / 'tpm'}"),
                *("--ctrl", f"type=unixio,path={self.folder / 'tpm.ctrl'}"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until(self._listens, "the simulator does not listen")

    def _listens(self) -> bool:
        """Its socket's file is there a moment before it listens."""
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(str(self.folder / "tpm"))
            except OSError:
                return False
        return True

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
        for name in ("tpm", "tpm.ctrl"):
            (self.folder / name).unlink(missing_ok=True)

    def settings(self, *paths: Path, **more: Any) -> dict[str, Any]:
        named = [str(path) for path in paths]
        return {"paths": named, "device": self.address, "pin": {}, "key_types": [], **more}


@pytest.fixture
def simulator(
    tmp_path_factory: pytest.TempPathFactory, require_program: Callable[[str], str]
) -> Iterator[Simulator]:
    """Running; a test may stop and start it."""
    made = Simulator(tmp_path_factory.mktemp("tpm"), require_program("swtpm"))
    made.start()
    yield made
    made.stop()


class LocalStore:
    """A store in this very process, which signs in a thread as it would in its own."""

    def __init__(self, store: Any, endpoint: Endpoint) -> None:
        self.store = store
        self.events: list[StoreEvent] = []
        self._endpoint = endpoint
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self.reload()
        self._thread.start()

    def _serve(self) -> None:
        while not self._is_over.is_set():
            if select.select([self._endpoint.listener], [], [], 0.02)[0]:
                connection = accept_one(self._endpoint.listener)
                if connection is not None:
                    serve_one(connection, self._endpoint.password, self.store.sign_with)

    def find(self, comment: str) -> Identity:
        found: tuple[Identity, ...] = self.store.identities()
        return next(one for one in found if one.comment == comment)

    @property
    def comments(self) -> list[str]:
        return [identity.comment for identity in self.store.identities()]

    def reload(self) -> None:
        self.events += self.store.refresh()

    def close(self) -> None:
        self._is_over.set()
        self._thread.join()
        self.store.close()
        self._endpoint.close()


@pytest.fixture
def enclave(tmp_path: Path) -> Iterator[tuple[LocalStore, StandIn]]:
    """The Enclave's store over the stand-in."""
    endpoint, stand_in = open_endpoint(), StandIn()
    certificates = [str(tmp_path / "attached-cert.pub")]
    settings = {"prompt": "sign in", "reuse_ms": 0, "certificates": certificates}
    setup = StoreSetup("secure_enclave", "secure_enclave", settings, endpoint=endpoint)
    opened = LocalStore(EnclaveStore(setup, stand_in), endpoint)
    yield opened, stand_in
    opened.close()


@dataclass
class Token:
    """A SoftHSM token and a hand that makes and takes its keys with stock programs."""

    folder: Path
    module: str
    tool: str
    util: str
    label: str = "test"
    pin: str = PIN
    more: dict[str, str] = field(default_factory=dict)
    loaded: str = ""
    """The module that the agent loads, if not the token's own."""

    @property
    def environ(self) -> dict[str, str]:
        return {"SOFTHSM2_CONF": str(self.folder / "softhsm2.conf"), **self.more}

    def run(self, *command: str) -> subprocess.CompletedProcess[bytes]:
        environ = {**os.environ, **self.environ}
        return subprocess.run(command, env=environ, check=True, timeout=120, capture_output=True)

    def initialize(self, label: str = "") -> None:
        pins = ("--pin", self.pin, "--so-pin", SO_PIN)
        self.run(self.util, "--init-token", "--free", "--label", label or self.label, *pins)

    def act(self, *arguments: str) -> None:
        login = ("--login", "--pin", self.pin, "--token-label", self.label)
        self.run(self.tool, "--module", self.module, *login, *arguments)

    def make(self, kind: str, label: str, key_id: str, *more: str) -> None:
        named = ("--key-type", kind, "--label", label, "--id", key_id)
        self.act("--keypairgen", *named, *more)

    def destroy(self, key_id: str) -> None:
        for kind in ("privkey", "pubkey"):
            self.act("--delete-object", "--type", kind, "--id", key_id)

    @property
    def objects(self) -> Path:
        """Where the token itself lies."""
        return next(path for path in self.folder.iterdir() if path.is_dir())

    def settings(self, **more: Any) -> dict[str, Any]:
        return {
            "module_path": self.loaded or self.module,
            "token_label": self.label,
            "pin": {"env": "TOKEN_PIN"},
            "poll_ms": 200,
            "refresh_min_interval_ms": 50,
            "module_timeout_ms": 30_000,
            "renew_ms": 1000,
            **more,
        }

    @property
    def secrets(self) -> dict[str, bytes]:
        return {"TOKEN_PIN": self.pin.encode()}


@pytest.fixture(scope="session")
def softhsm_module(give_up: Callable[[str], NoReturn]) -> str:
    """SoftHSM 2's library."""
    found = next((path for path in SOFTHSM if Path(path).exists()), "")
    return found or give_up("libsofthsm2.so")


MakeToken = Callable[..., Token]


@pytest.fixture
def make_token(
    tmp_path: Path, softhsm_module: str, require_program: Callable[[str], str]
) -> MakeToken:
    """An empty token in a folder of its own."""

    def make(label: str = "test", name: str = "softhsm") -> Token:
        folder = tmp_path / name
        folder.mkdir()
        text = f"directories.tokendir = {folder}\nobjectstore.backend = file\nlog.level = ERROR\n"
        (folder / "softhsm2.conf").write_text(text)
        tool, util = require_program("pkcs11-tool"), require_program("softhsm2-util")
        token = Token(folder, softhsm_module, tool, util, label)
        token.initialize()
        return token

    return make


@pytest.fixture(scope="session")
def shim_module(
    tmp_path_factory: pytest.TempPathFactory, require_program: Callable[[str], str]
) -> str:
    """The module that sleeps, hangs and crashes on order."""
    path = tmp_path_factory.mktemp("shim") / "shim.so"
    source = Path(__file__).with_name("shim.c")
    compiler = require_program("gcc")
    command: Sequence[str] = (compiler, "-shared", "-fPIC", "-o", str(path), str(source), "-ldl")
    subprocess.run(command, check=True, timeout=60)
    return str(path)


@pytest.fixture
def shimmed(make_token: MakeToken, shim_module: str, tmp_path: Path) -> Token:
    """A token behind that module; orders go into `orders`, logins are lines of `logins`."""
    token = make_token()
    token.loaded = shim_module
    token.more = {
        "PKCS11_SHIM_REAL": token.module,
        "PKCS11_SHIM_ORDERS": str(tmp_path / "orders"),
        "PKCS11_SHIM_LOGINS": str(tmp_path / "logins"),
    }
    return token


@pytest.fixture
def wait() -> Callable[[Callable[[], object], str], None]:
    """`wait_until`, for tests."""
    return wait_until


def remove_token(token: Token) -> Path:
    """Take the token away; where it lies now."""
    away = token.folder.parent / "away"
    shutil.move(token.objects, away)
    return away


class Agent:
    """`secretive-agent run` with a configuration."""

    def __init__(
        self,
        folder: Path,
        config: str,
        environ: dict[str, str],
        *flags: str,
        prefix: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        self.address = str(folder / "agent.sock")
        self.config = folder / "agent.toml"
        self.config.write_text(config)
        self.log = folder / "log"
        self.environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PYTHONPATH": str(ROOT / "src"),
            **environ,
        }
        command = ["-m", "secretivex.cli.agent", "run", "--config", str(self.config)]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*prefix, sys.executable, *command, "--socket", self.address, *flags],
                env=self.environ,
                cwd=folder,
                stderr=log,
                start_new_session=True,
            )

    def identities(self) -> list[Offered]:
        with AgentClient(self.address, timeout_s=60) as client:
            return list(client.identities())

    def find(self, comment: str) -> bytes:
        """The key of this comment, once every worker has it if any has."""
        wait_until(
            lambda: comment in [one.comment for one in self.identities()], f"no key {comment}"
        )
        settle(self.address)
        return next(one.blob for one in self.identities() if one.comment == comment)

    def sign(self, blob: bytes, data: bytes = b"data") -> None:
        with AgentClient(self.address, timeout_s=60) as client:
            verify_signature(parse_public_key(blob), client.sign(blob, data, 0), data)

    def client(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`secretive-client` with this agent's configuration."""
        command = [sys.executable, "-m", "secretivex.cli.client", *arguments]
        return subprocess.run(
            command,
            env=self.environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            cwd=self.folder,
        )

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)

    def family(self) -> dict[int, str]:
        """The name of every process of the agent, by number."""
        return {pid: kind_of(pid) for pid in family_of(self.process.pid)}


KINDS_OF_PROCESS = {
    b"secretivex.stores.hosting.host": "store",
    b"secretivex.stores.pkcs11.helper": "helper",
}


def family_of(pid: int) -> list[int]:
    """A process and all that descend from it."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [pid, *(one for child in children for one in family_of(int(child)))]


def kind_of(pid: int) -> str:
    """What a process of the agent is for."""
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
        name = Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return "gone"
    kinds = (kind for word, kind in KINDS_OF_PROCESS.items() if word in line)
    return next(kinds, name if name == "agent-reporter" else "agent")


@pytest.fixture
def start_agent(tmp_path: Path) -> Iterator[Callable[..., Agent]]:
    with ExitStack() as stack:

        def start(
            config: str, environ: dict[str, str], *flags: str, prefix: Sequence[str] = ()
        ) -> Agent:
            agent = Agent(tmp_path, config, environ, *flags, prefix=prefix)
            stack.callback(agent.stop)

            def answers() -> bool:
                assert agent.process.poll() is None, agent.log.read_text()
                try:
                    return bool(agent.identities())
                except Exception:  # noqa: BLE001 - not there yet
                    return False

            wait_until(answers, "the agent does not answer")
            return agent

        yield start
