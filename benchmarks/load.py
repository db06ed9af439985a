"""Agents under load: starts them pinned to cores, drives them with `load.c`, compares in turn.

    python benchmarks/load.py --agents ours:1,ssh-agent --clients 200 --cores 0 --load-cores 1

gives the throughput and the latency of each over five alternating rounds, and the ratio to the last
one named. `ours:N` is our agent with N workers. Everything happens in a temporary folder.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SOURCE = Path(__file__).with_name("load.c")
COMPILE = ("gcc", "-O2", "-Wall", "-Wextra", "-std=gnu11")
START_S = 20.0
"""Longest start of an agent."""


@dataclass(frozen=True)
class Agent:
    """A running agent."""

    name: str
    address: str
    process: subprocess.Popen[bytes]

    @property
    def pids(self) -> list[int]:
        """Its processes, those that it made included."""
        return family(self.process.pid)


@dataclass(frozen=True)
class Shape:
    """What the load looks like; see the head of `load.c`."""

    clients: int = 200
    mode: str = "sign"
    reconnect: bool = False
    duration_s: float = 2.0
    warmup_s: float = 0.5
    count: int = 0
    rate: float = 0.0
    processes: int = 1
    idle: int = 0
    ramp_s: float = 0.0
    flags: int = 0
    timeout_ms: int = 10_000
    cores: str = ""
    """CPU list that the tool is pinned to; empty leaves it free."""

    def words(self) -> list[str]:
        """The command line of the tool without its target."""
        words = [f"--clients={self.clients}", f"--processes={self.processes}"]
        words += [f"--duration={self.duration_s}", f"--warmup={self.warmup_s}"]
        words += [f"--idle={self.idle}", f"--ramp={self.ramp_s}", f"--timeout={self.timeout_ms}"]
        words += [f"--count={self.count}"] if self.count else []
        words += [f"--rate={self.rate}"] if self.rate else []
        words += [f"--flags={self.flags}"] if self.flags else []
        return words + (["--reconnect"] if self.reconnect else [])


@dataclass(frozen=True)
class Setup:
    """How an agent is started."""

    keys: Sequence[Path]
    cores: str = ""
    config: str = ""
    """More lines for our agent's configuration, before its stores."""
    environ: Mapping[str, str] = field(default_factory=dict)


def build_load() -> Path:
    """Compile the tool once for each version of its source; the folder is not kept by git."""
    digest = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]
    target = ROOT / "build" / f"load-{digest}"
    if not target.exists():
        target.parent.mkdir(exist_ok=True)
        partial = target.with_suffix(f".{os.getpid()}")
        subprocess.run([*COMPILE, "-o", str(partial), str(SOURCE)], check=True)
        partial.replace(target)
    return target


def make_keys(folder: Path, *options: str, count: int = 1) -> list[Path]:
    """Key files without a passphrase."""
    folder.mkdir(exist_ok=True)
    paths = [folder / f"key{number}" for number in range(count)]
    for path in paths:
        command = ["ssh-keygen", "-q", *(options or ("-t", "ed25519"))]
        subprocess.run([*command, "-N", "", "-C", path.name, "-f", str(path)], check=True)
    return paths


def blob_hex(key: Path) -> str:
    """The public key blob beside a key file."""
    text = Path(f"{key}.pub").read_text().split()[1]
    return base64.b64decode(text).hex()


@contextmanager
def start(name: str, setup: Setup) -> Iterator[Agent]:
    """An agent by its name: `ssh-agent` or `ours:N`."""
    with tempfile.TemporaryDirectory(prefix="load-") as folder:
        address = str(Path(folder) / "agent.sock")
        kind, _, workers = name.partition(":")
        if kind == "ours":
            command = _our_command(Path(folder), address, setup, workers or "1")
        else:
            command = [_program("ssh-agent"), "-D", "-a", address]
        environ = {**os.environ, "PYTHONPATH": str(ROOT / "src"), **setup.environ}
        process = subprocess.Popen(
            pinned(command, setup.cores),
            env=environ,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            _wait(process, address)
            if kind != "ours":
                _add(address, setup.keys)
            yield Agent(name, address, process)
        finally:
            _end(process)


def _our_command(folder: Path, address: str, setup: Setup, workers: str) -> list[str]:
    config = folder / "agent.toml"
    paths = ", ".join(json.dumps(str(path)) for path in setup.keys)
    store = f'[[stores]]\ntype = "file"\nscan_default_dir = false\npaths = [{paths}]\n'
    config.write_text(f"{setup.config}\n{store}")
    command = [sys.executable, "-m", "secretivex.cli.agent", "run", "--config", str(config)]
    return [*command, "--socket", address, "--workers", workers]


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise SystemExit(f"{name} is not installed")
    return found


def _add(address: str, keys: Sequence[Path]) -> None:
    for path in keys:
        command = ["ssh-add", "-q", str(path)]
        subprocess.run(command, env={**os.environ, "SSH_AUTH_SOCK": address}, check=True)


def _wait(process: subprocess.Popen[bytes], address: str) -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit(f"{process.args!r} ended with {process.returncode}")
        with suppress(OSError), socket.socket(socket.AF_UNIX) as probe:
            probe.connect(address)
            return
        time.sleep(0.02)
    raise SystemExit(f"{process.args!r} does not listen")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def pinned(command: Sequence[str], cores: str) -> list[str]:
    """A command on some cores only; everything it starts stays there."""
    return ["taskset", "-c", cores, *command] if cores else list(command)


def family(pid: int) -> list[int]:
    """A process and all below it."""
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    members = [pid]
    for member in members:
        members += [child for child, parent in parents.items() if parent == member]
    return members


def cpu_of(pids: Sequence[int]) -> float:
    """User and system seconds of these processes."""
    return _ticks(pids, 11, 12)


def kernel_cpu_of(pids: Sequence[int]) -> float:
    """System seconds alone."""
    return _ticks(pids, 12)


def _ticks(pids: Sequence[int], *fields: int) -> float:
    ticks = 0
    for pid in pids:
        with suppress(OSError):
            words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += sum(int(words[field]) for field in fields)
    return ticks / os.sysconf("SC_CLK_TCK")


def load_command(agent: Agent, shape: Shape, key: Path) -> list[str]:
    """The tool with its options, pinned."""
    command = [str(build_load()), f"--socket={agent.address}", *shape.words()]
    command += ["--list"] if shape.mode == "list" else ["--key", blob_hex(key)]
    command.append("--pids=" + ",".join(map(str, agent.pids)))
    return pinned(command, shape.cores)


@contextmanager
def load_beside(agent: Agent, shape: Shape, key: Path) -> Iterator[dict[str, Any]]:
    """The tool runs as long as the block; what it prints is in the dictionary afterwards."""
    result: dict[str, Any] = {}
    process = subprocess.Popen(load_command(agent, shape, key), stdout=subprocess.PIPE)
    try:
        yield result
        process.send_signal(signal.SIGINT)
        result.update(json.loads(process.communicate(timeout=60)[0]))
    finally:
        process.kill()
        process.wait()


def load(agent: Agent, shape: Shape, key: Path) -> dict[str, Any]:
    """One run of the tool; what it prints."""
    limit_s = shape.warmup_s + shape.duration_s + shape.timeout_ms / 1000 + 60
    command = load_command(agent, shape, key)
    result = subprocess.run(command, capture_output=True, check=True, timeout=limit_s)
    document: dict[str, Any] = json.loads(result.stdout)
    return {**document, "whole_s": document["window_s"] + (0 if shape.count else shape.warmup_s)}


def compare_agents(
    agents: Sequence[Agent], shape: Shape, key: Path, *, rounds: int
) -> dict[str, list[dict[str, Any]]]:
    """The same load on each in turn, round by round."""
    results: dict[str, list[dict[str, Any]]] = {agent.name: [] for agent in agents}
    for _ in range(rounds):
        for agent in agents:
            results[agent.name].append(load(agent, shape, key))
    return results


def main() -> None:
    """Compare the agents that are named."""
    options = _options()
    shape = Shape(
        clients=options.clients,
        mode="list" if options.list else "sign",
        reconnect=options.reconnect,
        duration_s=options.duration,
        warmup_s=options.warmup,
        rate=options.rate,
        processes=options.processes,
        idle=options.idle,
        cores=options.load_cores,
    )
    with tempfile.TemporaryDirectory(prefix="load-") as folder, ExitStack() as stack:
        keys = make_keys(Path(folder), *options.key_type.split(), count=options.keys)
        setup = Setup(keys, cores=options.cores, config=options.config.replace(";", "\n"))
        agents = [stack.enter_context(start(name, setup)) for name in options.agents.split(",")]
        results = compare_agents(agents, shape, keys[0], rounds=options.rounds)
    _print(results)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Compare agents under the same load.")
    parser.add_argument("--agents", default="ours:1,ssh-agent", help="ours:N and ssh-agent")
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--list", action="store_true", help="list keys instead of signing")
    parser.add_argument("--reconnect", action="store_true", help="a connection for each request")
    parser.add_argument("--duration", type=float, default=2.0, help="seconds of one round")
    parser.add_argument("--warmup", type=float, default=0.5)
    parser.add_argument("--rate", type=float, default=0.0, help="open loop at so many a second")
    parser.add_argument("--processes", type=int, default=1, help="of the load tool")
    parser.add_argument("--idle", type=int, default=0, help="connections that only stay open")
    parser.add_argument("--keys", type=int, default=1)
    parser.add_argument("--key-type", default="-t ed25519", help="options of ssh-keygen")
    parser.add_argument("--cores", default="", help="CPU list for the agents")
    parser.add_argument("--load-cores", default="", help="CPU list for the load tool")
    parser.add_argument("--config", default="", help="more configuration; `;` ends a line")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args()


def _print(results: dict[str, list[dict[str, Any]]]) -> None:
    last = [run["throughput_per_s"] for run in list(results.values())[-1]]
    for name, runs in results.items():
        rates = [run["throughput_per_s"] for run in runs]
        ratios = [mine / other for mine, other in zip(rates, last, strict=True) if other]
        latency = {
            key: statistics.median(run["latency_us"][key] for run in runs) / 1000
            for key in ("p50", "p95", "p99", "max")
        }
        cpu = statistics.median(
            run["target_cpu_s"] / max(run["completed"], 1) * 1e6 for run in runs
        )
        print(
            f"{name}: {statistics.median(rates):.0f}/s ({min(rates):.0f} to {max(rates):.0f}), "
            f"ratio {statistics.median(ratios or [0]):.2f}, "
            + ", ".join(f"{key} {value:.1f} ms" for key, value in latency.items())
            + f", {cpu:.0f} us of CPU each, failed {sum(run['failed'] for run in runs)}"
        )


if __name__ == "__main__":
    main()
