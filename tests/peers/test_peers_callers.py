"""Who is at the other end of a socket: real processes, their programs and those that started them."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from secretivex.peer import UNKNOWN_CALLER, Caller, Peer
from secretivex.server.peercred import read_caller, read_peer
from secretivex.server.peercred.linux import MAX_ANCESTORS

if sys.platform != "linux":
    pytest.skip("what is asked here is Linux's", allow_module_level=True)

PYTHON = os.path.realpath(sys.executable)
CONNECT = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect('\\0' + sys.argv[1]); "
STAY = "sys.stdin.read()"
REUSED = """
import socket, subprocess, sys
from secretivex.peer import UNKNOWN_CALLER
from secretivex.server.peercred import read_caller, read_peer

name, connect = sys.argv[1:]
listener = socket.socket(fileno=int(sys.stdin.readline()))
listener.settimeout(60)
with subprocess.Popen([sys.executable, "-c", connect, name]) as caller:
    connected, _ = listener.accept()
peer = read_peer(connected)
with open("/proc/sys/kernel/ns_last_pid", "w") as last:
    last.write(str(peer.pid - 1))
with subprocess.Popen(["sleep", "60"]) as other:
    found = read_caller(connected.fileno(), peer)
    other.kill()
print("same number" if other.pid == peer.pid else "another number", end=", ")
print("nobody else" if found == UNKNOWN_CALLER else found)
"""
"""In a process of its own: the second program gets the number of the first, which has ended."""


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    """At a name without a file, so that every user may connect: unix(7)."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"\0{tmp_path}")
        listening.listen()
        listening.settimeout(60)
        yield listening


def name_of(listener: socket.socket) -> str:
    """Without the null before it, which no command line can hold."""
    return bytes(listener.getsockname())[1:].decode()


def ask(listener: socket.socket, *command: str) -> tuple[Peer, Caller]:
    """The peer and caller of a program that connects and stays."""
    with subprocess.Popen([*command], stdin=subprocess.PIPE) as process:
        connected, _ = listener.accept()
        with connected:
            peer = read_peer(connected)
            caller = read_caller(connected.fileno(), peer)
        assert process.stdin is not None
        process.stdin.close()
    return peer, caller


def test_a_program_is_named_with_those_that_started_it(
    listener: socket.socket, require_program: Callable[[str], str]
) -> None:
    shell = require_program("sh")
    script = f'"{sys.executable}" -c "{CONNECT}{STAY}" "$0"; :'
    peer, caller = ask(listener, shell, "-c", script, name_of(listener))
    assert (peer.uid, peer.gid) == (os.getuid(), os.getgid())
    assert caller.executable == PYTHON
    assert caller.ancestors is not None
    assert caller.ancestors[:2] == (os.path.realpath(shell), PYTHON)
    assert caller.session == os.getsid(0)


def test_the_line_ends_where_another_user_s_process_begins(listener: socket.socket) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can start a process for another user")
    program = (sys.executable, "-c", f"import os; os.setuid(65534); {CONNECT}{STAY}")
    peer, caller = ask(listener, *program, name_of(listener))
    assert peer.uid == 65534
    assert caller.ancestors == ()


def test_a_process_belongs_to_the_user_whose_rights_it_uses(listener: socket.socket) -> None:
    """As the system counts: a program that gave up root's rights for now is that user's."""
    if os.geteuid() != 0:
        pytest.skip("only root can start a process for another user")
    code = (
        f"import os; os.seteuid(65534); os.fork() and os._exit(os.wait()[1] >> 8); {CONNECT}{STAY}"
    )
    peer, caller = ask(listener, sys.executable, "-c", code, name_of(listener))
    assert peer.uid == 65534
    assert caller.ancestors == (PYTHON,)


def test_a_program_that_was_replaced_on_disk_is_not_the_one_that_runs(
    listener: socket.socket, tmp_path: Path, require_program: Callable[[str], str]
) -> None:
    program = tmp_path / "program"
    shutil.copy(require_program("perl"), program)
    code = (
        "use Socket; socket(S, AF_UNIX, SOCK_STREAM, 0);"
        " connect(S, sockaddr_un(chr(0) . $ARGV[0])); <STDIN>"
    )
    command = (str(program), "-e", code, name_of(listener))
    assert ask(listener, *command)[1].executable == str(program)
    replaced = f"rename '{program}', '{program}.old'; " + code
    command = (str(program), "-e", replaced, name_of(listener))
    assert ask(listener, *command)[1].executable in (f"{program}.old", "")
    Path(f"{program}.old").rename(program)
    command = (str(program), "-e", f"unlink '{program}'; " + code, name_of(listener))
    assert ask(listener, *command)[1].executable == ""


def test_of_a_process_that_has_ended_nothing_is_told(listener: socket.socket) -> None:
    program = (sys.executable, "-c", CONNECT + "import os; os._exit(0)", name_of(listener))
    with subprocess.Popen(program) as process:
        connected, _ = listener.accept()
        process.wait(60)
    with connected:
        peer = read_peer(connected)
        assert peer.pid == process.pid
        assert read_caller(connected.fileno(), peer) == UNKNOWN_CALLER
        # Neither of whoever has a number that the system could not tell.
        assert read_caller(connected.fileno(), Peer(0, 0, None)) == UNKNOWN_CALLER


def test_the_number_of_a_process_that_ended_is_nobody_else_s(
    listener: socket.socket, require_program: Callable[[str], str]
) -> None:
    """The caller has ended, and another program has its number by the time that it is asked for."""
    if os.getuid() != 0:
        pytest.skip("only root can choose the number of the next process")
    # Among processes of their own: no other test's next process has a number that was just free.
    alone = (require_program("unshare"), "--pid", "--fork", "--kill-child", "--mount-proc")
    done = subprocess.run(
        (*alone, sys.executable, "-c", REUSED, name_of(listener), CONNECT),
        pass_fds=[listener.fileno()],
        input=str(listener.fileno()),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "same number, nobody else\n"), done.stderr


def test_a_line_that_is_too_long_is_not_told(listener: socket.socket) -> None:
    """And one that is long is: each process waits for the one that it started."""
    fork = "import os\nfor _ in range({}):\n    if os.fork(): os._exit(os.wait()[1] >> 8)\n"
    for depth, is_told in ((3, True), (MAX_ANCESTORS + 1, False)):
        code = fork.format(depth) + CONNECT + STAY
        _, caller = ask(listener, sys.executable, "-c", code, name_of(listener))
        assert caller.executable == PYTHON
        if is_told:
            assert caller.ancestors is not None
            assert caller.ancestors[:depth] == (PYTHON,) * depth
        else:
            assert caller.ancestors is None


def test_a_script_is_the_program_that_reads_it(listener: socket.socket, tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text(f"#!{sys.executable}\n{CONNECT.replace('; ', chr(10))}{STAY}\n")
    script.chmod(0o755)
    link = tmp_path / "link"
    link.symlink_to(sys.executable)
    assert ask(listener, str(script), name_of(listener))[1].executable == PYTHON
    code = (str(link), "-c", CONNECT + STAY, name_of(listener))
    assert ask(listener, *code)[1].executable == PYTHON, "symbolic links are resolved"


def test_who_connected_is_judged_whoever_speaks_later(listener: socket.socket) -> None:
    """A descriptor that is handed on stays the connection of the process that made it."""
    code = f"{CONNECT}import os; s.set_inheritable(True); os.fork() and {STAY}"
    child = "os.execl('/bin/sh', 'sh', '-c', 'cat >/dev/null')"
    peer, caller = ask(listener, sys.executable, "-c", f"{code} or {child}", name_of(listener))
    assert peer.pid is not None
    assert caller.executable == PYTHON


def test_a_program_in_a_file_system_of_its_own_is_not_known(
    listener: socket.socket, tmp_path: Path, require_program: Callable[[str], str]
) -> None:
    """It could have any file at any path."""
    unshare, perl = require_program("unshare"), require_program("perl")
    mine = tmp_path / "mine"
    shutil.copy(perl, mine)
    code = (
        "use Socket; socket(S, AF_UNIX, SOCK_STREAM, 0);"
        " connect(S, sockaddr_un(chr(0) . $ARGV[0])) or die; <STDIN>"
    )
    shown = os.path.realpath(perl)
    script = f'mount --bind "{mine}" "{shown}" && exec "{shown}" -e \'{code}\' "$0"'
    command = (unshare, "--mount", "--map-root-user", "sh", "-c", script, name_of(listener))
    probe = subprocess.run([unshare, "--mount", "--map-root-user", "true"], check=False)
    if probe.returncode:
        pytest.skip("the system lets nobody have a file system of their own")
    assert ask(listener, *command)[1].executable == ""
