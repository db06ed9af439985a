"""The end of an agent while requests are in hand: what is cut off, and what the audit log has of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NoReturn

import pytest

from secretivex.audit.check import check_log
from sshwire.agent.connection import encode_frame
from sshwire.agent.requests import RemoveAllRequest, SignRequest, encode_request
from sshwire.pubkey import parse_public_line

ROOT = Path(__file__).resolve().parents[3]

Start = Callable[..., Any]
Wait = Callable[[Callable[[], bool], str], None]
WORKERS = pytest.mark.parametrize("workers", [1, 2])


def outcomes(log: Path) -> Counter[tuple[str, str]]:
    """Events with what came of them; the log is whole, and no request is in it twice."""
    lines = log.read_bytes().splitlines(keepends=True)
    keys = {}
    for line in log.with_name(log.name + ".key").read_text().splitlines():
        name, _, text = line.partition(" ")
        keys[name] = bytes.fromhex(text)
    assert not check_log(lines, keys=keys).findings
    records = [json.loads(line) for line in lines]
    numbers = Counter(record["request"] for record in records if "request" in record)
    assert set(numbers.values()) <= {1}
    return Counter((one["event"], one["outcome"]) for one in records if one["event"] != "seal")


def sign_request(key: Path) -> bytes:
    blob = parse_public_line(key.with_name(key.name + ".pub").read_text())[0].blob
    return encode_frame(encode_request(SignRequest(blob, b"data", 2)))


@WORKERS
@pytest.mark.parametrize("is_told_twice", [False, True])
def test_what_is_cut_off_at_the_end_has_its_record(
    start_service: Start,
    key_files: dict[str, Path],
    tmp_path: Path,
    wait: Wait,
    workers: int,
    is_told_twice: bool,
) -> None:
    config, log, asked = (tmp_path / name for name in ("agent.toml", "audit.jsonl", "asked"))
    question = tmp_path / "ask"
    question.write_text(f"#!/bin/sh\necho >> {asked}\nexec sleep 600\n")
    question.chmod(0o755)
    config.write_text(
        f"drain_timeout_ms = {600_000 if is_told_twice else 200}\n"
        f'audit_requests = true\naudit_path = "{log}"\n'
        f'[[stores]]\ntype = "file"\npaths = ["{key_files["ed25519"]}", "{key_files["rsa"]}"]\n'
        f'scan_default_dir = false\n[policy]\nconfirm_command = ["{question}"]\n'
        "confirm_timeout_ms = 600000\n"
    )
    service = start_service("--config", config, workers=workers)
    with ExitStack() as stack:
        for kind in ("ed25519", "rsa"):
            connected = stack.enter_context(service.connect())
            # The second one waits behind the first, and the change behind both.
            connected.sendall(sign_request(key_files[kind]) * 2)
            connected.sendall(encode_frame(encode_request(RemoveAllRequest())))
        wait(lambda: asked.exists() and asked.read_text().count("\n") == 2, "nobody was asked")
        service.process.send_signal(signal.SIGTERM)
        if is_told_twice:
            wait(lambda: not service.address.exists(), "it still listens")
            begin = time.monotonic()
            service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(60) == 0
        assert not is_told_twice or time.monotonic() - begin < 30
    found = outcomes(log)
    assert found["sign", "cut_off"] == 4
    assert found["remove_all", "cut_off"] == 2
    assert found["chain_closed", "ok"] == 1


@WORKERS
def test_as_process_1_it_takes_orphans_and_passes_signals_on(
    start_service: Start,
    key_files: dict[str, Path],
    tmp_path: Path,
    wait: Wait,
    require_program: Callable[[str], str],
    give_up: Callable[[str], NoReturn],
    workers: int,
) -> None:
    if os.geteuid() != 0:
        give_up("root, for a name space of processes,")
    unshare = (require_program("unshare"), "--pid", "--fork", "--kill-child", "--mount-proc")
    key = key_files["ed25519"]
    service = start_service("--key", key, workers=workers, before=unshare)
    (first,) = children_of(service.process.pid)
    within = (require_program("nsenter"), "--target", str(first), "--pid")
    flags = [tmp_path / f"ended-{number}" for number in range(20)]
    for flag in flags:
        # Its parent ends first.
        orphan = f"(while kill -0 $$; do sleep 0.01; done 2>/dev/null; : > {flag}) &"
        subprocess.run((*within, "/bin/sh", "-c", orphan), check=True, timeout=60)
    wait(lambda: all(flag.exists() for flag in flags), "an orphan did not end")
    wait(lambda: len(children_of(first)) == 1, "an orphan stays")
    os.kill(first, signal.SIGHUP)
    wait(lambda: service.logged("keys read again"), "no signal is passed on")
    assert service.tool("ssh-add", "-T", str(key.with_name(key.name + ".pub"))).returncode == 0
    second = (*unshare, sys.executable, "-m", "secretivex.cli.agent", "run", "--socket")
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    refused = subprocess.run(
        (*second, str(service.address)), env=environ, capture_output=True, timeout=60, check=False
    )
    assert refused.returncode == 5
    os.kill(first, signal.SIGTERM)
    assert service.process.wait(60) == 0
    assert not service.address.exists()


def children_of(pid: int) -> list[int]:
    """Direct children, zombies as well."""
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@WORKERS
def test_a_queue_that_is_cut_off_is_recorded_to_its_last_request(
    start_service: Start, key_files: dict[str, Path], tmp_path: Path, workers: int
) -> None:
    config, log = tmp_path / "agent.toml", tmp_path / "audit.jsonl"
    config.write_text(
        f'drain_timeout_ms = 1\nmax_signers = 2\naudit_requests = true\naudit_path = "{log}"\n'
        f'[[stores]]\ntype = "file"\npaths = ["{key_files["rsa"]}"]\nscan_default_dir = false\n'
    )
    service = start_service("--config", config, workers=workers)
    request = sign_request(key_files["rsa"])
    replies = 0
    with ExitStack() as stack:
        busy = [stack.enter_context(service.connect()) for _ in range(20)]
        for connected in busy:
            connected.sendall(request)
        for connected in busy:  # every worker has all of them
            assert connected.recv(5)[4:] == b"\x0e"
            connected.sendall(request * 60)
        service.process.send_signal(signal.SIGTERM)
        for connected in busy:
            received = b""
            with suppress(ConnectionError):
                while data := connected.recv(65536):
                    received += data
            replies += received.count(b"rsa-sha2-256")
        assert service.process.wait(60) == 0
    found = outcomes(log)
    assert found["sign", "cut_off"]
    assert found["sign", "ok"] >= replies
    assert found["chain_closed", "ok"] == 1
