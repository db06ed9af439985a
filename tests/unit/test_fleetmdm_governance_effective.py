"""What a verdict means once people and time have had their say: each rule, their order, their ends."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetmdm.governance.effective import EffectiveStatus as E
from fleetmdm.governance.effective import Standing, effective, plain_effective
from fleetmdm.governance.findings import Present, find_waiver_faults
from fleetmdm.governance.scope import Scope, ScopeKind
from fleetmdm.governance.statements import Answer, Attestation, Waiver
from fleetmdm.results import Status

NOW = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)
SCOPE = Scope(ScopeKind.DEVICE, "d")


def waiver(begin: int, end: int, name: str = "W1", devices: str = "d") -> Waiver:
    return Waiver(
        id=name,
        policy_id="p",
        scope=SCOPE,
        device_ids=frozenset(devices),
        reason="old printer",
        risk_owner="Ada",
        approver="Grace",
        approved_at=NOW + begin * DAY,
        expires=date(2026, 3, 1),
        zone="UTC",
        expires_at=NOW + end * DAY,
    )


def answer(begin: int, end: int, said: Answer = Answer.PASS, name: str = "A1") -> Attestation:
    return Attestation(
        id=name,
        policy_id="p",
        scope=SCOPE,
        device_ids=frozenset({"d"}),
        answer=said,
        statement="seen",
        attested_by="Ada",
        attested_at=NOW + begin * DAY,
        stale_at=NOW + end * DAY,
    )


OLD: dict[str, Any] = {"last_seen": NOW - 40 * DAY, "stale_after": 30 * DAY}
YOUNG: dict[str, Any] = {"last_seen": NOW - DAY, "stale_after": 30 * DAY}
GRACE: dict[str, Any] = {"failing_since": NOW - DAY, "grace": 7 * DAY}

CASES: list[tuple[Standing, E, int | None]] = [
    # A raw state that nothing touches stays what it is.
    *((Standing(raw), E(raw.value), None) for raw in Status if raw is not Status.NOT_CHECKED),
    # Waivers: in force, over, not begun; the one that ends last counts.
    (Standing(Status.FAIL, waivers=(waiver(-2, 3),)), E.WAIVED, 3),
    (Standing(Status.ERROR, waivers=(waiver(-2, 3),)), E.WAIVED, 3),
    (Standing(Status.UNKNOWN, waivers=(waiver(-2, 3),)), E.WAIVED, 3),
    (Standing(Status.FAIL, waivers=(waiver(-2, 0),)), E.EXPIRED_WAIVER, None),
    (Standing(Status.FAIL, waivers=(waiver(1, 3),)), E.FAIL, 1),
    (Standing(Status.FAIL, waivers=(waiver(-9, -1), waiver(-1, 5, "W2"))), E.WAIVED, 5),
    (Standing(Status.PASS, waivers=(waiver(-2, 3),)), E.PASS, None),
    (Standing(Status.NOT_APPLICABLE, waivers=(waiver(-2, 3),)), E.NOT_APPLICABLE, None),
    # Staleness: of what inventory said, and of nothing else.
    (Standing(Status.PASS, **OLD), E.STALE, None),
    (Standing(Status.FAIL, **OLD), E.STALE, None),
    (Standing(Status.NOT_APPLICABLE, **OLD), E.NOT_APPLICABLE, None),
    (Standing(Status.NOT_SELECTED, **OLD), E.NOT_SELECTED, None),
    (Standing(Status.PASS, **YOUNG), E.PASS, 29),
    (Standing(Status.PASS, **{**OLD, "stale_after": timedelta(0)}), E.PASS, None),
    (Standing(Status.PASS, **{**OLD, "last_seen": NOW - 30 * DAY}), E.STALE, None),
    # Grace: of failures alone.
    (Standing(Status.FAIL, **GRACE), E.GRACE, 6),
    (Standing(Status.FAIL, **{**GRACE, "failing_since": NOW - 7 * DAY}), E.FAIL, None),
    (Standing(Status.ERROR, **GRACE), E.ERROR, None),
    # Attestations: the newest answers; it goes stale; old inventory does not matter to it.
    (Standing(Status.NOT_CHECKED), E.NOT_CHECKED, None),
    (Standing(Status.NOT_CHECKED, attestations=(answer(-1, 9),)), E.PASS, 9),
    (Standing(Status.NOT_CHECKED, attestations=(answer(-9, -1),)), E.STALE, None),
    (Standing(Status.NOT_CHECKED, attestations=(answer(2, 9),)), E.NOT_CHECKED, 2),
    (Standing(Status.NOT_CHECKED, attestations=(answer(-1, 9, Answer.FAIL),)), E.FAIL, 9),
    (
        Standing(
            Status.NOT_CHECKED, attestations=(answer(-3, 9), answer(-1, 5, Answer.FAIL, "A2"))
        ),
        E.FAIL,
        5,
    ),
    (Standing(Status.NOT_CHECKED, attestations=(answer(-1, 9),), **OLD), E.PASS, 9),
    # The order: waived, expired waiver, stale, grace.
    (Standing(Status.FAIL, waivers=(waiver(-2, 3),), **OLD, **GRACE), E.WAIVED, 3),
    (Standing(Status.FAIL, waivers=(waiver(-2, 0),), **OLD, **GRACE), E.EXPIRED_WAIVER, None),
    (Standing(Status.FAIL, **OLD, **GRACE), E.STALE, None),
    (
        Standing(
            Status.NOT_CHECKED,
            attestations=(answer(-1, 9, Answer.FAIL),),
            waivers=(waiver(-2, 3),),
        ),
        E.WAIVED,
        3,
    ),
]


@pytest.mark.parametrize(("standing", "expected", "until"), CASES)
def test_each_rule_and_their_order(standing: Standing, expected: E, until: int | None) -> None:
    found = effective(standing, as_of=NOW)
    assert found.status is expected
    assert found.valid_until == (None if until is None else NOW + until * DAY)
    assert bool(found.reason) == (
        expected.value != standing.raw.value or standing.raw is Status.NOT_CHECKED
    )


@pytest.mark.parametrize(("standing", "expected", "until"), CASES)
def test_it_stands_up_to_the_end_and_not_beyond(
    standing: Standing, expected: E, until: int | None
) -> None:
    if until is None:
        assert effective(standing, as_of=NOW + 10_000 * DAY).status is expected
        return
    end = NOW + until * DAY
    before = effective(standing, as_of=end - timedelta(microseconds=1))
    assert before == effective(standing, as_of=NOW)
    after = effective(standing, as_of=end)
    assert (after.status, after.reason) != (before.status, before.reason)


numbers = st.integers(-6, 6)
standings = st.builds(
    Standing,
    raw=st.sampled_from(Status),
    last_seen=st.none() | numbers.map(lambda day: NOW + day * DAY),
    stale_after=st.integers(0, 4).map(lambda days: days * DAY),
    failing_since=st.none() | numbers.map(lambda day: NOW + day * DAY),
    grace=st.integers(0, 4).map(lambda days: days * DAY),
    waivers=st.lists(
        st.builds(waiver, numbers, numbers, st.sampled_from(["W1", "W2", "W3"])), max_size=3
    ).map(tuple),
    attestations=st.lists(
        st.builds(answer, numbers, numbers, st.sampled_from(Answer), st.sampled_from("AB")),
        max_size=3,
    ).map(tuple),
)


@given(standings, numbers, st.integers(0, 30))
def test_nothing_changes_before_it_says_so(standing: Standing, day: int, half_days: int) -> None:
    as_of = NOW + day * DAY
    found = effective(standing, as_of=as_of)
    later = as_of + half_days * DAY / 2
    if found.valid_until is None or later < found.valid_until:
        told = effective(standing, as_of=later)
        assert (told.status, told.reason) == (found.status, found.reason)
    else:
        assert found.valid_until > as_of
        told = effective(standing, as_of=found.valid_until)
        assert (told.status, told.reason) != (found.status, found.reason)


# Findings about waivers.

PRESENT = Present({"d", "e"}, {"p"}, {"p": {"d"}})


def codes(*waivers: Waiver, present: Present = PRESENT) -> list[tuple[str, str]]:
    found = find_waiver_faults(waivers, present, now=NOW)
    return [(one.waiver_id, one.code) for one in found]


def test_a_waiver_that_is_needed_is_no_finding() -> None:
    assert codes(waiver(-1, 3, devices="de")) == []


def test_each_fault_of_a_waiver_is_found() -> None:
    assert codes(waiver(-1, 3, devices="e")) == [("W1", "unused_waiver")]
    assert codes(waiver(-5, -1)) == [("W1", "expired_waiver")]
    assert codes(waiver(-5, -1, devices="e")) == []
    assert codes(waiver(-1, 3, devices="x")) == [("W1", "orphaned_waiver")]
    gone = replace(PRESENT, policy_ids=set())
    assert codes(waiver(-1, 3), present=gone) == [("W1", "orphaned_waiver")]
    both = (waiver(-1, 3), waiver(-1, 5, "W2", "de"))
    assert codes(*both) == [("W1", "overlapping_waivers")]
    # What is over does not overlap.
    assert codes(waiver(-1, 3), waiver(-5, -1, "W2")) == [("W2", "expired_waiver")]


@given(
    st.sampled_from(Status),
    st.none() | numbers.map(lambda day: NOW + day * DAY),
    st.integers(0, 4).map(lambda days: days * DAY),
    numbers,
)
def test_the_quick_way_says_the_same(
    raw: Status, last_seen: datetime | None, stale_after: timedelta, day: int
) -> None:
    as_of = NOW + day * DAY
    quick = plain_effective(raw, last_seen, stale_after, as_of=as_of)
    assert quick == effective(Standing(raw, last_seen, stale_after), as_of=as_of)
