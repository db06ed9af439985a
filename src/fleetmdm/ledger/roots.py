"""What a run commits to: the hashes of its policies, of its inventory, and of every verdict.

An evidence pack holds the same leaves, so that anyone can compute the roots again from it.
Rule for editors: these bytes are hashed for ever; never change how an existing one is written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from fleetmdm.device import Device, encode_device
from fleetmdm.results import Status

MAX_KNOWN_STATES: Final = 65_536
"""Combinations of states that are remembered at a time."""

_encode: Final = msgspec.json.Encoder().encode
"""Of a text: RFC 8785 escapes the same characters in the same way."""


def policy_set_hash(sources: Iterable[tuple[str, bytes]]) -> str:
    """SHA-256 over one line `HEX  ID` for each policy, in the order of the ids; lower-case hex."""
    lines = (f"{hashlib.sha256(source).hexdigest()}  {name}\n" for name, source in sources)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def inventory_leaf(device: Device) -> bytes:
    """A device's leaf of the inventory tree: its whole document, keys sorted."""
    return encode_device(device)


class ResultLeaves:
    """Makes the leaves of the result tree, passes included: one for each device.

    RFC 8785 form of {"device_id": ..., "states": {policy id: state}}. Few devices have states that
    no other has, so each combination is written once.
    """

    def __init__(self, policy_ids: Sequence[str], states: Sequence[Status]) -> None:
        # RFC 8785 section 3.2.3: keys are sorted by their UTF-16 code units.
        order = sorted(range(len(policy_ids)), key=lambda at: policy_ids[at].encode("utf-16-be"))
        self._members = [
            (place, [_encode(policy_ids[place]) + b":" + _encode(state.value) for state in states])
            for place in order
        ]
        """For each policy, in the order of the keys: its place, and its member by code."""
        self._known: dict[bytes, bytes] = {}

    def leaf(self, device_id: str, codes: bytes) -> bytes:
        """The leaf of one device; `codes` has for each policy the place of its state."""
        tail = self._known.get(codes)
        if tail is None:
            if len(self._known) >= MAX_KNOWN_STATES:
                self._known.clear()
            members = b",".join([texts[codes[place]] for place, texts in self._members])
            tail = self._known[codes] = b',"states":{' + members + b"}}"
        return b'{"device_id":' + _encode(device_id) + tail
