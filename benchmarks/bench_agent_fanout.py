"""A hundred hosts reached twenty at a time by real ssh sessions, through our agent and `ssh-agent`.

One real sshd in a private network namespace listens on every address of the loopback device, so
127.0.1.1 and its neighbours are as many hosts as are wanted; no packet leaves the namespace. Driven
by parallel-ssh, clush and Ansible. An ssh and an sshd cost far more than an agent, so wall times are
to be equal; what the agent changes is its own cost a login and how long a signature takes meanwhile,
which a client beside the fan-out measures for both agents alike. Needs root.
"""

from __future__ import annotations

import argparse
import getpass
import os
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent_rows import CORES, side_by_side
from load import Agent, Shape, cpu_of, load_beside, make_keys
from ratio import Measured, add_options, bound, finish, judge, not_measurable

AT_A_TIME = 20
PORT = 2222
INSIDE = "BENCH_INSIDE_NAMESPACE"
PROBE_PER_S = 50
"""Signatures a second of the client beside the fan-out: enough for a p99, too few to matter."""


@dataclass(frozen=True)
class Fleet:
    """The hosts and how to reach them."""

    folder: Path
    addresses: list[str]

    @property
    def ssh_options(self) -> list[str]:
        """Nothing of the caller's configuration, no questions."""
        return [
            *("-F", "none", "-o", f"Port={PORT}", "-o", f"User={getpass.getuser()}"),
            *("-o", f"UserKnownHostsFile={self.folder}/known", "-o", "BatchMode=yes"),
            *("-o", "StrictHostKeyChecking=yes", "-o", "GlobalKnownHostsFile=/dev/null"),
        ]


def enter_namespace() -> None:
    """Start again inside a network namespace of our own."""
    command = ["unshare", "--net", sys.executable, *sys.argv]
    os.execvpe("unshare", command, {**os.environ, INSIDE: "1"})  # noqa: S606 - no shell is wanted


@contextmanager
def serve_fleet(folder: Path, hosts: int, key: Path) -> Iterator[Fleet]:
    """A running sshd that trusts the key, under so many addresses."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    make_keys(folder / "hostkey")
    public = " ".join((folder / "hostkey" / "key0.pub").read_text().split()[:2])
    addresses = [f"127.0.{1 + number // 250}.{1 + number % 250}" for number in range(hosts)]
    (folder / "known").write_text("".join(f"[{one}]:{PORT} {public}\n" for one in addresses))
    (folder / "hosts").write_text("".join(f"{one}\n" for one in addresses))
    (folder / "trusted").write_text(Path(f"{key}.pub").read_text())
    (folder / "home").mkdir(mode=0o700)
    (folder / "sshd_config").write_text(
        f"ListenAddress 0.0.0.0\nPort {PORT}\nHostKey {folder}/hostkey/key0\nPidFile none\n"
        "UsePAM no\nStrictModes no\nPermitRootLogin yes\nPasswordAuthentication no\n"
        "KbdInteractiveAuthentication no\nMaxStartups 500\nSubsystem sftp internal-sftp\n"
        f"SetEnv HOME={folder}/home\nAuthorizedKeysFile {folder}/trusted\n"
    )
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    command = ["/usr/sbin/sshd", "-D", "-e", "-f", str(folder / "sshd_config")]
    with (folder / "sshd.log").open("wb") as log:
        process = subprocess.Popen(command, stderr=log)
        try:
            _wait()
            yield Fleet(folder, addresses)
        finally:
            process.terminate()
            process.wait()


def _wait() -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(("127.0.1.1", PORT), timeout=1):
            return
        time.sleep(0.02)
    raise SystemExit("sshd does not listen")


def parallel_ssh(fleet: Fleet) -> list[str]:
    """The command line of parallel-ssh."""
    words = ["parallel-ssh", "-h", f"{fleet.folder}/hosts", "-p", str(AT_A_TIME), "-t", "120"]
    return [*words, "-x", shlex.join(fleet.ssh_options), "echo in"]


def clush(fleet: Fleet) -> list[str]:
    """The command line of clush; -S passes on the worst exit status."""
    words = ["clush", "--hostfile", f"{fleet.folder}/hosts", "-f", str(AT_A_TIME), "-S"]
    words.append("--nostdin")
    return [*words, "-o", shlex.join(fleet.ssh_options), "echo in"]


def ansible(fleet: Fleet) -> list[str]:
    """The command line of Ansible: the module that needs nothing on the host but a shell."""
    inventory = fleet.folder / "inventory"
    lines = [*fleet.addresses, "[all:vars]", f"ansible_port={PORT}"]
    lines += [f"ansible_user={getpass.getuser()}"]
    lines += [f"ansible_ssh_common_args={shlex.join(fleet.ssh_options)}"]
    inventory.write_text("\n".join(lines) + "\n")
    words = [sys.executable, "-m", "ansible", "adhoc", "all", "-i", str(inventory)]
    return [*words, "-f", str(AT_A_TIME), "-o", "-m", "raw", "-a", "echo in"]


DRIVERS: dict[str, tuple[Callable[[Fleet], list[str]], str]] = {
    "parallel-ssh": (parallel_ssh, "[SUCCESS]"),
    "clush": (clush, ": in"),
    "ansible": (ansible, "| CHANGED |"),
}
"""Each with what it prints for a host that answered."""


def fan_out(fleet: Fleet, agent: Agent, driver: str, key: Path) -> dict[str, Any]:
    """Every host once; wall time, failures, the agent's processor time, a signature's p99."""
    make, mark = DRIVERS[driver]
    environ = {
        **os.environ,
        "SSH_AUTH_SOCK": agent.address,
        "HOME": str(fleet.folder / "home"),
        "ANSIBLE_HOME": str(fleet.folder / "ansible"),
        "ANSIBLE_SSH_ARGS": "-o ControlMaster=no",
        "ANSIBLE_DEPRECATION_WARNINGS": "0",
    }
    shape = Shape(4, rate=PROBE_PER_S, duration_s=3600, warmup_s=0)
    with load_beside(agent, shape, key) as probe:
        before, begun = cpu_of(agent.pids), time.perf_counter()
        done = subprocess.run(
            make(fleet),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            env=environ,
            timeout=600,
        )
        wall_s, used_s = time.perf_counter() - begun, cpu_of(agent.pids) - before
    reached = done.stdout.count(mark)
    if not reached:
        raise SystemExit(f"{driver} reached nobody: {done.stdout[-500:]}{done.stderr[-500:]}")
    return {
        "wall_s": wall_s,
        "failed": len(fleet.addresses) - reached + probe["failed"],
        # A login is one signature, and so is a request of the probe.
        "cpu_ms_each": used_s * 1000 / (reached + probe["completed"]),
        "p99_ms": probe["latency_us"]["p99"] / 1000,
    }


def rows_of(driver: str, hosts: int, runs: dict[str, list[dict[str, Any]]]) -> list[Measured]:
    """The rows of one driver."""

    def series(name: str) -> tuple[list[float], list[float]]:
        return tuple([run[name] for run in runs[agent]] for agent in ("ours", "ssh-agent"))  # type: ignore[return-value] # two of them

    work = f"{driver}, {hosts} hosts, {AT_A_TIME} at a time"
    return [
        judge(f"{work}: wall time", "ssh-agent", *series("wall_s"), at_most=1.1),
        bound(f"{work}: failures", series("failed")[0], at_most=0, worst=True, unit=""),
        judge(f"{work}: agent CPU a login", "ssh-agent", *series("cpu_ms_each"), unit="ms"),
        judge(f"{work}: p99 of a signature", "ssh-agent", *series("p99_ms"), unit="ms"),
    ]


def measure(options: argparse.Namespace) -> list[Measured]:
    """Every driver, agents in turn."""
    rows: list[Measured] = []
    with tempfile.TemporaryDirectory(prefix="fan-") as name:
        folder = Path(name)
        keys = make_keys(folder / "userkey")
        names = (f"ours:{CORES}", "ssh-agent")
        with (
            serve_fleet(folder, options.hosts, keys[0]) as fleet,
            side_by_side(*names, keys=keys) as (ours, other),
        ):
            for driver in options.drivers.split(","):
                runs: dict[str, list[dict[str, Any]]] = {"ours": [], "ssh-agent": []}
                for _ in range(options.rounds):
                    runs["ours"].append(fan_out(fleet, ours, driver, keys[0]))
                    runs["ssh-agent"].append(fan_out(fleet, other, driver, keys[0]))
                rows += rows_of(driver, options.hosts, runs)
    return rows


def main() -> None:
    """Measure inside the namespace."""
    parser = argparse.ArgumentParser(description="Real ssh sessions through agents; needs root.")
    add_options(parser)
    parser.add_argument("--hosts", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--drivers", default=",".join(DRIVERS))
    options = parser.parse_args()
    missing = [
        word for word in ("unshare", "ip", "parallel-ssh", "clush") if not shutil.which(word)
    ]
    if os.geteuid() != 0:
        missing.append("root")
    if missing:
        finish([not_measurable("fan-out over real hosts", f"needs {', '.join(missing)}")], options)
    if INSIDE not in os.environ:
        enter_namespace()
    finish(measure(options), options)


if __name__ == "__main__":
    main()
