"""What is wrong with waivers as they stand: found with a stable code each. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import combinations
from typing import Any, Final

from fleetmdm.governance.statements import Waiver

WAIVER_CODES: Final[Mapping[str, str]] = {
    "expired_waiver": "it has expired, and what it covered still does not pass",
    "orphaned_waiver": "its policy, or every device that it covers, is gone",
    "overlapping_waivers": "two waivers in force cover the same policy on the same device",
    "unused_waiver": "it is in force, and nothing that it covers needs it",
}
"""Every code that `waiver list --findings` can give."""


@dataclass(frozen=True, slots=True, order=True)
class WaiverFinding:
    """One thing that is wrong."""

    waiver_id: str
    code: str
    message: str

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {"waiver_id": self.waiver_id, "code": self.code, "message": self.message}


@dataclass(frozen=True, slots=True)
class Present:
    """The fleet as it is now, as far as waivers matter."""

    device_ids: Collection[str]
    policy_ids: Collection[str]
    problems: Mapping[str, Collection[str]]
    """By policy id, the devices that do not pass it in the newest run."""


def find_waiver_faults(
    waivers: Sequence[Waiver], present: Present, *, now: datetime
) -> list[WaiverFinding]:
    """Every finding about waivers that are not revoked, by id."""
    found = [finding for one in waivers for finding in _judge(one, present, now)]
    in_force = [one for one in waivers if one.begins_at <= now < one.ends_at]
    found += _overlaps(in_force)
    return sorted(found)


def _judge(one: Waiver, present: Present, now: datetime) -> Iterator[WaiverFinding]:
    if one.policy_id not in present.policy_ids:
        said = f"the policy {one.policy_id} is gone"
        yield WaiverFinding(one.id, "orphaned_waiver", said)
        return
    if not any(device in present.device_ids for device in one.device_ids):
        said = f"none of its {len(one.device_ids)} devices is in the fleet"
        yield WaiverFinding(one.id, "orphaned_waiver", said)
        return
    needed = one.device_ids & frozenset(present.problems.get(one.policy_id, ()))
    if one.ends_at <= now and needed:
        said = f"{len(needed)} devices still do not pass {one.policy_id}: renew it or fix them"
        yield WaiverFinding(one.id, "expired_waiver", said)
    elif one.ends_at > now and not needed:
        said = f"no device that it covers has a problem with {one.policy_id}: revoke it"
        yield WaiverFinding(one.id, "unused_waiver", said)


def _overlaps(waivers: Sequence[Waiver]) -> Iterator[WaiverFinding]:
    for one, other in combinations(sorted(waivers, key=lambda each: each.id), 2):
        both = one.device_ids & other.device_ids
        if one.policy_id == other.policy_id and both:
            said = f"it and {other.id} both cover {one.policy_id} on {len(both)} devices"
            yield WaiverFinding(one.id, "overlapping_waivers", said)
