"""A configuration that is wrong: said where and why, the right exit status, and nothing started."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

CommandLine = Callable[..., "subprocess.CompletedProcess[str]"]

MISTAKES = {
    "an unknown key": ("max_conections = 5\n", 1, "max_conections", "did you mean"),
    "a wrong type": ("workers = 2\nmax_signers = 'many'\n", 2, "max_signers", "a whole number"),
    "a number out of bounds": ("workers = 0\n", 1, "workers", "at least 1"),
    "malformed TOML": ("workers = 2\nprofile = \n", 2, "", "not valid TOML"),
    "a key given twice": ("workers = 2\nworkers = 3\n", 2, "", "not valid TOML"),
    "an unknown profile": ("profile = 'fanot'\n", 1, "profile", "did you mean 'fanout'"),
    "an unknown store": ("[[stores]]\ntype = 'flie'\n", 2, "stores[0].type", "did you mean 'file'"),
    "an unknown key of a store": (
        "[[stores]]\ntype = 'file'\npathes = ['a']\n",
        3,
        "stores[0].pathes",
        "did you mean 'paths'",
    ),
    "an unknown key of the policy": (
        "[policy]\nallow_fingerprint = ['a']\n",
        2,
        "policy.allow_fingerprint",
        "did you mean 'allow_fingerprints'",
    ),
    "a policy entry that is no fingerprint": (
        "[policy]\ndeny_fingerprints = ['SHA256:no']\n",
        2,
        "policy.deny_fingerprints[0]",
        "not a SHA256 or SHA512 fingerprint",
    ),
    "a policy entry that is no key": (
        "[policy]\nallow_key_blobs = ['c0ffee']\n",
        2,
        "policy.allow_key_blobs[0]",
        "not a public key",
    ),
}
CHECKS = {
    "check-config": ("check-config",),
    "run": ("run", "--socket", "agent.sock"),
    "run --check-config": ("run", "--check-config", "--socket", "agent.sock"),
}
each_mistake = pytest.mark.parametrize("mistake", MISTAKES)
each_command = pytest.mark.parametrize("command", CHECKS)


def sockets(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_socket()]


@each_command
@each_mistake
def test_a_mistake_is_told_with_its_line_and_nothing_starts(
    command_line: CommandLine, tmp_path: Path, mistake: str, command: str
) -> None:
    text, line, key, reason = MISTAKES[mistake]
    file = tmp_path / "agent.toml"
    file.write_text(text)
    before = set(tmp_path.rglob("*"))
    result = command_line("secretive-agent", *CHECKS[command], "--config", file)
    assert result.returncode == 3
    assert result.stdout == ""
    place = f"{re.escape(str(file))}:{line}: {re.escape(key)}"
    assert re.search(rf"{place}.*{re.escape(reason)}", result.stderr), result.stderr
    assert set(tmp_path.rglob("*")) == before


@each_command
def test_a_store_of_a_later_version_is_unavailable(
    command_line: CommandLine, tmp_path: Path, command: str
) -> None:
    file = tmp_path / "agent.toml"
    file.write_text("[[stores]]\ntype = 'secure_enclave'\n")
    result = command_line("secretive-agent", *CHECKS[command], "--config", file)
    assert result.returncode == 5
    assert (
        f"{file}:2: stores[0].type: store type 'secure_enclave' is available on macOS only"
        in result.stderr
    )
    assert sockets(tmp_path) == []


@each_command
@pytest.mark.parametrize("by_variable", [False, True])
def test_a_named_file_that_is_missing_is_not_passed_over(
    command_line: CommandLine, tmp_path: Path, command: str, by_variable: bool
) -> None:
    gone = tmp_path / "gone.toml"
    named = () if by_variable else ("--config", gone)
    env = {"SECRETIVE_CONFIG": str(gone)} if by_variable else {}
    result = command_line("secretive-agent", *CHECKS[command], *named, env=env)
    assert result.returncode == 4
    assert str(gone) in result.stderr
    assert sockets(tmp_path) == []


@each_command
def test_a_socket_path_that_is_too_long_is_told_before_anything_is_made(
    command_line: CommandLine, tmp_path: Path, command: str
) -> None:
    long = tmp_path / ("d" * 90) / "agent.sock"
    words = [word for word in CHECKS[command] if word not in {"--socket", "agent.sock"}]
    result = command_line("secretive-agent", *words, "--socket", long)
    assert result.returncode == 3
    assert "the socket path has" in result.stderr
    assert not long.parent.exists()


def test_all_problems_are_told_at_once_and_as_data(
    command_line: CommandLine, tmp_path: Path
) -> None:
    file = tmp_path / "agent.toml"
    file.write_text("workers = 0\nfoo = 1\n[policy]\npin_fingerprints = ['x']\n")
    result = command_line("secretive-agent", "check-config", "--format", "json", "--config", file)
    document = json.loads(result.stdout)
    assert result.returncode == 3
    assert document["ok"] is False
    assert document["error"]["code"] == "config_invalid"
    problems = document["error"]["details"]["problems"]
    assert [problem["where"] for problem in problems] == [f"{file}:{n}" for n in (1, 2, 4)]
    assert [problem["code"] for problem in problems][-1] == "policy_invalid"


def test_both_forms_in_the_users_folder_are_an_error(
    command_line: CommandLine, tmp_path: Path
) -> None:
    folder = tmp_path / "home" / ".config" / "secretive"
    folder.mkdir(parents=True)
    (folder / "agent.toml").write_text("workers = 2\n")
    (folder / "agent.json").write_text("{}")
    result = command_line("secretive-agent", "check-config")
    assert result.returncode == 3
    assert "both exist" in result.stderr


def test_a_bad_variable_is_an_error(command_line: CommandLine) -> None:
    env = {"SECRETIVE_WORKERS": "two"}
    result = command_line("secretive-agent", "check-config", env=env)
    assert result.returncode == 3
    assert "environment SECRETIVE_WORKERS: workers: must be a whole number" in result.stderr


@pytest.mark.parametrize("arguments", [("--workers", "0"), ("--worker", "2"), ("--workers",)])
def test_a_bad_option_is_a_usage_error(
    command_line: CommandLine, arguments: tuple[str, ...]
) -> None:
    result = command_line("secretive-agent", "check-config", *arguments)
    assert result.returncode == 2
    assert "--help" in result.stderr


def test_every_value_is_shown_with_its_origin(command_line: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "agent.toml"
    file.write_text("profile = 'pssh'\nsign_timeout_ms = 5\n")
    result = command_line(
        "secretive-agent",
        "show-config",
        "--format",
        "json",
        "--config",
        file,
        "--workers",
        "3",
        env={"SECRETIVE_MAX_SIGNERS": "7"},
    )
    assert result.returncode == 0
    data = json.loads(result.stdout)["data"]
    shown = {key: (row["value"], row["origin"]) for key, row in data["settings"].items()}
    assert data["file"] == str(file)
    assert shown["workers"] == (3, "flag")
    assert shown["max_signers"] == (7, "env SECRETIVE_MAX_SIGNERS")
    assert shown["sign_timeout_ms"] == (5, f"file {file}:2")
    assert shown["max_connections"] == (32_768, "profile pssh")
    assert shown["drain_timeout_ms"] == (5000, "default")
    assert shown["max_blocking_threads"] == (7, "default")
    assert all(row["effective"] for row in data["settings"].values())


def test_the_table_for_people_has_a_row_for_each_setting(command_line: CommandLine) -> None:
    result = command_line("secretive-agent", "show-config")
    assert result.returncode == 0
    assert re.search(r"(?m)^workers +\d+ +default$", result.stdout)
    assert re.search(r"(?m)^metrics_every +1000 +default$", result.stdout)
    assert re.search(r"(?m)^stores\[0\]\.scan_default_dir +true +default$", result.stdout)
    assert re.search(r"(?m)^policy\.confirm_timeout_ms +30000 +default$", result.stdout)


def test_a_key_on_the_command_line_takes_the_place_of_the_stores(
    command_line: CommandLine, tmp_path: Path
) -> None:
    result = command_line(
        "secretive-agent", "show-config", "--format", "json", "--key", "k1", "--key", "/keys/k2"
    )
    stores = json.loads(result.stdout)["data"]["settings"]["stores"]
    assert stores["origin"] == "flag"
    (store,) = stores["value"]
    assert store["paths"] == [str(tmp_path / "k1"), "/keys/k2"]
    assert store["scan_default_dir"] is False
