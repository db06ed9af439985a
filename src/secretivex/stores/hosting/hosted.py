"""A store as the supervisor sees it: a process of its own, and the last that was heard of it.

Rule for editors: nothing here waits. A process that ends is started again with back-off, and until
it speaks its keys stay as they were.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from secretivex.identity import Identity, KeyRecord, Signer, StoreEvent, StoreHealth
from secretivex.stores.hosting.endpoint import RemoteKey, open_endpoint
from secretivex.stores.hosting.messages import (
    Kind,
    MessageReader,
    Snapshot,
    Start,
    encode_message,
    encode_start,
    parse_snapshot,
)
from secretivex.stores.hosting.process import command_of
from sshwire.errors import WireError
from sshwire.privkey import parse_private_fields
from sshwire.wire import Reader

FIRST_RETRY_S = 0.25
LAST_RETRY_S = 30.0
"""A store's process that ends is started again after the first; the pause doubles up to the last."""

STEADY_S = 60.0
"""A process that lived this long is started again without a longer pause."""

ANSWER_S = 10.0
"""A process that takes longer to a snapshot it was asked for is called unwell."""

END_S = 1.0
"""How long a process may take to end once its channel is closed."""

_READ_BYTES = 1024 * 1024
_MODULE = "secretivex.stores.hosting.host"


@dataclass(frozen=True, slots=True)
class HostSpec:
    """What makes a store: two equal ones are one store.

    `environ` is all that its process gets of the environment, `secrets` what stands in the variables
    that its settings name: those travel over the channel and stand in no environment of a child.
    """

    kind: str
    name: str
    settings: Mapping[str, Any]
    environ: Mapping[str, str] = field(repr=False)
    secrets: Mapping[str, bytes] = field(repr=False)


class HostedStore:
    """A store in a process of its own, behind the port of every store."""

    def __init__(self, spec: HostSpec, clock: Callable[[], float] = time.monotonic) -> None:
        self.spec = spec
        self.name = spec.name
        self.kind = spec.kind
        self._clock = clock
        self._made_at = clock()
        self._endpoint = open_endpoint()
        self._reader = MessageReader()
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._outbox = bytearray()
        self._records: dict[bytes, KeyRecord] = {}
        self._memory = b""
        self._events: list[StoreEvent] = []
        self._health = self._unwell("its process has not answered yet")
        self.has_answered = False
        self._asked_at: float | None = None
        self._refresh_at: float | None = None
        self._started_at = 0.0
        self._pause_s = FIRST_RETRY_S
        self._retry_at: float | None = self._clock()

    # The port of every store.

    def refresh(self) -> tuple[StoreEvent, ...]:
        """Have the process look again; answers what it reported meanwhile."""
        if self._channel is None:
            self._retry_at = self._clock()
        elif self.has_answered:
            self._send(encode_message(Kind.REFRESH))
            self._asked_at = self._asked_at or self._clock()
            self._refresh_at = self._asked_at if self.kind == "file" else None
        return self.take_events()

    def take_events(self) -> tuple[StoreEvent, ...]:
        """What was reported since the last call."""
        events, self._events = tuple(self._events), []
        return events

    def identities(self) -> tuple[Identity, ...]:
        """What the last snapshot had."""
        return tuple(record.identity for record in self._records.values())

    def sign(self, identity: Identity, data: bytes, flags: int = 0) -> bytes:
        """The encoded signature; blocks."""
        record = self._records[identity.key_blob]
        if record.signer is not None:
            return RemoteKey(record.signer, identity.key_blob).sign(data, flags)
        reader = Reader(record.private_fields)
        return parse_private_fields(reader, reader.text()).sign(data, flags)

    def export(self, identity: Identity) -> KeyRecord:
        """What a worker needs."""
        return self._records[identity.key_blob]

    @property
    def signer(self) -> Signer:
        """Whom a worker asks for a signature, one at a time."""
        return self._endpoint.signer(1)

    def health(self) -> StoreHealth:
        """As the process said last, unless it does not speak at all."""
        if self._asked_at is not None and self._clock() - self._asked_at > ANSWER_S:
            return self._unwell("its process does not answer")
        return self._health

    def _unwell(self, reason: str) -> StoreHealth:
        count = len(self._records)
        return StoreHealth(
            self.name,
            self.kind,
            is_well=False,
            identities=count,
            reason=reason,
            since_s=time.time(),
        )

    # The process.

    @property
    def pid(self) -> int | None:
        """Its number; None while there is none."""
        return None if self._process is None else self._process.pid

    @property
    def channel(self) -> socket.socket | None:
        """To be watched for reading, and for writing while `wants_to_write`."""
        return self._channel

    @property
    def wants_to_write(self) -> bool:
        """Whether something is left to be sent."""
        return bool(self._outbox)

    def awaited_until(self, patience_s: float) -> float | None:
        """When to wait no longer for its first word, or the next on files; None for not at all."""
        since = self._refresh_at if self.has_answered else self._made_at
        return None if since is None else since + patience_s

    @property
    def due(self) -> float | None:
        """When `advance` has something to do without anything to read."""
        return self._retry_at

    def advance(self) -> bool:
        """Start the process if it is time, read and write what can be; whether anything changed."""
        self.start()
        if self._channel is None:
            return False
        try:
            self._write()
            return self._read()
        except (OSError, EOFError, WireError, ValueError, TypeError, KeyError) as error:
            self._lose(f"{type(error).__name__}" if str(error) else "it ended")
            return True

    def start(self) -> None:
        """Start the process if it is time."""
        if self._retry_at is None or self._clock() < self._retry_at:
            return
        self._retry_at = None
        self._started_at = self._clock()
        try:
            ours = self._spawn()
        except OSError as error:
            self._lose(f"cannot be started: {error.strerror}")
            return
        ours.setblocking(False)
        self._channel = ours
        self._reader = MessageReader()
        self._outbox.clear()
        self._asked_at = self._clock()
        start = Start(
            self.kind,
            self.name,
            self.spec.settings,
            self.spec.environ,
            self.spec.secrets,
            self._endpoint.password,
            self._memory,
        )
        self._send(encode_message(Kind.START, encode_start(start)))

    def _spawn(self) -> socket.socket:
        """Begin the process; our end of its channel. Raises OSError."""
        ours, theirs = socket.socketpair()
        listener = self._endpoint.listener.fileno()
        lock = self.spec.settings.get("memory_lock", "off")
        try:
            with theirs:
                self._process = subprocess.Popen(
                    command_of(_MODULE, str(listener), lock),
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=(listener,),
                    env=self.spec.environ,
                    start_new_session=True,
                )
        except BaseException:
            ours.close()
            raise
        return ours

    def _send(self, message: bytes) -> None:
        self._outbox += message
        with contextlib.suppress(OSError):  # reading shows it too
            self._write()

    def _write(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._outbox and self._channel is not None:
                sent = self._channel.send(self._outbox)
                del self._outbox[:sent]

    def _read(self) -> bool:
        changed = False
        while self._channel is not None:
            try:
                data = self._channel.recv(_READ_BYTES)
            except BlockingIOError:
                break
            if not data:
                raise EOFError
            for kind, body in self._reader.receive(data):
                if kind is not Kind.SNAPSHOT:
                    raise WireError(f"a store may not send {kind.name}")
                changed |= self._take(parse_snapshot(body))
        return changed

    def _take(self, snapshot: Snapshot) -> bool:
        """Whether anything in it is new."""
        records = {record.identity.key_blob: record for record in snapshot.records}
        # A dictionary equals another of any order; the order of keys is theirs to choose.
        is_same = list(records.values()) == list(self._records.values())
        is_same = is_same and (self._health == snapshot.health) and not snapshot.events
        self._records = records
        self._events += snapshot.events
        self._memory = snapshot.memory
        self._health = snapshot.health
        self._asked_at = self._refresh_at = None
        self.has_answered = True
        return not is_same

    def _lose(self, reason: str) -> None:
        """The process is gone, or is made to be."""
        lived_s = self._clock() - self._started_at
        self._end()
        if lived_s > STEADY_S:
            self._pause_s = FIRST_RETRY_S
        self._retry_at = self._clock() + self._pause_s
        self._pause_s = min(LAST_RETRY_S, 2 * self._pause_s)
        self._health = replace(
            self._unwell(f"its process was lost: {reason}"), remedy="it is started again"
        )
        self._asked_at = self._refresh_at = None
        self._events.append(StoreEvent(self.name, "store_broken", self.name, self._health.reason))

    def _end(self) -> None:
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()
        process, self._process = self._process, None
        if process is not None:
            # Its own children end when it does, for their channels close.
            process.kill()
            process.wait()

    def close(self) -> None:
        """Let the process end its children and itself; one that does not is killed."""
        self._retry_at = None
        channel, self._channel = self._channel, None
        if channel is not None:
            channel.close()
        process, self._process = self._process, None
        if process is not None:
            try:
                process.wait(END_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._endpoint.close()

    def forget(self) -> None:
        """Close our copies of descriptors in a process that was forked from the supervisor."""
        if self._channel is not None:
            self._channel.close()
        self._endpoint.listener.close()
