"""The agent behind a named pipe: everything above the port, over a stand-in of it."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from pipe_stand_in import PipeBusyError, StandInPipes

from secretivex.config import ConfigInput
from secretivex.errors import SecretiveError
from secretivex.loading import AgentSetup, make_setup
from secretivex.server.windows.agent import PipeAgent
from secretivex.server.windows.conduct import Conduct, Phase
from secretivex.server.windows.listen_pipe import SPARE, peer_of
from secretivex.server.windows.port import PipeClient, PipeTakenError
from secretivex.server.windows.rules import PIPE_PREFIX, pipe_name
from sshwire.agent.connection import encode_frame
from sshwire.agent.numbers import ReplyNumber
from sshwire.agent.requests import (
    AddRequest,
    ListRequest,
    LockRequest,
    Request,
    SignRequest,
    encode_request,
)
from sshwire.privkey import PrivateKey
from sshwire.privkey.fields import encode_private_fields
from sshwire.signature import verify_signature
from sshwire.wire import Reader

OWNER = "S-1-5-21-1-2-3-1001"
OTHER = "S-1-5-21-1-2-3-1002"
SYSTEM = "S-1-5-18"
NAME = PIPE_PREFIX + "agent-test"
PATIENCE_S = 60.0


def configured(*, more: dict[str, object] | None = None) -> AgentSetup:
    flags = {"socket_path": NAME, **(more or {})}
    environ = {"HOME": "/home/alice"}
    return make_setup(ConfigInput(flags, environ, None, 4, Path("/"), platform="win32"))


class Service:
    """An agent in a thread of its own."""

    def __init__(self, pipes: StandInPipes, setup: AgentSetup | None = None) -> None:
        self.pipes = pipes
        config = (setup or configured()).config
        self.agent = PipeAgent(config, {}, pipes, owner_sid=OWNER, read=lambda: config)
        self.ready = threading.Event()
        self.thread = threading.Thread(target=self.agent.run, args=(self.ready.set,), daemon=True)
        self.thread.start()
        assert self.ready.wait(PATIENCE_S)

    def connect(self, sid: str = OWNER) -> socket.socket:
        """As a client does: again while the pipe is busy."""
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                return self.pipes.connect(NAME, PipeClient(sid, 42, r"C:\ssh.exe"))
            except (PipeBusyError, FileNotFoundError):
                assert time.monotonic() < end
                time.sleep(0.005)

    def stop(self) -> None:
        self.agent.stop()
        self.thread.join(PATIENCE_S)
        assert not self.thread.is_alive()


@pytest.fixture
def ed25519_key(make_key: Callable[[int], PrivateKey]) -> PrivateKey:
    return make_key(1)


@pytest.fixture
def service() -> Iterator[Service]:
    made = Service(StandInPipes(SYSTEM))
    yield made
    made.stop()


def ask(connected: socket.socket, request: Request) -> bytes:
    connected.sendall(encode_frame(encode_request(request)))
    return receive(connected)


def receive(connected: socket.socket) -> bytes:
    head = exactly(connected, 4)
    return exactly(connected, int.from_bytes(head, "big"))


def exactly(connected: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = connected.recv(size - len(data))
        assert part, "hung up"
        data += part
    return data


def add(connected: socket.socket, key: PrivateKey) -> bytes:
    reader = Reader(encode_private_fields(key))
    return ask(connected, AddRequest(reader.text(), reader.rest(), "mine"))


def test_keys_are_added_listed_and_signed_with(service: Service, ed25519_key: PrivateKey) -> None:
    with service.connect() as first:
        assert add(first, ed25519_key) == bytes([ReplyNumber.SUCCESS])
    with service.connect() as second:
        listed = ask(second, ListRequest())
        assert ed25519_key.public.blob in listed
        signed = ask(second, SignRequest(ed25519_key.public.blob, b"data"))
        reader = Reader(signed)
        assert reader.take(1) == bytes([ReplyNumber.SIGN_RESPONSE])
        verify_signature(ed25519_key.public, reader.string(), b"data")
        assert ask(second, LockRequest(b"secret")) == bytes([ReplyNumber.SUCCESS])
        assert ed25519_key.public.blob not in ask(second, ListRequest())


def test_pipelined_requests_are_answered_in_order(service: Service) -> None:
    with service.connect() as connected:
        frame = encode_frame(encode_request(ListRequest()))
        connected.sendall(frame * 200)
        assert {receive(connected) for _ in range(200)} == {b"\x0c\0\0\0\0"}


def test_another_user_and_a_remote_one_are_denied_by_the_access_list(service: Service) -> None:
    for who, is_local in ((OTHER, True), (OWNER, False)):
        with pytest.raises(PermissionError):
            service.pipes.connect(NAME, PipeClient(who), is_local=is_local)
    with service.connect(SYSTEM) as system:
        assert ask(system, ListRequest())


def test_a_client_whose_token_is_anothers_is_turned_away(service: Service) -> None:
    """Should the access list ever let somebody in, the token still decides."""
    service.pipes.pipes[NAME].sids |= {OTHER}
    with service.connect(OTHER) as connected:
        connected.sendall(encode_frame(encode_request(ListRequest())))
        assert connected.recv(10) == b""
    with service.connect() as connected:
        assert ask(connected, ListRequest())


def test_a_name_that_is_taken_is_not_shared() -> None:
    mine, theirs = StandInPipes(SYSTEM), StandInPipes(OTHER)
    theirs.pipes = mine.pipes
    squatter = theirs.create(NAME, f"D:P(A;;GA;;;{OTHER})", is_first=True)
    with pytest.raises(SecretiveError) as found:
        PipeAgent(configured().config, {}, mine, owner_sid=OWNER)
    assert found.value.code == "socket_in_use"
    squatter.close()
    service = Service(mine)
    with pytest.raises(PipeTakenError):
        theirs.create(NAME, "", is_first=False)
    service.stop()
    assert mine.pipes == {}


def test_many_clients_at_once_find_an_instance(service: Service) -> None:
    held = [service.connect() for _ in range(5 * SPARE)]
    for connected in held:
        assert ask(connected, ListRequest())
    for connected in held:
        connected.close()


def test_clients_over_the_limit_and_silent_ones_hold_nobody_up() -> None:
    service = Service(StandInPipes(SYSTEM), configured(more={"max_connections": 2}))
    silent = [service.connect() for _ in range(10)]
    with service.connect() as first, service.connect() as second, service.connect() as third:
        assert ask(first, ListRequest())
        assert ask(second, ListRequest())
        third.sendall(encode_frame(encode_request(ListRequest())))
        assert third.recv(10) == b""
    for connected in silent:
        connected.close()
    service.stop()


def test_instances_that_cannot_be_made_are_tried_again_until_they_can() -> None:
    pipes = StandInPipes(SYSTEM)
    pipes.failures_left = 2 * SPARE
    service = Service(pipes)
    for _ in range(3):
        with service.connect() as connected:
            assert ask(connected, ListRequest())
    assert pipes.failures_left < 2 * SPARE
    service.stop()


def test_a_client_that_does_not_read_holds_nobody_up(service: Service) -> None:
    with service.connect() as deaf, service.connect() as other:
        deaf.settimeout(0.2)
        frame = encode_frame(encode_request(ListRequest()))
        with suppress(TimeoutError):
            while True:
                deaf.sendall(frame * 1000)
        assert ask(other, ListRequest())


@pytest.mark.parametrize("nonsense", [b"\xff\xff\xff\xff", b"\0\0\0\0", b"\0\0\0\x05\xfeabcd"])
def test_nonsense_harms_nobody(service: Service, nonsense: bytes) -> None:
    with service.connect() as connected, service.connect() as other:
        connected.sendall(nonsense)
        assert ask(other, ListRequest())


def test_a_stop_ends_waits_and_gives_the_name_back() -> None:
    pipes = StandInPipes(SYSTEM)
    service = Service(pipes)
    idle = service.connect()
    assert ask(idle, ListRequest())
    silent = service.connect()
    service.stop()
    service.agent.stop()
    service.agent.reload()
    with pytest.raises(FileNotFoundError):
        pipes.connect(NAME, PipeClient(OWNER))
    for connected in (idle, silent):
        connected.close()


def test_a_reload_is_taken_while_it_runs(service: Service) -> None:
    service.agent.reload()
    with service.connect() as connected:
        assert ask(connected, ListRequest())


def test_a_client_is_known_by_the_number_of_its_user() -> None:
    peer = peer_of(PipeClient(OWNER, 7, r"C:\Windows\System32\OpenSSH\ssh.exe"))
    assert (peer.uid, peer.pid) == (1001, 7)
    assert peer.caller is not None
    assert peer.caller.executable.endswith("ssh.exe")


@pytest.mark.parametrize("text", ["agent", r"\\.\pipe\agent", r"\pipe\agent", "pipe/agent"])
def test_every_usual_way_to_name_a_pipe_is_taken(text: str) -> None:
    assert pipe_name(text) == PIPE_PREFIX + "agent"


@pytest.mark.parametrize("text", ["", "a/b", r"\\server\pipe\agent", "x" * 300, PIPE_PREFIX])
def test_what_names_no_pipe_here_is_refused(text: str) -> None:
    with pytest.raises(SecretiveError):
        pipe_name(text)


def test_what_windows_does_not_have_is_refused_by_name() -> None:
    with pytest.raises(SecretiveError) as found:
        configured(
            more={
                "audit_requests": True,
                "metrics_listen": "127.0.0.1:9464",
                "stores": [{"type": "file"}],
            }
        )
    for key in ("audit_requests", "metrics_listen", "stores"):
        assert f"{key}: is not available on Windows" in found.value.message
    config = configured(more={"workers": 4}).config
    assert (config.workers, config.stores) == (1, ())
    assert [warning.key for warning in config.warnings] == ["workers"]
    default = make_setup(ConfigInput({}, {}, None, 4, Path("/"), platform="win32")).config
    assert str(default.socket_path) == r"\\.\pipe\openssh-ssh-agent"


class FakeAgent:
    """Runs until it is stopped; may fail."""

    drain_s = 7.0

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.reloads = 0
        self.over = threading.Event()

    def run(self, on_ready: Callable[[], None] = lambda: None) -> None:
        if self.error is not None:
            raise self.error
        on_ready()
        assert self.over.wait(PATIENCE_S)

    def stop(self) -> None:
        self.over.set()

    def reload(self) -> None:
        self.reloads += 1


def test_a_service_says_that_it_runs_once_it_does_and_stops_when_told() -> None:
    told: list[Phase] = []
    hints: list[float] = []
    running = threading.Event()

    def tell(phase: Phase, within_s: float) -> None:
        told.append(phase)
        hints.append(within_s)
        if phase is Phase.RUNNING:
            running.set()

    agent = FakeAgent()
    conduct = Conduct(lambda: agent, tell)
    conduct.reload()
    status: list[int] = []
    thread = threading.Thread(target=lambda: status.append(conduct.run()))
    thread.start()
    assert running.wait(PATIENCE_S)
    conduct.reload()
    conduct.stop()
    thread.join(PATIENCE_S)
    conduct.repeat()
    assert told == [Phase.STARTING, Phase.RUNNING, Phase.STOPPING, Phase.STOPPING]
    # As long as what is in hand may take, and a little more: else the manager calls it hung.
    assert hints[2] == hints[3] == 12.0
    assert (status, agent.reloads) == ([0], 1)


def test_a_service_that_is_stopped_before_it_runs_ends_at_once() -> None:
    told: list[Phase] = []
    conduct = Conduct(FakeAgent, lambda phase, _: told.append(phase))
    conduct.stop()
    assert conduct.run() == 0
    assert told == [Phase.STOPPING]  # and nothing after that: an end cannot be taken back


@pytest.mark.parametrize(
    ("error", "wanted"), [(SecretiveError("socket_in_use", "taken"), 5), (OSError("?"), 70)]
)
def test_a_service_that_cannot_start_ends_with_a_number(error: Exception, wanted: int) -> None:
    conduct = Conduct(lambda: FakeAgent(error), lambda *_: None)
    assert conduct.run() == wanted
    assert conduct.reason


def test_it_runs_where_nothing_of_unix_is() -> None:
    script = Path(__file__).resolve().parents[1] / "support" / "without_unix.py"
    said = subprocess.run(
        (sys.executable, str(script)), capture_output=True, text=True, timeout=120, check=False
    )
    assert said.returncode == 0, said.stderr[-2000:]
    wanted = ["AddRequest 6", "ListRequest 12", "SignRequest 14"]
    assert said.stdout.splitlines()[:3] == wanted
    assert "check-config 0" in said.stdout
    assert "show-config True" in said.stdout
