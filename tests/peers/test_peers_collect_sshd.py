"""Collection over SSH against real sshd processes, through real agents."""

from __future__ import annotations

import asyncio
import getpass
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, aclosing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from listening import is_listening
from ports import free_port

from fleetmdm.collect.hosts import HostEntry
from fleetmdm.collect.plan import Pace, plan_collection
from fleetmdm.collect.run import HostResult, collect
from fleetmdm.collect.session import Access, parse_known_hosts, require_agent
from fleetmdm.device import DEFAULT_LIMITS, DeviceLimits
from fleetmdm.errors import FleetError
from fleetmdm.exporters.bundle import stand_alone

CommandLine = Callable[..., "subprocess.CompletedProcess[str]"]
Require = Callable[[str], str]
PACE = Pace(concurrency=4, timeout_s=120, retries=1, backoff_s=0.01)


@dataclass(frozen=True)
class Server:
    """A running sshd, the folder that stands for its host, and its line of known_hosts."""

    name: str
    port: int
    root: Path
    known: str

    def entry(self, **changes: Any) -> HostEntry:
        given = {"name": self.name, "address": "127.0.0.1", "port": self.port}
        return HostEntry(**{**given, "root": str(self.root), **changes})


StartServer = Callable[..., Server]


def keygen(program: str, path: Path) -> str:
    subprocess.run([program, "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path.with_suffix(".pub").read_text()


@pytest.fixture
def start_server(
    tmp_path: Path, key_files: dict[str, Path], require_program: Require
) -> Iterator[StartServer]:
    """Start an sshd with a host key of its own that trusts only the Ed25519 key."""
    program, keygen_program = require_program("sshd"), require_program("ssh-keygen")
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    trusted = key_files["ed25519"].with_suffix(".pub").read_text()
    with ExitStack() as stack:

        def start(name: str, extra: str = "", *, trust: str = trusted) -> Server:
            folder = tmp_path / name
            root = folder / "root"
            (root / "etc/ssh").mkdir(parents=True)
            (root / "etc/machine-id").write_text(os.urandom(16).hex() + "\n")
            (root / "etc/hostname").write_text(name + "\n")
            (root / "etc/os-release").write_text('ID=debian\nVERSION_ID="12"\n')
            public = keygen(keygen_program, folder / "host_key")
            (folder / "authorized_keys").write_text(trust)
            port = free_port()
            config = root / "etc/ssh/sshd_config"
            config.write_text(
                f"{extra}\nListenAddress 127.0.0.1\nPort {port}\nHostKey {folder}/host_key\n"
                f"AuthorizedKeysFile {folder}/authorized_keys\nPidFile {folder}/pid\n"
                "PasswordAuthentication no\nKbdInteractiveAuthentication no\nUsePAM no\n"
                "StrictModes no\nPermitRootLogin prohibit-password\n"
            )
            log = stack.enter_context((folder / "log").open("wb"))
            process = subprocess.Popen([program, "-D", "-e", "-f", config], stderr=log)
            stack.callback(process.wait, 60)
            stack.callback(process.terminate)
            wait_for(port)
            return Server(name, port, root, f"[127.0.0.1]:{port} {public}")

        yield start


def wait_for(port: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.02)
    raise AssertionError(f"nothing listens on {port}")


@pytest.fixture
def listen() -> Iterator[Callable[[Callable[[socket.socket], None]], int]]:
    """A port whose connections are each given to a function; answers the port."""
    with ExitStack() as stack:

        def serve(handle: Callable[[socket.socket], None]) -> int:
            listener = socket.create_server(("127.0.0.1", 0))

            def loop() -> None:
                with suppress(OSError):
                    while True:
                        handle(listener.accept()[0])

            thread = threading.Thread(target=loop)
            thread.start()
            stack.callback(thread.join, 60)
            stack.callback(listener.close)
            stack.callback(listener.shutdown, socket.SHUT_RDWR)
            return int(listener.getsockname()[1])

        yield serve


def gather(
    hosts: Sequence[HostEntry],
    agent: str,
    known: str,
    pace: Pace = PACE,
    limits: DeviceLimits = DEFAULT_LIMITS,
) -> dict[str, HostResult]:
    """Every host's result by name."""
    access = Access(
        agent=agent,
        known_hosts=parse_known_hosts(known.encode(), name="known_hosts"),
        program=stand_alone("linux").encode(),
        limits=limits,
    )
    targets = plan_collection(hosts, user=getpass.getuser())

    async def run() -> list[HostResult]:
        async with aclosing(collect(targets, access, pace, jitter=lambda: 0.0)) as stream:
            return [result async for result in stream]

    return {result.host: result for result in asyncio.run(run())}


def write_hosts(path: Path, hosts: Sequence[HostEntry]) -> Path:
    rows = [
        f"- {{name: {host.name}, address: {host.address}, port: {host.port}, root: {host.root}}}\n"
        for host in hosts
    ]
    path.write_text("---\n" + "".join(rows))
    return path


def test_what_a_host_prints_keeps_to_the_limits_that_are_set(
    start_agent: Callable[[str], Any], start_server: StartServer
) -> None:
    agent, server = start_agent("ssh-agent"), start_server("one")
    reasons = [
        gather([server.entry()], agent.address, server.known, limits=limits)["one"].reason
        for limits in (DeviceLimits(max_values=10), DeviceLimits(max_document_bytes=100))
    ]
    assert reasons == ["document_invalid", "output_too_large"]


@pytest.mark.parametrize("kind", ["ssh-agent", "secretive-agent"])
def test_documents_come_from_every_host_through_the_agent(
    kind: str, start_agent: Callable[[str], Any], start_server: StartServer
) -> None:
    agent = start_agent(kind)
    servers = [start_server("one"), start_server("two", "MaxAuthTries 3")]
    hosts = [server.entry(tags=("web", "it's")) for server in servers]
    results = gather(hosts, agent.address, "".join(server.known for server in servers))
    assert {name: result.reason for name, result in results.items()} == {"one": "", "two": ""}
    first, second = results["one"].device, results["two"].device
    assert first is not None
    assert second is not None
    assert (first.hostname, second.hostname) == ("one", "two")
    assert first.device_id != second.device_id
    assert first.tags == ("it's", "web")
    assert second.facts["sshd"]["settings"]["maxauthtries"] == 3
    assert second.facts["sshd"]["settings"]["passwordauthentication"] == "no"


def test_nothing_is_left_on_the_host(
    start_agent: Callable[[str], Any], start_server: StartServer
) -> None:
    server = start_server("one")
    before = {path: path.stat().st_mtime_ns for path in server.root.rglob("*")}
    gather([server.entry()], start_agent("ssh-agent").address, server.known)
    assert before == {path: path.stat().st_mtime_ns for path in server.root.rglob("*")}


def test_a_host_key_that_changed_or_is_not_known_is_refused_before_any_login(
    start_agent: Callable[[str], Any], start_server: StartServer
) -> None:
    server, other = start_server("one"), start_server("two")
    key = other.known.split(maxsplit=1)[1]
    agent = start_agent("ssh-agent").address
    changed = gather([server.entry()], agent, f"[127.0.0.1]:{server.port} {key}")
    assert changed["one"].reason == "host_key_mismatch"
    assert changed["one"].attempts == 1
    for known in ("", other.known):
        unknown = gather([server.entry()], agent, known)
        assert unknown["one"].reason == "host_key_unknown"
    assert "Accepted" not in (server.root.parent / "log").read_text()


def test_a_login_that_is_refused_is_not_tried_again(
    start_agent: Callable[[str], Any],
    start_server: StartServer,
    tmp_path: Path,
    require_program: Require,
) -> None:
    stranger = keygen(require_program("ssh-keygen"), tmp_path / "stranger")
    server = start_server("one", trust=stranger)
    result = gather([server.entry()], start_agent("ssh-agent").address, server.known)["one"]
    assert (result.reason, result.attempts) == ("auth_refused", 1)


def test_an_agent_that_will_not_sign_is_named_as_the_cause(
    start_agent: Callable[[str], Any], start_server: StartServer, tmp_path: Path
) -> None:
    real, server = start_agent("ssh-agent"), start_server("one")
    address = str(tmp_path / "refusing.sock")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen()
    thread = threading.Thread(target=refuse_to_sign, args=(listener, real.address))
    thread.start()
    result = gather([server.entry()], address, server.known)["one"]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(60)
    assert (result.reason, result.attempts) == ("agent_refused", 1)


def refuse_to_sign(listener: socket.socket, real: str) -> None:
    """Pass requests for identities on, answer every other with SSH_AGENT_FAILURE."""
    with suppress(OSError):
        while True:
            client, _ = listener.accept()
            with client, socket.socket(socket.AF_UNIX) as agent:
                agent.connect(real)
                while request := read_frame(client):
                    if request[0] == 11:  # SSH_AGENTC_REQUEST_IDENTITIES
                        agent.sendall(len(request).to_bytes(4, "big") + request)
                        answer = read_frame(agent)
                    else:
                        answer = b"\x05"
                    client.sendall(len(answer).to_bytes(4, "big") + answer)


def read_frame(connection: socket.socket) -> bytes:
    with connection.makefile("rb", buffering=0) as stream:
        size = stream.read(4) or b""
        data = b""
        while len(size) == 4 and len(data) < int.from_bytes(size, "big"):
            block = stream.read(int.from_bytes(size, "big") - len(data))
            if not block:
                break
            data += block
        return data


def test_a_port_that_refuses_is_tried_again_and_then_reported(
    start_agent: Callable[[str], Any],
) -> None:
    host = HostEntry("gone", "127.0.0.1", free_port())
    result = gather([host], start_agent("ssh-agent").address, "")["gone"]
    assert (result.reason, result.attempts) == ("connection_refused", 2)


def test_a_connection_that_breaks_is_tried_again(
    start_agent: Callable[[str], Any],
    listen: Callable[[Callable[[socket.socket], None]], int],
) -> None:
    host = HostEntry("drops", "127.0.0.1", listen(socket.socket.close))
    result = gather([host], start_agent("ssh-agent").address, "")["drops"]
    assert (result.reason, result.attempts) == ("connection_lost", 2)


def test_a_host_that_hangs_costs_one_timeout_whatever_it_hangs_in(
    start_agent: Callable[[str], Any],
    start_server: StartServer,
    listen: Callable[[Callable[[socket.socket], None]], int],
) -> None:
    kept: list[socket.socket] = []
    silent = HostEntry("silent", "127.0.0.1", listen(kept.append))
    slow = start_server("slow", "ForceCommand sleep 60")
    pace = Pace(concurrency=2, timeout_s=3, retries=5, backoff_s=0.01)
    agent = start_agent("ssh-agent").address
    results = gather([silent, slow.entry()], agent, slow.known, pace)
    for connection in kept:
        connection.close()
    assert {name: result.reason for name, result in results.items()} == {
        "silent": "timeout",
        "slow": "timeout",
    }
    assert all(result.attempts == 1 for result in results.values())


@pytest.mark.parametrize(
    ("force", "reason", "said"),
    [
        ("exit 127", "no_python", "python3"),
        ("sh -c 'echo broken >&2; exit 7'", "exporter_failed", "broken"),
        ("yes", "output_too_large", "bytes"),
        ("echo Welcome to this host", "document_invalid", "not JSON"),
        ("echo '{}'", "document_invalid", "device_id"),
        ("sh -c 'kill -9 $$'", "exporter_failed", "exit status"),
    ],
)
def test_what_goes_wrong_on_the_host_has_a_reason_of_its_own(
    start_agent: Callable[[str], Any],
    start_server: StartServer,
    force: str,
    reason: str,
    said: str,
) -> None:
    server = start_server("one", f"ForceCommand {force}")
    result = gather([server.entry()], start_agent("ssh-agent").address, server.known)["one"]
    assert (result.reason, result.attempts) == (reason, 1)
    assert said in result.message


def test_a_root_without_a_machine_id_is_told_apart_by_its_device_id(
    start_agent: Callable[[str], Any], start_server: StartServer
) -> None:
    server = start_server("one")
    (server.root / "etc/machine-id").unlink()
    agent = start_agent("ssh-agent").address
    result = gather([server.entry()], agent, server.known)["one"]
    assert result.reason == "exporter_failed"
    assert "no_identity" in result.message
    named = gather([server.entry(device_id="the one")], agent, server.known)["one"]
    assert named.device is not None
    assert named.device.device_id == "the one"


def test_many_hosts_are_served_a_few_at_a_time(
    start_agent: Callable[[str], Any], start_server: StartServer
) -> None:
    server = start_server("one")
    hosts = [server.entry(name=f"host-{n}", device_id=f"host-{n}") for n in range(12)]
    pace = Pace(concurrency=3, timeout_s=60)
    results = gather(hosts, start_agent("ssh-agent").address, server.known, pace)
    assert len(results) == 12
    assert all(result.ok for result in results.values())


@pytest.mark.parametrize("address", ["/nonexistent/agent", "/" + "x" * 200])
def test_an_agent_that_is_not_there_is_noticed_first(address: str) -> None:
    with pytest.raises(FleetError) as caught:
        asyncio.run(require_agent(address))
    assert caught.value.code == "agent_unavailable"


def test_an_agent_that_talks_nonsense_or_holds_no_key_is_unavailable(
    junk_agent: Callable[[bytes], str], tmp_path: Path, require_program: Require
) -> None:
    with pytest.raises(FleetError, match="no SSH agent answers"):
        asyncio.run(require_agent(junk_agent(b"\x05")))
    address = str(tmp_path / "empty.sock")
    process = subprocess.Popen(
        [require_program("ssh-agent"), "-D", "-a", address], stdout=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 60
        while not is_listening(Path(address)):
            assert time.monotonic() < deadline, "ssh-agent does not listen"
            time.sleep(0.02)
        with pytest.raises(FleetError, match="holds no key"):
            asyncio.run(require_agent(address))
    finally:
        process.terminate()
        process.wait(60)


def test_the_command_keeps_what_came_and_says_what_did_not(
    command_line: CommandLine,
    start_agent: Callable[[str], Any],
    start_server: StartServer,
    tmp_path: Path,
) -> None:
    servers = [start_server("one"), start_server("two")]
    gone = HostEntry("gone", "127.0.0.1", free_port(), root="/")
    hosts = write_hosts(tmp_path / "hosts.yaml", [*(s.entry() for s in servers), gone])
    known = tmp_path / "known_hosts"
    known.write_text("".join(server.known for server in servers))
    agent = start_agent("ssh-agent").address
    arguments = ["--hosts", hosts, "--known-hosts", known, "--agent", agent, "--retries", "0"]
    assert command_line("fleetmdm", "init").returncode == 0
    done = command_line("fleetmdm", "collect", *arguments, "--format", "json")
    assert done.returncode == 1, done.stderr
    document = json.loads(done.stdout)
    assert document["ok"] is False
    assert document["error"]["code"] == "host_unreachable"
    assert document["error"]["details"]["failed"] == {"gone": "connection_refused"}
    rows = {row["host"]: row["ok"] for row in document["data"]["hosts"]}
    assert rows == {"gone": False, "one": True, "two": True}
    assert document["data"]["documents"]["added"] == 2
    again = command_line("fleetmdm", "collect", *arguments)
    assert again.returncode == 1
    assert "connection_refused" in again.stdout
    listed = json.loads(command_line("fleetmdm", "device", "list", "--format", "json").stdout)
    assert "one" in json.dumps(listed["data"])


def test_the_command_stops_before_any_host_when_the_agent_is_not_there(
    command_line: CommandLine, start_server: StartServer, tmp_path: Path
) -> None:
    server = start_server("one")
    hosts = write_hosts(tmp_path / "hosts.yaml", [server.entry()])
    known = tmp_path / "known_hosts"
    known.write_text(server.known)
    command_line("fleetmdm", "init")
    common = ["collect", "--hosts", hosts, "--known-hosts", known]
    log = server.root.parent / "log"
    before = log.read_text()
    for more in ([], ["--agent", tmp_path / "none"], ["--agent", "/" + "x" * 200]):
        done = command_line("fleetmdm", *common, *more, "--format", "json")
        assert done.returncode == 5, done.stderr
        assert json.loads(done.stdout)["error"]["code"] == "agent_unavailable"
        assert json.loads(done.stdout)["error"]["hint"]
    assert log.read_text() == before


def test_an_interruption_keeps_the_documents_that_came(
    command_line: CommandLine,
    start_agent: Callable[[str], Any],
    start_server: StartServer,
    listen: Callable[[Callable[[socket.socket], None]], int],
    tmp_path: Path,
) -> None:
    kept: list[socket.socket] = []
    server = start_server("one")
    silent = HostEntry("silent", "127.0.0.1", listen(kept.append), root="/")
    hosts = write_hosts(tmp_path / "hosts.yaml", [server.entry(), silent])
    known = tmp_path / "known_hosts"
    known.write_text(server.known)
    command_line("fleetmdm", "init")
    home = tmp_path / "home"
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "fleetmdm", "collect", "--hosts", hosts, "--known-hosts", known],
        env={
            **os.environ,
            "HOME": str(home),
            "SSH_AUTH_SOCK": start_agent("ssh-agent").address,
            "PYTHONPATH": str(Path(__file__).resolve().parents[2] / "src"),
        },
        stderr=theirs,
        stdout=subprocess.DEVNULL,
        # A shell in the background may have left us ignoring the signal that is to be sent.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),  # noqa: PLW1509 - no threads that matter
    )
    os.close(theirs)
    said = b""
    with suppress(OSError):  # which is how a terminal ends
        while b" 1/2" not in said:  # once the document is there
            said += os.read(ours, 4096)
        process.send_signal(signal.SIGINT)
        while True:
            said += os.read(ours, 4096)
    os.close(ours)
    process.wait(60)
    for connection in kept:
        connection.close()
    assert process.returncode in (5, 130), said.decode()
    listed = json.loads(command_line("fleetmdm", "device", "list", "--format", "json").stdout)
    assert "one" in json.dumps(listed["data"])
