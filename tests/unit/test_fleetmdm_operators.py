"""Every row of the semantics table, and what holds for all operators alike."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fleetmdm.device import Device
from fleetmdm.evaluate import OPERATORS, evaluate
from fleetmdm.evaluate.operators.row import OperandError
from fleetmdm.evaluate.semantics import CELLS, MISSING, MOMENT, UNKNOWN, Cell
from fleetmdm.policy import Combine, CompliancePolicy, Group, Leaf, Position
from fleetmdm.results import Status, Verdict

HERE = Position(1, 1)
WORDS = {Status.PASS: "true", Status.FAIL: "false", Status.UNKNOWN: "unknown"}


def judge(cell: Cell, now: datetime = MOMENT) -> Verdict:
    leaf = Leaf("checks[0]", "fact", cell.op, cell.operand, HERE, scheme=cell.scheme)
    check = Group("checks", Combine.ALL, (leaf,), HERE)
    policy = CompliancePolicy("p", "p", check, b"", "")
    facts: dict[str, Any] = {} if cell.fact is MISSING else {"fact": cell.fact}
    device = Device("d", "h", "linux", "1", None, now, facts)
    (verdict,) = evaluate([device], [policy], now)
    return verdict


def outcome(verdict: Verdict) -> str:
    if verdict.status is Status.ERROR:
        return f"error: {verdict.findings[0].reason}"
    return WORDS[verdict.status]


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: f"{cell.op}-{cell.operand}-{cell.fact}")
def test_each_example_of_the_documentation_holds(cell: Cell) -> None:
    assert outcome(judge(cell)) == cell.outcome


def test_every_operator_has_examples_of_true_and_false() -> None:
    for word in ("true", "false"):
        assert {cell.op for cell in CELLS if cell.outcome == word} == set(OPERATORS)


FIRST = {cell.op: cell for cell in reversed(CELLS)}
KINDS = {"boolean": True, "number": 7, "text": "abc", "list": ["abc"], "object": {"abc": 1}}
ALIKE = ("eq", "ne", "in", "not_in", "exists", "not_exists")


@pytest.mark.parametrize("op", [name for name in OPERATORS if name not in ALIKE])
@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_that_an_operator_does_not_judge_is_an_error(op: str, kind: str) -> None:
    words = OPERATORS[op].facts.replace(",", " ").split()
    cell = Cell(op, FIRST[op].operand, KINDS[kind], "", FIRST[op].scheme)
    assert (outcome(judge(cell)) == "error: wrong_type") is (kind not in words)


@pytest.mark.parametrize("op", [name for name in OPERATORS if "exists" not in name])
@pytest.mark.parametrize("fact", [None, MISSING])
def test_nothing_is_known_of_a_fact_that_is_not_there(op: str, fact: Any) -> None:
    cell = Cell(op, FIRST[op].operand, fact, "", FIRST[op].scheme)
    assert outcome(judge(cell)) == UNKNOWN


@pytest.mark.parametrize(
    "cell", [cell for cell in CELLS if OPERATORS[cell.op].opposite], ids=lambda cell: cell.op
)
def test_opposites_differ_exactly_where_something_is_known(cell: Cell) -> None:
    opposite = Cell(OPERATORS[cell.op].opposite, cell.operand, cell.fact, "", cell.scheme)
    here, there = outcome(judge(cell)), outcome(judge(opposite))
    if here in ("true", "false"):
        assert {here, there} == {"true", "false"}
    else:
        assert here == there


@pytest.mark.parametrize(
    ("op", "operand", "scheme"),
    [
        ("exists", 1, ""),
        ("eq", None, ""),
        ("lt", "10", ""),
        ("lt", True, ""),
        ("between", [4, 1], ""),
        ("between", [1], ""),
        ("between", 1, ""),
        ("in", "abc", ""),
        ("in", [], ""),
        ("in", [None], ""),
        ("in", [["a"]], ""),
        ("in", ["a"] * 10_001, ""),
        ("contains", ["a"], ""),
        ("any_of", "a", ""),
        ("subset_of", {}, ""),
        ("starts_with", "", ""),
        ("starts_with", 1, ""),
        ("regex", "(", ""),
        ("regex", "(?=a)", ""),
        ("regex", "a\ud800", ""),
        ("regex", "a" * 5000, ""),
        ("regex", "((a{100}){100}){100}", ""),
        ("length_eq", -1, ""),
        ("length_eq", 1.0, ""),
        ("length_eq", True, ""),
        ("version_eq", "1.0", ""),
        ("version_eq", "1.0", "soup"),
        ("version_eq", 1.0, "dpkg"),
        ("version_eq", "unknown", "dpkg"),
        ("version_eq", "1" * 300, "dpkg"),
        ("before", "tomorrow", ""),
        ("before", 5, ""),
        ("before", "now+1y", ""),
        ("before", "2026-02-30", ""),
        ("within", "14", ""),
        ("within", "999999999w", ""),
        ("within", 14, ""),
        ("cidr", "10.0.0.1/8", ""),
        ("cidr", "10.0.0/8", ""),
        ("cidr", [], ""),
    ],
)
def test_an_operand_that_cannot_be_used_is_refused(op: str, operand: Any, scheme: str) -> None:
    with pytest.raises(OperandError):
        OPERATORS[op].prepare(operand, scheme)


TICK = timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("op", "operand", "fact"),
    [
        ("within", "14d", "2026-02-20T00:00:00Z"),
        ("within", "14d", "2026-03-05T00:00:00Z"),
        ("after", "now+30d", "2026-05-01T00:00:00Z"),
        ("after", "now", "2026-05-01T00:00:00Z"),
        ("before", "now-7d", "2026-02-27T00:00:00Z"),
    ],
)
def test_a_verdict_about_times_changes_exactly_when_it_ends(
    op: str, operand: str, fact: str
) -> None:
    cell = Cell(op, operand, fact, "")
    now = judge(cell)
    assert now.valid_until is not None
    assert judge(cell, now.valid_until - TICK).status is now.status
    assert judge(cell, now.valid_until).status is not now.status


@pytest.mark.parametrize(
    ("op", "operand", "fact"),
    [
        ("within", "14d", "2020-01-01T00:00:00Z"),
        ("before", "2026-01-01", "2025-01-01T00:00:00Z"),
        ("before", "now", "2025-01-01T00:00:00Z"),
        ("after", "now", "2025-01-01T00:00:00Z"),
        ("within", "36525d", "9999-12-31T23:59:59Z"),
    ],
)
def test_a_verdict_that_time_cannot_change_has_no_end(op: str, operand: str, fact: str) -> None:
    verdict = judge(Cell(op, operand, fact, ""))
    later = datetime(9000, 1, 1, tzinfo=UTC)
    if verdict.valid_until is None:
        assert judge(Cell(op, operand, fact, ""), later).status is verdict.status
    else:
        assert verdict.valid_until > later


def test_a_hostile_pattern_takes_linear_time() -> None:
    verdict = judge(Cell("regex", "(a+)+$", "a" * 40_000 + "!", ""))
    assert verdict.status is Status.FAIL


@pytest.mark.parametrize("year", [1, 9999])
def test_the_edges_of_the_calendar_hold(year: int) -> None:
    now = datetime(year, 1 if year == 1 else 12, 1, tzinfo=UTC)
    for op, operand in (("before", "now+36525d"), ("after", "now-36525d"), ("within", "36525d")):
        judge(Cell(op, operand, "2026-01-01T00:00:00Z", ""), now)


def test_half_a_character_is_an_error_and_not_a_crash() -> None:
    assert outcome(judge(Cell("regex", "a", "\ud800", ""))) == "error: invalid_value"
