"""Bad input as a user meets it: a clear error with code and hint, the right status, nothing half-written.

One test a kind; deeper ones stand beside the code that refuses.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from listening import is_listening

CommandLine = Callable[..., "subprocess.CompletedProcess[str]"]

POLICY = """\
---
id: ssh.no-root-login
name: Root cannot log in over SSH
severity: high
checks:
  - {key: sshd.permitrootlogin, op: equals, value: "no"}
"""


def document(device_id: str, **facts: Any) -> str:
    return json.dumps(
        {
            "device_id": device_id,
            "hostname": device_id,
            "os": "linux",
            "os_version": "12",
            "serial": None,
            "last_seen": "2026-01-01T00:00:00Z",
            "facts": facts,
        }
    )


def failure(done: subprocess.CompletedProcess[str]) -> Any:
    """The error of the one JSON document on stdout, which must also be said on stderr."""
    answer = json.loads(done.stdout)
    assert answer["ok"] is False
    assert answer["error"]["message"].splitlines()[0] in done.stderr
    assert "Traceback" not in done.stderr
    return answer["error"]


def test_an_unknown_key_in_the_settings_of_fleetmdm(
    command_line: CommandLine, tmp_path: Path
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("---\ndb: fleet.db\nreport:\n  tpo: 5\n")
    done = command_line("fleetmdm", "init", "--config", config, "--format", "json")
    assert done.returncode == 3
    error = failure(done)
    assert error["code"] == "config_invalid"
    assert f"{config}:4: report.tpo: unknown key (did you mean 'report.top'?)" in error["message"]
    assert not (tmp_path / "fleet.db").exists()


def test_an_unknown_key_in_the_settings_of_the_agent(
    command_line: CommandLine, tmp_path: Path
) -> None:
    config = tmp_path / "agent.toml"
    config.write_text(f'socket_path = "{tmp_path}/agent.sock"\nmax_signer = 4\n')
    done = command_line("secretive-agent", "run", "--config", config)
    assert done.returncode == 3
    assert f"{config}:2: max_signer: unknown key" in done.stderr
    assert "max_signers" in done.stderr
    assert not (tmp_path / "agent.sock").exists()


def test_a_half_written_inventory(command_line: CommandLine, tmp_path: Path) -> None:
    database = tmp_path / "fleet.db"
    command_line("fleetmdm", "init", "--db", database)
    half = tmp_path / "half.json"
    half.write_text("[" + document("web-1") + ",\n" + document("web-2")[:40])
    done = command_line(
        "fleetmdm", "ingest", half, "--strict", "--db", database, "--format", "json"
    )
    assert done.returncode == 3
    error = failure(done)
    assert error["code"] == "inventory_invalid"
    assert str(half) in json.dumps(error)
    listed = command_line("fleetmdm", "device", "list", "--db", database, "--format", "json")
    assert json.loads(listed.stdout)["data"] == [] or "web" not in listed.stdout


def test_a_policy_with_an_unknown_operator(command_line: CommandLine, tmp_path: Path) -> None:
    database = tmp_path / "fleet.db"
    command_line("fleetmdm", "init", "--db", database)
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY)
    done = command_line("fleetmdm", "policy", "add", policy, "--db", database, "--format", "json")
    assert done.returncode == 3
    error = failure(done)
    assert error["code"] == "policy_invalid"
    assert f"{policy}:6" in error["message"]
    assert "equals" in error["message"]
    listed = command_line("fleetmdm", "policy", "list", "--db", database, "--format", "json")
    assert "ssh.no-root-login" not in listed.stdout


def hosts_file(folder: Path, port: int) -> Path:
    hosts = folder / "hosts.yaml"
    hosts.write_text(f"---\n- {{name: web-1, address: 127.0.0.1, port: {port}, user: root}}\n")
    (folder / "known_hosts").write_text("")
    return hosts


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port where nobody listens, and nobody else will: it is taken."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield int(holder.getsockname()[1])


@pytest.fixture
def agent(tmp_path: Path, require_program: Callable[[str], str]) -> Any:
    """OpenSSH's own agent with one key."""
    path = tmp_path / "a.sock"
    process = subprocess.Popen(
        [require_program("ssh-agent"), "-D", "-a", str(path)], stdout=subprocess.DEVNULL
    )
    while not is_listening(path):
        assert process.poll() is None
        time.sleep(0.01)
    key = tmp_path / "key"
    make = [require_program("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", str(key)]
    subprocess.run(make, check=True)
    environ = {**os.environ, "SSH_AUTH_SOCK": str(path)}
    subprocess.run([require_program("ssh-add"), "-q", str(key)], check=True, env=environ)
    yield path
    process.terminate()
    process.wait()


def test_a_host_that_refuses_the_connection(
    command_line: CommandLine, tmp_path: Path, agent: Path, closed_port: int
) -> None:
    database = tmp_path / "fleet.db"
    command_line("fleetmdm", "init", "--db", database)
    hosts = hosts_file(tmp_path, closed_port)
    words = ("--known-hosts", tmp_path / "known_hosts", "--agent", agent, "--retries", "0")
    done = command_line(
        "fleetmdm", "collect", "--hosts", hosts, *words, "--db", database, "--format", "json"
    )
    assert done.returncode == 1
    error = failure(done)
    assert error["code"] == "host_unreachable"
    assert "web-1" in done.stdout


def test_an_agent_that_is_not_there(
    command_line: CommandLine, tmp_path: Path, closed_port: int
) -> None:
    database = tmp_path / "fleet.db"
    command_line("fleetmdm", "init", "--db", database)
    hosts = hosts_file(tmp_path, closed_port)
    done = command_line(
        "fleetmdm",
        "collect",
        "--hosts",
        hosts,
        "--known-hosts",
        tmp_path / "known_hosts",
        "--agent",
        tmp_path / "nobody.sock",
        "--db",
        database,
        "--format",
        "json",
    )
    assert done.returncode == 5
    assert failure(done)["code"] == "agent_unavailable"
    listing = command_line("secretive-client", "list", "--socket", tmp_path / "nobody.sock")
    assert listing.returncode == 5
    assert "nobody.sock" in listing.stderr


def test_a_socket_path_that_is_too_long(command_line: CommandLine, tmp_path: Path) -> None:
    path = tmp_path / ("x" * 120) / "agent.sock"
    for words in (
        ("secretive-agent", "run", "--socket", path),
        ("secretive-agent", "-D", "-a", path),
        ("secretive-client", "list", "--socket", path),
    ):
        done = command_line(*words)
        assert done.returncode in {3, 5}, done.stderr
        assert "107" in done.stderr or "108" in done.stderr
        assert not path.parent.exists()


def test_a_full_disk(command_line: CommandLine, tmp_path: Path) -> None:
    """2 MB of tmpfs in a mount namespace of its own; a file-size limit where we are not root."""
    database = tmp_path / "disk" / "fleet.db"
    database.parent.mkdir()
    documents = tmp_path / "many.ndjson"
    documents.write_text(
        "".join(document(f"web-{n}", filler="x" * 2000) + "\n" for n in range(3000))
    )
    script = (
        f'set -e; fleet() {{ {sys.executable} -m fleetmdm "$@" --db {database}; }}\n'
        f"fleet init; echo '{document('first')}' | fleet ingest -\n"
        f"status=0; fleet ingest {documents} --strict --format json || status=$?\n"
        "echo status $status >&2\n"
        "fleet device list --format json >&2; fleet doctor --integrity-check >&2\n"
    )
    env = {"PYTHONPATH": os.environ.get("PYTHONPATH", ""), "PATH": os.environ["PATH"]}
    env["PYTHONPATH"] = str(Path(__file__).resolve().parents[2] / "src")
    env["HOME"] = str(tmp_path)
    if os.getuid() == 0 and shutil.which("unshare"):
        script = f"mount -t tmpfs -o size=2m tmpfs {database.parent}\n" + script
        words = ["unshare", "-m", "sh", "-c", script]
        limit = None
    else:
        words = ["sh", "-c", script]

        def limit() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))

    done = subprocess.run(
        words, capture_output=True, text=True, check=False, env=env, timeout=120, preexec_fn=limit
    )
    assert "status 5" in done.stderr, done.stderr
    answer = json.loads(done.stdout[done.stdout.index("{\n") :])
    assert answer["error"]["code"] == "disk_full"
    assert answer["error"]["hint"]
    assert done.returncode == 0, done.stderr
    assert "first" in done.stderr
    assert "web-" not in done.stderr
