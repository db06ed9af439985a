"""What somebody with a pack and without the key can find out: by guessing, and by looking everywhere."""

from __future__ import annotations

import hashlib
import hmac
import re
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fleetmdm.device import Device
from fleetmdm.engines.local import record_run
from fleetmdm.evidence.keys import FleetKeys
from fleetmdm.evidence.pack.export import ExportOptions, export_pack, newest_run
from fleetmdm.evidence.records.reading import parse_record
from fleetmdm.evidence.redact import Profile
from fleetmdm.evidence.verify import Trust, verify_pack
from fleetmdm.ingest.sources import Source
from fleetmdm.policy_yaml import parse_policy
from fleetmdm.store.port import NewRun
from fleetmdm.store.sqlite import open_store
from sshwire.privkey import PrivateKey

NOW = datetime(2026, 11, 22, tzinfo=UTC)
ADDRESS = "10.20.30.40"
SERIAL = "PF3X4711"
HOST = "build-0042.example.org"
PLANTED = (ADDRESS, SERIAL, HOST, "build-0042", "mallory", "00:16:3e:5e:6c:00", "ann@example.org")
POLICY = (
    b"---\nid: p\nname: p\nchecks:\n  - {key: net.ip_address, op: eq, value: 'x', message: m}\n"
)


@pytest.fixture(scope="module", params=["strict", "minimal"])
def view(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    make_key: Callable[[int], PrivateKey],
) -> Path:
    """A pack of two devices full of names, with nothing of temporary files left beside it."""
    folder = tmp_path_factory.mktemp("secrets")
    facts = {
        "net": {"ip_address": ADDRESS, "mac": "00:16:3e:5e:6c:00"},
        "users": {"weak_hashes": ["mallory"]},
        "contact": {"email": "ann@example.org"},
        "note": f"rack 3, {HOST}",
        "sshd": {"settings": {"allowusers": ["mallory"]}},
    }
    store = open_store(folder / "f.db", create=True, now=NOW)
    devices = [
        Device(HOST, HOST, "linux", "12", SERIAL, NOW, facts),
        Device("other", "other", "linux", "12", "PF3X4712", NOW, {"seen": HOST}),
    ]
    store.put_devices(devices[:1], source=Source.DOCUMENT, now=NOW)
    store.put_policies([parse_policy(POLICY, name="p")], now=NOW)
    record_run(store, NewRun(NOW, NOW, "0.1.0"), clock=lambda: NOW)
    temporary = folder / "tmp"
    temporary.mkdir()
    old, tempfile.tempdir = tempfile.tempdir, str(temporary)
    try:
        profile = Profile(request.param)
        for name in ("pack", "pack.tar.zst"):
            options = ExportOptions(folder / name, profile, (make_key(1),), "0.1.0", NOW)
            export_pack(store, newest_run(store), options)
        verify_pack(folder / "pack.tar.zst", Trust(None, (), NOW))
    finally:
        tempfile.tempdir = old
        store.close()
    assert list(temporary.iterdir()) == [], "nothing is left in temporary files"
    assert sorted(path.name for path in folder.iterdir() if not path.name.startswith("f.db")) == [
        "pack",
        "pack.tar.zst",
        "tmp",
    ]
    return folder / "pack"


def words(pack: Path) -> set[str]:
    """Every run of letters and digits, and every digest, in every file of a pack."""
    found: set[str] = set()
    for path in pack.rglob("*"):
        if path.is_file():
            found.update(re.findall(r"[A-Za-z0-9+/_-]{8,}", path.read_text()))
    return found


def test_no_planted_name_is_anywhere(view: Path) -> None:
    everything = b"".join(path.read_bytes() for path in view.rglob("*") if path.is_file())
    folded = everything.lower()
    assert [name for name in PLANTED if name.lower().encode() in folded] == []
    names = "".join(path.name for path in view.rglob("*"))
    assert [name for name in PLANTED if name in names] == []


def guesses() -> Iterator[str]:
    """Every address of a /16, every serial number of a pattern, every host of a series."""
    for high in range(256):
        for low in range(256):
            yield f"10.20.{high}.{low}"
    for number in range(10_000):
        yield f"PF3X{number:04}"
        yield f"build-{number:04}.example.org"


def test_nothing_in_a_pack_is_found_by_trying_likely_values(view: Path) -> None:
    """Without the key: plain and doubled hashes, with the words that the format itself uses."""
    present = words(view)
    prefixes = ("", "ip\0", "serial\0", "host\0", "device\0")
    matches = []
    for guess in guesses():
        data = [(prefix + guess).encode() for prefix in prefixes]
        digests = [hashlib.sha256(each).hexdigest() for each in data]
        digests.append(hmac.digest(b"fleetmdm/pseudonym/1", data[0], "sha256").hex())
        matches += [guess for digest in digests if digest in present or digest[:32] in present]
    assert matches == []


def test_another_fleets_key_gives_other_pseudonyms(view: Path) -> None:
    lines = (view / "inventory.ndjson").read_bytes().splitlines(keepends=True)
    fields = parse_record(lines[0]).fields
    shown = {str(value) for path, value in fields.items() if path.startswith("pseudonym.")}
    shown.add(str(fields["device"]))
    keys = FleetKeys(b"\0" * 32)
    assert not shown & {keys.pseudonym(kind, HOST) for kind in ("device", "host", "id", "name")}
    assert not shown & {keys.pseudonym("serial", SERIAL), keys.pseudonym("ip", ADDRESS)}


def test_digests_of_withheld_fields_are_not_found_by_trying(view: Path) -> None:
    """What a digest is over is public; the salt of 128 bits is what keeps it."""
    hidden = set(re.findall(r"[0-9a-f]{64}", (view / "inventory.ndjson").read_text()))
    assert hidden
    for path, value in (("serial", SERIAL), ("hostname", HOST), ("device_id", HOST)):
        for salt in ("", "0" * 32, "f" * 32):
            text = f'["{salt}","{path}","{value}"]'
            assert hashlib.sha256(text.encode()).hexdigest() not in hidden
