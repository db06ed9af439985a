"""The desk as a process of its own, forked by the zygote before any key was read.

Rule for editors: it never outlives its channel; what it asks the supervisor has a number, for
answers may come in any order.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import sys
from collections.abc import Sequence
from typing import Any, cast

from secretivex.metrics.cells import Cells, Meter
from secretivex.server.control import (
    Kind,
    MessageReader,
    encode_message,
    encode_ticket,
    parse_ticket,
)
from secretivex.server.report.desk import Desk
from secretivex.server.report.plan import ReportPlan, parse_plan
from secretivex.server.report.vitals import Vitals

LOG = logging.getLogger("secretivex.metrics")


class DeskProtocol(asyncio.Protocol):
    """The desk's end of the channel; `closed` is done when the supervisor is gone."""

    _transport: asyncio.WriteTransport

    def __init__(
        self,
        closed: asyncio.Future[None],
        cells: Cells,
        meter: Meter,
        control: socket.socket | None,
    ) -> None:
        self.desk: Desk | None = None
        self._control = control
        self._closed = closed
        self._cells, self._meter = cells, meter
        self._opening: asyncio.Task[None] | None = None
        self._reader = MessageReader()
        self._asked: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._last = 0

    async def ask(self, verb: str) -> dict[str, Any]:
        """Ask the supervisor."""
        self._last += 1
        answer: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._asked[self._last] = answer
        self._transport.write(encode_message(Kind.ASK, encode_ticket(self._last, verb.encode())))
        return await answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop first."""
        # A cast, for uvloop's transports have asyncio's methods and not its classes.
        self._transport = cast("asyncio.WriteTransport", transport)

    def data_received(self, data: bytes) -> None:
        """Answers, and the wish for a snapshot."""
        for kind, body in self._reader.receive(data):
            if kind is Kind.ANSWER:
                ticket, text = parse_ticket(body)
                future = self._asked.pop(ticket, None)
                if future is not None and not future.done():
                    future.set_result(json.loads(text))
            elif kind is Kind.PLAN:
                self._follow(parse_plan(body))
            elif kind is Kind.SNAPSHOT and self.desk is not None:
                self.desk.soon("snapshot")

    def _follow(self, plan: ReportPlan) -> None:
        """Open the desk by its first plan; by a later one, go on otherwise."""
        if self.desk is None:
            self.desk = Desk(plan, self._cells, self._meter, self.ask, self._control)
            opening = self.desk.open()
        else:
            opening = self.desk.follow(plan)
        self._opening = asyncio.get_running_loop().create_task(opening)

    def eof_received(self) -> None:
        """The supervisor closed its end."""
        self.connection_lost(None)

    def connection_lost(self, _error: Exception | None) -> None:
        """The channel broke."""
        if not self._closed.done():
            self._closed.set_result(None)


def run_desk(ends: Sequence[socket.socket], cells: Cells, part: int) -> None:
    """Report until the channel closes; does not return.

    `ends` are the channel and the control socket, if there is one.
    """
    status = 1
    try:
        asyncio.run(_serve(ends, cells, part))
        status = 0
    except BaseException:
        LOG.exception("the reporter failed")
    finally:
        sys.stderr.flush()
        os._exit(status)


async def _serve(ends: Sequence[socket.socket], cells: Cells, part: int) -> None:
    channel, control = ends[0], ends[1] if len(ends) > 1 else None
    loop = asyncio.get_running_loop()
    closed: asyncio.Future[None] = loop.create_future()
    meter = cells.meter(part)
    protocol = DeskProtocol(closed, cells, meter, control)
    channel.setblocking(False)
    await loop.create_unix_connection(lambda: protocol, sock=channel)
    Vitals(meter).keep_looking(loop.call_later)
    try:
        await closed
    finally:
        if protocol.desk is not None:
            protocol.desk.close()
