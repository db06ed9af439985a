"""`check-config --probe` reads the stores as the agent would and says what it finds."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

CommandLine = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def key(tmp_path: Path, require_program: Callable[[str], str]) -> Path:
    path = tmp_path / "keys" / "id_work"
    path.parent.mkdir()
    keygen = require_program("ssh-keygen")
    subprocess.run([keygen, "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path


def test_the_keys_of_each_store_are_counted(command_line: CommandLine, key: Path) -> None:
    result = command_line("secretive-agent", "check-config", "--probe", "--key", key.parent)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[1:] == ["store file: 1 key"]


def test_a_named_file_without_a_usable_key_is_found(
    command_line: CommandLine, key: Path, tmp_path: Path
) -> None:
    key.chmod(0o644)
    gone = tmp_path / "gone"
    result = command_line(
        "secretive-agent",
        "check-config",
        "--probe",
        "--format",
        "json",
        "--key",
        key,
        "--key",
        gone,
    )
    document = json.loads(result.stdout)
    assert result.returncode == 1
    assert (document["ok"], document["error"]["code"]) == (False, "unhealthy")
    assert {item["path"] for item in document["data"]["probe"]["left_out"]} == {str(key), str(gone)}
    assert "mode 0644 lets others reach it" in result.stderr


def test_a_file_left_out_of_a_folder_is_mentioned(command_line: CommandLine, key: Path) -> None:
    other = key.with_name("id_other")
    other.write_bytes(key.read_bytes())
    other.chmod(0o640)
    result = command_line("secretive-agent", "check-config", "--probe", "--key", key.parent)
    assert result.returncode == 0
    assert f"left out: {other}: mode 0640" in result.stderr


def test_without_probe_no_key_is_read(command_line: CommandLine, tmp_path: Path) -> None:
    result = command_line("secretive-agent", "check-config", "--key", tmp_path / "gone")
    assert result.returncode == 0
    assert "store file" not in result.stdout


@pytest.mark.parametrize("data", [b"", b"garbage\n", bytes(range(256)) * 16, b"x" * 2_000_000])
@pytest.mark.parametrize("with_folder", [False, True])
def test_a_named_file_that_is_no_key_is_found_also_where_its_folder_is_read(
    command_line: CommandLine, key: Path, data: bytes, with_folder: bool
) -> None:
    other = key.with_name("other")
    other.write_bytes(data)
    other.chmod(0o600)
    folder = ("--key", key.parent) if with_folder else ()
    result = command_line("secretive-agent", "check-config", "--probe", *folder, "--key", other)
    assert result.returncode == 1
    assert f"{other}: " in result.stderr
    alone = command_line("secretive-agent", "check-config", "--probe", "--key", key.parent)
    assert (alone.returncode, alone.stderr) == (0, "")
