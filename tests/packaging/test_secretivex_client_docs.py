"""docs/secretive-client.md names every command, option and JSON member that there is."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from secretivex.cli.client.health import Findings, examine
from secretivex.cli.client.keys import listed_key
from secretivex.cli.client.program import COMMANDS, build
from sshwire.agent.replies import Identity

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "secretive-client.md").read_text()
HEAD = PAGE.partition("\n## ")[0]


def section(command: str) -> str:
    return re.split(rf"(?m)^## {command}$", PAGE)[1].partition("\n## ")[0]


def load(name: str) -> click.Command:
    group = build()
    command = group.get_command(click.Context(group), name)
    assert command is not None
    return command


def test_every_command_has_its_section_and_no_other_has() -> None:
    assert re.findall(r"(?m)^## (\S+)$", PAGE) == list(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_told(name: str) -> None:
    for parameter in load(name).params:
        if isinstance(parameter, click.Argument):
            continue
        (option,) = (word for word in parameter.opts if word.startswith("--"))
        assert option in section(name) or option in HEAD


def test_every_member_of_a_key_and_of_health_is_told() -> None:
    key = listed_key(Identity(b"junk", "comment"))
    assert {name for name in key.to_json() if f"`{name}`" not in section("list")} == set()
    findings: Findings = examine([key])
    told = section("health")
    members = {*findings.counts, *findings.invalid[0]}
    assert {name for name in members if f"`{name}`" not in told} == set()
