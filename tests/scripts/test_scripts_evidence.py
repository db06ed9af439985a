"""`fleetmdm evidence` as a user runs it: exit statuses, envelopes, and what is left behind."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fleetmdm.store.sqlite import SqliteStore
from fleetmdm.store.sqlite.upgrade import back_up
from sshwire.privkey import PrivateKey, encode_private_key
from sshwire.pubkey import encode_public_line

SOURCES = Path(__file__).parents[2] / "src"
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def fleetmdm(
    command_line: Run,
    tmp_path: Path,
    sample_store: SqliteStore,
    make_key: Callable[[int], PrivateKey],
) -> Run:
    """Run fleetmdm on a copy of the sample fleet, with key 1 in `key` and in `allowed`."""
    back_up(sample_store._path, tmp_path / "fleet.db")
    (tmp_path / "key").write_bytes(encode_private_key(make_key(1), random_bytes=os.urandom))
    line = f'me namespaces="evidence@fleetmdm" {encode_public_line(make_key(1).public_key)}\n'
    (tmp_path / "allowed").write_text(line)
    environment = {"FLEETMDM_DB": str(tmp_path / "fleet.db")}

    def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        return command_line("fleetmdm", *arguments, env=environment, **options)

    return run


def _document(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(done.stdout)
    return document


TRUST = ("--allowed-signers", "allowed", "--signer", "me")


def test_a_pack_is_exported_and_verified(fleetmdm: Run, tmp_path: Path) -> None:
    done = fleetmdm("evidence", "export", "--output", "pack", "--signing-key-file", "key")
    assert done.returncode == 0, done.stderr
    assert "strict" in done.stdout
    assert fleetmdm("evidence", "verify", "pack", *TRUST).returncode == 0

    shutil.copytree(tmp_path / "pack", tmp_path / "other")
    with (tmp_path / "other" / "results.ndjson").open("ab") as file:
        file.write(b"\n")
    done = fleetmdm("evidence", "verify", "other", *TRUST, "--format", "json")
    assert done.returncode == 1
    document = _document(done)
    assert (document["ok"], document["error"]["code"]) == (False, "evidence_invalid")
    found = {finding["code"] for finding in document["data"]["findings"]}
    assert found == {"record_count_mismatch"}
    assert not document["data"]["valid"]

    done = fleetmdm("evidence", "verify", "other", *TRUST)
    assert done.returncode == 1
    assert "record_count_mismatch: results.ndjson" in done.stdout


def test_without_trust_the_rest_is_checked(fleetmdm: Run) -> None:
    fleetmdm("evidence", "export", "--output", "pack", "--signing-key-file", "key")
    done = fleetmdm("evidence", "verify", "pack", "--format", "json")
    assert done.returncode == 1
    assert [each["code"] for each in _document(done)["data"]["findings"]] == ["no_trust_anchor"]


def test_an_unsigned_pack_is_made_with_a_warning(fleetmdm: Run) -> None:
    done = fleetmdm("evidence", "export", "--output", "pack", "--run", "1", "--format", "json")
    assert done.returncode == 0
    assert "unsigned" in done.stderr
    assert _document(done)["data"]["run_id"] == 1
    assert _document(done)["data"]["signers"] == []


@pytest.mark.parametrize(
    ("arguments", "status", "code"),
    [
        (("export",), 2, "usage"),
        (("export", "--output", "allowed"), 6, "output_exists"),
        (("export", "--output", "absent/pack"), 5, "output_failed"),
        (("export", "--output", "pack", "--run", "99"), 4, "run_not_found"),
        (("export", "--output", "pack", "--run", "0"), 2, "usage"),
        (("export", "--output", "pack", "--redact-profile", "loose"), 2, "usage"),
        (("export", "--output", "pack", "--signing-key-file", "absent"), 4, "input_not_found"),
        (("export", "--output", "pack", "--signing-key-file", "allowed"), 3, "input_unreadable"),
        (("export", "--output", "pack", "--signing-key-file", "."), 3, "input_unreadable"),
        (("export", "--output", "pack", "--agent", "x.sock"), 2, "usage"),
        (("export", "--output", "pack", "--agent-key", "SHA256:x"), 5, "agent_unavailable"),
        (
            ("export", "--output", "pack", "--agent-key", "SHA256:x", "--agent", "x.sock"),
            5,
            "agent_unavailable",
        ),
        (
            (
                "export",
                "--output",
                "pack",
                "--signing-key-file",
                "key",
                "--signing-key-file",
                "key",
            ),
            2,
            "usage",
        ),
        (("export", "--output", "pack", "--key", "absent"), 4, "keyring_not_found"),
        (
            ("export", "--output", "pack", "--signing-key-file", "key", "--certificate", "allowed"),
            3,
            "input_unreadable",
        ),
        (("verify", ".", "--witness", "me"), 2, "usage"),
        (("verify", ".", "--require-signers", "1"), 2, "usage"),
        (("verify", ".", "--require-signers", "0"), 2, "usage"),
        (("verify", ".", "--revoked", "key"), 3, "trust_invalid"),
        (("verify", ".", "--tsa-ca", "key"), 3, "trust_invalid"),
        (("verify", ".", "--tsa-ca", "absent"), 4, "input_not_found"),
        (("verify", ".", "--verify-time", "yesterday"), 2, "usage"),
        (("verify", ".", "--keyring-dir", "absent"), 4, "keyring_not_found"),
        (("show", "home"), 1, "evidence_invalid"),
        (("sample", "home", "--nonce", ""), 2, "usage"),
        (("sample", "home"), 2, "usage"),
        (("replay", "home"), 1, "evidence_invalid"),
        (("reveal", "device-none"), 4, "pseudonym_unknown"),
        (("cosign", "home"), 2, "usage"),
        (("timestamp", "home", "--token", "absent"), 4, "input_not_found"),
        (("key", "list", "--keyring-dir", "absent"), 4, "keyring_not_found"),
        (("keygen", "a/b", "--keyring-dir", "ring"), 3, "key_name_invalid"),
        (("verify", "absent"), 4, "input_not_found"),
        (("verify", "allowed"), 3, "evidence_unreadable"),
        (("verify", ".", "--signer", "me"), 2, "usage"),
        (("verify", ".", "--allowed-signers", "absent", "--signer", "me"), 4, "input_not_found"),
        (("verify", ".", "--allowed-signers", "key", "--signer", "me"), 3, "trust_invalid"),
        (("verify", ".", "--allowed-signers", ".", "--signer", "me"), 3, "trust_invalid"),
        (("verify", "home"), 1, "evidence_invalid"),
    ],
)
def test_every_refusal_has_its_status_and_leaves_nothing(
    fleetmdm: Run, tmp_path: Path, arguments: tuple[str, ...], status: int, code: str
) -> None:
    before = sorted(path.name for path in tmp_path.iterdir())
    done = fleetmdm("evidence", *arguments, "--format", "json")
    assert (done.returncode, _document(done)["error"]["code"]) == (status, code), done.stderr
    after = sorted(path.name for path in tmp_path.iterdir())
    assert [name for name in after if name not in before and not name.startswith("fleet.db")] == []


def test_an_empty_fleet_has_nothing_to_export(command_line: Run, tmp_path: Path) -> None:
    database = ("--db", str(tmp_path / "new.db"))
    done = command_line("fleetmdm", "evidence", "export", "--output", "pack", *database)
    assert done.returncode == 4
    assert command_line("fleetmdm", "init", *database).returncode == 0
    done = command_line("fleetmdm", "evidence", "export", "--output", "pack", *database)
    assert done.returncode == 4
    assert "no run yet" in done.stderr


def test_the_ledger_tells_runs_and_exports(fleetmdm: Run) -> None:
    assert fleetmdm("evidence", "export", "--output", "pack").returncode == 0
    done = fleetmdm("ledger", "show", "--limit", "1", "--format", "json")
    (row,) = _document(done)["data"]
    assert row["entry"]["type"] == "export"
    done = fleetmdm("ledger", "verify", "--format", "json")
    assert done.returncode == 0, done.stderr
    data = _document(done)["data"]
    assert (data["problems"], data["entries"]["run"]) == ([], 2)
    assert "export" in fleetmdm("ledger", "show").stdout
    assert data["root"] in fleetmdm("ledger", "verify").stdout


def test_a_full_disk_leaves_no_pack_and_no_leaf(fleetmdm: Run, tmp_path: Path) -> None:
    """RLIMIT_FSIZE stands for the full disk; Python ignores the signal, so writes fail."""
    leaves = _document(fleetmdm("ledger", "verify", "--format", "json"))["data"]["size"]
    database = f"--db {tmp_path / 'fleet.db'}"
    command = f"{sys.executable} -m fleetmdm evidence export --output pack {database} --format json"
    done = subprocess.run(
        ["bash", "-c", f"ulimit -f 4; exec {command}"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={
            "PYTHONPATH": str(SOURCES),
            "HOME": str(tmp_path),
            "PATH": os.environ["PATH"],
            # Under this limit Python would leave cut-off bytecode beside our sources.
            "PYTHONDONTWRITEBYTECODE": "1",
        },
    )
    assert (done.returncode, _document(done)["error"]["code"]) == (5, "disk_full"), done.stderr
    assert not [path for path in tmp_path.iterdir() if "pack" in path.name]
    assert _document(fleetmdm("ledger", "verify", "--format", "json"))["data"]["size"] == leaves


def test_a_view_is_derived_without_the_key(fleetmdm: Run, tmp_path: Path) -> None:
    export = ("evidence", "export", "--signing-key-file", "key", "--redact-profile", "none")
    assert fleetmdm(*export, "--output", "pack").returncode == 0
    (tmp_path / "key").unlink()
    assert fleetmdm("evidence", "redact", "pack").returncode == 2
    done = fleetmdm("evidence", "redact", "pack", "--output", "view", "--format", "json")
    assert done.returncode == 0, done.stderr
    done = fleetmdm("evidence", "verify", "view", *TRUST, "--format", "json")
    data = _document(done)["data"]
    assert (data["valid"], data["derived_view"], data["redaction_profile"]) == (
        True,
        True,
        "strict",
    )
    done = fleetmdm("evidence", "redact", "view", "--profile", "none", "--output", "x")
    assert done.returncode == 6


def test_verification_needs_nothing_but_the_base_install(
    export_sample: Callable[..., Path], tmp_path: Path
) -> None:
    export_sample(tmp_path / "pack")
    script = (
        "import sys\n"
        "for name in 'asyncssh msgspec numpy re2 rich ruamel sqlite3 zstandard'.split():\n"
        "    sys.modules[name] = None\n"
        "from fleetmdm.cli.main import main\n"
        "sys.exit(main(['evidence', 'verify', 'pack', '--format', 'json']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={"PYTHONPATH": str(SOURCES), "HOME": str(tmp_path)},
    )
    assert done.returncode == 1, done.stderr
    assert [each["code"] for each in _document(done)["data"]["findings"]] == ["no_trust_anchor"]
