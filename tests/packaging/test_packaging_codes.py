"""The two tables of error codes: unique, sorted, spelled alike, each with its exit status."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from clikit.errors import COMMON_ROWS, ErrorTable, Exit
from fleetmdm.errors import CODES as FLEET_CODES
from secretivex.errors import CODES as AGENT_CODES

ROOT = Path(__file__).resolve().parents[2]
TABLES = {"secretivex": AGENT_CODES, "fleetmdm": FLEET_CODES}
COMMON = [row.code for row in COMMON_ROWS]
each_table = pytest.mark.parametrize("name", sorted(TABLES))


def own_codes(table: ErrorTable) -> list[str]:
    return [row.code for row in table if row.code not in COMMON]


@each_table
def test_codes_are_sorted_and_unique(name: str) -> None:
    codes = own_codes(TABLES[name])
    assert codes == sorted(set(codes))


@each_table
def test_codes_are_lower_snake_words_with_a_meaning(name: str) -> None:
    for row in TABLES[name]:
        assert re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", row.code)
        assert row.meaning
        assert row.meaning == row.meaning.strip().rstrip(".")


@each_table
def test_each_code_has_an_exit_status_that_is_not_success(name: str) -> None:
    statuses = {row.exit_status for row in TABLES[name]}
    assert all(isinstance(status, Exit) for status in statuses)
    assert Exit.OK not in statuses


@each_table
def test_every_product_has_the_common_codes_unchanged(name: str) -> None:
    assert [row for row in TABLES[name] if row.code in COMMON] == list(COMMON_ROWS)


def test_a_code_of_both_products_exits_alike() -> None:
    shared = set(own_codes(AGENT_CODES)) & set(own_codes(FLEET_CODES))
    differing = [
        code for code in shared if AGENT_CODES[code].exit_status != FLEET_CODES[code].exit_status
    ]
    assert differing == []


@pytest.mark.parametrize(
    ("package", "error"), [("secretivex", "SecretiveError"), ("fleetmdm", "FleetError")]
)
def test_every_code_that_is_raised_stands_in_the_table(package: str, error: str) -> None:
    raised = {
        (str(path.relative_to(ROOT)), str(node.args[0].value))
        for path in (ROOT / "src" / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == error
        and node.args
        and isinstance(node.args[0], ast.Constant)
    }
    assert raised
    assert {place for place in raised if place[1] not in TABLES[package]} == set()


@each_table
def test_every_code_of_a_table_is_used(name: str) -> None:
    """A code that nothing reports is a promise without anybody to keep it."""
    used = {
        node.value
        for package in (name, "clikit")
        for path in (ROOT / "src" / package).rglob("*.py")
        if path.name != "errors.py" or path.parent.name == "cli"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant)
    }
    assert [code for code in own_codes(TABLES[name]) if code not in used] == []


@each_table
def test_every_code_is_met_by_a_test(name: str) -> None:
    """A test that meets a failure names its code; those of this file are not counted."""
    named = {
        node.value
        for path in (ROOT / "tests").rglob("*.py")
        if path.name != Path(__file__).name
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    assert {row.code for row in TABLES[name] if row.code not in named} == set()
