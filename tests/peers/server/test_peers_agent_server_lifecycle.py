"""From start to end: the socket, whom it admits, reloads, and what is left behind."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from settled import settle

from sshwire.agent.connection import encode_frame
from sshwire.agent.requests import SignRequest, encode_request
from sshwire.pubkey import parse_public_line

Start = Callable[..., Any]
Wait = Callable[[Callable[[], bool], str], None]
Run = Callable[..., "subprocess.CompletedProcess[str]"]
WORKERS = pytest.mark.parametrize("workers", [1, 2])


@WORKERS
def test_sigterm_leaves_no_process_and_no_file(
    start_service: Start,
    key_files: dict[str, Path],
    wait: Wait,
    running: Callable[[int], bool],
    workers: int,
) -> None:
    service = start_service("--key", key_files["ed25519"], workers=workers)
    family = service.family()
    # Beside the workers: supervisor, zygote, the store's process, and the reporter once it is there.
    assert len(family) >= (2 if workers == 1 else workers + 3)
    assert service.stop() == 0
    # Who has closed everything, as the supervisor saw, may still be on the way out.
    wait(lambda: not any(map(running, family)), "somebody is left")
    left = {path.name for path in service.address.parent.iterdir()}
    assert left.isdisjoint({service.address.name, service.address.name + ".lock"})


@WORKERS
def test_a_reload_offers_new_keys_everywhere_and_drops_old_ones(
    start_service: Start, key_files: dict[str, Path], tmp_path: Path, wait: Wait, workers: int
) -> None:
    folder = tmp_path / "keys"
    folder.mkdir(mode=0o700)
    shutil.copy2(key_files["ed25519"], folder / "one")
    service = start_service("--key", folder, workers=workers)
    assert " ed25519 " in service.ssh_add("-l").stdout
    (folder / "one").unlink()
    shutil.copy2(key_files["rsa"], folder / "two")
    service.process.send_signal(signal.SIGHUP)
    wait(lambda: service.logged("keys read again"), "no reload")
    wait(lambda: " rsa " in service.ssh_add("-l").stdout, "the new key is not listed")
    settle(service.address)
    for _ in range(20):
        listed = service.ssh_add("-l").stdout
        assert " rsa " in listed
        assert " ed25519 " not in listed


def test_a_stale_socket_is_replaced(start_service: Start, tmp_path: Path) -> None:
    path = tmp_path / "stale.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    service = start_service("--no-scan-default-dir", address=path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert service.ssh_add("-l").stdout.strip() == "The agent has no identities."


def test_a_live_socket_is_not_stolen(start_service: Start, run_agent: Run) -> None:
    service = start_service("--no-scan-default-dir")
    second = run_agent("run", "--socket", service.address)
    assert second.returncode == 5
    assert "listens at" in second.stderr
    assert service.ssh_add("-l").returncode == 1  # it answers, and has no keys


def test_the_socket_of_another_program_is_not_stolen(tmp_path: Path, run_agent: Run) -> None:
    path = tmp_path / "other.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        assert run_agent("run", "--socket", path, "--format", "json").returncode == 5
    assert path.exists()


def test_a_regular_file_is_kept(tmp_path: Path, run_agent: Run) -> None:
    path = tmp_path / "letter"
    path.write_text("dear reader")
    refused = run_agent("run", "--socket", path, "--format", "json")
    assert refused.returncode == 5
    assert '"socket_path_taken"' in refused.stdout
    assert path.read_text() == "dear reader"


def test_a_symbolic_link_is_not_followed(tmp_path: Path, run_agent: Run) -> None:
    path = tmp_path / "link"
    path.symlink_to(tmp_path / "elsewhere")
    assert run_agent("run", "--socket", path).returncode == 5
    assert path.is_symlink()


def test_a_path_that_is_too_long_is_refused_with_the_limit(tmp_path: Path, run_agent: Run) -> None:
    path = tmp_path / ("s" * 120)
    refused = run_agent("run", "--socket", path, "--format", "json")
    assert refused.returncode == 3
    assert '"socket_path_too_long"' in refused.stdout
    assert "107" in refused.stderr
    assert "shorter" in refused.stderr


def test_only_a_folder_that_we_make_is_made_private(start_service: Start, tmp_path: Path) -> None:
    ours = tmp_path / "new" / "agent.sock"
    there = tmp_path / "there"
    there.mkdir()
    there.chmod(0o755)
    for path in (ours, there / "agent.sock"):
        start_service("--no-scan-default-dir", address=path)
    assert stat.S_IMODE(ours.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(there.stat().st_mode) == 0o755


def test_a_folder_that_anybody_may_write_to_is_refused(tmp_path: Path, run_agent: Run) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    refused = run_agent("run", "--socket", folder / "s")
    assert refused.returncode == 5
    assert "chmod o-w" in refused.stderr


def test_a_folder_on_the_way_that_anybody_may_write_to_is_refused(
    tmp_path: Path, run_agent: Run
) -> None:
    # Its owner need not be able to write to ours: to rename it is enough.
    above = tmp_path / "open"
    ours = above / "ours"
    ours.mkdir(parents=True, mode=0o700)
    above.chmod(0o777)
    refused = run_agent("run", "--socket", ours / "s")
    assert refused.returncode == 5
    assert f"chmod o-w {above}" in refused.stderr
    assert list(ours.iterdir()) == []


def test_the_process_number_is_in_the_pid_file_while_it_runs(
    start_service: Start, tmp_path: Path
) -> None:
    pid_file = tmp_path / "agent.pid"
    service = start_service("--no-scan-default-dir", "--pid-file", pid_file)
    assert pid_file.read_text() == f"{service.process.pid}\n"
    service.stop()
    assert not pid_file.exists()


def test_a_pid_file_that_cannot_be_written_leaves_no_socket(tmp_path: Path, run_agent: Run) -> None:
    address = tmp_path / "agent.sock"
    refused = run_agent("run", "--socket", address, "--pid-file", tmp_path / "no" / "pid")
    assert refused.returncode == 5
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to become another user")
def test_another_user_is_refused(
    start_service: Start, key_files: dict[str, Path], require_program: Callable[[str], str]
) -> None:
    # The socket's mode and folder already keep others out: open both, so that the uid decides.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        address = Path(folder, "agent.sock")
        service = start_service("--key", key_files["ed25519"], address=address)
        address.chmod(0o777)
        other = [require_program("setpriv"), "--reuid=65534", "--regid=65534", "--clear-groups"]
        listed = service.tool(*other, require_program("ssh-add"), "-l")
        assert listed.returncode != 0  # it is cut off, or gets no answer
        assert listed.stdout == ""
        assert service.logged("peer_not_admitted")
        assert service.ssh_add("-l").returncode == 0
        service.stop()


def test_every_skipped_file_is_reported_once_with_its_reason(
    start_service: Start,
    key_files: dict[str, Path],
    tmp_path: Path,
    require_program: Callable[[str], str],
    wait: Wait,
) -> None:
    folder = tmp_path / "keys"
    folder.mkdir(mode=0o700)
    shutil.copy2(key_files["ed25519"], folder / "loose")
    (folder / "loose").chmod(0o644)
    locked = [require_program("ssh-keygen"), "-q", "-t", "ed25519", "-N", "secret"]
    subprocess.run([*locked, "-f", folder / "locked"], check=True)
    (folder / "notes").write_text("no key at all")
    service = start_service("--key", folder, "--key", tmp_path / "absent")
    service.process.send_signal(signal.SIGHUP)
    wait(lambda: service.logged("keys read again"), "no reload")
    lines = [line for line in service.log.read_text().splitlines() if "key skipped" in line]
    assert len(lines) == 3, lines
    for path, reason in (("absent", "no such file"), ("locked", "encrypted"), ("loose", "0644")):
        assert any(f"/{path} " in line and reason in line for line in lines), (path, lines)


def test_an_encrypted_key_is_opened_by_passphrase_env(
    start_service: Start, tmp_path: Path, require_program: Callable[[str], str]
) -> None:
    key = tmp_path / "locked"
    keygen = [require_program("ssh-keygen"), "-q", "-t", "ed25519", "-N", "secret"]
    subprocess.run([*keygen, "-C", "under lock", "-f", key], check=True)
    config = tmp_path / "agent.toml"
    config.write_text(
        f'[[stores]]\ntype = "file"\npaths = ["{key}"]\n'
        'scan_default_dir = false\npassphrase_env = "KEY_PASS"\n'
    )
    service = start_service("--config", config, env={"KEY_PASS": "secret"})
    assert "under lock" in service.ssh_add("-l").stdout
    assert service.ssh_add("-T", f"{key}.pub").returncode == 0


def test_the_policy_is_enforced_by_every_worker(
    start_service: Start, key_files: dict[str, Path], tmp_path: Path
) -> None:
    config = tmp_path / "agent.toml"
    paths = [str(key_files[kind]) for kind in ("ed25519", "p256")]
    config.write_text(
        f'[[stores]]\ntype = "file"\npaths = {paths}\nscan_default_dir = false\n'
        '[policy]\ndeny_comments = ["p256"]\n'
    )
    service = start_service("--config", config)
    for _ in range(10):
        assert service.ssh_add("-T", f"{key_files['ed25519']}.pub").returncode == 0
        assert service.ssh_add("-T", f"{key_files['p256']}.pub").returncode != 0


def test_as_ssh_agent_it_prints_its_address_and_starts_empty(
    tmp_path: Path, wait: Wait, require_program: Callable[[str], str]
) -> None:
    path = tmp_path / "plain.sock"
    root = Path(__file__).resolve().parents[3]
    process = subprocess.Popen(
        [sys.executable, "-m", "secretivex.cli.agent", "-D", "-a", str(path)],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(root / "src"), "HOME": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line == f"SSH_AUTH_SOCK={path}; export SSH_AUTH_SOCK;\n"
        listed = subprocess.run(
            [require_program("ssh-add"), "-l"],
            env={**os.environ, "SSH_AUTH_SOCK": str(path)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (listed.returncode, listed.stdout) == (1, "The agent has no identities.\n")
        process.send_signal(signal.SIGHUP)
        assert process.wait(60) == 0
        assert not path.exists()
    finally:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


@WORKERS
def test_a_stop_finishes_the_requests_in_hand(
    start_service: Start, key_files: dict[str, Path], workers: int
) -> None:
    service = start_service("--key", key_files["rsa"], workers=workers)
    blob = parse_public_line(key_files["rsa"].with_suffix(".pub").read_text())[0].blob
    request = encode_frame(encode_request(SignRequest(blob, b"data", 2)))
    with ExitStack() as stack:
        idle = stack.enter_context(service.connect())
        busy = [stack.enter_context(service.connect()) for _ in range(20)]
        for connected in busy:
            connected.sendall(request)
        for connected in busy:  # every worker has them in hand
            assert connected.recv(5)[4:] == b"\x0e"
            connected.sendall(request * 5)
        assert service.stop() == 0
        assert idle.recv(1) == b""
        for connected in busy:
            while connected.recv(65536):
                pass
    assert "cut off" not in service.log.read_text()
    assert "rror" not in service.log.read_text()


@WORKERS
def test_a_stop_under_fire_is_clean(
    start_service: Start, key_files: dict[str, Path], workers: int
) -> None:
    service = start_service("--key", key_files["ed25519"], workers=workers)
    with ExitStack() as stack:
        for number in range(300):
            with suppress(OSError):
                connected = stack.enter_context(service.connect())
                connected.sendall(b"\0\0\0\x01\x0b")
            if number == 200:
                service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(60) == 0
    assert "rror" not in service.log.read_text()


@WORKERS
def test_a_second_signal_ends_it_at_once(
    start_service: Start,
    key_files: dict[str, Path],
    tmp_path: Path,
    wait: Wait,
    running: Callable[[int], bool],
    workers: int,
) -> None:
    key, config = key_files["ed25519"], tmp_path / "agent.toml"
    asked = tmp_path / "asked"
    question = tmp_path / "ask"
    question.write_text(f"#!/bin/sh\n: > {asked}\nexec sleep 600\n")
    question.chmod(0o755)
    config.write_text(
        f'drain_timeout_ms = 600000\n[[stores]]\ntype = "file"\npaths = ["{key}"]\n'
        f'scan_default_dir = false\n[policy]\nconfirm_command = ["{question}"]\n'
        "confirm_timeout_ms = 600000\n"
    )
    service = start_service("--config", config, workers=workers)
    family = service.family()
    blob = parse_public_line(Path(f"{key}.pub").read_text())[0].blob
    with service.connect() as connected:
        connected.sendall(encode_frame(encode_request(SignRequest(blob, b"data", 0))))
        wait(asked.exists, "nobody was asked")
        service.process.send_signal(signal.SIGTERM)
        wait(lambda: not service.address.exists(), "it still listens")
        assert service.process.poll() is None  # it waits for the answer
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(60) == 0
    wait(lambda: not any(map(running, family)), "somebody is left")
    left = {path.name for path in tmp_path.iterdir()}
    assert not {name for name in left if name.startswith(service.address.name)}
