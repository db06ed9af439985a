"""Programs of callers that come back: remembered while the process is there, and only of that one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from secretivex.peer import Peer
from secretivex.server.peercred import programs_of_callers, read_peer
from secretivex.server.peercred.programs import MAX_HANDLES, LinuxPrograms

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

PYTHON = os.path.realpath(sys.executable)
CONNECT = (
    "import os, socket, sys\n"
    "def connect():\n"
    "    connected = socket.socket(socket.AF_UNIX)\n"
    "    connected.connect('\\0' + sys.argv[1])\n"
    "    return connected\n"
)
AT_EACH_LINE = "held = [connect()]\nfor line in sys.stdin: held.append(connect())\n"


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("")
        made.listen()
        made.settimeout(60)
        yield made


@pytest.fixture
def programs() -> Iterator[LinuxPrograms]:
    made = LinuxPrograms()
    yield made
    made.close()


@contextmanager
def caller(listener: socket.socket, code: str, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    name = listener.getsockname()[1:].decode()
    command = (sys.executable, "-c", CONNECT + code, name, *words)
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def handles() -> set[int]:
    """Descriptors of processes that this process has open."""
    found = set()
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            if "pidfd" in str(link.readlink()):
                found.add(int(link.name))
    return found


def again(process: subprocess.Popen[bytes]) -> None:
    """Have it connect once more."""
    assert process.stdin is not None
    process.stdin.write(b"\n")
    process.stdin.flush()


def test_a_process_that_comes_back_is_the_same_peer(
    listener: socket.socket, programs: LinuxPrograms
) -> None:
    with caller(listener, AT_EACH_LINE) as process:
        first, _ = listener.accept()
        peer = read_peer(first)
        assert programs.recall(peer) == peer
        known = programs.identify(first, peer)
        assert known.caller is not None
        assert (known.pid, known.caller.executable) == (process.pid, PYTHON)
        again(process)
        second, _ = listener.accept()
        assert programs.recall(read_peer(second)) is known
        assert programs.identify(second, peer) is known
        first.close()
        second.close()


def test_a_process_that_ended_is_not_remembered(
    listener: socket.socket, programs: LinuxPrograms
) -> None:
    with caller(listener, AT_EACH_LINE) as process:
        connected, _ = listener.accept()
        peer = read_peer(connected)
        programs.identify(connected, peer)
        process.kill()
        process.wait(60)
        assert programs.recall(peer) is peer
        connected.close()


def test_a_process_that_runs_another_program_by_now_is_looked_up_again(
    listener: socket.socket, programs: LinuxPrograms
) -> None:
    become = "held = connect(); os.set_inheritable(held.fileno(), True); sys.stdin.readline()\n"
    become += "os.execl('/bin/sh', 'sh', '-c', 'echo here; read line; exit')\n"
    name = listener.getsockname()[1:].decode()
    command = (sys.executable, "-c", CONNECT + become, name)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        connected, _ = listener.accept()
        peer = read_peer(connected)
        known = programs.identify(connected, peer)
        assert known.caller is not None
        assert known.caller.executable == PYTHON
        again(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"here\n"
        assert programs.recall(peer) is peer
        anew = programs.identify(connected, peer).caller
        assert anew is not None
        assert anew.executable == os.path.realpath("/bin/sh")
        again(process)
        connected.close()


def test_one_number_for_other_people_is_another_peer(
    listener: socket.socket, programs: LinuxPrograms
) -> None:
    with caller(listener, AT_EACH_LINE):
        connected, _ = listener.accept()
        peer = read_peer(connected)
        programs.identify(connected, peer)
        other = Peer(peer.uid + 1, peer.gid, peer.pid)
        assert programs.recall(other) is other
        connected.close()


def test_descriptors_are_bounded_and_let_go(listener: socket.socket) -> None:
    programs = LinuxPrograms()
    before = handles()
    forks = f"for _ in range({MAX_HANDLES + 2}):\n    if not os.fork(): break\n"
    code = forks + "held = connect(); sys.stdin.readline()\n"
    with caller(listener, code) as process:
        for _ in range(MAX_HANDLES + 3):
            connected, _ = listener.accept()
            with connected:
                programs.identify(connected, read_peer(connected))
        assert len(handles() - before) == MAX_HANDLES
        assert process.stdin is not None
        process.stdin.close()
    programs.close()
    assert not handles() - before


def test_the_system_here_remembers() -> None:
    assert isinstance(programs_of_callers(), LinuxPrograms)
