"""When a worker counts as lost: it had its time on a core and did not acknowledge."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from secretivex.server.control import Kind, encode_message
from secretivex.server.link import LOOK_S, WorkerLink
from secretivex.server.surroundings.starving import MAX_EXCUSED_S, ran_ns_if_ready, starved_s


class Machine:
    """How long its processes have waited for a core."""

    def __init__(self) -> None:
        self.starved_s = 5.0
        self.ran_ns: int | None = None

    def starved(self, _pid: int) -> float:
        return self.starved_s

    def ready(self, _pid: int) -> int | None:
        return self.ran_ns


@pytest.fixture
def machine() -> Machine:
    return Machine()


@pytest.fixture
def link(machine: Machine) -> Iterator[WorkerLink]:
    """A link to nobody that is expected to acknowledge within half a second of 100."""
    ours, theirs = socket.socketpair()
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    link = WorkerLink(0, child.pid, ours, machine.starved, machine.ready)
    link.expect(1, 100.5)
    yield link
    link.kill()
    theirs.close()
    child.communicate()


def test_one_that_had_a_core_is_overdue_at_its_deadline(link: WorkerLink) -> None:
    assert not link.is_overdue(100.49)
    assert link.is_overdue(100.5)


def test_what_it_waited_for_a_core_is_added_each_time(link: WorkerLink, machine: Machine) -> None:
    machine.starved_s += 0.4
    assert not link.is_overdue(100.6)
    assert link.deadline == pytest.approx(100.9)
    machine.starved_s += 0.2
    assert not link.is_overdue(101.0)
    assert link.is_overdue(101.11)


def test_waiting_excuses_for_so_long_and_no_longer(link: WorkerLink, machine: Machine) -> None:
    machine.starved_s += 1000.0
    assert not link.is_overdue(100.5 + MAX_EXCUSED_S - 1)
    assert link.is_overdue(100.5 + MAX_EXCUSED_S)


def test_a_wait_for_a_core_that_is_not_over_excuses_too(link: WorkerLink, machine: Machine) -> None:
    """The system adds it to what it tells when it is over."""
    machine.ran_ns = 7
    now = 100.5
    for _ in range(20):
        assert not link.is_overdue(now)
        now += LOOK_S
        assert link.deadline == pytest.approx(now)
    machine.ran_ns = 8
    machine.starved_s += 1.2
    assert not link.is_overdue(now)
    assert link.deadline == pytest.approx(now + 1.2)
    assert link.is_overdue(now + 1.2)


def test_one_that_runs_and_says_nothing_is_overdue_at_the_second_look(
    link: WorkerLink, machine: Machine
) -> None:
    machine.ran_ns = 7
    assert not link.is_overdue(100.5)
    machine.ran_ns = 8
    assert link.is_overdue(100.5 + LOOK_S)


def test_a_wait_without_end_excuses_for_so_long_and_no_longer(
    link: WorkerLink, machine: Machine
) -> None:
    machine.ran_ns = 7
    now = 100.5
    while not link.is_overdue(now):
        now += LOOK_S
    assert now == pytest.approx(100.5 + MAX_EXCUSED_S, abs=2 * LOOK_S)


def test_what_it_waited_before_does_not_count(link: WorkerLink, machine: Machine) -> None:
    machine.starved_s += 7.0
    link.expect(2, 200.0)
    assert link.is_overdue(200.0)


def test_one_that_says_nothing_has_no_pulse_and_any_word_is_one(machine: Machine) -> None:
    ours, theirs = socket.socketpair()
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    link = WorkerLink(0, child.pid, ours, machine.starved, machine.ready)
    assert not link.has_no_pulse(1e9)
    link.expect_pulse(100.0, 20.0)
    assert not link.has_no_pulse(119.9)
    assert link.has_no_pulse(120.0)
    # It had no core for most of the time: it gets its time again.
    machine.starved_s += 11.0
    assert not link.has_no_pulse(120.0)
    assert link.pulse_by == 140.0
    link.postpone(30.0)
    assert not link.has_no_pulse(169.0)
    assert link.has_no_pulse(170.0)
    theirs.sendall(encode_message(Kind.ALIVE))
    assert link.read() == ()
    assert not link.has_no_pulse(1e9)
    link.kill()
    theirs.close()
    child.communicate()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells how long a process waited")
def test_a_process_that_is_stopped_waits_for_no_core() -> None:
    child = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        os.kill(child.pid, signal.SIGSTOP)
        assert os.waitid(os.P_PID, child.pid, os.WSTOPPED) is not None
        # It tells that it stops a moment before it does, and may wait for a core to do so.
        deadline_s = time.monotonic() + 60
        while starved_s(child.pid) != after_a_moment(child.pid):
            assert time.monotonic() < deadline_s
    finally:
        child.kill()
        child.wait()


def after_a_moment(pid: int) -> float:
    time.sleep(0.05)
    return starved_s(pid)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who is ready")
def test_a_process_is_ready_while_it_runs_and_not_when_it_is_stopped() -> None:
    child = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        end = time.monotonic() + 60
        while not ran_ns_if_ready(child.pid):
            assert time.monotonic() < end, "it never ran"
        os.kill(child.pid, signal.SIGSTOP)
        assert os.waitid(os.P_PID, child.pid, os.WSTOPPED) is not None
        assert ran_ns_if_ready(child.pid) is None
    finally:
        child.kill()
        child.wait()


def test_nothing_is_known_of_a_process_that_is_not_there() -> None:
    assert starved_s(2**22 + 1) == 0.0
    assert ran_ns_if_ready(2**22 + 1) is None
