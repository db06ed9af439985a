"""The life of a signing key as a user runs it, and what verifiers and the ledger say of it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fleetmdm.store.sqlite import SqliteStore
from fleetmdm.store.sqlite.upgrade import back_up

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Ask = Callable[..., Any]
RING = ("--keyring-dir", "ring")


@pytest.fixture
def fleetmdm(command_line: Run, tmp_path: Path, sample_store: SqliteStore) -> Run:
    """Run fleetmdm on a copy of the sample fleet."""
    back_up(sample_store._path, tmp_path / "fleet.db")
    environment = {"FLEETMDM_DB": str(tmp_path / "fleet.db")}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return command_line("fleetmdm", *arguments, env=environment)

    return run


@pytest.fixture
def ask(fleetmdm: Run) -> Ask:
    """The data of a command that must succeed, or the code of the failure that must come."""

    def run(*arguments: str, code: str = "") -> Any:
        done = fleetmdm(*arguments, "--format", "json")
        document = json.loads(done.stdout)
        if code:
            assert document["error"]["code"] == code, done.stderr
            return document.get("data")
        assert done.returncode == 0, done.stderr
        return document["data"]

    return run


def test_a_key_is_made_rotated_and_revoked(ask: Ask, fleetmdm: Run, tmp_path: Path) -> None:
    made = ask("evidence", "keygen", "first", *RING)
    assert Path(made["private_key"]).name == "first.key"
    ask("evidence", "keygen", "first", *RING, code="key_exists")
    ask("evidence", "export", "--key", "first", *RING, "--output", "one")
    trusted = fleetmdm("evidence", "key", "export", *RING)
    (tmp_path / "allowed").write_text(trusted.stdout)
    trust = ("--allowed-signers", "allowed", "--signer", "evidence")
    assert ask("evidence", "verify", "one", *trust)["valid"]

    rotated = ask("evidence", "key", "rotate", "first", "second", *RING)
    states = {row["name"]: row["state"] for row in ask("evidence", "key", "list", *RING)}
    assert states == {"first": "active", "second": "active"}
    ask("evidence", "export", "--key", "second", *RING, "--output", "two")
    (tmp_path / "allowed").write_text(fleetmdm("evidence", "key", "export", *RING).stdout)
    for pack in ("one", "two"):
        assert ask("evidence", "verify", pack, *trust)["valid"], "both, while they overlap"

    reason = ("--reason", "laptop lost")
    ask(
        "evidence",
        "key",
        "revoke",
        "first",
        *reason,
        "--at",
        "2999-01-01T00:00:00Z",
        *RING,
        code="usage",
    )
    ask("evidence", "key", "revoke", "first", *reason, *RING)
    ask("evidence", "key", "revoke", "first", *reason, *RING, code="key_unusable")
    ask("evidence", "export", "--key", "first", *RING, "--output", "no", code="key_unusable")
    data = ask("evidence", "verify", "one", *trust, *RING, code="evidence_invalid")
    assert [row["code"] for row in data["findings"]] == ["signer_revoked"]
    assert "laptop lost" in data["findings"][0]["message"]
    assert ask("evidence", "verify", "two", *trust, *RING)["valid"]

    done = fleetmdm("evidence", "key", "export", "--form", "krl", "--output", "krl", *RING)
    assert done.returncode == 0
    data = ask("evidence", "verify", "one", *trust, "--revoked", "krl", code="evidence_invalid")
    assert [row["code"] for row in data["findings"]] == ["signer_revoked"]
    assert fleetmdm("evidence", "key", "export", "--form", "krl", *RING).returncode == 2

    leaves = ask("ledger", "show", "--limit", "20")
    events = [row["entry"] for row in leaves if row["entry"]["type"] == "key"]
    assert [(each["event"], each["name"]) for each in events] == [
        ("created", "first"),
        ("rotated", "first"),
        ("created", "second"),
        ("revoked", "first"),
    ]
    assert events[1]["reason"] == f"replaced by {rotated['fingerprint']}"
    assert ask("ledger", "verify")["entries"]["key"] == 4


def test_keys_and_lists_of_openssh_are_taken_in(
    ask: Ask, tmp_path: Path, require_program: Callable[[str], str]
) -> None:
    keygen = [require_program("ssh-keygen"), "-q"]
    for name in ("agent", "other"):
        command = [*keygen, "-t", "ed25519", "-N", "", "-f", name]
        subprocess.run(command, cwd=tmp_path, check=True)
    ask("evidence", "key", "import", "agent.pub", "--name", "agent", *RING)
    ask("evidence", "key", "import", "agent.pub", "--name", "again", *RING, code="key_exists")
    public = (tmp_path / "other.pub").read_text()
    (tmp_path / "allowed").write_text(f'somebody valid-before="20300101Z" {public}')
    (row,) = ask("evidence", "key", "import", "allowed", *RING)
    assert (row["principal"], row["valid_before"]) == ("somebody", "2030-01-01T00:00:00Z")
    assert ask("evidence", "key", "import", "allowed", *RING) == [], "twice is once"
    subprocess.run([*keygen, "-k", "-f", "krl", "agent.pub"], cwd=tmp_path, check=True)
    (row,) = ask("evidence", "key", "import", "krl", "--krl", *RING)
    assert row["name"] == "agent"
    states = {row["name"]: row["state"] for row in ask("evidence", "key", "list", *RING)}
    assert states == {"agent": "revoked", "key-2": "active"}


def test_an_auditor_looks_at_a_pack(ask: Ask, fleetmdm: Run, tmp_path: Path) -> None:
    ask("evidence", "keygen", "k", *RING)
    export = ("evidence", "export", "--key", "k", *RING, "--redact-profile", "none")
    ask(*export, "--output", "old", "--run", "1")
    ask(*export, "--output", "pack")
    shown = ask("evidence", "show", "pack")
    assert (shown["run"]["run_id"], len(shown["signers"])) == (2, 1)
    assert "run 2" in fleetmdm("evidence", "show", "pack").stdout
    rows = ask("evidence", "show", "pack", "--records", "results", "--limit", "2")
    assert len(rows) == 2
    assert "policy_id" in fleetmdm("evidence", "show", "pack", "--records", "results").stdout
    drawn = ask("evidence", "sample", "pack", "--nonce", "wet paint", "-n", "2")
    assert len(drawn["devices"]) == 2
    mark = drawn["devices"][0]["fields"]["device"]
    (revealed,) = ask("evidence", "reveal", mark)
    assert revealed["value"] == drawn["devices"][0]["fields"]["device_id"]
    assert ask("evidence", "reveal", mark, "--run", "1") == [revealed]
    replayed = ask("evidence", "replay", "pack")
    assert (replayed["identical"], replayed["devices"]) == (True, 3)
    assert "byte for byte" in fleetmdm("evidence", "replay", "pack").stdout
    ask("evidence", "redact", "pack", "--output", "view")
    ask("evidence", "replay", "view", code="replay_needs_hidden_fields")
    assert fleetmdm("evidence", "replay", "view").returncode == 6

    (tmp_path / "allowed").write_text(fleetmdm("evidence", "key", "export", *RING).stdout)
    trust = ("--allowed-signers", "allowed", "--signer", "evidence")
    verified = ask("evidence", "verify", "pack", *trust, "--since", "old")
    assert verified["continues"]["older_size"] < verified["continues"]["size"]
    data = ask("evidence", "verify", "old", *trust, "--since", "pack", code="evidence_invalid")
    assert [row["code"] for row in data["findings"]] == ["ledger_shorter"]


def test_cosigners_warnings_and_strictness(ask: Ask, fleetmdm: Run, tmp_path: Path) -> None:
    for name in ("a", "b", "w"):
        ask("evidence", "keygen", name, "--principal", name, *RING)
    ask("evidence", "export", "--key", "a", *RING, "--output", "pack")
    ask("evidence", "cosign", "pack", "--key", "b", *RING)
    ask(
        "evidence",
        "cosign",
        "pack",
        "--role",
        "witness",
        "--key",
        "w",
        "--name",
        "w.example",
        *RING,
    )
    lines = fleetmdm("evidence", "key", "export", *RING).stdout.splitlines(keepends=True)
    witness = lines[2].replace("evidence@fleetmdm", "witness@fleetmdm")
    (tmp_path / "allowed").write_text("".join([lines[0], lines[1], witness]))
    trust = ("--allowed-signers", "allowed", "--signer", "a")
    both = (*trust, "--signer", "b", "--require-signers", "2", "--witness", "w", "--strict")
    assert ask("evidence", "verify", "pack", *both)["valid"]
    data = ask("evidence", "verify", "pack", *trust)
    assert {row["code"] for row in data["warnings"]} == {"cosigner_untrusted", "witness_untrusted"}
    assert "warning: cosigner_untrusted" in fleetmdm("evidence", "verify", "pack", *trust).stdout
    ask("evidence", "verify", "pack", *trust, "--strict", code="evidence_invalid")
    later = (*trust, "--verify-time", "2001-01-01T00:00:00Z")
    data = ask("evidence", "verify", "pack", *later, code="evidence_invalid")
    assert [row["code"] for row in data["findings"]] == ["signer_not_yet_valid"]

    done = fleetmdm("evidence", "verify", "pack", *trust, "--strict", "--format", "sarif")
    assert done.returncode == 1
    (run,) = json.loads(done.stdout)["runs"]
    assert {each["ruleId"] for each in run["results"]} == {
        "cosigner_untrusted",
        "witness_untrusted",
    }
    assert run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"]
