"""One client: bytes in, replies out in the order of the requests, with bounded memory and time.

A protocol with callbacks, without a task. Rule for editors: whatever a client sends or fails to
read, it costs at most one frame, one read and `MAX_TURNS` replies, and no other client waits.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Protocol, cast

from secretivex.context.bindings import UNBOUND, Bindings
from secretivex.engine import Change, Reply
from secretivex.peer import Peer
from secretivex.server.lanes.turn import Turn
from secretivex.server.sockets.memory import Memory
from sshwire.agent.connection import NEED_DATA, FrameReader
from sshwire.errors import WireError

MAX_TURNS = 64
"""Requests of one connection in hand at a time; more wait in the client's socket."""

BATCH_FRAMES = 32
"""Requests of one connection taken before the loop looks at others: a flood costs them no more."""

BIND_FRAMES = 16
"""Requests that a session bind counts for: it has a signature verified."""


_length_at = struct.Struct(">I").unpack_from


class Host(Protocol):
    """The worker, as its connections see it."""

    def answer(
        self, payload: bytes, peer: Peer, bindings: Bindings, turn: Turn
    ) -> Reply | Change | None:
        """Ask the engine; None if a signature is made for the turn, which is filled later."""
        ...

    @property
    def by_caller(self) -> Collection[int]:
        """Numbers of the requests for which it matters which program asks."""
        ...

    def identify(self, peer: Peer, connected: socket.socket) -> Peer:
        """The peer with the program that it runs."""
        ...

    def change(self, change: Change, turn: Turn) -> None:
        """Have a change made and the turn filled."""
        ...

    @property
    def arrival_s(self) -> float:
        """When what is read now arrived."""
        ...

    @property
    def memory(self) -> Memory:
        """What all connections may keep, and hold while they wait to be signed."""
        ...

    def now(self) -> float:
        """The clock that the times of turns are of, in seconds."""
        ...

    def soon(self, callback: Callable[[], None]) -> None:
        """Call back once other connections had their turn."""
        ...

    def made(self, connection: Connection) -> None:
        """The connection is open."""
        ...

    def lost(self, connection: Connection) -> None:
        """The connection is no more."""
        ...


class Connection(asyncio.Protocol):
    """The server's side of one connection."""

    __slots__ = (
        "_arrival_s",
        "_barrier",
        "_bindings",
        "_buffered_bytes",
        "_frames",
        "_held",
        "_host",
        "_is_at_eof",
        "_is_ending",
        "_is_paused",
        "_is_resting",
        "_max_frame_bytes",
        "_peer",
        "_transport",
        "_turns",
        "blocked_since_s",
        "caller",
        "quiet_since_s",
    )

    _transport: asyncio.Transport

    def __init__(self, host: Host, peer: Peer, max_frame_bytes: int) -> None:
        self._host = host
        self._peer = peer
        self.caller = peer.uid, peer.pid
        self._max_frame_bytes = max_frame_bytes
        self._frames: FrameReader | None = None
        self._buffered_bytes = 0
        self._arrival_s = 0.0
        self._turns: deque[Turn] = deque()
        # A change is made after what came before it was answered, and before what follows is read.
        self._barrier: Turn | None = None
        self._held: Change | None = None
        self._bindings = UNBOUND
        self._is_paused = False
        self._is_resting = False
        self._is_ending = False
        self._is_at_eof = False
        self.quiet_since_s = host.now()
        self.blocked_since_s: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop first."""
        # A cast, for uvloop's transports have asyncio's methods and not its classes.
        self._transport = cast("asyncio.Transport", transport)
        self._host.made(self)

    def data_received(self, data: bytes) -> None:
        """Answer what is whole; a single frame, and nothing else in hand, needs no reader."""
        if self._is_ending:
            return
        size = len(data)
        is_whole = 4 < size <= self._max_frame_bytes + 4 and _length_at(data)[0] == size - 4
        is_alone = is_whole and not self._turns and self._frames is None
        if is_alone and self.blocked_since_s is None and self._host.memory.has_room(self):
            if self._take(data[4:], self._host.arrival_s):
                self._flush()
            return
        self._arrival_s = self._host.arrival_s
        if self._frames is None:
            self._frames = FrameReader(max_frame_bytes=self._max_frame_bytes)
        self._frames.receive_data(data)
        self._drain_frames()

    def _drain_frames(self) -> None:
        """Take buffered frames while there is room for their replies."""
        frames = self._frames
        room = BATCH_FRAMES
        while frames is not None and not self._is_ending and self._has_room():
            try:
                payload = frames.next_frame()
            except WireError:
                # No frame boundary can be found again: OpenSSH's agent hangs up, and so do we.
                self._flush()
                self._hang_up()
                return
            if payload is NEED_DATA:
                if not frames.buffered_bytes:
                    self._frames = None
                break
            room -= self._take(payload, self._arrival_s) or 1
            if room <= 0:
                self._is_resting = True
                self._host.soon(self.go_on)
        self._flush()
        if not self._keeps():
            # Many clients that each begin a long message and do not end it: a flood.
            self._hang_up()
            return
        self._regulate()
        self._settle()

    def _keeps(self) -> bool:
        """Have what is buffered counted; false if there is no memory for it."""
        buffered = 0 if self._frames is None else self._frames.buffered_bytes
        change, self._buffered_bytes = buffered - self._buffered_bytes, buffered
        return not change or self._host.memory.keep(change)

    def _hang_up(self) -> None:
        self._frames = None
        self._keeps()
        self.close()

    def go_on(self) -> None:
        """Others had their turn, or there is memory again."""
        self._is_resting = False
        self._drain_frames()

    def _has_room(self) -> bool:
        is_blocked = self.blocked_since_s is not None or self._barrier is not None
        if is_blocked or self._is_resting or len(self._turns) >= MAX_TURNS:
            return False
        return self._host.memory.has_room(self)

    def _take(self, payload: bytes, since_s: float) -> int:
        """Ask for one answer and give it its place in the order; how many requests it counts for.

        0 for a signature, which is in the making.
        """
        host = self._host
        turn = Turn(self, since_s)
        self._turns.append(turn)
        if host.by_caller and self._peer.caller is None and payload[0] in host.by_caller:
            self._identify()
        answer = host.answer(payload, self._peer, self._bindings, turn)
        if answer is None:
            return 0
        if isinstance(answer, Change):
            self._barrier, self._held = turn, answer
            return 1
        turn.frame = answer.frame
        if answer.bindings is None:
            return 1
        self._bindings = answer.bindings
        return BIND_FRAMES

    def _identify(self) -> None:
        """Look up which program this is, once and only where that matters."""
        connected = self._transport.get_extra_info("socket")
        if connected is not None and connected.fileno() >= 0:
            self._peer = self._host.identify(self._peer, connected)

    def fill(self, turn: Turn, frame: bytes) -> None:
        """A reply became known."""
        turns = self._turns
        if turn is self._barrier:
            self._barrier = None
        elif len(turns) == 1 and self._frames is None:
            # Nearly always: nothing came before it, nothing waits behind it.
            turns.clear()
            self._transport.write(frame)
            self.quiet_since_s = turn.ended_s or self._host.now()
            if self._is_ending or self._is_at_eof:
                self._settle()
            return
        turn.frame = frame
        if turns and turns[0] is turn:
            self._flush()
        if self._frames is not None:
            self._drain_frames()
        else:
            self._settle()

    def _flush(self) -> None:
        """Write the replies that are next in order."""
        turns = self._turns
        if not turns:
            return
        write = self._transport.write
        while turns and (frame := turns[0].frame) is not None:
            turns.popleft()
            write(frame)
        if self._held is not None and turns[0] is self._barrier:
            change, self._held = self._held, None
            self._host.change(change, turns[0])
        if not turns:
            self.quiet_since_s = self._host.now()

    def _settle(self) -> None:
        """Hang up once there is nothing left to say."""
        if (self._is_ending or self._is_at_eof) and not (self._turns or self._is_resting):
            self._transport.close()

    def _regulate(self) -> None:
        """Read on only when there is room; a request that waits is not read twice."""
        if self._is_paused == self._has_room() and not self._transport.is_closing():
            self._is_paused = not self._is_paused
            if self._is_paused:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def pause_writing(self) -> None:
        """Called by the loop when the client does not read its replies."""
        self.blocked_since_s = self._host.now()
        self._regulate()

    def resume_writing(self) -> None:
        """Called by the loop when the client has read."""
        self.blocked_since_s = None
        self._drain_frames()

    def eof_received(self) -> bool:
        """A client that has said all still gets its replies; True keeps the way out open."""
        self._is_at_eof = True
        return bool(self._turns) or self._is_resting

    @property
    def peer(self) -> Peer:
        """Who is at the other end."""
        return self._peer

    def forget_caller(self) -> None:
        """Have its program looked up again when that next matters."""
        if self._transport.get_extra_info("socket") is not None:
            self._peer = replace(self._peer, caller=None)

    def connection_lost(self, _error: Exception | None) -> None:
        """Called by the loop last."""
        for turn in self._turns:
            turn.is_dropped = True
        self._turns.clear()
        self._held = None
        self._frames = None
        self._keeps()
        self._host.lost(self)

    @property
    def is_quiet(self) -> bool:
        """Whether the client owes us a request, rather than we a reply."""
        return not self._turns and self.blocked_since_s is None

    def give_up(self) -> tuple[Change, Turn] | None:
        """The agent is about to end: close, and tell which change still waited for its turn."""
        held, self._held = self._held, None
        waiting = None if held is None or self._barrier is None else (held, self._barrier)
        for turn in self._turns:
            turn.is_dropped = True
        self._transport.abort()
        return waiting

    def finish(self) -> None:
        """Take no more requests; close once those in hand are answered."""
        self._is_ending = True
        self._frames = None
        self._keeps()
        self._settle()

    def close(self) -> None:
        """Close after what was written has gone out; drop what was not."""
        self._is_ending = True
        self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()
