"""The private channel between the supervisor and a store's process: framed messages both ways.

    START     string JSON of the store's settings, string password, string memory, uint32 n,
              n times (string name, string secret)
    REFRESH   nothing: a person asked for it
    SNAPSHOT  string memory, string JSON of health and events, uint32 n, n records

Closing the channel ends the process. Rule for editors: a snapshot is always whole; the last one is
what the supervisor knows of the store, whatever becomes of the process.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import IntEnum
from typing import Any

from secretivex.identity import KeyRecord, StoreEvent, StoreHealth
from secretivex.stores.hosting.records import encode_record, read_record
from sshwire.errors import WireError
from sshwire.wire import Reader, encode_byte, encode_string, encode_text, encode_uint32

MAX_SNAPSHOT_BYTES = 256 * 1024 * 1024
"""65,536 identities of 4 KiB each, as in a worker's state."""

_HEADER_BYTES = 4


class Kind(IntEnum):
    """What a message is."""

    START = 1
    REFRESH = 2
    SNAPSHOT = 64


@dataclass(frozen=True, slots=True)
class Start:
    """What a store's process is told first.

    `settings` is the store's configuration as a table of JSON; `secrets` the values of the
    environment's variables that it names; `memory` what an earlier process of the store left.
    """

    kind: str
    name: str
    settings: Mapping[str, Any]
    environ: Mapping[str, str] = field(repr=False)
    secrets: Mapping[str, bytes] = field(repr=False)
    password: bytes = field(repr=False)
    memory: bytes = field(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A store as its process sees it. `memory` is for the process's successor."""

    health: StoreHealth
    records: tuple[KeyRecord, ...] = ()
    events: tuple[StoreEvent, ...] = ()
    memory: bytes = field(default=b"", repr=False)


def encode_message(kind: Kind, body: bytes = b"") -> bytes:
    """As bytes for the channel."""
    return encode_uint32(1 + len(body)) + encode_byte(kind) + body


def encode_start(start: Start) -> bytes:
    """The body of START; holds secrets in clear."""
    head = {
        "kind": start.kind,
        "name": start.name,
        "settings": dict(start.settings),
        "environ": dict(start.environ),
    }
    parts = [
        encode_text(json.dumps(head)),
        encode_string(start.password),
        encode_string(start.memory),
        encode_uint32(len(start.secrets)),
    ]
    for name, secret in start.secrets.items():
        parts += (encode_text(name), encode_string(secret))
    return b"".join(parts)


def parse_start(body: bytes) -> Start:
    """The inverse; raises `WireError`."""
    reader = Reader(body)
    head = json.loads(reader.text())
    password, memory = reader.string(), reader.string()
    secrets = {reader.text(): reader.string() for _ in range(reader.uint32())}
    reader.finish()
    return Start(**head, secrets=secrets, password=password, memory=memory)


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """The body of SNAPSHOT; holds keys in clear."""
    head = {
        "health": asdict(snapshot.health),
        "events": [asdict(event) for event in snapshot.events],
    }
    parts = [
        encode_string(snapshot.memory),
        encode_text(json.dumps(head)),
        encode_uint32(len(snapshot.records)),
    ]
    parts += map(encode_record, snapshot.records)
    return b"".join(parts)


def parse_snapshot(body: bytes) -> Snapshot:
    """The inverse; raises `WireError`, or ValueError and TypeError for what no host sends."""
    reader = Reader(body)
    memory = reader.string()
    head = json.loads(reader.text(MAX_SNAPSHOT_BYTES))
    records = tuple(read_record(reader) for _ in range(reader.uint32()))
    reader.finish()
    events = tuple(StoreEvent(**event) for event in head["events"])
    return Snapshot(StoreHealth(**head["health"]), records, events, memory)


class MessageReader:
    """Cuts what arrives on a channel into messages; raises `WireError` for what is none."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def receive(self, data: bytes) -> tuple[tuple[Kind, bytes], ...]:
        """The messages that are now whole."""
        self._buffer += data
        messages: list[tuple[Kind, bytes]] = []
        while len(self._buffer) >= _HEADER_BYTES:
            length = int.from_bytes(self._buffer[:_HEADER_BYTES], "big")
            if not 1 <= length <= MAX_SNAPSHOT_BYTES:
                raise WireError(f"message of {length} bytes")
            end = _HEADER_BYTES + length
            if len(self._buffer) < end:
                break
            number, body = self._buffer[_HEADER_BYTES], bytes(self._buffer[_HEADER_BYTES + 1 : end])
            del self._buffer[:end]
            messages.append((_kind(number), body))
        return tuple(messages)


def _kind(number: int) -> Kind:
    try:
        return Kind(number)
    except ValueError as error:
        raise WireError(f"message of unknown kind {number}") from error
