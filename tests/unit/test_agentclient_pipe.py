"""Connecting to a named pipe: busy ones are tried again, and no wait is without its end."""

from __future__ import annotations

import socket
import time
from io import FileIO

import pytest

from agentclient.errors import AgentTimeout, AgentUnavailable
from agentclient.pipe import ERROR_PIPE_BUSY, PipeFile, PipeTransport


class BusyError(OSError):
    """As Windows says it."""

    winerror = ERROR_PIPE_BUSY


class Pipes:
    """Busy a number of times, then there."""

    def __init__(self, busy: int) -> None:
        self.busy = busy
        self.ours, theirs = socket.socketpair()
        self.file = FileIO(theirs.detach(), "r+")

    def open(self, _path: str) -> PipeFile:
        self.busy -= 1
        if self.busy >= 0:
            raise BusyError(0, "all pipe instances are busy")
        return self.file


def test_a_busy_pipe_is_tried_again() -> None:
    pipes = Pipes(busy=5)
    transport = PipeTransport.connect(r"\\.\pipe\x", timeout_s=60, open_=pipes.open)
    deadline = time.monotonic() + 60
    transport.send(b"question" * 1000, deadline=deadline)
    assert pipes.ours.recv(8) == b"question"
    pipes.ours.sendall(b"answer")
    assert transport.receive(deadline=deadline) == b"answer"
    with pytest.raises(AgentTimeout):
        transport.receive(deadline=time.monotonic() + 0.01)
    pipes.ours.close()
    transport.close()


def test_a_pipe_that_stays_busy_is_given_up() -> None:
    pipes = Pipes(busy=1000)
    with pytest.raises(AgentUnavailable, match="takes no new connections"):
        PipeTransport.connect(r"\\.\pipe\x", timeout_s=0.02, open_=pipes.open)
    pipes.ours.close()
    pipes.file.close()


def test_an_end_and_an_absence_are_said() -> None:
    pipes = Pipes(busy=0)
    transport = PipeTransport.connect(r"\\.\pipe\x", timeout_s=60, open_=pipes.open)
    pipes.ours.close()
    with pytest.raises(AgentUnavailable, match="closed the connection"):
        transport.receive(deadline=time.monotonic() + 60)
    transport.close()
    with pytest.raises(AgentUnavailable, match="there is no socket"):
        PipeTransport.connect("/nowhere/pipe", timeout_s=60)
