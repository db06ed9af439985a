"""What to fix first: severity, devices and age decide; what has an owner is counted apart."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmdm.governance.effective import Effective, EffectiveStatus, JudgedRow
from fleetmdm.policy_yaml import parse_policies
from fleetmdm.results import Finding, ResultRow, Status
from fleetmdm.triage import Flap, age_factor, find_flaps, rank

NOW = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)
POLICIES = parse_policies(
    b"""---
id: low
name: Low
severity: low
checks: [{key: x, op: eq, value: 1}, {key: y, op: eq, value: 1, severity: critical}]
---
id: high
name: High
severity: high
remediation: turn it on
checks: [{key: x, op: eq, value: 1}]
---
id: info
name: Info
severity: info
checks: [{key: x, op: eq, value: 1}]
""",
    name="p",
)


def judged(
    device: str,
    policy: str,
    age_days: int = 0,
    state: EffectiveStatus = EffectiveStatus.FAIL,
    check: str = "checks[0]",
) -> JudgedRow:
    finding = Finding(check, "x", "eq", 1, 2, "mismatch", "m")
    row = ResultRow(device, policy, Status.FAIL, (finding,), 1, None)
    return JudgedRow(row, Effective(state), NOW - age_days * DAY)


def ranked(*rows: JudgedRow) -> list[tuple[str, float]]:
    found = rank(rows, POLICIES, as_of=NOW)
    return [(line.policy.id, round(line.score, 1)) for line in found]


def test_severity_devices_and_age_make_the_score() -> None:
    assert ranked(judged("a", "low"), judged("a", "high")) == [("high", 15.0), ("low", 1.0)]
    assert ranked(judged("a", "low"), judged("b", "low", 30)) == [("low", 3.0)]
    assert ranked(judged("a", "info", 3000)) == [("info", 0.0)]


def test_one_check_may_be_worse_than_its_policy() -> None:
    (line,) = rank([judged("a", "low", check="checks[1]")], POLICIES, as_of=NOW)
    assert (line.severity, line.score) == ("critical", 40.0)


def test_what_somebody_answers_for_is_counted_apart() -> None:
    waived = judged("b", "high", 90, EffectiveStatus.WAIVED)
    expired = judged("c", "high", 60, EffectiveStatus.EXPIRED_WAIVER)
    (line,) = rank([judged("a", "high"), waived, expired], POLICIES, as_of=NOW)
    assert (line.devices, line.excused, line.oldest) == (2, 1, NOW - 60 * DAY)
    assert line.examples == ["a", "c"]
    assert line.states == {"fail": 1, "waived": 1, "expired_waiver": 1}


@pytest.mark.parametrize(
    ("days", "factor"), [(-5, 1), (0, 1), (15, 1.5), (30, 2), (270, 10), (3000, 10)]
)
def test_age_counts_by_months_up_to_ten(days: int, factor: float) -> None:
    assert age_factor(NOW - days * DAY, NOW) == factor


# Flapping: against the plain sequence of states.


@given(st.lists(st.sampled_from([None, Status.FAIL, Status.UNKNOWN]), min_size=1, max_size=12))
def test_flaps_are_changes_between_a_problem_and_none(states: list[Status | None]) -> None:
    rows = []
    for number, status in enumerate(states, 1):
        before = states[number - 2] if number > 1 else None
        if status is not None and status is not before:
            rest = [later for later, one in enumerate(states[number:], number + 1) if one != status]
            until = rest[0] if rest else None
            rows.append(ResultRow("d", "p", status, (), number, until))
    loud = [status is not None for status in states]
    changes = sum(one != other for one, other in pairwise(loud))
    found = find_flaps(rows, first_run=1, last_run=len(states), least=1)
    assert found == ([Flap("d", "p", changes, states[-1])] if changes else [])
