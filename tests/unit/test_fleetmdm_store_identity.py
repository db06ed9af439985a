"""Tags that people give, serial numbers that devices share, and the way from version 1."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fleetmdm.device import Device, encode_facts
from fleetmdm.errors import FleetError
from fleetmdm.ingest.sources import Source
from fleetmdm.store.migrations import load_migrations
from fleetmdm.store.port import MAX_CONFLICTING, NewRun, RunHashes
from fleetmdm.store.sqlite import SqliteStore, open_store

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def device(name: str, serial: str | None = None, **rest: object) -> Device:
    tags = rest.pop("tags", ())
    assert isinstance(tags, tuple)
    return Device(name, name, "linux", "12", serial, NOW, rest, tags)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqliteStore]:
    with closing(open_store(tmp_path / "fleet.db", create=True, now=NOW)) as opened:
        yield opened


def tags(store: SqliteStore, name: str) -> tuple[str, ...]:
    return next(store.devices(device_id=name)).tags


def tag(store: SqliteStore, name: str, *add: str, remove: tuple[str, ...] = ()) -> Device:
    return store.tag_device(name, add=add, remove=remove, now=NOW)


def test_tags_of_people_join_those_of_documents(store: SqliteStore) -> None:
    store.put_devices([device("a", tags=("own",))], now=NOW)
    assert tag(store, "a", "prod").tags == ("own", "prod")
    store.put_devices([device("a", changed=True)], now=NOW)
    assert tags(store, "a") == ("prod",)
    assert tag(store, "a", remove=("prod",)).tags == ()
    assert store.device_count() == 1


def test_tags_say_nothing_but_tags(store: SqliteStore) -> None:
    store.put_devices([device("a", "S", x=1)], now=NOW)
    before = next(store.devices())
    tagged = tag(store, "a", "prod")
    assert (tagged.hostname, tagged.os, tagged.os_version) == ("a", "linux", "12")
    assert (tagged.serial, tagged.facts, tagged.last_seen) == ("S", before.facts, NOW)


def test_a_tag_that_changes_nothing_writes_nothing(store: SqliteStore) -> None:
    store.put_devices([device("a")], now=NOW)
    tag(store, "a", "prod")
    rows = "SELECT count(*) FROM revisions"
    before = store._connection.execute(rows).fetchone()
    tag(store, "a", "prod", remove=("other",))
    assert store._connection.execute(rows).fetchone() == before


def test_a_tag_of_a_document_cannot_be_removed(store: SqliteStore) -> None:
    store.put_devices([device("a", tags=("own",))], now=NOW)
    with pytest.raises(FleetError) as caught:
        tag(store, "a", "new", remove=("own",))
    assert caught.value.code == "tag_not_removable"
    assert tags(store, "a") == ("own",)
    with pytest.raises(FleetError) as caught:
        tag(store, "b", "x")
    assert caught.value.code == "device_not_found"


def test_a_retired_device_loses_its_tags(store: SqliteStore) -> None:
    store.put_devices([device("a")], now=NOW)
    tag(store, "a", "prod")
    store.retire_device("a", now=NOW)
    assert store.device_count() == 0
    store.put_devices([device("a")], now=NOW)
    assert tags(store, "a") == ()


def test_a_run_keeps_the_tags_of_its_time(store: SqliteStore) -> None:
    store.put_devices([device("a")], now=NOW)
    tag(store, "a", "old")
    with store.begin_run(NewRun(NOW, NOW, "0")) as run:
        tag(store, "a", "new", remove=("old",))
        assert [one.tags for one in run.devices()] == [("old",)]
        run.finish(finished_at=NOW, hashes=RunHashes("a", "b", "c"), leaf=lambda _run: b"leaf")
    assert next(store.run_devices(1)).tags == ("old",)
    assert tags(store, "a") == ("new",)


def test_snapshots_are_read_by_source(store: SqliteStore) -> None:
    store.put_devices([device("a", x=1)], now=NOW)
    store.put_devices([device("a", y=1)], source=Source.CSV, now=NOW)
    found = store.snapshot("a", Source.CSV)
    assert found is not None
    assert found.facts == {"y": 1}
    assert store.snapshot("a", Source.FLEET) is None
    assert store.snapshot("b", Source.CSV) is None


def test_serials_are_shared_only_by_current_documents(store: SqliteStore) -> None:
    store.put_devices([device(name, "S") for name in "ab"], now=NOW)
    store.put_devices([device("a", "S")], source=Source.CSV, now=NOW)
    (found,) = store.serial_conflicts()
    assert (found.serial, found.device_ids, found.count) == ("S", ("a", "b"), 2)
    later = Device("b", "b", "linux", "12", None, NOW + timedelta(1), {})
    store.put_devices([later], now=NOW)
    assert list(store.serial_conflicts()) == []
    store.put_devices([device("c", "S")], now=NOW)
    store.retire_device("a", now=NOW)
    assert list(store.serial_conflicts()) == []


@pytest.mark.parametrize("serial", ["Default string", "to be  filled by O.E.M.", "000000", "None"])
def test_placeholders_are_no_conflict(store: SqliteStore, serial: str) -> None:
    store.put_devices([device(name, serial) for name in "ab"], now=NOW)
    assert list(store.serial_conflicts()) == []


def test_of_many_devices_with_one_serial_the_first_are_named(store: SqliteStore) -> None:
    store.put_devices([device(f"d{number:03}", "S") for number in range(50)], now=NOW)
    (found,) = store.serial_conflicts()
    assert (len(found.device_ids), found.count) == (MAX_CONFLICTING, 50)


def test_a_database_of_version_1_is_backed_up_and_gets_its_serials(tmp_path: Path) -> None:
    path = tmp_path / "fleet.db"
    first = load_migrations()[:1]
    with closing(open_store(path, create=True, now=NOW, migrations=first)):
        pass
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        fill_version_1(connection)
    with closing(open_store(path, now=NOW)) as store:
        assert list(store.find_problems()) == []
        assert [one.device_ids for one in store.serial_conflicts()] == [("a", "b")]
        assert tag(store, "c", "prod").tags == ("prod",)
    (backup,) = tmp_path.glob("fleet.db.v1-*.backup")
    with closing(sqlite3.connect(backup)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
        assert connection.execute("SELECT count(*) FROM documents").fetchone() == (3,)
    with closing(open_store(backup, now=NOW)) as store:
        assert store.device_count() == 3


def fill_version_1(connection: sqlite3.Connection) -> None:
    """Rows as version 1 wrote them."""
    connection.execute("INSERT INTO sources VALUES (1, 'document')")
    for number, (name, serial) in enumerate([("a", "S"), ("b", "S"), ("c", None)], 1):
        facts = encode_facts(device(name, serial))
        connection.execute("INSERT INTO device_names VALUES (?, ?)", (number, name))
        connection.execute(
            "INSERT INTO documents VALUES (?, 1, 1, NULL, ?, ?)", (number, bytes(32), facts)
        )
        stamp = "2026-03-01T12:00:00.000000+00:00"
        connection.execute("INSERT INTO sightings VALUES (?, 1, 1, NULL, ?)", (number, stamp))
