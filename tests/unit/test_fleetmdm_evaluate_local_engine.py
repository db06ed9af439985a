"""The local engine over a real store: batches do not show, roots commit, a fault records nothing."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fleetmdm.device import Device, encode_batch, encode_device
from fleetmdm.engines.local import judge_device, record_run
from fleetmdm.errors import FleetError
from fleetmdm.ledger.merkle import leaf_hash
from fleetmdm.ledger.roots import RunInventory, root_of_set
from fleetmdm.policy_yaml import parse_policies
from fleetmdm.results import Status
from fleetmdm.store.port import NewRun
from fleetmdm.store.sqlite import SqliteStore, open_store

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
NEW = NewRun(started_at=NOW, as_of=NOW, tool_version="0")
POLICIES = parse_policies(
    b"id: b\nname: B\nchecks: [{key: n, op: lt, value: 5}]\n---\n"
    b"id: a\nname: A\ntargets: {os: macos}\nchecks: [{key: n, op: exists}]\n",
    name="p",
)
DEVICES = [
    Device(f'd"{number}é', "h", "linux", "12", None, NOW, {"n": number if number % 3 else "x"})
    for number in range(9)
]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    opened = open_store(tmp_path / "fleet.db", create=True, now=NOW)
    yield opened
    opened.close()


def fill(store: SqliteStore) -> None:
    store.put_devices(DEVICES, now=NOW)
    store.put_policies(POLICIES, now=NOW)


def test_what_a_run_builds_on_does_not_show(store: SqliteStore) -> None:
    fill(store)
    runs = [record_run(store, NEW, clock=lambda: NOW, full=full).run for full in (False, True)]
    runs.append(record_run(store, NEW, clock=lambda: NOW).run)
    told = {
        (run.policy_set_hash, run.inventory_root, run.result_root, str(run.policy_counts))
        for run in runs
    }
    assert len(told) == 1
    assert runs[0].counts == {
        Status.PASS: 3,
        Status.FAIL: 3,
        Status.ERROR: 3,
        Status.NOT_APPLICABLE: 9,
    }


def test_the_roots_can_be_computed_by_anyone(store: SqliteStore) -> None:
    fill(store)
    run = record_run(store, NEW, clock=lambda: NOW).run
    devices = sorted(DEVICES, key=lambda each: each.device_id)
    salt = hmac.digest(store.fleet_key(), b"fleetmdm root salt v1", "sha256")[:16]
    inventory = RunInventory(run.roots, store.fleet_key())
    inventory.add(inventory.hash(encode_batch(devices)))
    assert run.inventory_root == inventory.root().hex()
    documents = [json.loads(encode_device(each)) for each in devices]
    hashes = [
        leaf_hash(
            salt
            + hashlib.sha256(
                json.dumps(
                    {name: value for name, value in each.items() if name != "last_seen"},
                    ensure_ascii=False,
                    separators=(",", ":"),
                ).encode()
            ).digest()
            + each["last_seen"].encode()
        )
        for each in documents
    ]
    assert run.inventory_root == root_of_set(b"".join(hashes)).hex()
    found = {(row.device_id, row.policy_id): row.status.value for row in store.results(run.run_id)}
    leaves = [
        json.dumps(
            {
                "device_id": each.device_id,
                "states": {
                    "a": "notapplicable",
                    "b": found.get((each.device_id, "b"), "pass"),
                },
            },
            ensure_ascii=False,
            separators=(",", ":"),
        ).encode()
        for each in devices
    ]
    assert run.result_root == root_of_set(b"".join(leaf_hash(salt + each) for each in leaves)).hex()
    lines = "".join(
        f"{hashlib.sha256(source).hexdigest()}  {name}\n"
        for name, source in store.run_policies(run.run_id)
    )
    assert run.policy_set_hash == hashlib.sha256(lines.encode()).hexdigest()


def test_progress_adds_up_to_the_fleet(store: SqliteStore) -> None:
    fill(store)
    seen: list[int] = []
    expected: list[int] = []
    record_run(store, NEW, clock=lambda: NOW, advance=seen.append, expect=expected.append)
    assert (seen, expected) == ([9], [9])


def test_counts_by_policy_are_kept_with_the_run(store: SqliteStore) -> None:
    fill(store)
    record_run(store, NEW, clock=lambda: NOW)
    (run,) = store.runs()
    assert run.policy_counts == {
        "a": {Status.NOT_APPLICABLE: 9},
        "b": {Status.PASS: 3, Status.FAIL: 3, Status.ERROR: 3},
    }


def test_a_run_that_is_broken_off_leaves_nothing(store: SqliteStore) -> None:
    fill(store)

    def fail(_devices: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        record_run(store, NEW, clock=lambda: NOW, advance=fail)
    assert list(store.runs()) == []


@pytest.mark.parametrize(
    ("filled", "code"), [("devices", "no_policies"), ("policies", "no_devices")]
)
def test_what_is_missing_is_named(store: SqliteStore, filled: str, code: str) -> None:
    if filled == "devices":
        store.put_devices(DEVICES, now=NOW)
    else:
        store.put_policies(POLICIES, now=NOW)
    with pytest.raises(FleetError) as caught:
        record_run(store, NEW, clock=lambda: NOW)
    assert caught.value.code == code
    assert list(store.runs()) == []


def test_one_device_is_judged_by_the_policies_in_force(store: SqliteStore) -> None:
    fill(store)
    judgement = judge_device(store, 'd"4é', as_of=NOW)
    states = [(each.policy_id, each.status) for each in judgement.verdicts]
    assert states == [("a", Status.NOT_APPLICABLE), ("b", Status.PASS)]
    assert list(store.runs()) == []
    with pytest.raises(FleetError, match="no device"):
        judge_device(store, "elsewhere", as_of=NOW)
