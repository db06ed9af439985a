"""docs/wire.md has a row for everything that the protocol has, and each row names a test that is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sshwire.agent.constraints import ASSOCIATED_CERTS, RESTRICT_DESTINATION, SK_PROVIDER
from sshwire.agent.destinations import SESSION_BIND
from sshwire.agent.numbers import ConstraintNumber, ReplyNumber, RequestNumber, SignFlag
from sshwire.algorithms import KEY_ALGORITHMS

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "wire.md").read_text()
SERVED = TEXT.partition("## What the agent serves")[2].partition("\n## ")[0]
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in SERVED.splitlines()
    if line.startswith("| ") and not line.startswith(("| message ", "| constraint, ", "| key "))
]
SUBJECTS = "\n".join(row[0] for row in ROWS)


@pytest.mark.parametrize("number", [*RequestNumber, *ReplyNumber], ids=lambda number: number.name)
def test_every_message_has_a_row(number: int) -> None:
    assert re.search(rf"(?m)(^|, ){int(number)} [A-Z]", SUBJECTS)


@pytest.mark.parametrize("number", list(ConstraintNumber), ids=lambda number: number.name)
def test_every_constraint_has_a_row(number: ConstraintNumber) -> None:
    assert f"constraint {int(number)} {number.name}" in SUBJECTS


@pytest.mark.parametrize("flag", list(SignFlag), ids=lambda flag: str(flag.name))
def test_every_flag_has_a_row(flag: SignFlag) -> None:
    assert f"flag {int(flag)} {flag.name}" in SUBJECTS


@pytest.mark.parametrize(
    "name",
    [
        *{row.plain_name for row in KEY_ALGORITHMS.values()},
        *(RESTRICT_DESTINATION, ASSOCIATED_CERTS, SK_PROVIDER, SESSION_BIND, "query"),
    ],
)
def test_every_key_and_every_extension_has_a_row(name: str) -> None:
    assert f"`{name}`" in SUBJECTS


def test_every_row_is_whole_and_names_a_test_that_is_there() -> None:
    assert len(ROWS) > 25
    for subject, served, section, tested in ROWS:
        assert subject
        assert served
        assert section
        paths = re.findall(r"`([^`]+)`", tested)
        assert paths, subject
        for path in paths:
            assert (ROOT / "tests" / path).is_file(), path
