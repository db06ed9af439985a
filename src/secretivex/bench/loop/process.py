"""The event loop of one load process: who asks when, what came back, what did not.

Rule for editors: a request that was due in the window ends as exactly one latency or one failure,
and the path of a request is kept short, for the tool's own cost is what limits what it can measure.
"""

from __future__ import annotations

import os
import socket
import time
from collections import deque
from typing import Final

from secretivex.bench.loop.client import CONNECTING, NS, READING, RESTING, Client, Part
from secretivex.bench.loop.poller import Poller, open_poller
from secretivex.bench.loop.requests import Requests
from secretivex.bench.tally import FailureKind, Sample, Slice, Tally
from sshwire.agent.numbers import FRAME_HEADER_BYTES, MAX_FRAME_BYTES, ReplyNumber

SWEEP_NS: Final = 50_000_000
"""How often time-outs are looked for."""
PENALTY_NS: Final = 5_000_000
"""How long a client rests after a failure, so that a dead agent is not hammered."""
RETRY_S: Final = 0.0005
"""Pause between attempts to connect to a full backlog."""
READ_BYTES: Final = 65536
CUT = FRAME_HEADER_BYTES + 1


class Loop:
    """Runs one part; `progress` is a cell of shared memory that counts what is done."""

    def __init__(self, part: Part, poller: Poller, progress: memoryview) -> None:
        scenario = part.scenario
        self._part = part
        self._path = scenario.address
        self._poller = poller
        self._progress = progress
        self._requests = Requests(scenario, os.urandom(scenario.payload_bytes))
        self._clients = [Client() for _ in range(part.clients)]
        self._by_fd: dict[int, Client] = {}
        self._resting: deque[Client] = deque()
        self._waiting: deque[Client] = deque()
        self._busy = 0
        self._issued = 0
        self._issued_in_window = 0
        self._counted = 0
        self._serial = part.index << 48
        self._due_ns = part.begin_ns
        self._window_ns, self._end_ns = part.window_ns, part.end_ns
        self._interval_ns = int(scenario.interval_s * NS)
        self._connect_ns = int(scenario.connect_timeout_s * NS)
        self._response_ns = int(scenario.response_timeout_s * NS)
        self._keep_every = 1
        self.tally = Tally()

    def run(self) -> None:
        """Until everything that was due has ended, or its time-out has passed."""
        ramp_ns = int(self._part.scenario.ramp_s * NS)
        for number, client in enumerate(self._clients):
            client.rest_ns = self._part.begin_ns + ramp_ns * number // len(self._clients)
            self._resting.append(client)
        give_up_ns = self._end_ns + self._connect_ns + self._response_ns
        swept_ns, cpu_s, used = 0, 0.0, 0
        while (now := time.monotonic_ns()) < give_up_ns:
            if not used and now >= self._window_ns:
                used, cpu_s = now, time.process_time()
            if self._all_issued(now) and not self._busy:
                break
            self._give_out(now)
            self._retry_connects(now)
            for fd in self._poller.ready(self._nap_s(time.monotonic_ns())):
                client_of = self._by_fd.get(fd)
                if client_of is not None:
                    self._take(client_of)
            if now - swept_ns > SWEEP_NS:
                swept_ns = now
                self._sweep(now)
                self._progress[self._part.index] = self._counted
        self._finish(time.monotonic_ns())
        if used:
            span_s = max(time.monotonic_ns() - used, 1) / NS
            self.tally.busy_share = (time.process_time() - cpu_s) / span_s

    def _all_issued(self, now: int) -> bool:
        if self._part.count:
            return self._issued_in_window >= self._part.count
        return (self._due_ns if self._part.rate_per_s else now) >= self._end_ns

    def _give_out(self, now: int) -> None:
        """Every request that is due goes to a client that rests."""
        rate = self._part.rate_per_s
        for _ in range(len(self._resting)):
            if (rate and self._due_ns > now) or self._all_issued(now):
                return
            client = self._resting.popleft()
            if client.rest_ns > now:
                self._resting.append(client)
                continue
            client.due_ns = self._due_ns if rate else now
            self._start(client, now)
            if rate:
                self._due_ns = self._part.begin_ns + int(self._issued * NS / rate)

    def _start(self, client: Client, now: int) -> None:
        self._busy += 1
        self._issued += 1
        self._serial += 1
        if client.due_ns >= self._window_ns:
            self._issued_in_window += 1
        client.began_ns = now
        client.serial = self._serial
        if client.connected is not None:
            self._ask(client, client.connected, now)
            return
        client.state = CONNECTING
        try:
            client.connected = socket.socket(socket.AF_UNIX)
        except OSError:
            self._fail(client, "connect", now)
            return
        client.connected.setblocking(False)
        if not client.is_queued and (self._waiting or not self._try_connect(client, now)):
            client.is_queued = True
            self._waiting.append(client)

    def _try_connect(self, client: Client, now: int) -> bool:
        """False if the backlog is full: Linux then refuses at once instead of queueing."""
        connected = client.connected
        assert connected is not None  # noqa: S101 - a client that connects has a socket
        try:
            connected.connect(self._path)
        except BlockingIOError:
            return False
        except OSError:
            self._fail(client, "connect", now)
            return True
        self._by_fd[connected.fileno()] = client
        self._poller.add(connected)
        self._ask(client, connected, now)
        return True

    def _retry_connects(self, now: int) -> None:
        while self._waiting:
            client = self._waiting[0]
            if client.state == CONNECTING and not self._try_connect(client, now):
                return
            self._waiting.popleft().is_queued = False

    def _ask(self, client: Client, connected: socket.socket, now: int) -> None:
        try:
            connected.sendall(self._requests.frame(client.serial))
        except OSError:
            self._fail(client, "closed", now)
            return
        client.state = READING
        client.buffer = b""

    def _take(self, client: Client) -> None:
        connected = client.connected
        assert connected is not None  # noqa: S101 - only open sockets are watched
        try:
            data = connected.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if client.state != READING:
            # Closed, or spoken on, while nothing was asked: the next request opens another one.
            self._drop(client)
            return
        if not data:
            self._fail(client, "closed", time.monotonic_ns())
            return
        if client.buffer:
            data = client.buffer + data
        if len(data) < CUT:
            client.buffer = data
            return
        length = int.from_bytes(data[:FRAME_HEADER_BYTES], "big")
        if data[FRAME_HEADER_BYTES] != self._requests.expected:
            is_refusal = data[FRAME_HEADER_BYTES] == ReplyNumber.FAILURE
            self._fail(client, "refused" if is_refusal else "malformed", time.monotonic_ns())
        elif len(data) < FRAME_HEADER_BYTES + length <= FRAME_HEADER_BYTES + MAX_FRAME_BYTES:
            client.buffer = data
        elif len(data) != FRAME_HEADER_BYTES + length:
            self._fail(client, "malformed", time.monotonic_ns())
        else:
            self._record(client, data, time.monotonic_ns())

    def _record(self, client: Client, data: bytes, now: int) -> None:
        due = client.due_ns
        if now >= self._window_ns:
            one = self._slice(now)
            if now < self._end_ns and (due >= self._window_ns or not self._part.count):
                one.completed += 1
                self.tally.last_ns = now
            if due >= self._window_ns:
                one.latency.record(now - due)
                self._counted += 1
                if self._counted % self._keep_every == 0:
                    self._keep(Sample(client.serial, data[FRAME_HEADER_BYTES:]))
        if self._part.scenario.reconnect:
            self._drop(client)
        self._rest(client, 0)

    def _slice(self, now: int) -> Slice:
        """Of the window's slices the one of this moment; what ends late counts in the last."""
        return self.tally.at((min(now, self._end_ns - 1) - self._window_ns) // self._interval_ns)

    def _keep(self, sample: Sample) -> None:
        """A sample spread evenly over the run: when it is full, every second one goes."""
        wanted = self._part.scenario.verify_samples
        if not wanted:
            return
        self.tally.samples.append(sample)
        if len(self.tally.samples) >= 2 * wanted:
            del self.tally.samples[::2]
            self._keep_every *= 2

    def _fail(self, client: Client, kind: FailureKind, now: int) -> None:
        if now >= self._window_ns:
            self._slice(now).failures[kind] += 1
        self._drop(client)
        self._rest(client, now + PENALTY_NS)

    def _rest(self, client: Client, until_ns: int) -> None:
        self._busy -= 1
        client.state = RESTING
        client.rest_ns = until_ns
        self._resting.append(client)

    def _drop(self, client: Client) -> None:
        connected, client.connected = client.connected, None
        if connected is None:
            return
        if self._by_fd.pop(connected.fileno(), None) is not None:
            self._poller.drop(connected)
        connected.close()

    def _nap_s(self, now: int) -> float:
        """The longest sleep: time itself makes work where requests or connects are due."""
        if self._part.rate_per_s and self._resting:
            return min(max(self._due_ns - now, 0), SWEEP_NS) / NS
        return RETRY_S if self._waiting or self._resting else SWEEP_NS / NS

    def _sweep(self, now: int) -> None:
        for client in self._clients:
            age = now - client.began_ns
            if client.state == CONNECTING and age > self._connect_ns:
                self._fail(client, "connect_timeout", now)
            elif client.state == READING and age > self._response_ns:
                self._fail(client, "timeout", now)

    def _finish(self, now: int) -> None:
        """What is still under way, and what was due and never had a client, failed."""
        for client in self._clients:
            if client.state != RESTING:
                self._fail(client, "timeout" if client.state == READING else "connect_timeout", now)
            self._drop(client)
        if self._part.rate_per_s and not self._part.count and self._due_ns < self._end_ns:
            unsent = int((self._end_ns - self._due_ns) / NS * self._part.rate_per_s)
            self._slice(self._end_ns).failures["unsent"] += unsent
        self._progress[self._part.index] = self._counted

    def verify(self) -> None:
        """Check the sample of replies; a bad one is a failure after all."""
        for sample in self.tally.samples[-self._part.scenario.verify_samples :]:
            if self._requests.is_good(sample):
                self.tally.verified += 1
            else:
                self._slice(self._window_ns).failures["bad_signature"] += 1
        self.tally.samples.clear()


def run_part(part: Part, progress: memoryview) -> Tally:
    """Do one process's part of a scenario."""
    with open_poller() as poller:
        loop = Loop(part, poller, progress)
        loop.run()
        loop.verify()
    return loop.tally
