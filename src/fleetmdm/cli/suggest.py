"""Did you mean: the nearest device or policy, added to the failure of any command that names none.

A failure that knows what was asked for says so in its details, as `device_id` or `policy_id`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from clikit.nearest import nearest
from fleetmdm.errors import FleetError
from fleetmdm.store.port import FleetStore

MAX_COMPARED: Final = 10_000
"""Ids that a mistyped one is compared with: first those that begin like it."""


def with_suggestion(store: FleetStore, failure: FleetError) -> FleetError:
    """The failure, with the nearest id in hint and details where there is one."""
    if failure.code == "device_not_found" and "device_id" in failure.details:
        word = str(failure.details["device_id"])
        near = nearest(word, _devices(store, word))
    elif failure.code == "policy_not_found" and "policy_id" in failure.details:
        word = str(failure.details["policy_id"])
        near = nearest(word, (name for name, _ in store.policy_sources()))
    else:
        return failure
    if near is None:
        return failure
    hint = f"did you mean {near}?"
    details = {**failure.details, "did_you_mean": near}
    return FleetError(failure.code, failure.message, hint=hint, details=details)


def _devices(store: FleetStore, word: str) -> Iterator[str]:
    if word:
        yield from store.device_ids(prefix=word[0], limit=MAX_COMPARED)
    yield from store.device_ids(limit=MAX_COMPARED)
