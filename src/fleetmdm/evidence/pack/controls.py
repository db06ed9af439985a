"""controls.csv: one row for each control and policy, safe to open in a spreadsheet. Pure.

First the raw states, every one of them counted, then what people and time made of them.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence

from fleetmdm.governance.effective import Differences, EffectiveStatus
from fleetmdm.policy import CompliancePolicy
from fleetmdm.results import Run, Status

_EFFECTIVE = tuple(state for state in EffectiveStatus if state.value not in list(Status))
"""Effective states that are no raw ones."""


def encode_controls(
    policies: Sequence[CompliancePolicy], run: Run, differences: Mapping[str, Differences]
) -> bytes:
    """The whole file. `differences` are those of effective and raw states, by policy id."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    states = [state.value for state in (*Status, *_EFFECTIVE)]
    writer.writerow(["framework", "control", "policy_id", "severity", "devices", *states])
    rows = sorted(
        (reference.framework, reference.control, policy.id, policy.severity.value)
        for policy in policies
        for reference in policy.references or (_NO_REFERENCE,)
    )
    for framework, control, policy_id, severity in rows:
        raw = run.policy_counts.get(policy_id, {})
        changed = differences.get(policy_id, {})
        effective = [
            sum(count for (_, state), count in changed.items() if state is each)
            for each in _EFFECTIVE
        ]
        texts = [_cell(text) for text in (framework, control, policy_id, severity)]
        numbers = [run.devices, *(raw.get(state, 0) for state in Status), *effective]
        writer.writerow([*texts, *numbers])
    return out.getvalue().encode()


class _NoReference:
    framework = ""
    control = ""


_NO_REFERENCE = _NoReference()


def _cell(text: str) -> str:
    """A spreadsheet must not take text for a formula."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
