"""Two ingests of one host's osquery log at the same time lose nothing of either."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fleetmdm.cli.main import main
from fleetmdm.device import Device, facts_hash
from fleetmdm.ingest.sources import Source
from fleetmdm.store.port import SnapshotOvertaken
from fleetmdm.store.sqlite import open_store

ROOT = Path(__file__).resolve().parents[2]
NOW = datetime(2026, 3, 1, tzinfo=UTC)
WRITERS, ROWS = 3, 6


def line(counter: int, row: str) -> str:
    return json.dumps(
        {
            "name": "users",
            "hostIdentifier": "host-1",
            "unixTime": 1_770_000_000,
            "epoch": 1,
            "counter": counter,
            "action": "added",
            "columns": {"user": row},
        }
    )


def test_an_increment_of_each_writer_is_kept(tmp_path: Path) -> None:
    database = tmp_path / "fleet.db"
    assert main(["init", "--db", str(database)]) == 0
    (tmp_path / "first.log").write_text(line(0, "first") + "\n")
    words = ["ingest", "--from", "osquery", "--db", str(database)]
    assert main([*words, str(tmp_path / "first.log")]) == 0
    script = (
        "import sys; from fleetmdm.cli.main import main\n"
        f"for path in sys.argv[1:]: assert main({words!r} + [path]) == 0\n"
    )
    workers = []
    for writer in range(WRITERS):
        paths = []
        for number in range(ROWS):
            path = tmp_path / f"{writer}-{number}.log"
            path.write_text(line(1, f"w{writer}-{number}") + "\n")
            paths.append(str(path))
        workers.append(
            subprocess.Popen(
                [sys.executable, "-c", script, *paths],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env={
                    "PATH": os.environ["PATH"],
                    "PYTHONPATH": str(ROOT / "src"),
                    "HOME": str(tmp_path),
                },
            )
        )
    for worker in workers:
        _, errors = worker.communicate(timeout=120)
        assert worker.returncode == 0, errors.decode()
    with closing(open_store(database, now=NOW)) as store:
        kept = store.snapshot("host-1", Source.OSQUERY)
    assert kept is not None
    users = {row["user"] for row in kept.facts["osquery"]["users"]}
    assert users == {"first"} | {f"w{w}-{n}" for w in range(WRITERS) for n in range(ROWS)}


def test_a_store_refuses_what_builds_on_a_snapshot_that_is_no_longer_kept(tmp_path: Path) -> None:
    def device(value: int) -> Device:
        return Device("a", "a", "linux", "12", None, NOW, {"x": value})

    with closing(open_store(tmp_path / "fleet.db", create=True, now=NOW)) as store:
        store.put_devices([device(1)], now=NOW, based_on={"a": None})
        for wrong in (None, facts_hash(device(2))):
            with pytest.raises(SnapshotOvertaken):
                store.put_devices([device(3)], now=NOW, based_on={"a": wrong})
        assert next(store.devices()) == device(1)
        store.put_devices([device(3)], now=NOW, based_on={"a": facts_hash(device(1))})
        assert next(store.devices()) == device(3)
