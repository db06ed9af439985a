"""Which devices each policy is assigned to. Pure.

As long as nothing is assigned, every policy applies to every device that it targets. As soon as
one assignment exists, a policy applies only where an assignment of its own says so; elsewhere its
verdict is `notselected`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fleetmdm.governance.scope import Scope, ScopeKind
from fleetmdm.policy import Node
from fleetmdm.rfc3339 import encode_time


@dataclass(frozen=True, slots=True)
class Assignment:
    """One policy, assigned to one scope since a moment."""

    policy_id: str
    scope: Scope
    assigned_at: datetime

    def as_json(self) -> dict[str, Any]:
        """For machines: policy, scope, since when."""
        return {
            "policy_id": self.policy_id,
            "scope": self.scope.as_json(),
            "assigned_at": encode_time(self.assigned_at),
        }


@dataclass(frozen=True, slots=True)
class Selection:
    """Where one policy applies: to a device that is named, has one of the tags, or meets a condition."""

    devices: frozenset[str] = frozenset()
    tags: frozenset[str] = frozenset()
    conditions: tuple[Node, ...] = ()


Selections = Mapping[str, Selection]
"""By policy id; a policy that is not in it applies nowhere."""


def select(
    assignments: Iterable[Assignment],
    parse_condition: Callable[[str], Node],
    *,
    only_assigned: bool = False,
) -> Selections | None:
    """Where each policy applies; None where nothing is assigned, so that all apply.

    `only_assigned` makes an empty set of assignments mean that none applies.
    """
    by_policy: dict[str, list[Scope]] = {}
    for one in assignments:
        by_policy.setdefault(one.policy_id, []).append(one.scope)
    if not by_policy and not only_assigned:
        return None
    return {
        policy_id: Selection(
            devices=_values(scopes, ScopeKind.DEVICE),
            tags=_values(scopes, ScopeKind.TAG),
            conditions=tuple(
                parse_condition(scope.value)
                for scope in sorted(scopes)
                if scope.kind is ScopeKind.SELECTOR
            ),
        )
        for policy_id, scopes in by_policy.items()
    }


def _values(scopes: Iterable[Scope], kind: ScopeKind) -> frozenset[str]:
    return frozenset(scope.value for scope in scopes if scope.kind is kind)


def unmatched_tags(
    assignments: Iterable[Assignment], tags_in_use: frozenset[str]
) -> list[Assignment]:
    """Assignments to tags that no device has, by tag, then policy."""
    loose = [
        one
        for one in assignments
        if one.scope.kind is ScopeKind.TAG and one.scope.value not in tags_in_use
    ]
    return sorted(loose, key=lambda one: (one.scope.value, one.policy_id))
