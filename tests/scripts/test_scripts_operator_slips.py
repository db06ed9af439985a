"""Slips of an operator's hand: what nobody can have meant is an error and never another question."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

CommandLine = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.mark.parametrize(
    "command",
    [
        ("secretive-client", "list"),
        ("secretive-client", "metrics"),
        ("secretive-agent", "reload"),
    ],
)
def test_a_socket_without_a_name_is_no_other_agents(
    command_line: CommandLine, command: tuple[str, ...]
) -> None:
    """As `--socket "$UNSET"` gives it."""
    said = command_line(*command, "--socket", "")
    assert said.returncode == 2
    assert "--socket: the path is blank" in said.stderr


@pytest.mark.parametrize("key", ["SHA256:zz", "MD5:00:11", "SHA512:" + "A" * 86])
def test_a_fingerprint_that_no_record_can_have_is_not_looked_for(
    command_line: CommandLine, tmp_path: Path, key: str
) -> None:
    log = tmp_path / "audit.jsonl"
    log.write_text("")
    said = command_line("secretive-client", "tail-audit", log, "--key", key)
    assert said.returncode == 2
    assert "ssh-keygen -lf KEY.pub" in said.stderr
    right = command_line("secretive-client", "tail-audit", log, "--key", "SHA256:" + "A" * 43)
    assert right.returncode == 0, right.stderr


def test_doctor_has_a_row_for_each_thing_wrong_with_the_configuration(
    command_line: CommandLine, tmp_path: Path
) -> None:
    config = tmp_path / "agent.toml"
    config.write_text("profil = 'pssh'\nmax_signers = 0\n")
    said = command_line("secretive-client", "doctor", "--config", config, "--format", "json")
    assert said.returncode == 1
    rows = json.loads(said.stdout)["data"]["checks"]
    assert [(row["state"], row["found"], row["remedy"]) for row in rows] == [
        ("failed", f"{config}:1: profil: unknown key", "did you mean 'profile'?"),
        ("failed", f"{config}:2: max_signers: must be at least 1, not 0", "1 to 65536"),
    ]
