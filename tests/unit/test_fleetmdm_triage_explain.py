"""What triage says of one verdict, and who owns what is to be fixed."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fleetmdm.cli.main import main
from fleetmdm.rfc3339 import encode_time

POLICY = """---
id: disk
name: The disk is encrypted
severity: high
remediation: Turn it on
checks:
  - {key: disk, op: eq, value: true}
  - any: [{key: ports, op: contains, value: 22}, {key: "users[*].uid", op: gte, value: 1000}]
  - not: {key: os, op: eq, value: windows}
  - {key: absent.fact, op: exists}
"""


def device(name: str, tags: list[str], *, disk: object) -> str:
    facts = {"disk": disk, "ports": [80], "users": [{"uid": 0}, {"name": "x"}]}
    return json.dumps(
        {
            "device_id": name,
            "hostname": name,
            "os": "linux",
            "os_version": "12",
            "serial": None,
            "last_seen": encode_time(datetime.now(UTC)),
            "tags": tags,
            "facts": facts,
        }
    )


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FLEETMDM_DB", str(tmp_path / "fleet.db"))
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "p.yaml").write_text(POLICY)
    lines = [
        device("a", ["owner:web", "x"], disk=False),
        device("b", ["owner:web"], disk="odd"),
        device("c", ["owner:data"], disk=True),
        device("d", [], disk=None),
    ]
    (tmp_path / "d.ndjson").write_text("\n".join(lines))
    for words in (
        ["init"],
        ["ingest", str(tmp_path / "d.ndjson")],
        ["policy", "add", str(tmp_path / "p.yaml")],
        ["policy", "assign", "disk", "--tag", "owner:web"],
        ["check"],
    ):
        assert main([*words, "--quiet"]) == 0
    return tmp_path


def answer(capsys: pytest.CaptureFixture[str], *words: str, status: int = 0) -> Any:
    capsys.readouterr()
    assert main([*words, "--format", "json"]) == status
    return json.loads(capsys.readouterr().out)


def test_every_check_is_told_with_its_fact(fleet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = answer(capsys, "triage", "--explain", "a", "disk")["data"]
    assert data["status"] == data["effective"]["status"] == "fail"
    assert data["failing_since"]
    told = [
        (one["check"], one["value"], one["holds"], one["reason"], one["negated"])
        for one in data["checks"]
    ]
    assert told == [
        ("checks[0]", False, False, "mismatch", False),
        ("checks[1].any[0]", [80], False, "mismatch", False),
        ("checks[1].any[1]", [0, None], False, "mismatch", False),
        ("checks[2].not", "linux", False, "mismatch", True),
        ("checks[3]", None, False, "missing", False),
    ]
    (assignment,) = data["assignments"]
    assert (assignment["applies"], assignment["scope"]) == (True, {"tag": "owner:web"})


def test_a_text_says_the_same(fleet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["triage", "--explain", "b", "disk"]) == 0
    said = capsys.readouterr().out
    for words in ("state: fail", "wrong_type", "to do: Turn it on", "applies: the device has"):
        assert words in said


def test_a_waiver_is_named(fleet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = [
        "--reason",
        "old",
        "--risk-owner",
        "o",
        "--approver",
        "p",
        "--expires",
        "2199-01-01",
        "--zone",
        "UTC",
    ]
    assert main(["waiver", "add", "--policy", "disk", "--device", "a", *options]) == 0
    assert main(["check"]) == 0
    data = answer(capsys, "triage", "--explain", "a", "disk")["data"]
    assert data["effective"]["status"] == "waived"
    assert [one["risk_owner"] for one in data["waivers"]] == ["o"]
    assert answer(capsys, "triage", "--explain", "b", "disk")["data"]["waivers"] == []


def test_what_is_not_there_is_not_found(fleet: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gone = answer(capsys, "triage", "--explain", "z", "disk", status=4)["error"]
    assert gone["code"] == "device_not_found"
    near = answer(capsys, "triage", "--explain", "a", "disc", status=4)["error"]
    assert (near["code"], near["details"]["did_you_mean"]) == ("policy_not_found", "disk")


def test_a_row_is_explained_and_counted_by_owner(
    fleet: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (row,) = answer(capsys, "triage")["data"]["policies"]
    assert row["owners"] == {"web": 2}
    assert row["why"] == "2 devices x high (15) x age 1.0"
    assert row["remediation"] == "Turn it on"
