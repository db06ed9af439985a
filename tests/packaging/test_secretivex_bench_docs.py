"""docs/secretive-bench.md names every command, option, figure, target and gate that there is."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from secretivex.bench.report.fields import FIELDS, GROUPS
from secretivex.bench.slo import GATES, TARGET_KINDS
from secretivex.bench.tally import FAILURE_KINDS
from secretivex.cli.bench.program import COMMANDS, build

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "secretive-bench.md").read_text()


def test_every_command_has_its_section() -> None:
    assert set(re.findall(r"(?m)^## (\S+)$", PAGE)) == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_told(name: str) -> None:
    group = build()
    command = group.get_command(click.Context(group), name)
    assert command is not None
    options = [one for one in command.params if isinstance(one, click.Option)]
    words = [word for option in options for word in option.opts if word.startswith("--")]
    assert {word for word in words if word not in PAGE} == set()


def test_every_figure_is_told_as_the_code_has_it() -> None:
    rows = [f"| `{field.name}` | {field.kind} | {field.meaning} |" for field in FIELDS]
    rows += [f"| `{name}` | object | {meaning} |" for name, meaning in GROUPS.items()]
    assert [row for row in rows if row not in PAGE] == []
    assert {kind for kind in FAILURE_KINDS if f"`{kind}`" not in PAGE} == set()


def test_every_target_and_gate_is_told() -> None:
    for kind in TARGET_KINDS.values():
        limit = "at least" if kind.is_floor else "at most"
        assert f"| `{kind.name}` | {limit} | {kind.meaning} |" in PAGE
    for gate in GATES.values():
        (row,) = re.findall(rf"(?m)^\| `{gate.name}` \|.*$", PAGE)
        assert all(f"{name}={limit:g}" in row for name, limit in gate.targets.items())
        assert all(str(clients) in row for clients in gate.tiers)
