"""What the benchmarks of the agent share: agents side by side, the raw signer, series of a run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from load import ROOT, Agent, Setup, make_keys, pinned, start

CORES: Final = os.cpu_count() or 1
AGENT_CORE: Final = "0"
LOAD_CORE: Final = str(CORES - 1)
"""Where one agent process has a core for itself, the load tool runs on another."""

RSA_SHA256: Final = 2
Runs = Sequence[dict[str, Any]]


@contextmanager
def side_by_side(
    *names: str, cores: str = "", config: str = "", keys: Sequence[Path]
) -> Iterator[list[Agent]]:
    """Agents by their names, all with the same keys; only one is under load at a time."""
    with ExitStack() as stack:
        setup = Setup(keys, cores=cores, config=config)
        yield [stack.enter_context(start(name, setup)) for name in names]


@contextmanager
def some_keys(*options: str, count: int = 1) -> Iterator[list[Path]]:
    """Throw-away key files."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        yield make_keys(Path(folder), *options, count=count)


def in_turn(works: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[Any]]:
    """The results of each work, done in turn, after one round that does not count.

    Every other round goes backwards, so that none always comes after the same one.
    """
    results: dict[str, list[Any]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name in list(works) if number % 2 else reversed(works):
            result = works[name]()
            if number:
                results[name].append(result)
    return results


@dataclass(frozen=True)
class Raw:
    """Signers alone: all their signatures a second, and the processor time of one."""

    throughput_per_s: float
    cpu_us: float


def raw_signers(
    key: Path, *, cores: Sequence[str], flags: int = 0, span_s: float = 1.0
) -> dict[str, Raw]:
    """The signers by name (`in_use`, `openssl`), one process on each of these cores at once."""
    script = str(ROOT / "benchmarks" / "raw_signer.py")
    command = [sys.executable, script, str(key), str(flags), str(span_s)]
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    processes = [
        subprocess.Popen(pinned(command, core), stdout=subprocess.PIPE, text=True, env=environ)
        for core in cores
    ]
    results = [json.loads(process.communicate(timeout=60)[0]) for process in processes]
    return {
        name: Raw(
            sum(result[name]["throughput_per_s"] for result in results),
            min(result[name]["cpu_us"] for result in results),
        )
        for name in results[0]
    }


def load_us(runs: Runs) -> list[float]:
    """Processor time of the load tool for each request, its warm-up left out in proportion."""
    return [
        run["load_cpu_s"] / max(run["completed"], 1) * 1e6 * run["window_s"] / run["whole_s"]
        for run in runs
    ]


def cpu_us(runs: Runs) -> list[float]:
    """Processor time of the agent for each request; what else the machine does hardly changes it."""
    return [run["target_cpu_s"] / max(run["completed"], 1) * 1e6 for run in runs]


def rates(runs: Runs) -> list[float]:
    """Throughput of each run."""
    return [run["throughput_per_s"] for run in runs]


def latencies_ms(runs: Runs, percentile: str) -> list[float]:
    """A percentile of each run."""
    return [run["latency_us"][percentile] / 1000 for run in runs]


def failures(runs: Runs) -> list[float]:
    """Failures of each run."""
    return [float(run["failed"]) for run in runs]
