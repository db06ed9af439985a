"""Answers the control socket, serves metrics and writes snapshots, on an event loop.

With several workers it is a process of its own, which holds no key; with one it shares that one's
loop. Rule for editors: what it cannot know it asks its `Source`; whoever connects waits for nobody
else, for a bounded time.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from clikit.errors import Failure
from clikit.output import write_atomic
from secretivex.errors import SecretiveError
from secretivex.metrics.cells import Cells, Meter, Totals
from secretivex.metrics.openmetrics import OPENMETRICS, PLAIN, TextForm, render_text
from secretivex.metrics.snapshot import Moment, make_snapshot, window
from secretivex.peer import is_admitted
from secretivex.server.listen_unix import Listener
from secretivex.server.peercred import read_peer
from secretivex.server.report.control_socket import (
    MAX_QUESTION_BYTES,
    encode_answer,
    parse_question,
)
from secretivex.server.report.http import serve_http
from secretivex.server.report.once import Counter
from secretivex.server.report.plan import ReportPlan

LOG = logging.getLogger("secretivex.metrics")

ANSWER_S = 30.0
"""For a question of the owner's and its answer: a reload ends when stores and workers have it."""

POLL_S = 1.0
"""How often it is looked whether a snapshot is due."""


Source = Callable[[str], Awaitable[dict[str, Any]]]
"""Asks the supervisor: "status" or "reload"."""


class Desk:
    """One agent's desk."""

    def __init__(
        self,
        plan: ReportPlan,
        cells: Cells,
        meter: Meter,
        source: Source,
        control: socket.socket | None,
    ) -> None:
        self._plan = plan
        self._control = control
        self._cells = cells
        self._meter = meter
        self._source = source
        self._baseline = Totals()
        self._server: asyncio.AbstractServer | None = None
        self._metrics: tuple[asyncio.AbstractServer, Listener | None] | None = None
        self._one_by_one = asyncio.Lock()
        self._is_polling = False
        self._signed = 0
        self._written_s = time.monotonic()
        self._pids: dict[str, int] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Answer. What cannot be had is logged, and the agent serves without it."""
        async with self._one_by_one:
            # Who has an answer at the control socket finds metrics served too.
            await self._open_metrics()
            await self._open_control()
        self._poll_soon()

    async def _open_control(self) -> None:
        if self._control is not None:
            counter = Counter(self._on_question, ANSWER_S)
            self._server = await asyncio.start_unix_server(counter, sock=self._control.dup())

    async def follow(self, plan: ReportPlan) -> None:
        """Go on by another plan: a reload had another configuration."""
        async with self._one_by_one:
            before, self._plan = self._plan, plan
            if plan.metrics_listen != before.metrics_listen:
                self._close_metrics()
                await self._open_metrics()
        self._poll_soon()

    async def _open_metrics(self) -> None:
        where = self._plan.metrics_listen
        if not where:
            return
        try:
            self._metrics = await serve_http(where, self._text)
        except (SecretiveError, OSError) as error:
            LOG.warning("metrics are not served", extra={"fields": {"reason": str(error)}})

    def _close_metrics(self) -> None:
        if self._metrics is None:
            return
        server, listener = self._metrics
        self._metrics = None
        server.close()
        if listener is not None:
            listener.close()

    def close(self) -> None:
        """Stop listening; a last snapshot."""
        self._close_metrics()
        if self._server is not None:
            self._server.close()
        if self._plan.metrics_output_path is not None:
            self.write("snapshot")

    # Snapshots.

    def snapshot(self, kind: str, totals: Totals | None = None) -> dict[str, Any]:
        """The figures since the last reset: as they are now, or as they were read already."""
        plan = self._plan
        totals = window(totals or self._cells.totals(), self._baseline)
        processes = [(name, self._pids.get(name, 0)) for name in plan.processes]
        moment = Moment(
            kind,
            time.time_ns() // 1_000_000,
            plan.started_unix_ms,
            plan.max_signers,
            plan.max_connections,
            plan.suggested.to_json(),
            processes,
        )
        return make_snapshot(totals, moment)

    def _text(self, form: TextForm) -> str:
        return render_text(self._cells.totals(), self._plan.processes, form)

    def write(self, kind: str) -> None:
        """Write a snapshot to where the configuration says."""
        snapshot = self.snapshot(kind)
        if self._plan.metrics_json:
            LOG.info("metrics", extra={"fields": {"metrics_json": json.dumps(snapshot)}})
        else:
            LOG.debug("metrics", extra={"fields": {"count": snapshot["count"], "kind": kind}})
        path = self._plan.metrics_output_path
        if path is None:
            return
        # What node_exporter's textfile collector reads is told by its name; it knows the older form,
        # and runs as another user, whatever the umask that a service gave us.
        is_text = path.suffix == ".prom"
        text = self._text(PLAIN) if is_text else json.dumps(snapshot) + "\n"
        try:
            write_atomic(path, [text.encode()], mode=0o644, is_exact=is_text)
        except (OSError, Failure) as error:
            self._meter.count("snapshot_failures")
            LOG.warning("a snapshot cannot be written", extra={"fields": {"reason": str(error)}})

    def _poll_soon(self) -> None:
        """Look from time to time whether a snapshot is due, if one ever is."""
        is_wanted = bool(self._plan.metrics_every or self._plan.metrics_interval_ms)
        if is_wanted and not self._is_polling:
            asyncio.get_running_loop().call_later(POLL_S, self._poll)
        self._is_polling = is_wanted

    def _poll(self) -> None:
        if not self._is_polling:
            return
        asyncio.get_running_loop().call_later(POLL_S, self._poll)
        plan = self._plan
        signed = sum(n for _, n in self._cells.totals().labels("signatures"))
        now = time.monotonic()
        if plan.metrics_interval_ms and now - self._written_s >= plan.metrics_interval_ms / 1000:
            kind = "periodic"
        elif (
            plan.metrics_every and signed // plan.metrics_every > self._signed // plan.metrics_every
        ):
            kind = "interval"
        else:
            return
        self._signed, self._written_s = signed, now
        self.write(kind)

    # Control.

    async def _on_question(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bytes:
        if not is_admitted(read_peer(writer.get_extra_info("socket")), os.geteuid()):
            return b""
        line = await reader.readuntil(b"\n")
        return encode_answer(await self._answer(line[:MAX_QUESTION_BYTES]))

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            verb = parse_question(line)
        except ValueError as error:
            return {"error": str(error)}
        if verb == "openmetrics":
            return {"openmetrics": self._text(OPENMETRICS)}
        if verb == "reload":
            return await self._source("reload")
        status = await self._source("status")
        self._pids = {row["name"]: row["pid"] for row in status["processes"]}
        if verb == "health":
            return {**status, "metrics": self.snapshot("snapshot")}
        if verb != "reset":
            return self.snapshot("snapshot")
        # Read once, so that what is counted meanwhile is in the window after this one.
        totals = self._cells.totals()
        snapshot = self.snapshot("reset", totals)
        self._baseline = totals
        return snapshot

    def soon(self, kind: str) -> None:
        """Write a snapshot outside of whatever called."""
        asyncio.get_running_loop().call_soon(partial(self.write, kind))
