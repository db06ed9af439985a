"""`secretive-client metrics` on a file: what is no snapshot is refused, what is one is told flat."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from secretivex.metrics.table import BOUNDS_NS

CommandLine = Callable[..., "subprocess.CompletedProcess[str]"]

SNAPSHOT: dict[str, Any] = {
    "kind": "periodic",
    "captured_unix_ms": 1,
    "started_unix_ms": 1,
    "count": 2,
    "queue_wait_histogram": [0] * (len(BOUNDS_NS) + 1),
    "queue_wait_percentiles": {"p50": None, "p99": {"ns": 5, "open_ended": False}},
    "queue_wait_suggested": {"tail_ns": 4, "profile": {"label": "pssh", "inferred": True}},
    "stores": {"file": {"outcomes": {"ok": 1}}},
    "processes": [{"name": "worker-0", "pid": 1}],
}


def asked(
    command_line: CommandLine, folder: Path, snapshot: Any, *arguments: str
) -> subprocess.CompletedProcess[str]:
    file = folder / "m.json"
    file.write_text(json.dumps(snapshot))
    return command_line("secretive-client", "metrics", "--metrics-file", file, *arguments)


def test_what_is_inside_a_table_has_a_line_of_its_own(
    command_line: CommandLine, tmp_path: Path
) -> None:
    lines = asked(command_line, tmp_path, SNAPSHOT).stdout.splitlines()
    assert "queue_wait_suggested.profile.label: pssh" in lines
    assert "queue_wait_suggested.profile.inferred: true" in lines
    assert "stores.file.outcomes.ok: 1" in lines
    assert not any("{" in line for line in lines)


@pytest.mark.parametrize(
    "changed",
    [
        {"captured_unix_ms": "1"},
        {"started_unix_ms": None},
        {"count": True},
        {"queue_wait_histogram": [0]},
        {"queue_wait_histogram": ["0"] * (len(BOUNDS_NS) + 1)},
        {"queue_wait_histogram": 5},
        {"queue_wait_percentiles": []},
        {"queue_wait_percentiles": {"p50": 5}},
        {"queue_wait_percentiles": {"p50": {"ns": "x", "open_ended": False}}},
        {"sign_percentiles": {"p50": {"ns": 5}}},
        {"processes": [1]},
        {"processes": 1},
    ],
)
def test_a_snapshot_with_a_part_of_another_form_is_refused(
    command_line: CommandLine, tmp_path: Path, changed: dict[str, Any]
) -> None:
    bounds = ("--queue-wait-tail-profile", "pssh", "--max-age-ms", "5", "--format", "json")
    done = asked(command_line, tmp_path, {**SNAPSHOT, **changed}, *bounds)
    assert (done.returncode, json.loads(done.stdout)["error"]["code"]) == (3, "input_unreadable")
