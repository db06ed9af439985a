"""Who is told to be at the other end where the system answers late, wrongly or not at all."""

from __future__ import annotations

import errno
import os
import struct
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from secretivex.peer import UNKNOWN_CALLER, Caller, Peer
from secretivex.server.peercred import darwin, linux


class Answering:
    """A connected socket that answers one option with a number, or with an error."""

    def __init__(self, answer: int) -> None:
        self._answer = answer

    def getsockopt(self, _level: int, option: int, /) -> int:
        assert option == linux.SO_PEERPIDFD
        if self._answer < 0:
            raise OSError(-self._answer, os.strerror(-self._answer))
        return self._answer


@pytest.mark.skipif(sys.platform != "linux", reason="opens process descriptors")
def test_the_number_of_a_process_counts_only_where_the_kernel_has_no_handles() -> None:
    """A kernel that has them says ESRCH, or ENODATA, of one that ended: its number is free."""
    assert linux.open_handle(Answering(7), os.getpid()) == linux.Handle(7, is_certain=True)
    for number in (errno.ESRCH, errno.ENODATA, errno.EINVAL, errno.EMFILE):
        assert linux.open_handle(Answering(-number), os.getpid()) is None
    handle = linux.open_handle(Answering(-errno.ENOPROTOOPT), os.getpid())
    assert handle is not None
    assert not handle.is_certain
    os.close(handle.descriptor)
    assert linux.open_handle(Answering(-errno.ENOPROTOOPT), 2**31 - 1) is None


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_line_in_which_a_number_was_given_anew_is_not_told() -> None:
    """What was read first said that our parent is who is our child now: it cannot have been."""
    me = linux._read_stat(os.getpid())
    assert linux._ancestors_of(os.getpid(), me, os.geteuid()) is not None
    with subprocess.Popen(["sleep", "60"]) as stranger:
        before = me._replace(parent=stranger.pid)
        told = linux._ancestors_of(os.getpid(), before, os.geteuid())
        stranger.kill()
    assert told is None
    assert linux._ancestors_of(os.getpid(), me._replace(parent=2**31 - 1), 0) is None


ME, ROOT = 501, 0
SHORT = struct.Struct("=4I16s8I")


@dataclass
class Mac:
    """A stand-in for libproc(3): processes by number, with parent, user and program.

    `after` is called once the caller's program was asked for the first time.
    """

    processes: dict[int, tuple[int, int, str]]
    after: Callable[[Mac], None] = lambda _: None
    version: int = 1
    asked: list[int] = field(default_factory=list)

    def token(self, pid: int) -> bytes:
        return struct.pack("=8I", 1, ME, 20, ME, 20, pid, 1, self.version)

    def proc_pidpath_audittoken(self, token: bytes, path: Any, size: int) -> int:
        *_, pid, _session, version = struct.unpack("=8I", token)
        assert size == len(path)
        found = self.proc_pidpath(pid, path, size) if version == self.version else 0
        self.asked.append(pid)
        if len(self.asked) == 1:
            self.after(self)
        return found

    def proc_pidpath(self, pid: int, path: Any, size: int) -> int:
        path.value = self.processes.get(pid, (0, 0, ""))[2].encode()[:size]
        return len(path.value)

    def proc_pidinfo(self, pid: int, flavor: int, _arg: Any, buffer: Any, size: int) -> int:
        assert (flavor, size) == (13, SHORT.size) == (13, 64)
        if pid not in self.processes:
            return 0
        parent, uid, _ = self.processes[pid]
        buffer.raw = SHORT.pack(pid, parent, pid, 2, b"name", 0, uid, *[20] * 6)
        return size


def processes() -> dict[int, tuple[int, int, str]]:
    """Terminal's shell runs under root's login: what no Mac lacks."""
    return {
        90: (80, ME, "/usr/bin/ssh"),
        80: (70, ME, "/bin/zsh"),
        70: (60, ROOT, "/usr/bin/login"),
        60: (1, ME, "/Applications/Terminal.app/Contents/MacOS/Terminal"),
        1: (0, ROOT, "/sbin/launchd"),
    }


def told(mac: Mac, pid: int = 90, peer_pid: int | None = 90) -> Caller:
    peer = Peer(ME, 20, peer_pid)
    return darwin.look_up(mac, mac.token(pid), peer, lambda number: number - 10)


def test_on_a_mac_the_line_ends_where_another_user_s_process_begins() -> None:
    assert told(Mac(processes())) == Caller("/usr/bin/ssh", ("/bin/zsh",), 80)


def test_on_a_mac_nothing_is_told_of_whoever_is_not_the_process_that_connected() -> None:
    mac = Mac(processes())
    assert told(mac, pid=80) == UNKNOWN_CALLER, "the socket was handed on"
    assert told(mac, peer_pid=None) == UNKNOWN_CALLER
    assert darwin.look_up(mac, b"", Peer(ME, 20, 90), os.getsid) == UNKNOWN_CALLER

    def another_program(mac: Mac) -> None:
        mac.version += 1

    assert told(Mac(processes(), another_program)) == UNKNOWN_CALLER
    assert told(Mac({**processes(), 90: (80, ME, "")})) == UNKNOWN_CALLER


def test_on_a_mac_a_line_that_changes_while_it_is_read_is_not_told() -> None:
    gone = {number: one for number, one in processes().items() if number != 80}
    assert told(Mac(gone)).ancestors is None
    mac = Mac(processes())
    real = mac.proc_pidpath

    def orphan(pid: int, path: Any, size: int) -> int:
        if pid == 80:
            mac.processes[90] = (1, ME, "/usr/bin/ssh")
        return real(pid, path, size)

    mac.proc_pidpath = orphan  # type: ignore[method-assign] # the stand-in changes in the middle
    assert told(mac).ancestors is None
    many = {number: (number - 1, ME, f"/bin/{number}") for number in range(2, 90)}
    assert told(Mac({**processes(), **many})).ancestors is None
