"""docs/reports.md: each row of the exit table, each recipe for CI, each format."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from fleetmdm.cli.main import main
from fleetmdm.config import REPORT_FORMATS

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "reports.md").read_text()
ROWS = re.findall(
    r"^\| `((?:check|report|drift)[^`]*)` \| ([^|]+) \| (\d+) \| ([^|]*)\|$", PAGE, re.MULTILINE
)
BLOCKS = dict(re.findall(r"^(\w[\w ]*):\n\n```\w+\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))

POLICIES = """---
id: disk
name: The disk is encrypted
severity: high
checks: [{key: disk_encryption.root, op: eq, value: true}]
tests:
  - {name: p, device: {facts: {disk_encryption: {root: true}}}, expect: pass}
  - {name: f, device: {facts: {disk_encryption: {root: false}}}, expect: fail}
---
id: seen
name: It has a name
checks: [{key: hostname, op: exists}]
"""


def document(name: str, *, disk: bool, seen: str = "2199-01-01T00:00:00Z") -> str:
    return json.dumps(
        {
            "device_id": name,
            "hostname": name,
            "os": "linux",
            "os_version": "12",
            "serial": None,
            "last_seen": seen,
            "facts": {"disk_encryption": {"root": disk}},
        }
    )


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two devices and two runs; between them one device lost its encryption."""
    monkeypatch.setenv("FLEETMDM_DB", str(tmp_path / "fleet.db"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("FLEETMDM_CHECK_STALE_AFTER", "0d")
    (tmp_path / "p.yaml").write_text(POLICIES)
    for number, disk in ((1, True), (2, False)):
        lines = [
            document(name, disk=each, seen=f"2026-01-0{number}T00:00:00Z")
            for name, each in (("a", disk), ("b", True))
        ]
        (tmp_path / f"{number}.ndjson").write_text("\n".join(lines))
    for words in (
        "init",
        "policy add p.yaml",
        "ingest 1.ndjson",
        "check",
        "ingest 2.ndjson",
        "check",
    ):
        argv = [str(tmp_path / each) if "." in each else each for each in words.split()]
        assert main([*argv, "--quiet"]) == 0
    return tmp_path


def test_the_table_covers_the_commands_that_gate() -> None:
    assert len(ROWS) >= 16
    assert {row[0].split()[0] for row in ROWS} == {"check", "report", "drift"}


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row[0]))
def test_a_row_of_the_exit_table(
    row: tuple[str, str, str, str], fleet: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command, _, status, code = row
    capsys.readouterr()
    assert main([*shlex.split(command), "--format", "json"]) == int(status)
    answer: Any = json.loads(capsys.readouterr().out)
    assert answer.get("error", {}).get("code", "") == code.strip().strip("`")
    assert ("data" in answer) is (int(status) in {0, 1})


def commands(name: str) -> list[str]:
    """The commands of a recipe that run on the machine itself."""
    text = BLOCKS[name]
    if name == "Jenkins":
        return re.findall(r"sh '([^']+)'", text)
    document: Any = YAML(typ="safe").load(text)
    if name == "GitLab CI":
        return list(document["compliance"]["script"])
    (steps,) = [job["steps"] for job in document["jobs"].values()]
    return [line for step in steps if "run" in step for line in step["run"].splitlines()]


@pytest.mark.parametrize("name", ["GitHub Actions", "GitLab CI", "Jenkins"])
def test_a_recipe_gates_and_keeps_its_reports(name: str, tmp_path: Path) -> None:
    for folder, file, text in (
        ("policies", "p.yaml", POLICIES.split("---\nid: seen", maxsplit=1)[0]),
        ("inventory", "d.json", document("a", disk=False, seen="2026-01-01T00:00:00Z")),
    ):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / file).write_text(text)
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "fleetmdm"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m fleetmdm "$@"\n')
    program.chmod(0o755)
    done = subprocess.run(
        ["bash", "-eu", "-c", "\n".join(commands(name))],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
        env={
            "PATH": f"{tmp_path}/bin:/usr/bin:/bin",
            "PYTHONPATH": str(ROOT / "src"),
            "HOME": str(tmp_path),
            "FLEETMDM_DB": "fleet.db",
            "FLEETMDM_CHECK_STALE_AFTER": "0d",
            "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
        },
    )
    assert (done.returncode, "found: 1 fail" in done.stderr) == (1, True), done.stderr
    kept = {path.name for path in tmp_path.iterdir()}
    assert kept & {"report.sarif", "report.xml"}


def test_every_format_and_option_is_told() -> None:
    for form in REPORT_FORMATS:
        assert f"| `{form}` |" in PAGE
    for option in ("--only-failing", "--tag", "--framework", "--redaction", "--data-url", "--live"):
        assert option in PAGE


def test_the_pictures_of_the_page_are_drawn(
    fleet: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(fleet)
    block = PAGE.partition("## Pictures\n\n```sh\n")[2].partition("```")[0]
    for line in block.splitlines():
        assert main(shlex.split(line)[1:]) == 0
        assert f"drawn: {line.split()[-1]}" in capsys.readouterr().err
    assert (fleet / "trend.svg").read_bytes().startswith(b"<?xml")
    assert (fleet / "drift.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("where", ["file", "environment"])
def test_a_failure_is_json_where_settings_choose_json(
    where: str, fleet: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if where == "file":
        (fleet / "c.yaml").write_text("report: {format: json}\n")
        monkeypatch.setenv("FLEETMDM_CONFIG", str(fleet / "c.yaml"))
    else:
        monkeypatch.setenv("FLEETMDM_REPORT_FORMAT", "json")
    for words, code in (
        ("report --run 99", "run_not_found"),
        ("report --no-such-option", "usage"),
        ("report --fail-on fail", "policy_failures"),
        ("report --db none.db", "database_not_found"),
    ):
        capsys.readouterr()
        main(shlex.split(words))
        assert json.loads(capsys.readouterr().out)["error"]["code"] == code
    for words in ("report --run 99 --format table", "drift --from 9"):
        capsys.readouterr()
        assert main(shlex.split(words)) == 4
        assert capsys.readouterr().out == ""


def test_the_last_format_named_counts_and_words_after_the_dashes_do_not(
    fleet: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (
        "device show x --format json --format table",
        "device show -- --format=json",
    ):
        capsys.readouterr()
        assert main(shlex.split(words)) == 4
        assert capsys.readouterr().out == ""
