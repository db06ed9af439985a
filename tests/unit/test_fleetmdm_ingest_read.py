"""Files, folders, pipes and compressed streams become devices, each refusal with its place."""

from __future__ import annotations

import gzip
import io
import json
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
import zstandard

from fleetmdm.device import Device
from fleetmdm.errors import FleetError
from fleetmdm.ingest.files import STDIN_NAME, open_inventory
from fleetmdm.ingest.read import Refused, decode_document, read_devices

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def document(device_id: str) -> dict[str, object]:
    return {
        "device_id": device_id,
        "hostname": "h",
        "os": "linux",
        "os_version": "12",
        "last_seen": "2026-03-01T10:00:00Z",
    }


def lines(*ids: str) -> bytes:
    return b"".join(json.dumps(document(one)).encode() + b"\n" for one in ids)


def read(*paths: str | Path, stdin: bytes = b"") -> list[Device | Refused]:
    with open_inventory([str(path) for path in paths], io.BytesIO(stdin)) as files:
        return [
            item for file in files for item in read_devices(file.chunks, name=file.name, now=NOW)
        ]


def ids(items: list[Device | Refused]) -> list[str]:
    return [
        item.device_id if isinstance(item, Device) else f"{item.line}:{item.reason}"
        for item in items
    ]


def test_a_bad_document_is_refused_and_the_others_are_read(tmp_path: Path) -> None:
    path = tmp_path / "fleet.json"
    bad = {**document("b"), "hostname": ""}
    path.write_text(json.dumps([document("a"), bad, document("c")], indent=1))
    found = read(path)
    assert ids(found) == ["a", "9:blank", "c"]
    assert found[1] == Refused(
        str(path), 9, "blank", "hostname: empty, or blanks at an end", "", "b"
    )


def test_of_a_half_written_array_nothing_is_read(tmp_path: Path) -> None:
    path = tmp_path / "half.json"
    path.write_bytes(b"[" + lines("a").strip() + b",\n" + lines("b")[:30])
    assert ids(read(path)) == ["2:truncated"]


def test_of_half_written_lines_the_whole_ones_are_read(tmp_path: Path) -> None:
    path = tmp_path / "half.ndjson"
    path.write_bytes(lines("a", "b")[:-30])
    assert ids(read(path)) == ["a", "2:malformed"]


@pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress])
def test_compression_is_told_by_the_first_bytes(compress: object, tmp_path: Path) -> None:
    assert callable(compress)
    path = tmp_path / "fleet.json"
    path.write_bytes(compress(lines("a")) + compress(lines("b")))
    assert ids(read(path)) == ["a", "b"]


@pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress])
def test_a_cut_compressed_file_is_refused_whole(compress: object, tmp_path: Path) -> None:
    assert callable(compress)
    path = tmp_path / "fleet.json"
    path.write_bytes(compress(lines("a", "b") * 50)[:-20])
    found = read(path)
    assert all(isinstance(item, Refused) for item in found)
    assert len(found) == 1


def test_a_folder_is_read_in_the_order_of_its_names(tmp_path: Path) -> None:
    for name in ("b.json", "a.ndjson", "c.txt"):
        (tmp_path / name).write_bytes(lines(name))
    (tmp_path / "d.json").mkdir()
    assert ids(read(tmp_path)) == ["a.ndjson", "b.json"]


def test_stdin_is_read_once_however_often_it_is_named() -> None:
    found = read("-", "-", stdin=lines("a") + b"x\n")
    assert ids(found) == ["a", "2:malformed"]
    assert isinstance(found[1], Refused)
    assert found[1].file == STDIN_NAME


def test_a_pipe_is_read_like_a_file() -> None:
    reader, writer = os.pipe()
    try:
        os.write(writer, lines("a"))
        os.close(writer)
        assert ids(read(f"/dev/fd/{reader}")) == ["a"]
    finally:
        os.close(reader)


def test_what_is_not_there_is_said_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(lines("a"))
    with pytest.raises(FleetError) as caught:
        read(tmp_path / "a.json", tmp_path / "none.json")
    assert caught.value.code == "input_not_found"
    (tmp_path / "empty").mkdir()
    with pytest.raises(FleetError) as caught:
        read(tmp_path / "empty")
    assert caught.value.code == "input_not_found"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"{", "malformed"),
        (b'{"a": NaN}', "malformed"),
        (b'{"a": 1e999}', "malformed"),
        (b'{"a": "\xff"}', "not_utf8"),
        (b"[" * 100_000, "too_deep"),
    ],
)
def test_bytes_that_are_not_json_are_refused_with_a_reason(data: bytes, reason: str) -> None:
    with pytest.raises(FleetError) as caught:
        decode_document(data)
    assert caught.value.details["reason"] == reason
