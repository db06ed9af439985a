"""Did you mean: the nearest device or policy, added to the failure of any command that names none.

A failure that knows what was asked for says so in its details, as `device_id` or `policy_id`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Final

from clikit.errors import Failure
from clikit.nearest import nearest
from fleetmdm.errors import FleetError
from fleetmdm.store.port import FleetStore

MAX_COMPARED: Final = 10_000
"""Ids that a mistyped one is compared with: first those that begin like it."""

_NAMED_BY: Final = {"device_not_found": "device_id", "policy_not_found": "policy_id"}


def with_suggestion(
    open_store: Callable[[], AbstractContextManager[FleetStore]], failure: FleetError
) -> FleetError:
    """The failure, with the nearest id in hint and details where there is one."""
    word = failure.details.get(_NAMED_BY.get(failure.code, ""))
    if word is None:
        return failure
    try:
        with open_store() as store:
            near = nearest(str(word), _ids(store, failure.code, str(word)))
    except Failure:
        return failure
    if near is None:
        return failure
    details = {**failure.details, "did_you_mean": near}
    return FleetError(failure.code, failure.message, hint=f"did you mean {near}?", details=details)


def _ids(store: FleetStore, code: str, word: str) -> Iterator[str]:
    if code == "policy_not_found":
        yield from (name for name, _ in store.policy_sources())
        return
    yield from store.device_ids(prefix=word[:1], limit=MAX_COMPARED)
    yield from store.device_ids(limit=MAX_COMPARED)
