"""What an auditor does with a pack beside verifying it: show, sample, replay, reveal."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sealed_pack import Pack

from clikit.canonical import encode_canonical
from fleetmdm.device import Device
from fleetmdm.engines.local import record_run
from fleetmdm.errors import FleetError
from fleetmdm.evidence.examine.replay import replay_pack
from fleetmdm.evidence.examine.reveal import reveal
from fleetmdm.evidence.examine.sample import draw_sample, ticket_of
from fleetmdm.evidence.examine.sound import SoundPack
from fleetmdm.evidence.keys import FleetKeys
from fleetmdm.evidence.pack.export import ExportOptions, export_pack
from fleetmdm.evidence.records.flatten import flatten, unflatten
from fleetmdm.evidence.records.reading import parse_record
from fleetmdm.evidence.redact import Profile
from fleetmdm.ingest.sources import Source
from fleetmdm.policy_yaml import parse_policy
from fleetmdm.store.port import NewRun
from fleetmdm.store.sqlite import SqliteStore, open_store
from sshwire.privkey import PrivateKey

NOW = datetime(2026, 11, 22, tzinfo=UTC)
Make = Callable[[int], PrivateKey]
Export = Callable[..., Path]


@pytest.fixture
def pack(tmp_path: Path, export_sample: Export) -> Path:
    return export_sample(tmp_path / "pack", "none")


def test_judging_again_gives_the_same_bytes(pack: Path) -> None:
    replayed = replay_pack(SoundPack(pack))
    assert (replayed.differing, replayed.devices, replayed.policies) == (0, 3, 2)
    results = (pack / "results.ndjson").read_bytes()
    assert replayed.results_sha256 == hashlib.sha256(results).hexdigest()
    assert sum(replayed.counts.values()) == 6


@pytest.mark.parametrize("profile", ["minimal", "strict"])
def test_a_view_that_hides_what_a_policy_needs_cannot_be_judged(
    tmp_path: Path, export_sample: Export, profile: str
) -> None:
    view = export_sample(tmp_path / "view", profile)
    with pytest.raises(FleetError) as caught:
        replay_pack(SoundPack(view))
    assert caught.value.code == "replay_needs_hidden_fields"
    assert caught.value.details["field"]


POLICY = b"""---
id: old-kernel
name: The kernel is not old
targets: {os: [linux]}
checks:
  - {key: kernel.release, op: starts_with, value: "6."}
"""


def test_a_view_that_hides_only_what_no_policy_needs_is_judged(
    tmp_path: Path, make_key: Make
) -> None:
    store = open_store(tmp_path / "fleet.db", create=True, now=NOW)
    documents: list[dict[str, Any]] = [
        {"kernel": {"release": "5.1"}},
        {"kernel": {"release": "6.2"}, "owner": "ann"},
    ]
    devices = [
        Device(f"d{number}", "host.example.org", "linux", "12", "SER-1", NOW, facts)
        for number, facts in enumerate(documents)
    ]
    store.put_devices(devices, source=Source.DOCUMENT, now=NOW)
    store.put_policies([parse_policy(POLICY, name="p")], now=NOW)
    run = record_run(store, NewRun(NOW, NOW, "0.1.0"), clock=lambda: NOW).run
    options = ExportOptions(tmp_path / "pack", Profile.MINIMAL, (make_key(1),), "0.1.0", NOW)
    export_pack(store, run, options)
    store.close()
    replayed = replay_pack(SoundPack(tmp_path / "pack"))
    assert (replayed.differing, replayed.rows) == (0, 1)


def _spoil(pack: Path, key: PrivateKey, file: str, path: str, value: Any) -> None:
    """Put another value behind an open field of the first record, and seal the pack again."""
    lines = (pack / file).read_bytes().splitlines(keepends=True)
    first = json.loads(lines[0])
    first["fields"][path][1] = value
    lines[0] = encode_canonical(first) + b"\n"
    (pack / file).write_bytes(b"".join(lines))
    Pack(pack, key).seal()


@pytest.mark.parametrize(
    ("file", "path", "value"),
    [
        ("results.ndjson", "status", "unknown"),
        ("results.ndjson", "finding[0].observed", "lie"),
        ("results.ndjson", "policy_id", "another"),
        ("inventory.ndjson", "facts.sshd.settings.permitrootlogin", "maybe"),
    ],
)
def test_a_pack_that_was_made_up_is_found_out(
    pack: Path, make_key: Make, file: str, path: str, value: Any
) -> None:
    """Whoever holds the key can sign anything; judging again does not believe it."""
    _spoil(pack, make_key(1), file, path, value)
    replayed = replay_pack(SoundPack(pack))
    assert replayed.differing


def test_nothing_is_read_from_a_pack_that_does_not_hold(pack: Path) -> None:
    with (pack / "run.json").open("ab") as file:
        file.write(b"\n")
    with pytest.raises(FleetError) as caught:
        SoundPack(pack)
    assert caught.value.code == "evidence_invalid"


def test_a_sample_is_drawn_by_the_manifest_and_the_nonce(pack: Path) -> None:
    sound = SoundPack(pack)
    digest = hashlib.sha256((pack / "manifest.json").read_bytes()).hexdigest()
    orders = set()
    for nonce in map(str, range(30)):
        drawn = draw_sample(sound, nonce=nonce, size=10)
        texts = {index: f"fleetmdm-sample/1\n{digest}\n{nonce}\n{index}\n" for index in range(3)}
        tickets = {
            index: hashlib.sha256(text.encode()).hexdigest() for index, text in texts.items()
        }
        assert [each.line - 1 for each in drawn] == sorted(tickets, key=lambda at: tickets[at])
        assert draw_sample(sound, nonce=nonce, size=2) == drawn[:2]
        orders.add(tuple(each.line for each in drawn))
    assert len(orders) == 6, "every order comes up"
    assert ticket_of("a", "b", 1) != ticket_of("a", "b\n1", 0)


def test_the_holder_of_the_key_finds_the_device_behind_a_pseudonym(
    tmp_path: Path, export_sample: Export, sample_store: SqliteStore
) -> None:
    view = export_sample(tmp_path / "view", "strict")
    lines = (view / "inventory.ndjson").read_bytes().splitlines(keepends=True)
    fields = parse_record(lines[0]).fields
    wanted = {fields["device"], fields["pseudonym.serial"]}
    keys = FleetKeys(sample_store.fleet_key())
    found = {each.path: each for each in reveal(keys, sample_store.devices(), wanted)}
    devices = {device.device_id: device for device in sample_store.devices()}
    assert found["device_id"].value in devices
    assert found["serial"].value == devices[found["serial"].device_id].serial
    assert reveal(FleetKeys(b"x" * 32), sample_store.devices(), wanted) == []


def _documents() -> st.SearchStrategy[Any]:
    leaves = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
    return st.recursive(
        leaves,
        lambda inner: (
            st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
        ),
        max_leaves=12,
    )


@given(st.dictionaries(st.text(max_size=6), _documents(), max_size=4))
def test_a_document_comes_back_from_its_fields(document: dict[str, Any]) -> None:
    assert unflatten(flatten("facts", document)) == document


@pytest.mark.parametrize(
    "pairs",
    [
        [("facts.a", 1), ("facts.a", 2)],
        [("facts.a", 1), ("facts.a.b", 2)],
        [("facts.a.b", 1), ("facts.a", 2)],
        [("facts.a[1]", 1)],
        [("facts.a[0]", 1), ("facts.a.b", 1)],
        [("facts", 1), ("other", 2)],
        [("fa cts", 1)],
        [('facts."', 1)],
    ],
)
def test_what_no_document_has_is_refused(pairs: Sequence[tuple[str, Any]]) -> None:
    with pytest.raises((ValueError, TypeError)):
        unflatten(pairs)
