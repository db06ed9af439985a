"""Files as people really have them: other encodings, other forms, answers that hold no devices."""

from __future__ import annotations

import codecs
import gzip
import io
import json
import os
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from fleetmdm.device import Device
from fleetmdm.ingest.files import open_inventory
from fleetmdm.ingest.forms import FORMS
from fleetmdm.ingest.read import InventoryFile, Reading, Refused
from fleetmdm.ingest.sources import Source

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
OWN = '{"device_id":"a","hostname":"hôte","os":"linux","os_version":"12","last_seen":"2026-03-01T10:00:00Z"}'
TABLE = "device_id\thostname\r\na\thôte\r\nb\té\r\n"
HOST = '{"uuid": "u", "hostname": "h", "platform": "darwin", "os_version": "macOS 14.4.1"}'


def read(source: Source, data: bytes, columns: Sequence[str] = ()) -> list[Device | Refused]:
    file = InventoryFile("f", lambda: (data[at : at + 7] for at in range(0, len(data), 7)))
    return list(FORMS[source].read([file], Reading(NOW, columns=columns)))


def on_disk(path: Path, data: bytes, source: Source) -> list[Device | Refused]:
    path.write_bytes(data)
    os.utime(path, (NOW.timestamp(), NOW.timestamp()))
    with open_inventory([str(path)], io.BytesIO()) as files:
        return list(FORMS[source].read(files, Reading(NOW)))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("packed", [False, True])
def test_what_windows_writes_is_read(tmp_path: Path, encoding: str, packed: bool) -> None:
    for text, source in ((f"{OWN}\r\n", Source.DOCUMENT), (TABLE, Source.CSV)):
        data = text.encode(encoding)
        found = on_disk(tmp_path / "x.json", gzip.compress(data) if packed else data, source)
        assert isinstance(found[0], Device)
        assert (found[0].device_id, found[0].hostname) == ("a", "hôte")


def test_utf16_that_is_cut_off_or_big_endian(tmp_path: Path) -> None:
    big = codecs.BOM_UTF16_BE + OWN.encode("utf-16-be")
    assert isinstance(on_disk(tmp_path / "x.json", big, Source.DOCUMENT)[0], Device)
    (refused,) = on_disk(tmp_path / "x.json", big[:-1], Source.DOCUMENT)
    assert isinstance(refused, Refused)
    assert (refused.reason, "UTF-16" in refused.message) == ("unreadable", True)


@pytest.mark.parametrize(
    "data",
    [
        b"device_id,hostname\na,h\n",
        b"---\ndevice_id: a\n",
        b"<!DOCTYPE html>\n<html><body>sign in</body></html>\n",
        b'<?xml version="1.0"?>\n<a/>\n',
        bytes(range(1, 256)),
        b"null\n",
        b'"a"',
    ],
)
def test_a_file_of_another_form_is_refused_once(data: bytes) -> None:
    (refused,) = read(Source.DOCUMENT, data)
    assert isinstance(refused, Refused)
    assert (refused.line, refused.reason) == (1, "malformed")
    assert "--from" in refused.hint


def test_a_null_among_documents_is_refused_and_not_passed_over() -> None:
    for text in (f"{OWN}\nnull\n", f"[{OWN},null]"):
        kept, refused = read(Source.DOCUMENT, text.encode())
        assert isinstance(kept, Device)
        assert isinstance(refused, Refused)
        assert refused.reason == "wrong_type"


def test_lines_are_read_though_the_first_is_talk() -> None:
    found = read(Source.DOCUMENT, f"collecting...\n{OWN}\n".encode())
    assert [type(one) for one in found] == [Refused, Device]


@pytest.mark.parametrize(
    ("data", "reason", "said"),
    [
        (b'{"hosts": null}', None, ""),
        (b'{"hosts": []}', None, ""),
        (b'{"message": "Authentication required", "errors": []}', "failed", "Authentication"),
        (b"---\napiVersion: v1\nkind: host\nspec:\n  uuid: u\n", "unknown_shape", "column uuid"),
        (b"<html>502 Bad Gateway</html>", "unknown_shape", "column uuid"),
    ],
)
def test_answers_of_fleet_without_hosts(data: bytes, reason: str | None, said: str) -> None:
    found = read(Source.FLEET, data)
    assert [one.reason for one in found if isinstance(one, Refused)] == ([reason] if reason else [])
    assert all(said in one.message for one in found if isinstance(one, Refused))


def test_hosts_of_fleet_wherever_they_stand_in_the_answer() -> None:
    for text in (
        f'{{"count": 1, "hosts": [{HOST}]}}',
        f'{{"hosts": [{HOST}], "meta": {{"has_next_results": false}}}}',
        f"{json.dumps({'kind': 'host', 'apiVersion': 'v1', 'spec': json.loads(HOST)})}\n",
    ):
        (device,) = read(Source.FLEET, text.encode())
        assert isinstance(device, Device)
        assert (device.device_id, device.os, device.os_version) == ("u", "darwin", "14.4.1")


@pytest.mark.parametrize(
    ("table", "columns", "expected"),
    [
        (b"sep=;\r\ndevice_id;hostname\r\na;h\r\n", (), ["a"]),
        (b'device_id;hostname\r\na;"h;x"\r\n', (), ["a"]),
        (b"Asset,Name\nA1,h\n", ("device_id=Asset",), ["A1"]),
        (b",device_id,\nx,a,y\n", (), ["a"]),
        (b"Device_ID,Hostname\na,h\nb,i\n", (), "--map device_id='Device_ID'"),
        (b"name,os\na,linux\nb,linux\n", (), "the columns are: name, os"),
        ("device_id,hostname\na,hôte\n".encode("latin-1"), (), "WINDOWS-1252"),
        (b"device_id,hostname\ra,h\r", (), "CR alone"),
        ("device_id,hostname\na,h\n".encode("utf-16-le"), (), "UTF-16 without its mark"),
    ],
)
def test_tables_of_spreadsheets(
    table: bytes, columns: tuple[str, ...], expected: str | list[str]
) -> None:
    found = read(Source.CSV, table, columns)
    if isinstance(expected, list):
        assert [one.device_id for one in found] == expected
        return
    (refused,) = found
    assert isinstance(refused, Refused)
    assert expected in f"{refused.message}; {refused.hint}"


def test_facts_of_windows_and_mac() -> None:
    windows = {
        "ansible_system": "Win32NT",
        "ansible_os_family": "Windows",
        "ansible_distribution": "Microsoft Windows Server 2022 Standard",
        "ansible_distribution_version": "10.0.20348.0",
        "ansible_hostname": "WIN1",
        "ansible_fqdn": "WIN1.corp.example",
        "ansible_product_serial": "VMware-42 1a",
        "ansible_machine_id": "S-1-5-21-1-2-3",
        "ansible_env": {"TOKEN": "secret"},
    }
    (device,) = read(Source.ANSIBLE, json.dumps({"ansible_facts": windows}).encode())
    assert isinstance(device, Device)
    assert (device.os, device.os_version, device.device_id) == (
        "windows",
        "10.0.20348.0",
        "S-1-5-21-1-2-3",
    )
    assert "env" not in device.facts["ansible"]
    mac = {"system": "Darwin", "distribution_version": "14.4.1", "fqdn": "mac.local"}
    (refused,) = read(Source.ANSIBLE, json.dumps(mac).encode())
    assert isinstance(refused, Refused)
    assert refused.reason == "no_identity"
    (device,) = read(Source.ANSIBLE, json.dumps(mac).encode(), ("device_id=fqdn",))
    assert isinstance(device, Device)
    assert (device.device_id, device.os) == ("mac.local", "darwin")
