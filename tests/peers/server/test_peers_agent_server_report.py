"""What the agent tells of itself: control socket, metrics, snapshots, health, reload, as users ask."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from listening import is_listening
from ports import free_port
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.parser import text_string_to_metric_families as parse_plain

from agentclient.client import AgentClient
from secretivex.errors import SecretiveError
from secretivex.server.report.control_socket import ask, control_path
from sshwire.agent.requests import LockRequest

ROOT = Path(__file__).resolve().parents[3]
Start = Callable[..., Any]
Wait = Callable[[Callable[[], bool], str], None]


def told(service: Any, verb: str = "metrics") -> dict[str, Any]:
    return ask(control_path(service.address), verb, timeout_s=60)


def answers_at(port: int) -> bool:
    """Whether somebody listens; the control socket is there a moment before."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=60):
        return True
    return False


def sign(service: Any, times: int) -> None:
    with AgentClient(str(service.address), timeout_s=60) as agent:
        key = agent.identities()[0]
        for _ in range(times):
            agent.sign(key.blob, b"data")


def client(service: Any, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "secretivex.cli.client",
            *arguments,
            "--socket",
            str(service.address),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("workers", [1, 2])
def test_counts_are_sums_that_outlive_workers_and_a_reset(
    start_service: Start, key_files: dict[str, Path], wait: Wait, workers: int
) -> None:
    service = start_service("--key", key_files["ed25519"], workers=workers)
    wait(lambda: is_listening(control_path(service.address)), "no control socket")
    assert stat.S_IMODE(control_path(service.address).stat().st_mode) == 0o600

    def counts_to(number: int) -> bool:
        """A signature may be with its client a moment before it is counted."""
        return bool(told(service)["count"] == number)

    sign(service, 5)
    wait(lambda: counts_to(5), "not every signature is counted")
    before = told(service)
    assert (before["count"], before["store_sign_file"]) == (5, 5)
    assert sum(before["queue_wait_histogram"]) == 5
    if workers > 1:
        killed = service.workers[0]
        os.kill(killed, signal.SIGKILL)

        def is_replaced() -> bool:
            rows = told(service, "health")["workers"]
            others = [row for row in rows if row["ready"] and row["pid"] != killed]
            return len(others) == workers

        wait(is_replaced, "no new worker")
    sign(service, 3)
    wait(lambda: counts_to(8), "not every signature is counted")
    assert told(service, "reset")["count"] == 8
    sign(service, 1)
    wait(lambda: counts_to(1), "not every signature is counted")
    text = told(service, "openmetrics")["openmetrics"]
    samples = {
        sample.name: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples["secretivex_signatures_total"] == 9
    assert samples["secretivex_workers_lost_total"] == (workers > 1)
    assert service.stop() == 0
    assert not is_listening(control_path(service.address))


def test_metrics_are_served_over_loopback_and_written(
    start_service: Start, key_files: dict[str, Path], tmp_path: Path, wait: Wait
) -> None:
    port, snapshot = free_port(), tmp_path / "metrics.json"
    service = start_service(
        *("--key", key_files["ed25519"], "--metrics-listen", f"127.0.0.1:{port}"),
        *("--metrics-output", snapshot),
    )
    assert told(service)["count"] == 0
    wait(lambda: answers_at(port), "metrics are not served")
    sign(service, 2)
    url = f"http://127.0.0.1:{port}/metrics"
    with urllib.request.urlopen(url, timeout=60) as page:
        assert page.headers["Content-Type"].startswith("application/openmetrics-text")
        families = {family.name for family in text_string_to_metric_families(page.read().decode())}
    assert "secretivex_queue_wait_seconds" in families
    lured = urllib.request.Request(url, headers={"Host": "evil.example"})
    with pytest.raises(urllib.error.HTTPError, match="421"):
        urllib.request.urlopen(lured, timeout=60)  # noqa: S310 - our own address
    service.process.send_signal(signal.SIGUSR2)
    wait(snapshot.exists, "no snapshot")
    assert json.loads(snapshot.read_text())["count"] == 2
    sign(service, 1)
    assert service.stop() == 0
    assert json.loads(snapshot.read_text())["count"] == 3


def test_a_unix_socket_and_a_textfile_serve_prometheus_too(
    start_service: Start,
    key_files: dict[str, Path],
    tmp_path: Path,
    wait: Wait,
    require_program: Callable[[str], str],
) -> None:
    where, text = tmp_path / "m.sock", tmp_path / "agent.prom"
    service = start_service(
        *("--key", key_files["ed25519"], "--metrics-listen", where),
        *("--metrics-output", text, "--metrics-interval-ms", "500"),
    )
    wait(text.exists, "no textfile")
    families = {family.name: family.type for family in parse_plain(text.read_text())}
    assert families["secretivex_requests"] == "counter"
    assert families["secretivex_queue_wait_seconds"] == "histogram"
    promtool = require_program("promtool")
    judged = service.tool(promtool, "check", "metrics", stdin=text.read_text())
    assert (judged.returncode, judged.stderr) == (0, "")
    with socket.socket(socket.AF_UNIX) as connected:
        connected.connect(str(where))
        connected.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        answer = b"".join(iter(lambda: connected.recv(65_536), b""))
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    list(text_string_to_metric_families(answer.partition(b"\r\n\r\n")[2].decode()))
    assert service.stop() == 0
    assert not where.exists()


def test_health_names_what_is_wrong_and_metrics_keeps_bounds(
    start_service: Start, key_files: dict[str, Path], wait: Wait
) -> None:
    service = start_service("--key", key_files["ed25519"])
    wait(lambda: is_listening(control_path(service.address)), "no control socket")
    wait(lambda: all(row["ready"] for row in told(service, "health")["workers"]), "not ready")
    sign(service, 3)
    healthy = client(service, "health", "--format", "json")
    document = json.loads(healthy.stdout)
    assert healthy.returncode == 0, healthy.stderr
    assert document["data"]["agent"]["stores"][0]["is_well"]
    assert "store file: well, 1 keys" in client(service, "health").stdout
    kept = client(service, "metrics", "--queue-wait-tail-ns", "8000000000", "--max-age-ms", "60000")
    assert kept.returncode == 0, kept.stderr
    assert "count: 3" in kept.stdout
    missed = client(
        service, "metrics", "--queue-wait-tail-ns", "1", "--queue-wait-tail-max-ratio", "0.001"
    )
    assert missed.returncode == 1
    assert "allowed" in missed.stderr or "waited over" in missed.stderr
    assert client(service, "metrics", "--reset").returncode == 0
    empty = client(service, "metrics", "--queue-wait-tail-profile", "pssh")
    assert (empty.returncode, "nothing was signed" in empty.stderr) == (1, True)
    os.kill(service.workers[0], signal.SIGSTOP)
    service.process.send_signal(signal.SIGHUP)
    wait(lambda: service.logged("worker lost"), "the hung worker stays")


def test_a_locked_agent_is_told_from_one_that_lacks_the_key(
    start_service: Start, key_files: dict[str, Path], tmp_path: Path, wait: Wait
) -> None:
    service = start_service("--key", key_files["ed25519"])
    wait(lambda: is_listening(control_path(service.address)), "no control socket")
    message = tmp_path / "message"
    message.write_text("x")
    with AgentClient(str(service.address), timeout_s=60) as agent:
        agent.perform(LockRequest(b"pass"))
    refused = client(
        service, "sign", "--comment", "ed25519", "--data", str(message), "--format", "json"
    )
    assert refused.returncode == 6
    assert json.loads(refused.stdout)["error"]["message"] == "the agent is locked"


def test_reload_tells_what_came_of_it(
    start_service: Start, key_files: dict[str, Path], tmp_path: Path, wait: Wait
) -> None:
    folder = tmp_path / "keys"
    folder.mkdir(mode=0o700)
    shutil.copy2(key_files["ed25519"], folder / "one")
    config = tmp_path / "agent.toml"
    good = f'[[stores]]\ntype = "file"\nscan_default_dir = false\npaths = ["{folder}"]\n'
    config.write_text(good)
    service = start_service("--config", config)
    wait(lambda: is_listening(control_path(service.address)), "no control socket")
    shutil.copy2(key_files["p256"], folder / "two")
    command = [sys.executable, "-m", "secretivex.cli.agent"]
    environ = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "src"),
        "SECRETIVE_SOCK": str(service.address),
    }

    def agent(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *arguments],
            env=environ,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def reload(*arguments: str) -> subprocess.CompletedProcess[str]:
        return agent("reload", *arguments)

    assert reload().stdout.startswith("reloaded: generation ")
    wait(lambda: "p256" in service.ssh_add("-L").stdout, "the new key is not there")
    config.write_text(good + "no_such_key = 1\n")
    rejected = reload()
    assert (rejected.returncode, "no_such_key" in rejected.stderr) == (3, True)
    assert "the last reload was rejected" in client(service, "health").stderr
    # Each problem by itself, as `check-config` tells it.
    config.write_text(good + "no_such_key = 1\n[policy]\nrules = [{ effect = 'perhaps' }]\n")
    asked = reload("--format", "json")
    checked = agent("check-config", "--config", str(config), "--format", "json")
    assert asked.returncode == checked.returncode == 3
    problems = json.loads(asked.stdout)["error"]["details"]["problems"]
    assert problems == json.loads(checked.stdout)["error"]["details"]["problems"]
    assert [one["where"] for one in problems] == [f"{config}:5", f"{config}:7"]
    assert told(service, "health")["reload"]["problems"] == problems
    # As many as fit into an answer, whatever a file holds.
    config.write_text(good + "".join(f"no_such_key_{n} = 1\n" for n in range(6000)))
    asked = reload("--format", "json")
    assert len(json.loads(asked.stdout)["error"]["details"]["problems"]) == 100
    config.unlink()
    asked = reload("--format", "json")
    (problem,) = json.loads(asked.stdout)["error"]["details"]["problems"]
    assert (problem["code"], "no such file" in problem["reason"]) == ("config_not_found", True)
    config.write_text(good)
    assert reload().returncode == 0
    assert client(service, "health").returncode == 0
    assert told(service, "health")["reload"]["problems"] == []


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("verb", ["reload", "health"])
def test_who_has_an_answer_of_the_agent_finds_its_control_socket(
    start_service: Start, key_files: dict[str, Path], verb: str, workers: int
) -> None:
    # Nothing is waited for but the agent's first answer.
    service = start_service("--key", key_files["ed25519"], workers=workers)
    assert told(service, verb)["generation" if verb == "reload" else "workers_wanted"] >= 1


def test_the_notice_that_it_is_ready_comes_after_both_sockets(
    start_service: Start, key_files: dict[str, Path], tmp_path: Path, wait: Wait
) -> None:
    notices = tmp_path / "notify.sock"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(notices))
        manager.settimeout(60)
        environ = {"NOTIFY_SOCKET": str(notices)}
        service = start_service("--key", key_files["ed25519"], env=environ)
        while not manager.recv(4096).startswith(b"READY=1"):
            pass
        assert all(row["ready"] for row in told(service, "health")["workers"])


def test_a_reporter_that_cannot_live_leaves_no_control_socket_until_a_reload(
    start_service: Start, key_files: dict[str, Path], wait: Wait
) -> None:
    service = start_service("--key", key_files["ed25519"])
    path = control_path(service.address)
    for _ in range(2):
        rows = told(service, "health")["processes"]
        (reporter,) = (row["pid"] for row in rows if row["name"] == "reporter")
        os.kill(reporter, signal.SIGKILL)
        wait(lambda: not path.exists() or is_another(service, reporter), "nobody saw it")  # noqa: B023 - called at once
    assert not path.exists()
    assert service.ssh_add("-l").returncode == 0
    service.process.send_signal(signal.SIGHUP)
    wait(lambda: is_listening(path), "no control socket after a reload")
    assert told(service, "health")["workers_wanted"] == 2
    assert service.stop() == 0


def is_another(service: Any, reporter: int) -> bool:
    """Whether the agent has a reporter that is not this one; one that just died answers nothing."""
    try:
        rows = told(service, "health")["processes"]
    except SecretiveError:
        return False
    return [row["pid"] for row in rows if row["name"] == "reporter"] not in ([], [reporter])


@pytest.mark.parametrize("workers", [1, 2])
def test_a_reload_changes_what_is_reported_and_where(
    start_service: Start, key_files: dict[str, Path], tmp_path: Path, wait: Wait, workers: int
) -> None:
    config, snapshot = tmp_path / "agent.toml", tmp_path / "snapshot.json"
    first, second = tmp_path / "first.sock", tmp_path / "second.sock"
    store = (
        f'[[stores]]\ntype = "file"\nscan_default_dir = false\npaths = ["{key_files["ed25519"]}"]\n'
    )
    config.write_text(f'metrics_listen = "{first}"\nmax_signers = 7\n{store}')
    service = start_service("--config", config, workers=workers)
    wait(lambda: is_listening(first), "metrics are not served")
    wait(lambda: is_listening(control_path(service.address)), "no control socket")
    assert told(service)["max_signers"] == 7
    more = f'metrics_output_path = "{snapshot}"\nmetrics_interval_ms = 100\nmax_signers = 9\n'
    config.write_text(f'metrics_listen = "{second}"\n{more}{store}')
    assert told(service, "reload")["needs_restart"] == []
    wait(lambda: is_listening(second), "metrics are not served elsewhere")
    wait(lambda: not first.exists(), "metrics are still served where they were")
    wait(snapshot.exists, "no snapshot")
    wait(lambda: told(service)["max_signers"] == 9, "the old limit is told")
    if workers > 1:
        rows = told(service, "health")["processes"]
        (reporter,) = (row["pid"] for row in rows if row["name"] == "reporter")
        snapshot.unlink()
        os.kill(reporter, signal.SIGKILL)
        wait(snapshot.exists, "another reporter does not know the new configuration")
    config.write_text(store)
    service.process.send_signal(signal.SIGHUP)
    wait(lambda: not second.exists(), "metrics are still served")
    assert service.stop() == 0


def test_nonsense_at_the_control_socket_harms_nothing(
    start_service: Start, key_files: dict[str, Path], wait: Wait
) -> None:
    service = start_service("--key", key_files["ed25519"])
    path = control_path(service.address)
    wait(lambda: is_listening(path), "no control socket")
    for nonsense in (
        b"",
        b"\n",
        b'{"verb":"destroy"}\n',
        b"\xff" * 200_000,
        b"[]\n",
        b"[" * 4000 + b"\n",
    ):
        with socket.socket(socket.AF_UNIX) as connected:
            connected.settimeout(60)
            connected.connect(str(path))
            try:
                connected.sendall(nonsense)
                connected.shutdown(socket.SHUT_WR)
                answer = b"".join(iter(lambda: connected.recv(65_536), b""))
            except ConnectionError:
                continue
        assert answer == b"" or b"error" in answer
    assert told(service)["count"] == 0


def test_a_reporter_that_dies_is_made_again_and_takes_no_count_with_it(
    start_service: Start, key_files: dict[str, Path], wait: Wait
) -> None:
    service = start_service("--key", key_files["ed25519"])
    wait(lambda: is_listening(control_path(service.address)), "no control socket")
    sign(service, 4)
    rows = told(service, "health")["processes"]
    (reporter,) = (row["pid"] for row in rows if row["name"] == "reporter")
    os.kill(reporter, signal.SIGKILL)

    def answers() -> bool:
        try:
            return bool(told(service)["count"] == 4)
        except SecretiveError:
            time.sleep(0.1)
            return False

    wait(answers, "no reporter any more")
