"""The published schema of a policy and the reader agree on which documents have the right shape."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from fleetmdm.evaluate import OPERATORS
from fleetmdm.evaluate.semantics import CELLS
from fleetmdm.policy_yaml import read_policies
from fleetmdm.policy_yaml.problems import PROBLEM_CODES
from fleetmdm.policy_yaml.schema import BEYOND_SCHEMA, policy_schema

SCHEMA = jsonschema.Draft202012Validator(policy_schema())
LIBRARY = [entry for entry in files("fleetmdm.policies").iterdir() if entry.name.endswith(".yaml")]

LEAF = {"key": "k", "op": "eq", "value": 1}
VERSION = {"op": "version_gte", "value": "11", "scheme": "dpkg"}
FULL: dict[str, Any] = {
    "id": "a",
    "name": "A",
    "description": "D",
    "severity": "high",
    "rationale": "R",
    "remediation": "F",
    "references": [{"framework": "CIS", "control": "1.1", "url": "u"}],
    "tags": ["x"],
    "enabled": True,
    "on_missing": "fail",
    "targets": {"os": "linux", "tags": ["t"], "os_version": VERSION, "where": LEAF},
    "parameters": {"n": 4, "l": ["no", 1]},
    "checks": [
        {**LEAF, "message": "m", "on_missing": "pass", "when": {"key": "c", "op": "exists"}},
        {"any": [LEAF, {"not": LEAF}, {"none": [{"all": [LEAF]}], "when": LEAF}]},
        {"key": "n", "op": "lte", "value": "${n}"},
        {"key": "n", "op": "in", "value": "${l}"},
        {"key": "n", "op": "between", "value": [1, "${n}"]},
    ],
    "tests": [
        {
            "name": "t",
            "as_of": "2026-01-31T08:00:00Z",
            "expect": "fail",
            "device": {
                "os": "linux",
                "os_version": "12",
                "tags": ["t"],
                "last_seen": "2026-01-31T08:00:00Z",
                "facts": {"k": [1, {"a": None}]},
            },
        }
    ],
}
SMALL = {"id": "a", "name": "A", "checks": [LEAF]}


def codes(document: Any) -> set[str]:
    return {each.code for each in read_policies(json.dumps(document).encode(), name="p").problems}


def agree(document: Any) -> None:
    found = codes(document)
    if SCHEMA.is_valid(document):
        assert found <= BEYOND_SCHEMA
    else:
        assert found


def test_the_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(policy_schema())
    assert set(PROBLEM_CODES) >= BEYOND_SCHEMA


@pytest.mark.parametrize("entry", LIBRARY, ids=lambda entry: entry.name)
def test_every_policy_that_ships_is_valid(entry: Any) -> None:
    documents = list(YAML(typ="safe", pure=True).load_all(entry.read_text()))
    assert documents
    for document in documents:
        SCHEMA.validate(document)


def test_a_policy_with_every_key_is_valid_to_both() -> None:
    SCHEMA.validate(FULL)
    assert codes(FULL) == set()


@pytest.mark.parametrize("cell", CELLS, ids=lambda cell: f"{cell.op} {cell.fact!r}")
def test_every_operand_of_the_language_is_valid_to_both(cell: Any) -> None:
    check = {"key": "k", "op": cell.op, "value": cell.operand, "scheme": cell.scheme}
    check = {name: value for name, value in check.items() if value is not None}
    SCHEMA.validate({**SMALL, "checks": [check]})
    assert codes({**SMALL, "checks": [check]}) == set()


CHECKS: list[Any] = [
    {},
    [],
    [1],
    [{}],
    [{"any": []}],
    [{"any": [LEAF], "all": [LEAF]}],
    [{"any": [LEAF], "key": "k"}],
    [{"not": [LEAF]}],
    [{"all": LEAF}],
    [{"when": LEAF}],
    [{**LEAF, "op": "equals"}],
    [{**LEAF, "key": ""}],
    [{**LEAF, "colour": "red"}],
    [{**LEAF, "value": None}],
    [{**LEAF, "scheme": "rpm"}],
    [{**LEAF, "when": {}}],
    [{**LEAF, "on_missing": "error"}],
    [{"key": "k", "op": "eq"}],
    [{"key": "k", "op": "exists", "value": 1}],
    [{"key": "k", "op": "lt", "value": "1"}],
    [{"key": "k", "op": "between", "value": [1]}],
    [{"key": "k", "op": "in", "value": []}],
    [{"key": "k", "op": "in", "value": "a"}],
    [{"key": "k", "op": "length_eq", "value": -1}],
    [{"key": "k", "op": "starts_with", "value": ""}],
    [{"key": "k", "op": "version_eq", "value": 22.1, "scheme": "dpkg"}],
    [{"key": "k", "op": "version_eq", "value": "22.10"}],
    [{"key": "k", "op": "version_eq", "value": "22.10", "scheme": "x"}],
    [{"key": "k", "op": "within", "value": 7}],
    [{"key": "k", "op": "cidr", "value": []}],
]
REFUSED: list[Any] = [
    [],
    {},
    {**SMALL, "colour": "red"},
    {**SMALL, "id": ""},
    {**SMALL, "id": "a b"},
    {**SMALL, "id": "a\n"},
    {**SMALL, "id": "a" * 129},
    {**SMALL, "name": " "},
    {**SMALL, "description": None},
    {**SMALL, "description": "x" * 16_385},
    {**SMALL, "severity": "urgent"},
    {**SMALL, "severity": ""},
    {**SMALL, "enabled": 1},
    {**SMALL, "on_missing": ""},
    {**SMALL, "tags": {"a": "b"}},
    {**SMALL, "tags": [""]},
    {**SMALL, "parameters": {"a b": 1}},
    {**SMALL, "parameters": {"p": None}},
    {**SMALL, "parameters": {"p": []}},
    {**SMALL, "parameters": {"p": [[1]]}},
    {**SMALL, "targets": {"tag": "prod"}},
    {**SMALL, "targets": {"os_version": {**VERSION, "key": "k"}}},
    {**SMALL, "targets": {"os_version": {"op": "version_gte", "value": "11"}}},
    {**SMALL, "references": [{"framework": "CIS"}]},
    {**SMALL, "references": [{"framework": "CIS", "control": ""}]},
    {**SMALL, "tests": [{"name": "t", "device": {}}]},
    {**SMALL, "tests": [{"name": "t", "device": {}, "expect": "fixed"}]},
    {**SMALL, "tests": [{"name": "t", "device": {}, "expect": ""}]},
    {**SMALL, "tests": [{"name": "t", "device": {}, "expect": "pass", "as_of": "today"}]},
    {**SMALL, "tests": [{"name": "t", "device": {}, "expect": "pass", "as_of": ""}]},
    {**SMALL, "tests": [{"name": "t", "device": {"facts": []}, "expect": "pass"}]},
    {**SMALL, "tests": [{"name": "t", "device": {"colour": "red"}, "expect": "pass"}]},
    *({**SMALL, "checks": checks} for checks in CHECKS),
]


@pytest.mark.parametrize("document", REFUSED, ids=lambda document: json.dumps(document)[-60:])
def test_what_is_refused_for_its_shape_is_refused_by_both(document: Any) -> None:
    assert not SCHEMA.is_valid(document)
    assert codes(document)


scalars = st.sampled_from(
    [None, True, 0, 1, -1, 1.5, "", " ", "a", "no", "14d", "10.0.0.0/8", "${n}", "${x}", "pass"]
)
keys = sorted({*FULL, *FULL["targets"], *LEAF, "scheme", "when", "any", "all", "not", "none", "x"})
values = st.recursive(
    scalars | st.sampled_from(sorted(OPERATORS)),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(keys), inner, max_size=3)
    ),
    max_leaves=6,
) | st.sampled_from([LEAF, VERSION, {"any": [LEAF]}, {"not": LEAF}])


@st.composite
def damaged(draw: st.DrawFn, whole: Any) -> Any:
    """The document with something put in, taken out or replaced somewhere in it."""
    if isinstance(whole, dict) and whole and draw(st.integers(0, 5)):
        name = draw(st.sampled_from(sorted(whole)))
        return {**whole, name: draw(damaged(whole[name]))}
    if isinstance(whole, list) and whole and draw(st.integers(0, 5)):
        place = draw(st.integers(0, len(whole) - 1))
        return [*whole[:place], draw(damaged(whole[place])), *whole[place + 1 :]]
    if isinstance(whole, dict) and whole and draw(st.booleans()):
        gone = draw(st.sampled_from(sorted(whole)))
        kept = {name: value for name, value in whole.items() if name != gone}
        return kept if draw(st.booleans()) else {**whole, draw(st.sampled_from(keys)): draw(values)}
    return draw(values)


@given(damaged(FULL))
def test_schema_and_reader_agree_on_damaged_policies(document: Any) -> None:
    agree(document)


@given(st.sampled_from(sorted(OPERATORS)), values, st.sampled_from([None, "dpkg", "x"]))
def test_schema_and_reader_agree_on_operands(name: str, value: Any, scheme: str | None) -> None:
    check = {"key": "k", "op": name, "value": value}
    agree({**FULL, "checks": [{**check, "scheme": scheme} if scheme else check]})
