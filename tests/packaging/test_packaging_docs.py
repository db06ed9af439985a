"""The documents say what the code does: generated parts are fresh, links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from clikit.config import parse_config
from fleetmdm.errors import CODES as FLEET_CODES
from secretivex.config import ConfigInput
from secretivex.config.rows.policy import POLICY_SETTINGS
from secretivex.config.rows.stores import STORE_TYPES
from secretivex.config.settings import SETTINGS
from secretivex.errors import CODES as AGENT_CODES
from secretivex.errors import SecretiveError
from secretivex.loading import make_setup

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


GENERATORS = (
    "tools/settings_doc.py",
    "tools/fleet_settings_doc.py",
    "tools/errors_doc.py",
    "tools/policy_doc.py",
    "benchmarks/performance_doc.py",
)


@pytest.mark.parametrize("tool", GENERATORS)
def test_what_is_generated_is_up_to_date(tool: str) -> None:
    result = subprocess.run(
        [sys.executable, ROOT / tool, "--check"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_every_error_code_is_documented() -> None:
    page = (ROOT / "docs" / "errors.md").read_text()
    codes = {row.code for table in (AGENT_CODES, FLEET_CODES) for row in table}
    assert {code for code in codes if f"| `{code}` |" not in page} == set()


def test_every_setting_is_documented() -> None:
    page = (ROOT / "docs" / "configuration.md").read_text()
    rows = [*SETTINGS, *POLICY_SETTINGS, *(r for t in STORE_TYPES.values() for r in t.settings)]
    assert {row.key for row in rows if f"| `{row.key}` |" not in page} == set()


def test_the_default_file_is_valid_and_changes_nothing() -> None:
    data = (ROOT / "packaging" / "agent.toml").read_bytes()
    file = parse_config(data, name="agent.toml", syntax="toml")
    environ = {"HOME": "/home/alice"}
    with_file = make_setup(ConfigInput({}, environ, file, 4, Path("/")))
    without = make_setup(ConfigInput({}, environ, None, 4, Path("/")))
    changed = {
        row.key
        for row in SETTINGS
        if getattr(with_file.config, row.key) != getattr(without.config, row.key)
    }
    assert with_file.config.warnings == ()
    assert (changed, with_file.policy) == (set(), without.policy)


def test_the_default_file_names_every_setting() -> None:
    text = (ROOT / "packaging" / "agent.toml").read_text()
    values: dict[str, Any] = tomllib.loads(re.sub(r"(?m)^#(?=[\w\[])", "", text))
    assert set(values) == {row.key for row in SETTINGS} - {"worker_threads"}
    assert set(values["policy"]) == {row.key for row in POLICY_SETTINGS}
    assert {table["type"]: set(table) for table in values["stores"]} == {
        name: {"type", *(row.key for row in store.settings)} for name, store in STORE_TYPES.items()
    }


def lines_switched_on() -> Iterator[tuple[str, str]]:
    """Of each line of the default file that sets something: the whole file with it alone set."""
    lines = (ROOT / "packaging" / "agent.toml").read_text().splitlines()
    table: list[int] = []
    for number, line in enumerate(lines):
        if line.startswith("#[["):
            table = [number, number + 1]
        elif line.startswith("["):
            table = []
        if re.match(r"#\w+ = ", line):
            on = {*table, number}
            text = "\n".join(one[1:] if at in on else one for at, one in enumerate(lines))
            yield line, text


NEEDED = ("the store has no module_path", "the store names no path", "available on macOS only")
"""What else a store needs that a single line does not give."""


def test_each_line_of_the_default_file_may_be_switched_on() -> None:
    for line, text in lines_switched_on():
        file = parse_config(text.encode(), name="agent.toml", syntax="toml")
        try:
            make_setup(ConfigInput({}, {"HOME": "/home/alice"}, file, 4, Path("/")))
        except SecretiveError as error:
            problems = error.message.splitlines()
            left = [one for one in problems if not any(word in one for word in NEEDED)]
            assert left == [], line


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_within_the_project_lead_somewhere(page: Path) -> None:
    broken = [
        target
        for target in LINK.findall(page.read_text())
        if not target.startswith(("http://", "https://", "mailto:", "#"))
        and not (page.parent / target.partition("#")[0]).exists()
    ]
    assert broken == []
