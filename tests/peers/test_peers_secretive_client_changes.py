"""`secretive-client add, remove, lock, unlock, verify, wait-ready` against ssh-agent and our own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]

Client = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(params=["ssh-agent", "ours"])
def client(
    request: pytest.FixtureRequest, tmp_path: Path, require_program: Callable[[str], object]
) -> Iterator[Client]:
    """`secretive-client` with a running agent that holds nothing."""
    require_program("ssh-agent")
    address = tmp_path / "agent.sock"
    ours = (sys.executable, "-m", "secretivex.cli.agent")
    command = (*(ours if request.param == "ours" else ("ssh-agent",)), "-D", "-a", str(address))
    environ = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "PYTHONPATH": str(ROOT / "src")}
    with ExitStack() as stack:
        agent = subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL)
        stack.callback(agent.wait, 60)
        stack.callback(agent.terminate)

        def run(*arguments: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
            words = (sys.executable, "-m", "secretivex.cli.client", *map(str, arguments))
            return subprocess.run(
                words,
                env={**environ, "SSH_AUTH_SOCK": str(address)},
                input=stdin,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )

        assert run("wait-ready", "--timeout-ms", "50000").returncode == 0
        yield run


def data_of(said: subprocess.CompletedProcess[str]) -> Any:
    assert said.returncode == 0, said.stderr + said.stdout
    return json.loads(said.stdout)["data"]


def test_a_key_is_added_used_verified_and_removed(
    client: Client, key_files: dict[str, Path], tmp_path: Path
) -> None:
    key = key_files["ed25519"]
    added = data_of(client("add", key, "--name", "mine", "--lifetime", "1h", "--format", "json"))
    assert added["comment"] == "mine"
    message = tmp_path / "message"
    message.write_text("hello")
    options = ("--comment", "mine", "--data", message, "--format", "json")
    signed = data_of(client("sign", *options))
    check = ("verify", "--public-key", f"{key}.pub", "--signature", signed["signature_blob_hex"])
    assert data_of(client(*check, "--data", message, "--format", "json"))["good"]
    bad = client(*check, stdin="other")
    assert bad.returncode == 1
    assert "the signature is bad" in bad.stderr
    gone = data_of(client("remove", "--fingerprint", added["fingerprint"], "--format", "json"))
    assert [one["fingerprint"] for one in gone["removed"]] == [added["fingerprint"]]
    assert client("remove", "--comment", "mine").returncode == 4
    assert client("remove", "--all").returncode == 0


def test_a_lock_hides_everything_until_the_passphrase_comes(
    client: Client, key_files: dict[str, Path]
) -> None:
    assert client("add", key_files["p256"]).returncode == 0
    assert client("lock", stdin="horse\n").returncode == 0
    assert data_of(client("list", "--format", "json"))["count"] == 0
    assert client("lock", stdin="again\n").returncode == 6
    assert client("unlock", stdin="wrong\n").returncode == 6
    assert client("unlock", stdin="horse\n").returncode == 0
    assert data_of(client("list", "--format", "json"))["count"] == 1
    for command in ("lock", "unlock"):
        silent = client(command, stdin="\n")
        assert (silent.returncode, "no passphrase was given" in silent.stderr) == (2, True)


@pytest.mark.parametrize("life", ["0", "0h", "", "-1", "soon", "99999999999"])
def test_a_lifetime_of_nothing_is_not_taken_for_one_without_end(
    client: Client, key_files: dict[str, Path], life: str
) -> None:
    done = client("add", key_files["p256"], "--lifetime", life)
    assert (done.returncode, "--lifetime" in done.stderr) == (2, True)
    assert data_of(client("list", "--format", "json"))["count"] == 0


def test_an_encrypted_key_is_opened_with_the_passphrase_that_is_piped_in(
    client: Client, key_files: dict[str, Path], tmp_path: Path
) -> None:
    locked = tmp_path / "locked"
    shutil.copy2(key_files["ed25519"], locked)
    change = ("ssh-keygen", "-q", "-p", "-P", "", "-N", "secret word", "-f", str(locked))
    subprocess.run(change, check=True, timeout=60)
    wrong = client("add", locked, stdin="other\n")
    assert wrong.returncode == 3
    assert "the passphrase does not open it" in wrong.stderr
    assert client("add", locked, stdin="secret word\n").returncode == 0
    locked.chmod(0o644)
    assert client("add", locked, stdin="secret word\n").returncode == 3
    assert client("add", tmp_path / "none").returncode == 4


def test_waiting_ends_when_there_is_nothing_and_where_nobody_speaks(
    client: Client, tmp_path: Path
) -> None:
    import socket

    few = client("wait-ready", "--min-identities", "3", "--timeout-ms", "400")
    assert few.returncode == 5
    assert "0 of 3 keys" in few.stderr
    nobody = client("wait-ready", "--socket", tmp_path / "none", "--timeout-ms", "300")
    assert nobody.returncode == 5
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / "silent"))
        silent.listen()
        end = threading.Event()
        mute = client("wait-ready", "--socket", tmp_path / "silent", "--timeout-ms", "700")
        end.set()
    assert mute.returncode == 5
