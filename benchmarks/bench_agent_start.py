"""From the start of the agent with ten key files to its first answer; the cost of one `list`."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from agent_rows import side_by_side, some_keys
from agentclient.client import AgentClient
from agentclient.errors import AgentError
from load import ROOT
from ratio import bound, finish, read_options

KEYS = 10
DEADLINE_S = 20.0
RUN = [sys.executable, "-m", "secretivex.cli.agent", "run"]
ENVIRON = {**os.environ, "PYTHONPATH": str(ROOT / "src")}


def first_answer_s(keys: list[Path]) -> float:
    """Wall seconds from before the process exists to a list of all keys."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        address = str(Path(folder) / "agent.sock")
        paths = [f"--key={path}" for path in keys]
        begun = time.perf_counter()
        process = subprocess.Popen(
            [*RUN, "--socket", address, *paths], env=ENVIRON, stderr=subprocess.DEVNULL
        )
        try:
            while not _answers(address, len(keys)):
                if time.perf_counter() - begun > DEADLINE_S:
                    raise SystemExit("the agent does not answer")
                time.sleep(0.002)
            return time.perf_counter() - begun
        finally:
            process.terminate()
            process.wait()


def _answers(address: str, keys: int) -> bool:
    if not Path(address).exists():
        return False
    try:
        with AgentClient(address, timeout_s=5) as agent:
            return len(agent.identities()) == keys
    except AgentError:
        return False


def list_cpu_s(address: str) -> float:
    """User and system seconds of one `secretive-client list`."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "secretivex.cli.client", "list", "--socket", address]
    subprocess.run(command, env=ENVIRON, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Measure both."""
    options = read_options(rounds=7)
    with some_keys(count=KEYS) as keys:
        first_answer_s(keys)
        starts = [first_answer_s(keys) for _ in range(options.rounds)]
        with side_by_side("ours:2", keys=keys) as (ours,):
            lists = [list_cpu_s(ours.address) for _ in range(options.rounds + 1)][1:]
    rows = [
        bound(f"start to first answer, {KEYS} key files", starts, at_most=0.4, unit="s"),
        bound("secretive-client list: CPU", lists, at_most=0.15, unit="s"),
    ]
    finish(rows, options)


if __name__ == "__main__":
    main()
