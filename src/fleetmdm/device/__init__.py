"""The device document: what an inventory source says about one device at one moment. Pure.

`document` is its shape and how it is parsed, `values` the bounds on what facts may hold,
`encoding` its bytes and its hash, `snapshots` the union of what several sources say.
"""

from fleetmdm.device.document import DEFAULT_LIMITS, Device, parse_device
from fleetmdm.device.encoding import decode_facts, encode_device, encode_facts, facts_hash
from fleetmdm.device.snapshots import merge_snapshots
from fleetmdm.device.values import DeviceLimits

__all__ = [
    "DEFAULT_LIMITS",
    "Device",
    "DeviceLimits",
    "decode_facts",
    "encode_device",
    "encode_facts",
    "facts_hash",
    "merge_snapshots",
    "parse_device",
]
