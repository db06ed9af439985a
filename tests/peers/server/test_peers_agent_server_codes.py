"""Failures of the three programs by their codes, each met as a user would: beside an agent that says no."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from forked import assert_envelope, assert_sound, run_forked

from secretivex.cli import agent
from secretivex.cli.client import program as client
from secretivex.errors import CODES
from sshwire.pubkey import fingerprint, parse_public_line

ROOT = Path(__file__).resolve().parents[3]
Start = Callable[..., Any]


@dataclass(frozen=True)
class Place:
    """A folder with what the commands name; the agent there neither adds keys nor signs with p256."""

    folder: Path
    service: Any
    keys: Mapping[str, Path]

    def words(self, words: str) -> list[str]:
        named = {"SOCKET": str(self.service.address), "DIR": str(self.folder)}
        for kind, path in self.keys.items():
            public = path.with_suffix(".pub")
            blob = parse_public_line(public.read_text())[0].blob
            named |= {
                f"{kind}.key": str(path),
                f"{kind}.pub": str(public),
                f"{kind}.sum": fingerprint(blob),
            }
        return [named.get(word, word.replace("DIR", named["DIR"])) for word in words.split()]


@pytest.fixture
def place(start_service: Start, key_files: dict[str, Path], tmp_path: Path) -> Place:
    paths = ", ".join(f'"{key_files[kind]}"' for kind in ("ed25519", "p256"))
    stores = f'[[stores]]\ntype = "file"\nscan_default_dir = false\npaths = [{paths}]\n'
    tpm = f'[[stores]]\ntype = "tpm"\npaths = ["{tmp_path}"]\n'
    config = tmp_path / "agent.toml"
    config.write_text(f'agent_mode = "read-only"\n{stores}[policy]\ndeny_comments = ["p256"]\n')
    (tmp_path / "chip.toml").write_text(stores + tpm)
    (tmp_path / "data").write_text("data")
    (tmp_path / "taken").write_text("no socket")
    (tmp_path / "log").write_text("no record\n")
    return Place(tmp_path, start_service("--config", config), key_files)


AGENT_CASES = {
    "audit_failed": "run --socket DIR/a --audit-requests --audit-path DIR/none/log",
    "socket_path_taken": "run --socket DIR/taken",
    "sign_refused": "explain --config DIR/agent.toml --key p256.pub",
}
CLIENT_CASES = {
    "audit_invalid": "verify-audit DIR/log",
    "change_refused": "add rsa.key --socket SOCKET",
    "control_unavailable": "metrics --socket DIR/none",
    "preflight_failed": "preflight --socket DIR/none",
    "sign_refused": "sign --socket SOCKET --comment p256 --data DIR/data",
    "signature_bad": "verify --public-key ed25519.pub --signature 00 --data DIR/data",
    "store_cannot": "keys import ed25519.key --label new --store tpm --config DIR/chip.toml",
    "store_not_found": "keys create --label new --store none --config DIR/chip.toml",
}
BENCH_CASES = {
    "load_failed": "run --socket SOCKET --key p256.sum --clients 1 --rate 20 --duration 500ms",
}


def check(ended: Any, code: str) -> None:
    assert_sound(ended)
    assert_envelope(ended, CODES)
    assert json.loads(ended.stdout)["error"]["code"] == code, ended


def test_what_the_agent_refuses_and_the_client_meets_has_its_code(place: Place) -> None:
    for main, cases in ((agent.main, AGENT_CASES), (client.main, CLIENT_CASES)):
        for code, words in cases.items():
            argv = [*place.words(words), "--format", "json"]
            check(run_forked(main, argv, place.folder), code)


def test_what_a_load_shows_has_its_code(place: Place) -> None:
    for code, words in BENCH_CASES.items():
        command = [sys.executable, "-m", "secretivex.cli.bench", *place.words(words)]
        done = subprocess.run(
            [*command, "--format", "json", "--processes", "1"],
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert json.loads(done.stdout)["error"]["code"] == code, done


def test_a_service_manager_that_hands_over_no_socket_is_told(tmp_path: Path) -> None:
    def hand_over() -> None:
        os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
        os.dup2(0, 3)

    (tmp_path / "agent.toml").write_text("workers = 1\n")
    argv = ["run", "--format", "json", "--config", str(tmp_path / "agent.toml")]
    check(run_forked(agent.main, argv, tmp_path, hand_over), "socket_failed")


def test_a_command_beside_the_agent_that_is_not_there_is_told(tmp_path: Path) -> None:
    ended = run_forked(agent.main, ["--", str(tmp_path / "no-program")], tmp_path)
    assert ended.status == int(CODES["command_failed"].exit_status), ended
    assert "cannot run" in ended.stderr
