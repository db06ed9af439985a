"""Whatever is done to a pack is found: every byte of every file, and every file as a whole."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from itertools import pairwise, repeat
from multiprocessing import get_context
from pathlib import Path

import pytest
from memory_pack import find_missed, findings, flip, load_pack

from fleetmdm.device import Device
from fleetmdm.engines.local import record_run
from fleetmdm.evidence.pack.export import ExportOptions, export_pack, newest_run
from fleetmdm.evidence.redact import Profile
from fleetmdm.evidence.verify import Trust, verify_pack
from fleetmdm.ingest.sources import Source
from fleetmdm.policy_yaml import parse_policy
from fleetmdm.store.port import NewRun
from fleetmdm.store.sqlite import open_store
from sshwire.allowed_signers import parse_allowed_signers
from sshwire.privkey import PrivateKey
from sshwire.pubkey import encode_public_line

PARTS = 64
"""Into which the bytes of a pack are dealt, for processes to take."""

NOW = datetime(2026, 11, 22, 13, tzinfo=UTC)


@pytest.fixture
def pack(tmp_path: Path, export_sample: Callable[..., Path]) -> Path:
    return export_sample(tmp_path / "pack")


@pytest.fixture(scope="module")
def trust(make_key: Callable[[int], PrivateKey]) -> Trust:
    line = f'me namespaces="evidence@fleetmdm" {encode_public_line(make_key(1).public_key)}'
    return Trust(parse_allowed_signers(line), ["me"], NOW)


def _files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.is_file())


@pytest.mark.long
@pytest.mark.parametrize("profile", ["strict", "none"])
def test_every_flipped_byte_is_found(
    tmp_path: Path, export_sample: Callable[..., Path], trust: Trust, profile: str
) -> None:
    """One at a time, in memory, of the pack with everything in it; by all processors."""
    contents = load_pack(export_sample(tmp_path / "pack", profile))
    assert findings(contents, trust) == []
    places = [(name, at) for name, data in contents.items() for at in range(len(data))]
    parts = [places[at::PARTS] for at in range(PARTS)]
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        answers = pool.map(find_missed, repeat(contents), repeat(trust), parts)
        assert [place for missed in answers for place in missed] == []


# In every run: each byte of each file of a pack of at most 16 kB, in memory.

MAX_BYTES = 16 * 1024
POLICY = b"---\nid: p\nname: p\nchecks:\n  - {key: a, op: exists, message: m}\n"
CLOSING = ("manifest.json", "SHA256SUMS", "view.json")


@pytest.fixture(scope="module")
def small(
    tmp_path_factory: pytest.TempPathFactory, make_key: Callable[[int], PrivateKey]
) -> dict[str, bytes]:
    """A pack of one device and one policy that it fails."""
    folder = tmp_path_factory.mktemp("small")
    store = open_store(folder / "f.db", create=True, now=NOW)
    device = Device("d", "h", "o", "1", None, NOW, {"b": 2})
    store.put_devices([device], source=Source.DOCUMENT, now=NOW)
    store.put_policies([parse_policy(POLICY, name="p")], now=NOW)
    record_run(store, NewRun(NOW, NOW, "0.1.0"), clock=lambda: NOW)
    options = ExportOptions(folder / "pack", Profile.NONE, (make_key(1),), "0.1.0", NOW)
    export_pack(store, newest_run(store), options)
    store.close()
    return load_pack(folder / "pack")


def _rounds(
    contents: dict[str, bytes], names: list[str]
) -> Iterator[tuple[dict[str, bytes], set[str]]]:
    """Flip the first byte of all these files at once, then the second, to the longest one's last."""
    for at in range(max(len(contents[name]) for name in names)):
        spoilt = {name for name in names if at < len(contents[name])}
        changes = {name: flip(contents[name], at) for name in spoilt}
        yield {**contents, **changes}, spoilt


def test_every_flipped_byte_of_a_small_pack_is_found(small: dict[str, bytes], trust: Trust) -> None:
    """Many files at once, since each must be found by itself.

    A file is found by a finding that names it and that only its own bytes can give: its digest, its
    records, its form. Those that close the pack are spoilt alone or beside files that rest on others.
    """
    size = sum(map(len, small.values()))
    assert size <= MAX_BYTES - 256, {name: len(data) for name, data in small.items()}
    assert findings(small, trust) == []
    signatures = [name for name in small if name.startswith("signatures/")]
    listed = [name for name in small if name not in CLOSING and name not in signatures]
    sums = next(name for name in signatures if ".sums." in name)
    others = [name for name in signatures if name != sums]
    own = {"file_altered", "sums_mismatch", "record_malformed", "record_root_mismatch", "file_size"}
    seen: set[tuple[str, int]] = set()
    # By SHA256SUMS alone, while the manifest is spoilt too; then by the manifest alone.
    for names in (
        [*listed, "manifest.json", "view.json"],
        [*listed, "SHA256SUMS", *others],
        [sums],
    ):
        for number, (contents, spoilt) in enumerate(_rounds(small, names)):
            found = findings(contents, trust)
            for name in spoilt:
                codes = {code for code, file in found if file == name}
                if name in listed or name == "view.json":
                    codes &= own
                elif name in ("manifest.json", "SHA256SUMS"):
                    kind = ".manifest.sshsig" if name == "manifest.json" else ".sums.sshsig"
                    codes = {c for c, file in found if c == "signature_invalid" and kind in file}
                if codes:
                    seen.add((name, number))
    every = {(name, at) for name, data in small.items() for at in range(len(data))}
    assert sorted(every - seen) == []


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
