"""`--redact-config` and `--history-limit` as a user gives them."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clikit.config import ConfigError
from fleetmdm.cli.evidence.redact import load_rules
from fleetmdm.store.sqlite import SqliteStore
from fleetmdm.store.sqlite.upgrade import back_up
from sshwire.privkey import PrivateKey, encode_private_key
from sshwire.pubkey import encode_public_line

ROOT = Path(__file__).parents[2]
Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def fleetmdm(
    command_line: Run,
    tmp_path: Path,
    sample_store: SqliteStore,
    make_key: Callable[[int], PrivateKey],
) -> Run:
    back_up(sample_store._path, tmp_path / "fleet.db")
    (tmp_path / "key").write_bytes(encode_private_key(make_key(1), random_bytes=os.urandom))
    (tmp_path / "allowed").write_text(f"me {encode_public_line(make_key(1).public_key)}\n")

    def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        environment = {"FLEETMDM_DB": str(tmp_path / "fleet.db"), **more}
        return command_line("fleetmdm", "evidence", *arguments, env=environment)

    return run


EXPORT = ("export", "--signing-key-file", "key", "--output")
VERIFY = ("--allowed-signers", "allowed", "--signer", "me")


def documented_rules() -> str:
    page = (ROOT / "docs" / "evidence-format.md").read_text()
    found = re.search(r"```toml\n(allow = .*?)```", page, re.DOTALL)
    assert found is not None
    return found[1]


def test_the_rules_of_the_documentation_work(fleetmdm: Run, tmp_path: Path) -> None:
    (tmp_path / "rules.toml").write_text(documented_rules())
    done = fleetmdm(*EXPORT, "pack", "--redact-config", "rules.toml", "--history-limit", "2")
    assert done.returncode == 0, done.stderr
    setting = {"FLEETMDM_EVIDENCE_EXPORT_REDACT_CONFIG": str(tmp_path / "rules.toml")}
    assert fleetmdm(*EXPORT, "again", "--history-limit", "2", **setting).returncode == 0
    view = (tmp_path / "pack" / "view.json").read_bytes()
    assert (tmp_path / "again" / "view.json").read_bytes() == view
    done = fleetmdm("verify", "pack", *VERIFY)
    assert done.returncode == 0, done.stdout
    assert "rules deny facts.kernel\n" in done.stdout
    assert "as of 2026" in done.stdout
    done = fleetmdm("show", "pack", "--records", "history", "--format", "json")
    rows: list[dict[str, Any]] = json.loads(done.stdout)["data"]
    assert {row["fields"]["until_run"] for row in rows} == {None, 2}


def test_a_view_is_derived_by_rules(fleetmdm: Run, tmp_path: Path) -> None:
    assert fleetmdm(*EXPORT, "full", "--redact-profile", "none").returncode == 0
    (tmp_path / "rules.yaml").write_text("deny: [facts]\n")
    done = fleetmdm("redact", "full", "--redact-config", "rules.yaml", "--output", "x")
    assert done.returncode == 3
    (tmp_path / "rules.yaml").write_text('deny: ["facts.*"]\n')
    options = ("--profile", "none", "--redact-config", "rules.yaml", "--output", "view")
    done = fleetmdm("redact", "full", *options)
    assert done.returncode == 0, done.stderr
    assert fleetmdm("verify", "view", *VERIFY).returncode == 0
    assert '"facts.' not in (tmp_path / "view" / "inventory.ndjson").read_text()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("alow = []", "did you mean 'allow'?"),
        ('allow = "facts.a"', "must be a list of texts"),
        ('allow = ["hostname"]', "not the path of a fact"),
        ('allow = ["facts.users.uid0"]', "names someone or something"),
        ('deny = ["facts.a*b"]', "not the path of a fact"),
        ("deny = [", "not valid TOML"),
    ],
)
def test_rules_that_are_none_are_refused_with_their_line(
    tmp_path: Path, text: str, said: str
) -> None:
    (tmp_path / "rules.toml").write_text(f"# rules\n{text}\n")
    with pytest.raises(ConfigError) as refused:
        load_rules(tmp_path / "rules.toml")
    assert said in str(refused.value)
    assert "rules.toml:" in str(refused.value)


def test_rules_that_are_not_there(fleetmdm: Run, tmp_path: Path) -> None:
    done = fleetmdm(*EXPORT, "pack", "--redact-config", "absent.toml", "--format", "json")
    assert (done.returncode, json.loads(done.stdout)["error"]["code"]) == (4, "config_not_found")
    (tmp_path / "rules.toml").write_text("deny = [1]\n")
    done = fleetmdm(*EXPORT, "pack", "--redact-config", "rules.toml", "--format", "json")
    assert (done.returncode, json.loads(done.stdout)["error"]["code"]) == (3, "config_invalid")
    assert not (tmp_path / "pack").exists()
