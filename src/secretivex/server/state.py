"""What a worker is told: its settings, the policy and every key, as one value of one generation.

Rule for editors: this is the only thing that travels from the supervisor's knowledge to a worker,
always whole, so that a replaced worker differs in nothing from the one before it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from secretivex.identity import KeyRecord
from secretivex.stores.hosting.records import encode_record, read_record
from sshwire.wire import Reader, encode_string, encode_text, encode_uint32

MAX_STATE_BYTES = 256 * 1024 * 1024
"""65,536 identities, the most that may be configured, of 4 KiB each: RSA-8192 and its comment."""


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What bounds a worker; totals are over all workers, a timeout of 0 is none."""

    workers: int = 1
    max_connections: int = 0
    max_signers: int = 4
    max_blocking_threads: int = 4
    inline_sign: bool | None = None
    allow_sha1: bool = False
    query_reply: str = "rfc9987"
    agent_mode: str = "full"
    hide_denied: bool = False
    max_frame_bytes: int = 256 * 1024
    max_identities: int = 4096
    sign_timeout_ms: int = 0
    idle_timeout_ms: int = 0
    write_timeout_ms: int = 10_000

    def share_of(self, total: int) -> int:
        """A worker's part of a total, at least one."""
        return max(1, -(-total // self.workers))


@dataclass(frozen=True, slots=True)
class WorkerState:
    """Everything a worker answers from. `policy` holds the rules as the configuration has them."""

    generation: int
    limits: ServerLimits
    policy: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    keys: tuple[KeyRecord, ...] = ()
    lock_salt: bytes = b""
    """What an attempt to unlock is derived with; empty when the agent is not locked."""
    tools: Mapping[str, Any] = field(default_factory=dict)
    """`TokenTools` as a table."""


def encode_state(state: WorkerState) -> bytes:
    """As bytes for the private channel; holds secrets in clear."""
    head = {
        "limits": asdict(state.limits),
        "policy": dict(state.policy),
        "tools": dict(state.tools),
    }
    parts = [
        encode_uint32(state.generation),
        encode_text(json.dumps(head)),
        encode_string(state.lock_salt),
        encode_uint32(len(state.keys)),
    ]
    parts += map(encode_record, state.keys)
    return b"".join(parts)


def parse_state(body: bytes | memoryview) -> WorkerState:
    """The inverse; raises `WireError` or ValueError for what the supervisor would not send."""
    reader = Reader(body)
    generation = reader.uint32()
    head = json.loads(reader.text(MAX_STATE_BYTES))
    lock_salt = reader.string()
    keys = tuple(read_record(reader) for _ in range(reader.uint32()))
    reader.finish()
    policy = {key: tuple(entries) for key, entries in head["policy"].items()}
    return WorkerState(
        generation, ServerLimits(**head["limits"]), policy, keys, lock_salt, head["tools"]
    )
