"""What every test may ask for: real programs, real inputs, the command lines as a user runs them.

A missing component fails under CI and skips, with its name, elsewhere.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NoReturn

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import HealthCheck, settings

from fleetmdm.device import Device
from fleetmdm.engines.local import record_run
from fleetmdm.evidence.pack.export import ExportOptions, export_pack, newest_run
from fleetmdm.evidence.redact import Profile
from fleetmdm.ingest.sources import Source
from fleetmdm.policy_yaml import parse_policy
from fleetmdm.store.port import NewRun
from fleetmdm.store.sqlite import SqliteStore, open_store
from sshwire.privkey import PrivateKey
from sshwire.pubkey import PublicKey
from sshwire.sshsig import Signer
from sshwire.wire import encode_string

# The properties' number of examples: small in every run, large in `make fuzz` and `test-long`.
# No time counts: a busy machine makes every example slow.
settings.register_profile(
    "project",
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "40")),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("project")

# What a shell starts in the background ignores SIGINT, and so would every program of the tests.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parent.parent


def missing(what: str) -> NoReturn:
    """End a test whose component is not there: a failure under CI, else a skip that says why."""
    if os.environ.get("CI"):
        pytest.fail(f"{what} is missing, and CI must have it")
    pytest.skip(f"{what} is not installed here")


@pytest.fixture(scope="session")
def require_program() -> Callable[[str], str]:
    """Path of a real program, looked for on PATH and in the administrator's folders."""

    def find(name: str) -> str:
        path = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
        return path or missing(name)

    return find


@pytest.fixture(scope="session")
def give_up() -> Callable[[str], NoReturn]:
    """End a test for want of something that is not a program on PATH, by the same rule."""
    return missing


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real inputs that nobody on this project wrote; its SOURCES.md names them."""
    folder = Path(os.environ.get("SHARED_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        missing(f"the folder of real inputs {folder} (set SHARED_DATA)")
    return folder


CommandLine = Callable[..., "subprocess.CompletedProcess[str]"]

_MODULES = {
    "fleetmdm": "fleetmdm",
    "secretive-agent": "secretivex.cli.agent",
    "secretive-client": "secretivex.cli.client",
    "secretive-bench": "secretivex.cli.bench",
}


@pytest.fixture
def command_line(tmp_path: Path) -> CommandLine:
    """Run one of our programs as a user would: `command_line("fleetmdm", "report", ...)`.

    Home and configuration are the test's own; nothing of the caller's environment leaks in.
    """
    home = tmp_path / "home"
    home.mkdir()

    def run(
        program: str, *arguments: str | Path, env: dict[str, str] | None = None, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", _MODULES[program], *map(str, arguments)],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            cwd=tmp_path,
            env={
                "PATH": os.environ.get("PATH", ""),
                "PYTHONPATH": str(ROOT / "src"),
                "HOME": str(home),
                "LANG": "C.UTF-8",
                **(env or {}),
            },
        )

    return run


# A small fleet with two runs, from which evidence tests export.

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)

ROOT_LOGIN = b"""---
id: ssh-root-login
name: No direct root login
severity: high
references:
  - {framework: CIS, control: "5.1.20"}
checks:
  - {key: sshd.settings.permitrootlogin, op: eq, value: "no", message: root may log in}
"""

DISKS = b"""---
id: Disk.Encryption
name: Disks are encrypted
checks:
  - {key: "disks[*].encrypted", op: eq, value: true}
"""


def sample_device(number: int, login: str, seen: datetime) -> Device:
    """A device whose identifiers all hold the word `canary`, in known facts and unknown ones."""
    name = f"canary-host-{number}"
    return Device(
        device_id=f"canary-id-{number}",
        hostname=f"{name}.example.org",
        os="linux",
        os_version="12",
        serial=f"CANARY-SERIAL-{number}",
        last_seen=seen,
        facts={
            "sshd": {
                "settings": {
                    "permitrootlogin": login,
                    "loglevel": f"VERBOSE {name}",
                    "allowusers": ["canary-user"],
                },
                "banner": f"welcome to {name}",
            },
            "kernel": {"release": "6.1.0", "note": f"built on {name}.example.org"},
            "tpm": {"present": "canary, where a boolean belongs"},
            "owner": {"email": "canary@example.org", "name": "Canary Person"},
            "disks": [{"name": "sda", "encrypted": False, "serial": f"CANARY-DISK-{number}"}],
            "network": {"address": "192.0.2.77", "mac": "02:ca:na:ry:00:01"},
            "inodes": 9223372036854775807,
            "load": 0.25,
            "empty": {"map": {}, "list": []},
            'odd "name".x': True,
        },
        tags=("canary-tag",),
    )


def record_sample_run(store: SqliteStore, logins: Sequence[str], hours: int) -> None:
    """Take in three devices as they are some hours after noon, and judge them."""
    seen = NOON + timedelta(hours=hours)
    devices = [sample_device(number, login, seen) for number, login in enumerate(logins)]
    store.put_devices(devices, source=Source.DOCUMENT, now=seen)
    record_run(store, NewRun(seen, seen, "0.1.0"), clock=lambda: seen)


@pytest.fixture(scope="session")
def sample_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteStore]:
    """A store with three devices, two policies and two runs that differ."""
    path = tmp_path_factory.mktemp("sample") / "fleet.db"
    store = open_store(path, create=True, now=NOON)
    policies = [parse_policy(source, name="sample") for source in (ROOT_LOGIN, DISKS)]
    store.put_policies(policies, now=NOON)
    record_sample_run(store, ["yes", "yes", "no"], 0)
    record_sample_run(store, ["no", "yes", "yes"], 1)
    yield store
    store.close()


@pytest.fixture(scope="session")
def make_key() -> Callable[[int], PrivateKey]:
    """An Ed25519 key by its number; the same number is the same key."""

    def make(number: int) -> PrivateKey:
        secret = Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32)
        blob = encode_string(b"ssh-ed25519") + encode_string(secret.public_key().public_bytes_raw())
        return PrivateKey(PublicKey("ssh-ed25519", blob), "", secret)

    return make


@pytest.fixture(scope="session")
def export_sample(
    sample_store: SqliteStore, make_key: Callable[[int], PrivateKey]
) -> Callable[..., Path]:
    """Export the newest run of the sample fleet to a path, signed with key 1 unless told."""

    def export(
        output: Path,
        profile: str = "strict",
        signers: Sequence[Signer] | None = None,
        now: datetime = NOON,
    ) -> Path:
        chosen = (make_key(1),) if signers is None else signers
        options = ExportOptions(output, Profile(profile), chosen, "0.1.0", now)
        export_pack(sample_store, newest_run(sample_store), options)
        return output

    return export
