"""What commands do not load, so that they answer at once; how long that takes is measured elsewhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from fleetmdm.device import parse_device
from fleetmdm.engines.local import record_run
from fleetmdm.policy_yaml import parse_policy
from fleetmdm.store.port import NewRun
from fleetmdm.store.sqlite import open_store

ROOT = Path(__file__).resolve().parents[2]
SLOW = ("numpy", "ruamel", "asyncssh", "cryptography", "matplotlib", "re2", "importlib.metadata")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One device, one policy that it fails, one run."""
    from datetime import UTC, datetime

    now = datetime(2026, 3, 1, tzinfo=UTC)
    path = tmp_path_factory.mktemp("start") / "fleet.db"
    store = open_store(path, create=True, now=now)
    document = {
        "device_id": "a",
        "hostname": "a",
        "os": "linux",
        "os_version": "12",
        "serial": None,
        "last_seen": "2026-03-01T00:00:00Z",
        "facts": {"disk": False},
    }
    source = b"---\nid: d\nname: D\nchecks: [{key: disk, op: eq, value: true}]\n"
    store.put_devices([parse_device(document, now=now)], now=now)
    store.put_policies([parse_policy(source, name="d")], now=now)
    record_run(store, NewRun(now, now, "0.1.0"), clock=lambda: now)
    store.close()
    return path


@pytest.mark.parametrize(
    "words",
    [
        "--help",
        "report",
        "report --format json",
        "report --format sarif",
        "triage",
        "runs",
        "errors",
    ],
)
def test_what_shows_a_run_loads_nothing_that_judges(words: str, fleet: Path) -> None:
    script = (
        "import sys; from fleetmdm.cli.main import main\n"
        f"status = main({words.split()!r})\n"
        f"print([name for name in {SLOW!r} if name in sys.modules], file=sys.stderr)\n"
        "sys.exit(status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={"PYTHONPATH": str(ROOT / "src"), "HOME": "/none", "FLEETMDM_DB": str(fleet)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr.strip()) == (0, "[]")
