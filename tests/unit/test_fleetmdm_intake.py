"""Documents read by the block, alone and with other processes, and how a store takes them in."""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fleetmdm.device import Device, DeviceLimits
from fleetmdm.engines.intake import ALONE_BLOCKS, read_blocks
from fleetmdm.ingest.read import InventoryFile, Reading, read_devices
from fleetmdm.store.incoming import BLOCK_DEVICES, IncomingBlock, ReadBlock, device_blocks
from fleetmdm.store.port import IngestCounts
from fleetmdm.store.sqlite import SqliteStore, open_store

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
COUNT = (ALONE_BLOCKS + 2) * BLOCK_DEVICES


def document(number: int) -> dict[str, object]:
    return {
        "device_id": f"d{number:05}",
        "hostname": "h" if number % 5 else "hôte",
        "os": "linux",
        "os_version": "12",
        "serial": f"S{number}" if number % 3 else None,
        "last_seen": "2026-03-01T10:00:00Z" if number % 7 else "2026-03-01T10:00:00+01:00",
        "facts": {"n": number, "few": [number % 3]},
    }


def lines(numbers: range) -> bytes:
    text = []
    for number in numbers:
        text.append(json.dumps(document(number)))
        if number % 500 == 0:
            text += ["", '{"device_id": 1}', "   "]
    return "\n".join(text).encode()


def a_file(name: str, data: bytes) -> InventoryFile:
    return InventoryFile(
        name, lambda: (data[at : at + 65_536] for at in range(0, len(data), 65_536))
    )


@pytest.fixture(scope="module")
def files() -> list[InventoryFile]:
    """Lines, an array, and a file that is broken off, which gives nothing."""
    border = COUNT - 1500
    array = json.dumps([document(number) for number in range(border, COUNT)]).encode()
    return [
        a_file("lines", lines(range(border))),
        a_file("broken", b'[{"device_id": "x"'),
        a_file("array", array),
    ]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    opened = open_store(tmp_path / "fleet.db", create=True, now=NOW)
    opened._connection.execute("PRAGMA synchronous = OFF")
    yield opened
    opened.close()


def read(files: list[InventoryFile], workers: int) -> Iterator[ReadBlock]:
    return read_blocks(files, Reading(NOW), lambda: True, workers=workers)


def test_blocks_hold_what_is_read_one_by_one(files: list[InventoryFile]) -> None:
    blocks = list(read(files, workers=1))
    found = [one for file in files for one in read_devices(file.chunks, name=file.name, now=NOW)]
    devices = [one for one in found if isinstance(one, Device)]
    assert len(devices) == COUNT
    assert [name for block in blocks for name in block.block.device_ids] == [
        device.device_id for device in devices
    ]
    assert [one for block in blocks for one in block.refused] == [
        one for one in found if not isinstance(one, Device)
    ]
    assert sum(block.count for block in blocks) == len(found)
    # Blank lines fill a block too.
    assert all(BLOCK_DEVICES - 20 < block.count <= BLOCK_DEVICES for block in blocks[:-1])
    again = list(device_blocks(devices)(lambda: True))
    facts = b"".join(block.rows().facts for block in again)
    assert b"".join(block.block.rows().facts for block in blocks) == facts


def test_several_processes_read_what_one_reads(files: list[InventoryFile]) -> None:
    assert list(read(files, workers=3)) == list(read(files, workers=1))
    assert not multiprocessing.active_children()


def test_a_killed_process_is_replaced_by_this_one(files: list[InventoryFile]) -> None:
    found = []
    for block in read(files, workers=2):
        found.append(block)
        for child in multiprocessing.active_children():
            child.kill()
    assert found == list(read(files, workers=1))


def test_a_reading_broken_off_ends_its_processes(files: list[InventoryFile]) -> None:
    blocks = read(files, workers=2)
    for _ in range(ALONE_BLOCKS + 1):
        next(blocks)
    assert multiprocessing.active_children()
    del blocks
    assert not multiprocessing.active_children()


def test_a_block_does_not_outgrow_memory() -> None:
    limits = DeviceLimits(max_document_bytes=1 << 24)
    large = json.dumps({**document(1), "facts": {"x": "y" * 60_000, "z": ["w" * 60_000] * 100}})
    stream = a_file("large", "\n".join([large] * 12).encode())
    blocks = list(read_blocks([stream], Reading(NOW, limits), lambda: True, workers=1))
    assert len(blocks) > 1
    assert sum(len(block.block.device_ids) for block in blocks) == 12


def device(number: int, **facts: object) -> Device:
    return Device(f"d{number:05}", "h", "linux", "12", f"S{number}", NOW, facts or {"n": number})


def test_what_arrives_in_numbers_is_kept_by_block_with_its_columns(store: SqliteStore) -> None:
    many = [device(number) for number in range(2 * BLOCK_DEVICES + 100)]
    assert store.put_devices(many, now=NOW) == IngestCounts(len(many), len(many))
    blocks = store._connection.execute("SELECT block FROM fact_blocks").fetchall()
    assert blocks == [(1,), (2,)]
    assert list(store.devices()) == many
    assert not list(store.find_problems())


def test_a_device_that_comes_twice_in_different_blocks_counts_once(store: SqliteStore) -> None:
    many = [device(number) for number in range(1500)]
    newer = replace(device(3, n=4), last_seen=NOW + timedelta(seconds=1))
    counts = store.put_devices([*many, newer], now=NOW)
    assert counts == IngestCounts(received=1501, added=1500, duplicate=1)
    assert list(store.devices(device_id="d00003")) == [newer]
    assert not list(store.find_problems())


def test_a_device_that_another_brings_meanwhile_is_no_surprise(
    store: SqliteStore, tmp_path: Path
) -> None:
    other = open_store(tmp_path / "fleet.db", now=NOW)

    def devices() -> Iterator[Device]:
        yield from (device(number) for number in range(6000))
        other.put_devices([device(7, n="theirs")], now=NOW)

    counts = store.put_devices(devices(), now=NOW)
    other.close()
    assert counts == IngestCounts(received=6000, added=5999, changed=1)
    assert next(store.devices(device_id="d00007")).facts == {"n": 7}
    assert not list(store.find_problems())


def test_columns_are_asked_for_while_all_devices_are_new(store: SqliteStore) -> None:
    store.put_devices([device(10_000, n="before")], now=NOW)
    asked = []

    def blocks(wanted: object) -> Iterator[IncomingBlock]:
        assert callable(wanted)
        for block in device_blocks(device(number) for number in range(16_000))(wanted):
            asked.append((wanted(), bool(block.rows().columns)))
            yield block

    counts = store.put_blocks(blocks, now=NOW)
    assert asked == [(True, True), (True, True), (True, True), (False, False)]
    assert counts == IngestCounts(received=16_000, added=15_999, changed=1)
    assert store.device_count() == 16_000
    assert not list(store.find_problems())


def test_blocks_that_are_nearly_empty_are_joined(store: SqliteStore) -> None:
    def blocks(wanted: object) -> Iterator[IncomingBlock]:
        del wanted
        for number in range(300):
            yield from device_blocks([device(number)])(lambda: True)

    store.put_blocks(blocks, now=NOW)
    last = store._connection.execute("SELECT max(device) FROM device_names").fetchone()[0]
    assert last == 300
