"""The device document: what an inventory source says about one device at one moment. Pure.

`document` is its shape and how it is parsed, `values` the bounds on what facts may hold,
`encoding` its bytes and its hash, `snapshots` the union of what several sources say, `batches` many
documents at once, `placeholders` the serial numbers that are none, `schema` the same shape as JSON
Schema.
"""

from fleetmdm.device.batches import DocumentBatch, encode_batch
from fleetmdm.device.document import DEFAULT_LIMITS, Device, parse_device, parse_tags
from fleetmdm.device.encoding import decode_facts, encode_device, encode_facts, facts_hash
from fleetmdm.device.placeholders import is_placeholder
from fleetmdm.device.snapshots import UNKNOWN, merge_snapshots
from fleetmdm.device.values import DeviceLimits, decode_sound

__all__ = [
    "DEFAULT_LIMITS",
    "UNKNOWN",
    "Device",
    "DeviceLimits",
    "DocumentBatch",
    "decode_facts",
    "decode_sound",
    "encode_batch",
    "encode_device",
    "encode_facts",
    "facts_hash",
    "is_placeholder",
    "merge_snapshots",
    "parse_device",
    "parse_tags",
]
