"""Deciding many values at once says what deciding each of them alone says; the oracle covers that."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fleetmdm.device import Device, encode_batch
from fleetmdm.evaluate import Evaluator, compile_policies, evaluate
from fleetmdm.evaluate.fact_path import NULL
from fleetmdm.evaluate.leaves import Distinct, decide_values
from fleetmdm.evaluate.program import compile_policy, program_leaves
from fleetmdm.evaluate.semantics import CELLS, MOMENT, Cell, Missing
from fleetmdm.policy import Combine, CompliancePolicy, Group, Leaf, Position

HERE = Position(1, 1)
DAY = timedelta(days=1)


def leaf_of(cell: Cell, key: str = "x") -> Leaf:
    return Leaf("c", key, cell.op, cell.operand, HERE, "said", None, cell.scheme)


def policy_of(*leaves: Leaf) -> CompliancePolicy:
    return CompliancePolicy("p", "", Group("", Combine.ALL, leaves, HERE), b"", "")


def written(moment: datetime) -> str:
    return moment.replace(microsecond=0, tzinfo=None).isoformat() + "Z"


first, last = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, tzinfo=UTC)
moments = st.one_of(
    st.timedeltas(timedelta(0), last - first).map(first.__add__),
    st.timedeltas(-3 * DAY, 3 * DAY).map(MOMENT.__add__),
    st.integers(-100, 100).map(lambda days: MOMENT + days * DAY),
).map(written)
values = st.one_of(
    st.sampled_from([cell.fact for cell in CELLS if not isinstance(cell.fact, Missing)]),
    moments,
    st.from_regex(r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}[Zz5]\Z"),
    st.from_regex(r"\A(10|1920|192)[.][0-9]{1,3}[.][0-9]{1,3}[.][0-9]{1,3}\Z"),
    st.ip_addresses().map(str),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=5),
)


@given(st.sampled_from(CELLS), st.lists(values, max_size=20))
def test_many_values_are_decided_as_each_alone(cell: Cell, found: list[Any]) -> None:
    (leaf,) = program_leaves(compile_policy(policy_of(leaf_of(cell))))
    distinct = [NULL if value is None else value for value in found]
    at_once = decide_values(leaf, Distinct(distinct), MOMENT, few=0)
    alone = decide_values(leaf, Distinct(distinct), MOMENT, few=len(distinct))
    assert [each.tolist() for each in at_once] == [each.tolist() for each in alone]


def test_a_lone_surrogate_is_an_error_at_once_too() -> None:
    cell = next(cell for cell in CELLS if cell.op == "regex")
    (leaf,) = program_leaves(compile_policy(policy_of(leaf_of(cell))))
    outcomes, _ = decide_values(leaf, Distinct(["\ud800"]), MOMENT, few=0)
    alone, _ = decide_values(leaf, Distinct(["\ud800"]), MOMENT)
    assert outcomes.tolist() == alone.tolist()


KEYS = (
    "x",
    "facts.x",
    "facts",
    "x.y",
    'x."a.b"',
    "facts.x.y.z",
    "x[0]",
    "x[*].y",
    "os",
    "facts.os",
    "tags[*]",
    "tags[0]",
    "serial",
    "last_seen",
    "device_id",
    "hostname.y",
)
shapes: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(0, 2), st.sampled_from(["a", "b"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.dictionaries(st.sampled_from(["x", "y", "z", "a.b", "os"]), inner, max_size=3),
    ),
    max_leaves=8,
)
fleets = st.lists(st.dictionaries(st.sampled_from(["x", "os", "z"]), shapes), max_size=5)


@given(fleets, st.lists(st.sampled_from(KEYS), min_size=1, max_size=6))
def test_stored_documents_are_judged_as_devices_are(
    facts: list[dict[str, Any]], keys: list[str]
) -> None:
    devices = [
        Device(f"d{number}", "h", "linux", "12", None, MOMENT, each, ("a", "b")[number % 3 :])
        for number, each in enumerate(facts)
    ]
    same = next(cell for cell in CELLS if cell.op == "eq" and cell.operand == 1)
    policies = [
        policy_of(*(leaf_of(same, key) for key in keys)),
        policy_of(*(leaf_of(CELLS[0], key) for key in keys)),
    ]
    stored = Evaluator(compile_policies(policies), MOMENT).judge(encode_batch(devices))
    assert list(stored) == list(evaluate(devices, policies, MOMENT))
