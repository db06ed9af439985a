"""Why one policy says what it says of one device: every check alone, with the fact that it met."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from fleetmdm.device import Device
from fleetmdm.evaluate import evaluate
from fleetmdm.evaluate.columns import extract_columns
from fleetmdm.evaluate.fact_path import Absent, Elements, parse_path
from fleetmdm.policy import Combine, CompliancePolicy, Group, Leaf, Node, Targets
from fleetmdm.results import Severity, Status


@dataclass(frozen=True, slots=True)
class ExplainedCheck:
    """One check of a policy, judged alone."""

    check: str
    """Its place, such as "checks[1].any[0]"."""
    key: str
    op: str
    expected: Any
    value: Any
    """The fact; None where there is none, a list where the key has `[*]`."""
    holds: bool | None
    """None where it cannot be told."""
    reason: str
    """A stable word: holds, mismatch, missing, wrong_type, ..."""
    message: str
    severity: Severity
    negated: bool
    """It stands below `not` or `none`, where it is good that it does not hold."""


def explain_checks(
    device: Device, policy: CompliancePolicy, *, as_of: datetime
) -> Iterator[ExplainedCheck]:
    """Each check in the order of the policy."""
    for leaf, negated in _leaves(policy.check, negated=False):
        check = Group("checks", Combine.ALL, (leaf,), leaf.position)
        alone = replace(policy, check=check, targets=Targets(), enabled=True, attestation=None)
        (verdict,) = evaluate([device], [alone], as_of)
        finding = verdict.findings[0] if verdict.findings else None
        yield ExplainedCheck(
            check=leaf.path,
            key=leaf.key,
            op=leaf.op,
            expected=leaf.value,
            value=_value(device, leaf.key),
            holds={Status.PASS: True, Status.FAIL: False}.get(verdict.status),
            reason="holds" if finding is None else finding.reason,
            message=leaf.message or ("" if finding is None else finding.message),
            severity=leaf.severity or policy.severity,
            negated=negated,
        )


def _leaves(node: Node, *, negated: bool) -> Iterator[tuple[Leaf, bool]]:
    if isinstance(node, Leaf):
        yield node, negated
        return
    turned = negated != (node.combine in {Combine.NOT, Combine.NONE})
    for member in node.members:
        yield from _leaves(member, negated=turned)


def _value(device: Device, key: str) -> Any:
    path = parse_path(key)
    column = extract_columns([device], [path])[path.text]
    value = column.values[int(column.codes[0])]
    if isinstance(value, Absent):
        return None
    if isinstance(value, Elements):
        return [None if isinstance(each, Absent) else each for _, each in value.items]
    return list(value) if isinstance(value, tuple) else value
