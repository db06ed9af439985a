"""The supervisor's end of the reporter: it answers what it is asked, at once, and waits for nobody.

Rule for editors: a reporter that is gone costs nothing but its reports; another one is made.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Callable
from functools import partial
from typing import Any

from secretivex.server.control import (
    MAX_WORKER_FRAME_BYTES,
    Kind,
    MessageReader,
    encode_message,
    encode_ticket,
    parse_ticket,
)
from secretivex.server.link import open_pidfd, send_kill
from secretivex.server.report.plan import ReportPlan, encode_plan
from sshwire.errors import WireError

_READ_BYTES = 65_536

Reply = Callable[[dict[str, Any]], None]
Answer = Callable[[str, Reply], None]
"""Answers a question, now or later."""


class DeskLink:
    """One reporter."""

    def __init__(self, pid: int, channel: socket.socket, answer: Answer) -> None:
        self.pid = pid
        self.channel = channel
        self._answer = answer
        self._reader = MessageReader(MAX_WORKER_FRAME_BYTES)
        self._pidfd = open_pidfd(pid)
        channel.setblocking(False)

    def on_ready(self) -> None:
        """Take questions and answer them; raises OSError, EOFError or `WireError` at its end."""
        try:
            data = self.channel.recv(_READ_BYTES)
        except BlockingIOError:
            return
        if not data:
            raise EOFError
        for kind, body in self._reader.receive(data):
            if kind is not Kind.ASK:
                raise WireError(f"a reporter may not send {kind.name}")
            ticket, verb = parse_ticket(body)
            self._answer(verb.decode(), partial(self._reply, ticket))

    def _reply(self, ticket: int, answer: dict[str, Any]) -> None:
        body = encode_ticket(ticket, json.dumps(answer).encode())
        self._send(encode_message(Kind.ANSWER, body))

    def tell_plan(self, plan: ReportPlan) -> None:
        """Have it report by another plan from now on."""
        with contextlib.suppress(OSError):
            self._send(encode_message(Kind.PLAN, encode_plan(plan)))

    def write_snapshot(self) -> None:
        """Have a snapshot written."""
        with contextlib.suppress(OSError):
            self._send(encode_message(Kind.SNAPSHOT))

    def _send(self, data: bytes) -> None:
        """All or the end: a reporter that does not read is no reporter."""
        if self.channel.send(data) != len(data):
            raise EOFError

    def end(self) -> None:
        """Let it write its last snapshot and go; its end of the channel closes then."""
        with contextlib.suppress(OSError):
            self.channel.shutdown(socket.SHUT_WR)

    def kill(self) -> None:
        """Make sure that it is gone."""
        self.channel.close()
        if self._pidfd is not None:
            with contextlib.suppress(OSError):
                send_kill(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = None
