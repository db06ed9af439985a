"""What a token's store and its helper processes say to each other: JSON, one length-prefixed frame each.

    to a helper:   {"do": "open", "module", "selector", "pin", "password"} | {"do": "list"}
    from a helper: {"is": "open", "token", "keys"} | {"is": "refused", "reason", "message", "remedy"}
                   {"is": "keys", "keys"} | {"is": "stale"} | {"is": "lost", "reason"}

Rule for editors: the channel is private to the two; it carries the PIN.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from secretivex.config.pkcs11_uri import TokenSelector
from secretivex.stores.hosting.nameless import open_nameless
from secretivex.stores.pkcs11.objects import TokenObject
from sshwire.errors import WireError
from sshwire.keyblob import PublicKey

MAX_FRAME_BYTES = 64 * 1024 * 1024
"""8192 keys of 4 KiB, in hexadecimal."""

_CELL = struct.Struct("=d")


def encode_frame(message: Mapping[str, Any]) -> bytes:
    """A message with its length."""
    body = json.dumps(message).encode()
    return len(body).to_bytes(4, "big") + body


class FrameReader:
    """Cuts what arrives into messages; raises `WireError` for what is none."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def receive(self, data: bytes) -> list[dict[str, Any]]:
        """The messages that are now whole."""
        self._buffer += data
        messages: list[dict[str, Any]] = []
        while len(self._buffer) >= 4:
            length = int.from_bytes(self._buffer[:4], "big")
            if length > MAX_FRAME_BYTES:
                raise WireError(f"a message of {length} bytes")
            if len(self._buffer) < 4 + length:
                break
            try:
                message = json.loads(bytes(self._buffer[4 : 4 + length]))
            except ValueError as error:
                raise WireError("a message that is not JSON") from error
            del self._buffer[: 4 + length]
            messages.append(message)
        return messages


def selector_table(selector: TokenSelector) -> dict[str, Any]:
    """In terms of JSON."""
    return {**asdict(selector), "key_id": selector.key_id.hex()}


def selector_from(table: Mapping[str, Any]) -> TokenSelector:
    """The inverse."""
    return TokenSelector(**{**table, "key_id": bytes.fromhex(table["key_id"])})


def keys_table(keys: tuple[TokenObject, ...]) -> list[dict[str, str]]:
    """In terms of JSON."""
    return [
        {
            "algorithm": one.key.algorithm,
            "blob": one.key.blob.hex(),
            "label": one.label,
            "id": one.key_id.hex(),
        }
        for one in keys
    ]


def keys_from(table: list[dict[str, str]]) -> tuple[TokenObject, ...]:
    """The inverse."""
    return tuple(
        TokenObject(
            PublicKey(row["algorithm"], bytes.fromhex(row["blob"])),
            row["label"],
            bytes.fromhex(row["id"]),
        )
        for row in table
    )


class BusyCell:
    """Since when a helper is inside its module, in memory that the store's process can see.

    A module that hangs answers no question, so its helper says so before it calls it.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        if descriptor is None:
            descriptor = open_nameless()
            os.ftruncate(descriptor, mmap.PAGESIZE)
        self.descriptor = descriptor
        self._memory = mmap.mmap(descriptor, mmap.PAGESIZE)

    def enter(self) -> None:
        """The module is called now."""
        _CELL.pack_into(self._memory, 0, time.monotonic())

    def leave(self) -> None:
        """The module has answered."""
        _CELL.pack_into(self._memory, 0, 0.0)

    def since_s(self) -> float | None:
        """When the module was called; None if it has answered."""
        return float(_CELL.unpack_from(self._memory, 0)[0]) or None

    def close(self) -> None:
        """Let go of the memory."""
        self._memory.close()
        os.close(self.descriptor)
