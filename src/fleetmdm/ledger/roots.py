"""What a run commits to: the hashes of its policies, of its inventory, and of every verdict.

An evidence pack holds the same leaves, so that anyone can compute the roots again from it.
Rule for editors: these bytes are hashed for ever; never change how an existing one is written.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from functools import lru_cache

from clikit.canonical import encode_canonical
from fleetmdm.device import Device, encode_device
from fleetmdm.results import Status


def policy_set_hash(sources: Iterable[tuple[str, bytes]]) -> str:
    """SHA-256 over one line `HEX  ID` for each policy, in the order of the ids; lower-case hex."""
    lines = (f"{hashlib.sha256(source).hexdigest()}  {name}\n" for name, source in sources)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def inventory_leaf(device: Device) -> bytes:
    """A device's leaf of the inventory tree: its whole document, keys sorted."""
    return encode_device(device)


def result_leaf(device_id: str, policy_ids: Sequence[str], states: Sequence[Status]) -> bytes:
    """A device's leaf of the result tree, passes included.

    RFC 8785 form of {"device_id": ..., "states": {policy id: state}}.
    """
    states_text = _states(tuple(policy_ids), tuple(states))
    return f'{{"device_id":{json.dumps(device_id, ensure_ascii=False)},{states_text}}}'.encode()


@lru_cache(maxsize=65_536)
def _states(policy_ids: tuple[str, ...], states: tuple[Status, ...]) -> str:
    named = {name: state.value for name, state in zip(policy_ids, states, strict=True)}
    return f'"states":{encode_canonical(named).decode()}'
