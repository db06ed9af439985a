"""Back-pressure with real processes: fair to callers and workers, bounded, and told truly."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from closed_loop import storm
from listening import is_listening

from secretivex.server.report.control_socket import ask, control_path

ROOT = Path(__file__).resolve().parents[3]
SUPPORT = ROOT / "tests" / "support"
Start = Callable[..., Any]
Wait = Callable[[Callable[[], bool], str], None]
ONE_SIGNER = ("--max-signers", "1", "--max-blocking-threads", "1")


@contextmanager
def other_caller(service: Any, connections: int, seconds: float) -> Iterator[None]:
    """A process of its own that asks all the time."""
    command = [sys.executable, str(SUPPORT / "closed_loop.py"), str(service.address)]
    process = subprocess.Popen(
        [*command, str(connections), str(seconds)],
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{SUPPORT}"},
        stdout=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.kill()
        process.wait()


def snapshot(service: Any, verb: str = "metrics") -> dict[str, Any]:
    return ask(control_path(service.address), verb, timeout_s=60)


def test_a_caller_with_hundreds_of_connections_does_not_starve_another(
    start_service: Start, key_files: dict[str, Path], wait: Wait
) -> None:
    service = start_service("--key", key_files["rsa"], *ONE_SIGNER, workers=1)
    alone = statistics.median(storm(str(service.address), 1, 1.0))
    with other_caller(service, 300, 60):
        wait(lambda: snapshot(service)["active_connections"] >= 300, "no greedy caller")
        wait(lambda: snapshot(service)["count"] > 100, "it signs nothing")
        beside = statistics.median(storm(str(service.address), 1, 2.0))
    # First come, first served would be 300 times as long; taking turns is two or three.
    assert beside < 30 * alone


def test_the_queue_wait_that_is_told_is_what_clients_see(
    start_service: Start, key_files: dict[str, Path]
) -> None:
    service = start_service("--key", key_files["rsa"], *ONE_SIGNER, workers=1)
    path = str(service.address)
    seen = []
    for _ in range(4):
        service_ns = statistics.median(storm(path, 1, 0.5))
        snapshot(service, "reset")
        outside = sorted(storm(path, 60, 2.5))
        inside = snapshot(service)["queue_wait_percentiles"]
        # Those who came first found a shorter queue; both sides see them alike.
        ratios = [
            inside[name]["ns"] / (outside[int(share * len(outside)) - 1] - service_ns)
            for name, share in (("p50", 0.50), ("p99", 0.99))
        ]
        seen.append([round(ratio, 3) for ratio in ratios])
        if all(0.9 <= ratio <= 1.1 for ratio in ratios):
            return
    pytest.fail(f"inside / outside at p50 and p99: {seen}")


def test_requests_that_waited_too_long_are_counted_as_such(
    start_service: Start, key_files: dict[str, Path], wait: Wait
) -> None:
    service = start_service("--key", key_files["rsa"], *ONE_SIGNER, "--sign-timeout-ms", "1")
    with pytest.raises(AssertionError, match="refused"):
        storm(str(service.address), 60, 20)
    wait(lambda: is_listening(control_path(service.address)), "no control socket")
    figures = snapshot(service)
    assert figures["timeouts"] > 0
    assert figures["outcomes"]["sign.sign_timeout"] == figures["timeouts"]


@pytest.mark.parametrize("number", [0, 1, 2])
def test_two_hundred_persistent_clients_are_shared_out(
    start_service: Start, key_files: dict[str, Path], wait: Wait, number: int
) -> None:
    service = start_service("--key", key_files["ed25519"], workers=2)
    wait(lambda: is_listening(control_path(service.address)), "no control socket")
    wait(
        lambda: all(
            row["ready"]
            for row in ask(control_path(service.address), "health", timeout_s=60)["workers"]
        ),
        "not ready",
    )
    connected = [service.connect() for _ in range(200)]
    for one in connected:
        one.sendall(b"\0\0\0\x01\x0b")
        assert one.recv(5)
    wait(lambda: snapshot(service)["active_connections"] == 200, "some are missing")
    wait(
        lambda: max(row["connections"] for row in snapshot(service)["processes"]) <= 125,
        f"{snapshot(service)['processes']} after {number}",
    )
    for one in connected:
        one.close()
