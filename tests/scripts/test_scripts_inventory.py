"""Inventory, runs and drift as a user meets them at the command line."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

CommandLine = Callable[..., "subprocess.CompletedProcess[str]"]
Fleet = Callable[..., "subprocess.CompletedProcess[str]"]

POLICY = """\
---
id: ssh.root
name: Root cannot log in
targets: {os: [linux]}
checks:
  - {key: sshd.root, op: eq, value: "no", message: root may log in}
"""


def line(device_id: str, root: str, day: int = 1, os: str = "linux") -> str:
    return json.dumps(
        {
            "device_id": device_id,
            "hostname": device_id,
            "os": os,
            "os_version": "12",
            "serial": None,
            "last_seen": f"2026-01-0{day}T00:00:00Z",
            "facts": {"sshd": {"root": root}},
        }
    )


@pytest.fixture
def fleet(command_line: CommandLine, tmp_path: Path) -> Fleet:
    """The command line on a database of its own."""

    def run(*words: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return command_line("fleetmdm", *words, "--db", tmp_path / "fleet.db", stdin=stdin)

    assert run("init").returncode == 0
    return run


def data(done: subprocess.CompletedProcess[str], status: int = 0) -> Any:
    assert done.returncode == status, done.stderr
    return json.loads(done.stdout)["data"]


def error(done: subprocess.CompletedProcess[str], status: int) -> Any:
    assert done.returncode == status, done.stderr
    assert "Traceback" not in done.stderr
    return json.loads(done.stdout)["error"]


def test_init_leaves_a_database_that_exists_as_it_is(fleet: Fleet) -> None:
    fleet("ingest", "-", stdin=line("a", "no"))
    again = data(fleet("init", "--format", "json"))
    assert (again["created"], again["devices"]) == (False, 1)


def test_ingest_before_init_says_what_to_do(command_line: CommandLine, tmp_path: Path) -> None:
    words = ("fleetmdm", "ingest", "-", "--db", tmp_path / "none.db", "--format", "json")
    found = error(command_line(*words), 4)
    assert found["code"] == "database_not_found"
    assert "fleetmdm init" in found["hint"]


def test_ingest_twice_changes_nothing(fleet: Fleet) -> None:
    words = ("ingest", "-", "--format", "json")
    first = data(fleet(*words, stdin=line("a", "no")))
    second = data(fleet(*words, stdin=line("a", "no")))
    assert (first["added"], second["unchanged"]) == (1, 1)


def test_good_documents_go_in_and_bad_ones_are_named(fleet: Fleet, tmp_path: Path) -> None:
    path = tmp_path / "mixed.ndjson"
    path.write_text("\n".join([line("a", "no"), "{", line("b", "no"), '{"device_id": "c"}']))
    done = fleet("ingest", path, "--format", "json")
    assert data(done, 1)["added"] == 2
    found = error(done, 1)
    assert found["code"] == "ingest_errors"
    places = [(one["file"], one["line"], one["reason"]) for one in found["details"]["documents"]]
    assert places == [(str(path), 2, "malformed"), (str(path), 4, "missing")]
    assert f"{path}:2: malformed" in done.stderr


def test_strict_takes_all_or_nothing(fleet: Fleet) -> None:
    documents = "\n".join([line("a", "no"), "{", "["])
    found = error(fleet("ingest", "-", "--strict", "--format", "json", stdin=documents), 3)
    assert found["code"] == "inventory_invalid"
    assert found["details"]["refused"] == 2
    assert data(fleet("device", "list", "--format", "json"))["total"] == 0


def test_a_device_is_listed_shown_and_retired(fleet: Fleet) -> None:
    fleet("ingest", "-", stdin="\n".join([line("a", "no"), line("b", "no", os="Darwin")]))
    listed = data(fleet("device", "list", "--os", "darwin", "--format", "json"))
    assert [one["device_id"] for one in listed["devices"]] == ["b"]
    page = data(fleet("device", "list", "--limit", "1", "--offset", "1", "--format", "json"))
    assert [one["device_id"] for one in page["devices"]] == ["b"]
    assert data(fleet("device", "show", "a", "--format", "json"))["facts"]["sshd"]["root"] == "no"
    assert "facts.sshd.root  no" in fleet("device", "show", "a").stdout
    assert fleet("device", "retire", "a").returncode == 0
    assert error(fleet("device", "show", "a", "--format", "json"), 4)["code"] == "device_not_found"


def test_doctor_finds_a_sound_database_sound_and_a_loose_one_not(
    fleet: Fleet, tmp_path: Path
) -> None:
    checked = data(fleet("doctor", "--integrity-check", "--vacuum", "--format", "json"))
    assert checked["problems"] == []
    assert checked["vacuum"]["after_bytes"] > 0
    (tmp_path / "fleet.db").chmod(0o644)
    found = error(fleet("doctor", "--integrity-check", "--format", "json"), 1)
    assert found["code"] == "database_unsound"


@pytest.fixture
def drifted(fleet: Fleet, tmp_path: Path) -> Fleet:
    """Two runs: a and w get worse, b gets better, c leaves, d and e arrive."""
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY)
    assert fleet("policy", "add", policy).returncode == 0
    first = [line("a", "no"), line("b", "yes"), line("c", "yes"), line("w", "yes", os="windows")]
    second = [line("a", "yes", 2), line("b", "no", 2), line("d", "yes"), line("e", "no")]
    fleet("ingest", "-", stdin="\n".join(first))
    assert fleet("check").returncode == 0
    fleet("ingest", "-", stdin="\n".join([*second, line("w", "yes", 2)]))
    fleet("device", "retire", "c")
    assert fleet("check").returncode == 0
    return fleet


def test_drift_shows_what_changed_with_the_states_of_both_runs(drifted: Fleet) -> None:
    found = data(drifted("drift", "--format", "json"))
    rows = [(row["change"], row["device_id"], row["before"], row["after"]) for row in found["rows"]]
    assert rows == [
        ("regressed", "a", "pass", "fail"),
        ("regressed", "w", "notapplicable", "fail"),
        ("resolved", "b", "fail", "pass"),
    ]
    assert found["rows"][0]["findings"][0]["observed"] == "yes"
    assert found["population"] == []
    assert (found["from"]["run_id"], found["to"]["run_id"]) == (1, 2)


def test_drift_includes_strangers_when_asked(drifted: Fleet) -> None:
    found = data(drifted("drift", "--include-new-missing", "--format", "json"))
    rows = [(row["change"], row["device_id"], row["before"], row["after"]) for row in found["rows"]]
    assert rows[3:] == [("new", "d", None, "fail"), ("vanished", "c", "fail", None)]
    assert [(one["presence"], one["id"]) for one in found["population"]] == [
        ("vanished", "c"),
        ("new", "d"),
        ("new", "e"),
    ]


def test_drift_fails_when_asked_to(drifted: Fleet) -> None:
    done = drifted("drift", "--fail-on", "drift", "--format", "json")
    assert error(done, 1)["code"] == "drift_found"
    assert "root may log in" in drifted("drift").stdout
    quiet = drifted("drift", "--fail-on", "drift", "--device", "e")
    assert quiet.returncode == 0, quiet.stderr


def test_runs_that_cannot_be_compared(drifted: Fleet) -> None:
    for words, status, code in (
        (("--from", "2", "--to", "1"), 2, "usage"),
        (("--from", "x"), 2, "usage"),
        (("--since", "yesterday"), 2, "usage"),
        (("--to", "9"), 4, "run_not_found"),
        (("--since", "2099-01-01T00:00:00Z"), 4, "insufficient_runs"),
        (("--to", "1"), 4, "insufficient_runs"),
    ):
        assert error(drifted("drift", *words, "--format", "json"), status)["code"] == code


def test_runs_are_listed_newest_first(drifted: Fleet) -> None:
    runs = data(drifted("runs", "--format", "json"))
    assert [(run["run_id"], run["devices"]) for run in runs] == [(2, 5), (1, 4)]
    assert runs[0]["counts"] == {"fail": 3, "pass": 2}
    assert len(data(drifted("runs", "--limit", "1", "--format", "json"))) == 1


def test_history_tells_over_which_runs_a_verdict_stood(drifted: Fleet) -> None:
    rows = data(drifted("history", "--format", "json"))
    found = [(row["device_id"], row["since_run"], row["until_run"]) for row in rows]
    assert found == [("a", 2, None), ("d", 2, None), ("w", 2, None), ("b", 1, 2), ("c", 1, 2)]
    assert rows[0]["findings"][0]["observed"] == "yes"
    only = data(drifted("history", "--device", "b", "--status", "fail", "--format", "json"))
    assert [row["device_id"] for row in only] == ["b"]
    assert data(drifted("history", "--since", "2099-01-01T00:00:00Z", "--format", "json")) == []
    assert error(drifted("history", "--until", "x", "--format", "json"), 2)["code"] == "usage"


def test_a_backup_is_restored_with_everything_in_it(drifted: Fleet, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    assert drifted("db", "backup", copy).returncode == 0
    refused = error(drifted("db", "restore", copy, "--format", "json"), 6)
    assert refused["code"] == "output_exists"
    before = drifted("drift", "--format", "json").stdout
    (tmp_path / "fleet.db").unlink()
    restored = data(drifted("db", "restore", copy, "--format", "json"))
    assert (restored["devices"], restored["runs"]) == (5, 2)
    assert drifted("drift", "--format", "json").stdout == before


def test_a_backup_that_is_damaged_is_not_restored(drifted: Fleet, tmp_path: Path) -> None:
    copy = tmp_path / "copy.db"
    drifted("db", "backup", copy)
    content = bytearray(copy.read_bytes())
    content[8192:] = b"\xaa" * (len(content) - 8192)
    copy.write_bytes(content)
    (tmp_path / "fleet.db").unlink()
    refused = error(drifted("db", "restore", copy, "--format", "json"), 3)
    assert refused["code"] == "database_invalid"
    assert not (tmp_path / "fleet.db").exists()
