"""The settings table tells the truth about itself: what it calls effective, some code acts on."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from secretivex.config.settings import SETTINGS, AgentSetting

SOURCES = Path(__file__).resolve().parents[2] / "src" / "secretivex"
SETTLED_WHILE_RESOLVING = {"profile", "worker_threads"}


@pytest.fixture(scope="module")
def names_read() -> set[str]:
    """Every attribute that the agent's code reads outside its configuration package."""
    return {
        node.attr
        for path in SOURCES.rglob("*.py")
        if not {"config", "cli"} & set(path.relative_to(SOURCES).parts)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
    }


@pytest.mark.parametrize(
    "row",
    [row for row in SETTINGS if row.key not in SETTLED_WHILE_RESOLVING],
    ids=lambda row: row.key,
)
def test_a_setting_is_effective_exactly_if_code_reads_it(
    row: AgentSetting, names_read: set[str]
) -> None:
    assert (row.key in names_read) == (row.state == "effective")
