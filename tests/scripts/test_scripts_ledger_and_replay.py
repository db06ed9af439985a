"""What the ledger and a replay find when somebody changes the database behind our back."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from fleetmdm.cli.main import main
from fleetmdm.policy_yaml import parse_policy
from fleetmdm.policy_yaml.form import encode_form

POLICY = b"---\nid: disk\nname: D\nchecks: [{key: disk, op: eq, value: true}]\n"
DEVICE = (
    '{"device_id": "a", "hostname": "a", "os": "linux", "os_version": "12",'
    ' "serial": null, "last_seen": "2026-01-01T00:00:00Z", "facts": {"disk": false}}'
)

Run = Callable[..., tuple[int, dict[str, object]]]


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FLEETMDM_DB", str(tmp_path / "fleet.db"))
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "d.json").write_text(DEVICE)
    (tmp_path / "p.yaml").write_bytes(POLICY)
    for words in (
        ["init"],
        ["ingest", str(tmp_path / "d.json")],
        ["policy", "add", str(tmp_path / "p.yaml")],
        ["check"],
    ):
        assert main([*words, "--quiet"]) == 0
    return tmp_path


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def one(*words: str) -> tuple[int, dict[str, object]]:
        capsys.readouterr()
        status = main([*words, "--format", "json"])
        return status, json.loads(capsys.readouterr().out)

    return one


def change(path: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(path / "fleet.db")) as connection, connection:
        assert connection.execute(statement, values).rowcount > 0


def test_a_run_that_was_altered_no_longer_stands_in_the_log_as_it_is(fleet: Path, run: Run) -> None:
    assert run("ledger", "verify")[0] == 0
    change(fleet, "UPDATE runs SET result_root = ?", "0" * 64)
    status, answer = run("ledger", "verify")
    assert status == 1
    assert answer["error"]["code"] == "ledger_invalid"  # type: ignore[index] # as the envelope is
    assert answer["data"]["problems"]  # type: ignore[index] # as the envelope is


def test_a_policy_kept_as_read_otherwise_than_its_source_shows_when_a_pack_is_judged_again(
    fleet: Path, run: Run
) -> None:
    other = parse_policy(POLICY.replace(b"true", b"false"), name="p")
    digest = hashlib.sha256(POLICY).digest()
    change(fleet, "UPDATE policy_forms SET form = ? WHERE sha256 = ?", encode_form(other), digest)
    assert run("check", "--full")[0] == 0
    key, pack = str(fleet / "key"), str(fleet / "pack")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    options = ["--redact-profile", "none", "--signing-key-file", key]
    assert run("evidence", "export", "--output", pack, *options)[0] == 0
    status, answer = run("evidence", "replay", pack)
    assert (status, answer["error"]["code"]) == (1, "replay_differs")  # type: ignore[index] # as the envelope is
