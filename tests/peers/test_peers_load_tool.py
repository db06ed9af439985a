"""The C load tool of the benchmarks, against OpenSSH's agent and against one that misbehaves."""

from __future__ import annotations

import base64
import json
import resource
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest

ROOT = Path(__file__).resolve().parents[2]
Run = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def run_load(
    tmp_path_factory: pytest.TempPathFactory, require_program: Callable[[str], str]
) -> Run:
    program = tmp_path_factory.mktemp("load") / "load"
    source = ROOT / "benchmarks" / "load.c"
    compiler = [require_program("gcc"), "-O1", "-Wall", "-Wextra", "-Werror", "-std=gnu11"]
    subprocess.run([*compiler, "-o", str(program), str(source)], check=True, timeout=60)

    def run(address: str, *options: str) -> dict[str, Any]:
        command = [str(program), f"--socket={address}", "--warmup=0.1", *options]
        done = subprocess.run(command, capture_output=True, check=True, timeout=60)
        document: dict[str, Any] = json.loads(done.stdout)
        return document

    return run


@pytest.fixture
def key(key_files: dict[str, Path]) -> str:
    words = Path(f"{key_files['ed25519']}.pub").read_text().split()
    return f"--key={base64.b64decode(words[1]).hex()}"


def test_a_count_of_requests_is_that_many_samples(
    run_load: Run, standing_agent: Callable[[str], Any], key: str
) -> None:
    address = standing_agent("ssh-agent").address
    result = run_load(address, key, "--clients=5", "--processes=2", "--count=101", "--reconnect")
    assert (result["completed"], result["samples"], result["failed"]) == (101, 101, 0)
    latency = result["latency_us"]
    assert 0 < latency["min"] <= latency["p50"] <= latency["p99"] <= latency["max"]


def test_an_open_loop_sends_at_its_rate(
    run_load: Run, standing_agent: Callable[[str], Any]
) -> None:
    address = standing_agent("ssh-agent").address
    result = run_load(address, "--list", "--clients=20", "--rate=200", "--duration=1")
    assert result["samples"] + result["failed"] == pytest.approx(200, abs=2)


def test_requests_that_were_due_and_never_sent_are_failures(
    run_load: Run, junk_agent: Callable[[bytes], str]
) -> None:
    """One connection is served once, so nearly all of a hundred requests fail or stay unsent."""
    address = junk_agent(bytes([12, 0, 0, 0, 0]))
    options = ("--list", "--clients=2", "--rate=100", "--duration=1", "--timeout=200")
    result = run_load(address, *options, "--connect-timeout=200")
    assert result["samples"] + result["failed"] == pytest.approx(100, abs=12)
    assert result["failed"] > 80


@pytest.mark.parametrize(
    ("reply", "kind"), [(b"\x05", "refused"), (b"\x0c\0\0\0\0", "malformed"), (b"", "closed")]
)
def test_each_bad_answer_is_counted_as_what_it_is(
    run_load: Run, junk_agent: Callable[[bytes], str], key: str, reply: bytes, kind: str
) -> None:
    result = run_load(junk_agent(reply), key, "--count=1", "--timeout=30000")
    assert (result["completed"], result["failures"][kind], result["failed"]) == (0, 1, 1)


def test_thousands_of_open_connections_and_a_thousand_clients_that_reconnect(
    run_load: Run,
    standing_agent: Callable[[str], Any],
    key: str,
    give_up: Callable[[str], NoReturn],
) -> None:
    """4,000 that stay open, 1,000 that come and go: not one error."""
    if 0 <= resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 6000:
        give_up("a hard limit of 6000 open files")
    address = standing_agent("secretive-agent").address
    options = ("--reconnect", "--clients=1000", "--idle=4000", "--count=3000")
    result = run_load(address, key, *options, "--timeout=30000", "--connect-timeout=30000")
    assert (result["failed"], result["idle"], result["completed"]) == (0, 4000, 3000)
