"""Whatever is done to a pack is found: every byte of every file, and every file as a whole."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest

from fleetmdm.evidence.verify import Trust, verify_pack
from sshwire.allowed_signers import parse_allowed_signers
from sshwire.privkey import PrivateKey
from sshwire.pubkey import encode_public_line

NOW = datetime(2026, 11, 22, 13, tzinfo=UTC)
EVERY_NTH_BYTE = 7
"""Sampled here, from a start that differs by file; the long run flips each single byte."""


@pytest.fixture
def pack(tmp_path: Path, export_sample: Callable[..., Path]) -> Path:
    return export_sample(tmp_path / "pack")


@pytest.fixture(scope="module")
def trust(make_key: Callable[[int], PrivateKey]) -> Trust:
    line = f'me namespaces="evidence@fleetmdm" {encode_public_line(make_key(1).public_key)}'
    return Trust(parse_allowed_signers(line), ["me"], NOW)


def _files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


def _flips(path: Path, step: int) -> Iterator[int]:
    """Flip one byte after the other, in place, and put each back."""
    data = path.read_bytes()
    for at in range(len(path.name) % step, len(data), step):
        spoilt = bytearray(data)
        spoilt[at] ^= 1 << at % 8
        path.write_bytes(spoilt)
        yield at
    path.write_bytes(data)


def _missed(pack: Path, trust: Trust, step: int) -> list[tuple[str, int]]:
    missed = [
        (path.name, at)
        for path in _files(pack)
        for at in _flips(path, step)
        if not verify_pack(pack, trust).findings
    ]
    assert verify_pack(pack, trust).findings == []
    return missed


def test_a_flipped_byte_is_found(pack: Path, trust: Trust) -> None:
    assert _missed(pack, trust, 8 * EVERY_NTH_BYTE) == []


@pytest.mark.long
def test_every_flipped_byte_is_found(pack: Path, trust: Trust) -> None:
    assert _missed(pack, trust, 1) == []


def test_every_flipped_byte_of_a_signature_is_found(pack: Path, trust: Trust) -> None:
    for path in sorted((pack / "signatures").iterdir()):
        for at in _flips(path, 1):
            assert verify_pack(pack, trust).findings, (path.name, at)


def test_every_removed_file_is_found(pack: Path, trust: Trust) -> None:
    for path in _files(pack):
        data = path.read_bytes()
        path.unlink()
        assert verify_pack(pack, trust).findings, path.name
        path.write_bytes(data)


def test_every_truncated_or_lengthened_file_is_found(pack: Path, trust: Trust) -> None:
    for path in _files(pack):
        data = path.read_bytes()
        for spoilt in (b"", data[:-1], data[: len(data) // 2], data[1:], data + b"\n", data + data):
            if spoilt == data:
                continue  # an empty file twice is the same file
            path.write_bytes(spoilt)
            assert verify_pack(pack, trust).findings, (path.name, len(spoilt))
        path.write_bytes(data)


def test_every_renamed_file_is_found(pack: Path, trust: Trust) -> None:
    for path in _files(pack):
        other = path.with_name(path.name + "x")
        path.rename(other)
        assert verify_pack(pack, trust).findings, path.name
        other.rename(path)


def test_every_swapped_pair_is_found(pack: Path, trust: Trust) -> None:
    files = _files(pack)
    for first, second in pairwise(files):
        one, two = first.read_bytes(), second.read_bytes()
        if one == two:
            continue
        first.write_bytes(two)
        second.write_bytes(one)
        assert verify_pack(pack, trust).findings, (first.name, second.name)
        first.write_bytes(one)
        second.write_bytes(two)


def test_every_added_file_is_found(pack: Path, trust: Trust) -> None:
    for folder in ("", "keys", "log", "policies", "signatures", "new"):
        (pack / folder).mkdir(exist_ok=True)
        added = pack / folder / "added"
        added.write_bytes(b"x")
        assert verify_pack(pack, trust).findings, folder
        added.unlink()
    shutil.rmtree(pack / "new")
    assert verify_pack(pack, trust).findings == []


def test_every_line_taken_out_or_moved_is_found(pack: Path, trust: Trust) -> None:
    for path in pack.glob("*.ndjson"):
        data = path.read_bytes()
        lines = data.splitlines(keepends=True)
        for at in range(len(lines)):
            others = lines[:at] + lines[at + 1 :]
            for spoilt in (others, [*others, lines[at]], [*lines, lines[at]]):
                if spoilt != lines:
                    path.write_bytes(b"".join(spoilt))
                    assert verify_pack(pack, trust).findings, (path.name, at)
        path.write_bytes(data)
