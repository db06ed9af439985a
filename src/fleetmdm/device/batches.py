"""Many stored documents side by side, still as bytes: what a full check reads. Pure.

A device costs three references here and no object of its own; whoever needs facts decodes them,
and takes only those that are asked for.
Rule for editors: `whole` and `encode_device` write the same bytes, which are hashed for ever.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fleetmdm.device.document import Device
from fleetmdm.device.encoding import encode_facts
from fleetmdm.rfc3339 import encode_time

_AFTER_LAST_SEEN = b',"os":'
"""The key that follows `last_seen` in the order of the keys. What stands behind it holds no object,
so its last occurrence is the document's own; inside a text its quotes would be escaped."""


@dataclass(frozen=True, slots=True)
class DocumentBatch:
    """Documents in the order of their ids; every sequence has one item for each."""

    device_ids: Sequence[str]
    facts: Sequence[bytes]
    """What `encode_facts` wrote."""
    last_seen: Sequence[str]
    """RFC 3339 in UTC, as `encode_time` writes it."""
    handles: Sequence[int] = ()
    """How the store that gave the batch knows its devices; means nothing to others."""
    hashes: Sequence[bytes] = ()
    """SHA-256 of `facts` of each, where the store that gave the batch has them."""

    def __len__(self) -> int:
        return len(self.device_ids)

    def whole(self) -> Iterator[bytes]:
        """What `encode_device` would write of each."""
        for facts, last_seen in zip(self.facts, self.last_seen, strict=True):
            place = facts.rindex(_AFTER_LAST_SEEN)
            yield b'%b,"last_seen":"%b"%b' % (facts[:place], last_seen.encode(), facts[place:])


def encode_batch(devices: Sequence[Device]) -> DocumentBatch:
    """A batch from devices."""
    return DocumentBatch(
        [device.device_id for device in devices],
        [encode_facts(device) for device in devices],
        [encode_time(device.last_seen) for device in devices],
    )
