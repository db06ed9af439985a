"""Drift: each transition means one thing, and what only one run knew is told apart."""

from __future__ import annotations

import pytest

from fleetmdm.drift import Change, Strangers, judge_drift, without_strangers
from fleetmdm.results import Status, Transition

NOBODY = Strangers()


@pytest.mark.parametrize(
    ("before", "after", "change"),
    [
        (None, Status.FAIL, Change.REGRESSED),
        (Status.PASS, Status.UNKNOWN, Change.REGRESSED),
        (Status.NOT_APPLICABLE, Status.ERROR, Change.REGRESSED),
        (Status.FAIL, None, Change.RESOLVED),
        (Status.ERROR, Status.PASS, Change.RESOLVED),
        (Status.FAIL, Status.NOT_APPLICABLE, Change.RESOLVED),
        (Status.FAIL, Status.UNKNOWN, Change.ALTERED),
        (Status.ERROR, Status.FAIL, Change.ALTERED),
    ],
)
def test_a_transition_means_one_thing(
    before: Status | None, after: Status | None, change: Change
) -> None:
    drift = judge_drift([Transition("a", "p", before, after)], new=NOBODY, vanished=NOBODY)
    assert [row.change for row in drift.rows] == [change]
    assert drift.counts[change] == sum(drift.counts.values()) == 1
    assert drift.by_policy == {"p": {change: 1}}


def test_strangers_have_groups_of_their_own_and_can_be_left_out() -> None:
    transitions = [
        Transition("a", "p", None, Status.FAIL),
        Transition("new", "p", None, Status.FAIL),
        Transition("old", "p", Status.FAIL, None),
        Transition("a", "fresh", None, Status.FAIL),
        Transition("new", "dropped", None, Status.FAIL),
    ]
    drift = judge_drift(
        transitions,
        new=Strangers(frozenset({"new"}), frozenset({"fresh"})),
        vanished=Strangers(frozenset({"old"}), frozenset({"dropped"})),
    )
    found = [(row.change, row.transition.device_id, row.transition.policy_id) for row in drift.rows]
    assert found == [
        (Change.REGRESSED, "a", "p"),
        (Change.NEW, "a", "fresh"),
        (Change.NEW, "new", "p"),
        (Change.VANISHED, "new", "dropped"),
        (Change.VANISHED, "old", "p"),
    ]
    kept = without_strangers(drift)
    assert [row.transition for row in kept.rows] == [transitions[0]]
    assert kept.counts == {**dict.fromkeys(Change, 0), Change.REGRESSED: 1}


def test_rows_are_ordered_by_change_then_device_then_policy() -> None:
    transitions = [
        Transition("b", "p", Status.FAIL, None),
        Transition("b", "q", None, Status.FAIL),
        Transition("a", "q", None, Status.FAIL),
        Transition("b", "p", None, Status.FAIL),
    ]
    drift = judge_drift(transitions, new=NOBODY, vanished=NOBODY)
    places = [(row.transition.device_id, row.transition.policy_id) for row in drift.rows]
    assert places == [("a", "q"), ("b", "p"), ("b", "q"), ("b", "p")]
