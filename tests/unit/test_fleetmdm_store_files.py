"""The database file: whose it is, who may read it, and what the system's errors become."""

from __future__ import annotations

import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fleetmdm.device import Device
from fleetmdm.errors import FleetError
from fleetmdm.store.sqlite import SqliteStore, open_store

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DEVICE = Device("a", "h", "linux", "12", None, NOW, {"x": 1})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "fleet.db"


@pytest.fixture
def store(path: Path) -> Iterator[SqliteStore]:
    with closing(open_store(path, create=True, now=NOW)) as opened:
        opened.put_devices([DEVICE], now=NOW)
        yield opened


def refusal(path: Path) -> FleetError:
    with pytest.raises(FleetError) as caught:
        open_store(path, now=NOW)
    assert str(path) in caught.value.message
    assert caught.value.hint
    return caught.value


def test_only_the_owner_may_read_what_is_made(store: SqliteStore, path: Path) -> None:
    assert path.parent.stat().st_mode & 0o777 == 0o700
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_a_database_takes_its_name_when_it_is_complete(store: SqliteStore, path: Path) -> None:
    assert {file.name for file in path.parent.iterdir()} == {
        "fleet.db",
        "fleet.db-wal",
        "fleet.db-shm",
    }


def test_a_closed_store_is_one_file(store: SqliteStore, path: Path) -> None:
    store.close()
    assert [file.name for file in path.parent.iterdir()] == ["fleet.db"]


def test_a_missing_database_is_made_only_when_asked(path: Path) -> None:
    assert refusal(path).code == "database_not_found"
    assert not path.parent.exists()


@pytest.mark.parametrize("content", [b"", b"junk", b"SQLite format 3\0" + b"\xff" * 4096])
def test_a_file_that_is_no_database_is_refused_and_left_alone(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    assert refusal(path).code == "database_invalid"
    with pytest.raises(FleetError):
        open_store(path, create=True, now=NOW)
    assert path.read_bytes() == content


def test_a_folder_is_refused(path: Path) -> None:
    path.mkdir(parents=True)
    assert refusal(path).code == "database_invalid"


def test_another_programs_database_is_refused_and_left_alone(path: Path) -> None:
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TABLE t (x)")
    content = path.read_bytes()
    assert refusal(path).code == "database_invalid"
    assert path.read_bytes() == content


def test_a_damaged_page_is_found_and_named(store: SqliteStore, path: Path) -> None:
    store.put_devices(
        (Device(f"d{n}", "h", "linux", "12", None, NOW, {"x": "y" * 500}) for n in range(500)),
        now=NOW,
    )
    store.close()
    content = bytearray(path.read_bytes())
    # The first pages hold the schema: without it nothing can be opened.
    for page in range(40, len(content) // 4096 - 10, 3):
        content[page * 4096 : page * 4096 + 64] = b"\xaa" * 64
    path.write_bytes(content)
    with closing(open_store(path, now=NOW)) as damaged:
        with pytest.raises(FleetError) as caught:
            list(damaged.devices())
        assert caught.value.code == "database_invalid"
        try:
            problems = list(damaged.find_problems())
        except FleetError as error:
            problems = [error.code]
        assert problems


def test_a_sound_database_has_no_problems_and_a_loose_mode_is_one(
    store: SqliteStore, path: Path
) -> None:
    assert list(store.find_problems()) == []
    path.chmod(0o644)
    assert list(store.find_problems()) == [
        "others may read the file: its mode is 0644 and should be 0600"
    ]


def test_a_writer_that_waits_too_long_is_told_so(store: SqliteStore, path: Path) -> None:
    with closing(open_store(path, now=NOW, busy_timeout_s=0.05)) as other:
        store._connection.execute("BEGIN IMMEDIATE")
        with pytest.raises(FleetError) as caught:
            other.append_leaf(b"x")
        assert caught.value.code == "database_locked"
        assert [one.device_id for one in other.devices()] == ["a"]
        store._connection.execute("ROLLBACK")
        assert other.append_leaf(b"x") == 0


def test_a_database_that_may_not_be_written_says_so(store: SqliteStore) -> None:
    store._connection.execute("PRAGMA query_only = ON")
    with pytest.raises(FleetError) as caught:
        store.append_leaf(b"x")
    assert caught.value.code == "database_read_only"
    assert store.device_count() == 1


def test_no_room_is_disk_full_and_what_was_there_stays(store: SqliteStore) -> None:
    pages = store._connection.execute("PRAGMA page_count").fetchone()[0]
    store._connection.execute(f"PRAGMA max_page_count = {pages}")
    many = (Device(f"d{n}", "h", "linux", "12", None, NOW, {"x": "y" * 900}) for n in range(900))
    with pytest.raises(FleetError) as caught:
        store.put_devices(many, now=NOW)
    assert caught.value.code == "disk_full"
    assert list(store.devices()) == [DEVICE]
    assert not store._connection.in_transaction
    assert list(store.find_problems()) == []


def test_a_backup_is_complete_and_never_replaces_a_file(store: SqliteStore, path: Path) -> None:
    target = path.with_name("copy.db")
    store.back_up(target)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    store.put_devices([Device("b", "h", "linux", "12", None, NOW, {})], now=NOW)
    with closing(open_store(target, now=NOW)) as copy:
        assert list(copy.devices()) == [DEVICE]
        assert copy.fleet_key() == store.fleet_key()
        assert copy._connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    with pytest.raises(FleetError) as caught:
        store.back_up(target)
    assert caught.value.code == "output_exists"


def test_unused_space_is_given_back(store: SqliteStore) -> None:
    before, after = store.compact()
    assert 0 < after <= before
    assert list(store.devices()) == [DEVICE]
