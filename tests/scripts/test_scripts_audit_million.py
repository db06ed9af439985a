"""A million audit records: what it takes to check and to show them, beside a tenth of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from secretivex.audit.chain import Chain
from secretivex.audit.record import encode_line

ROOT = Path(__file__).resolve().parents[2]
MANY, FEW = 1_000_000, 100_000
BATCH = 4
"""Records under a seal: few, as of an agent that is seldom asked, so that seals are many."""

MOST_MORE_KIB = 8 * 1024
"""By so much may the memory for all of them be more than that for a tenth."""

MOST_TIMES = 15.0
"""And the processor time: ten times, and room for what a busy machine's caches do to it."""


@dataclass(frozen=True)
class Cost:
    """Of one command."""

    status: int
    stdout: str
    cpu_s: float
    most_kib: int


def write_log(path: Path, records: int) -> None:
    """A log as an agent writes it, and its key beside it."""
    root_key = bytes(range(32))
    path.with_suffix(".key").write_text(f"aa {root_key.hex()}\n")
    chain = Chain(root_key)
    with path.open("wb") as file:
        opened = encode_line({"event": "chain_opened", "outcome": "ok", "chain": "aa"})
        file.write(opened + chain.seal(opened, 1))
        for first in range(0, records, BATCH):
            batch = b"".join(map(record, range(first, min(first + BATCH, records))))
            file.write(batch + chain.seal(batch))
        closed = encode_line({"event": "chain_closed", "outcome": "ok", "chain": "aa"})
        file.write(closed + chain.seal(closed, 1))


def record(number: int) -> bytes:
    return (
        b'{"time":"2026-11-22T12:00:00.%06dZ","event":"sign","outcome":"ok","uid":1000,"gid":1000,'
        b'"pid":4711,"executable":"/usr/bin/ssh","key":"SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NM'
        b'pJWZG3hSuFU","algorithm":"ssh-ed25519","request":"42.%d","wait_us":80,"sign_us":31}\n'
    ) % (number % 1_000_000, number)


TOLD = """
import resource, subprocess, sys
status = subprocess.run(sys.argv[2:]).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
with open(sys.argv[1], "w") as file:
    print(status, used.ru_utime + used.ru_stime, used.ru_maxrss, file=file)
"""
"""A small parent: what a process took at most counts from that of the one that made it."""


def run(folder: Path, *arguments: str) -> Cost:
    """The client's command, and what the system says it took."""
    told = folder / "told"
    command = (sys.executable, "-m", "secretivex.cli.client", *arguments)
    environ = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
    ended = subprocess.run(
        (sys.executable, "-S", "-c", TOLD, str(told), *command),
        stdout=subprocess.PIPE,
        env=environ,
        text=True,
        check=True,
    )
    status, cpu_s, most_kib = told.read_text().split()
    return Cost(int(status), ended.stdout, float(cpu_s), int(most_kib))


@pytest.mark.long
def test_a_million_records_are_checked_and_shown_in_flat_memory_and_linear_time(
    tmp_path: Path,
) -> None:
    costs: dict[str, list[Cost]] = {"verify-audit": [], "tail-audit": []}
    for records in (FEW, MANY):
        log = tmp_path / f"{records}.jsonl"
        write_log(log, records)
        key = ("--key-file", str(log.with_suffix(".key")))
        checked = run(tmp_path, "verify-audit", *key, "--format", "json", str(log))
        assert checked.status == 0, checked.stdout
        data = json.loads(checked.stdout)["data"]
        assert (data["records"], data["seals"]) == (records + 2, records // BATCH + 2)
        assert (data["seals_without_key"], data["unclosed_chains"]) == (0, [])
        shown = run(tmp_path, "tail-audit", "--lines", "2", str(log))
        assert shown.status == 0
        assert f"request=42.{records - 1} " in shown.stdout.splitlines()[0]
        # Found only far from the end, or not at all: nothing is kept of what is not wanted.
        assert run(tmp_path, "tail-audit", "--failed", str(log)).stdout == ""
        costs["verify-audit"].append(checked)
        costs["tail-audit"].append(shown)
        log.unlink()
    for few, many in costs.values():
        assert many.most_kib - few.most_kib < MOST_MORE_KIB
        assert many.cpu_s < MOST_TIMES * few.cpu_s
