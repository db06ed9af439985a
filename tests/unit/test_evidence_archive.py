"""The single-file form: the same bytes each time, and every attack refused before it is written."""

from __future__ import annotations

import io
import subprocess
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import zstandard
from memory_pack import load_pack

from fleetmdm.errors import FleetError
from fleetmdm.evidence.archive import TOP, WINDOW_LOG
from fleetmdm.evidence.archive.header import encode_header
from fleetmdm.evidence.archive.read import FREE_BYTES, editable, unpacked
from fleetmdm.evidence.archive.write import pack_target, write_archive
from fleetmdm.evidence.examine.sound import sound_pack
from fleetmdm.evidence.pack.cosign import add_cosignature
from fleetmdm.evidence.pack.derive import derive_view
from fleetmdm.evidence.redact import Profile
from fleetmdm.evidence.verify import PackReport, Trust, verify_pack
from sshwire.allowed_signers import parse_allowed_signers
from sshwire.privkey import PrivateKey
from sshwire.pubkey import encode_public_line

NOW = datetime(2026, 11, 22, 13, tzinfo=UTC)
Export = Callable[..., Path]


@pytest.fixture
def trust(make_key: Callable[[int], PrivateKey]) -> Trust:
    line = f"me {encode_public_line(make_key(1).public_key)}"
    return Trust(parse_allowed_signers(line), ["me"], NOW)


@pytest.fixture
def archive(tmp_path: Path, export_sample: Export) -> Path:
    return export_sample(tmp_path / "pack.tar.zst")


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path) -> Iterator[Path]:
    """Where archives are unpacked; nothing may be left there."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    old, tempfile.tempdir = tempfile.tempdir, str(folder)
    yield folder
    tempfile.tempdir = old
    assert list(folder.iterdir()) == []


def codes(report: PackReport) -> list[str]:
    return [each.code for each in report.findings]


def compress(data: bytes) -> bytes:
    parameters = zstandard.ZstdCompressionParameters.from_level(
        3, window_log=WINDOW_LOG, write_checksum=1, write_content_size=0
    )
    out = io.BytesIO()
    compressor = zstandard.ZstdCompressor(compression_params=parameters)
    with compressor.stream_writer(out, closefd=False) as writer:
        writer.write(data)
    return out.getvalue()


def member(name: str, data: bytes = b"x", **changes: object) -> bytes:
    """One entry of a tar archive, as an attacker would write it."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    info.mode = 0o644
    for attribute, value in changes.items():
        setattr(info, attribute, value)
    return info.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % 512)


def test_the_same_pack_gives_the_same_file_and_verifies(
    tmp_path: Path, archive: Path, export_sample: Export, trust: Trust
) -> None:
    again = export_sample(tmp_path / "again.tar.zst")
    assert again.read_bytes() == archive.read_bytes()
    assert verify_pack(archive, trust).findings == []
    folder = export_sample(tmp_path / "folder")
    with unpacked(archive, PackReport()) as root:
        assert root is not None
        assert load_pack(root) == load_pack(folder)
    with pytest.raises(FleetError) as caught:
        export_sample(archive)
    assert caught.value.code == "output_exists"


def test_stock_tools_unpack_it(
    tmp_path: Path, archive: Path, export_sample: Export, require_program: Callable[[str], str]
) -> None:
    tar, zstd = require_program("tar"), require_program("zstd")
    (tmp_path / "out").mkdir()
    plain = subprocess.run([zstd, "-dc", archive], check=True, capture_output=True).stdout
    command = [tar, "-x", "-C", str(tmp_path / "out")]
    subprocess.run(command, input=plain, check=True, capture_output=True)
    folder = export_sample(tmp_path / "folder")
    assert load_pack(tmp_path / "out" / TOP) == load_pack(folder)


def test_every_command_takes_either_form(
    tmp_path: Path, archive: Path, trust: Trust, make_key: Callable[[int], PrivateKey]
) -> None:
    with sound_pack(archive) as pack:
        assert (pack.path, pack.report.run_id) == (archive, 2)
    derive_view(archive, tmp_path / "view.tar.zst", Profile.STRICT)
    assert verify_pack(tmp_path / "view.tar.zst", trust).findings == []
    assert verify_pack(archive, trust, older=tmp_path / "view.tar.zst").findings == []
    (name,) = add_cosignature(archive, [make_key(2)], now=NOW)
    report = verify_pack(archive, trust)
    assert [each.code for each in report.warnings] == ["cosigner_untrusted"]
    with unpacked(archive, PackReport()) as root:
        assert root is not None
        assert (root / name).exists()


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    def fill() -> None:
        with pack_target(tmp_path / "new.tar.zst") as (root, _finish):
            (root / "file").write_bytes(b"x")
            raise KeyError

    with pytest.raises(KeyError):
        fill()
    assert [path.name for path in tmp_path.iterdir()] == ["tmp"]


def _with_field(data: bytes, at: int, field: bytes) -> bytes:
    """A header with other bytes somewhere, and the checksum that fits them."""
    block = bytearray(data[:512])
    block[at : at + len(field)] = field
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + data[512:]


ONE = encode_header("a", 1) + b"x" + bytes(511)
END = bytes(1024)

ATTACKS: dict[str, list[bytes]] = {
    "name_unsafe": [
        member("../../etc/passwd"),
        member("/etc/passwd"),
        member(TOP + "../x"),
        member(TOP + "a/b/c"),
        member(TOP + ".hidden"),
        member("elsewhere/x"),
        member(TOP + "a\\b"),
        member(TOP + "a\x01b"),
        member(TOP),
        member(TOP + "caf\u00e9"),
        member(TOP + "cafe\u0301"),
        member(TOP + "\uff21"),
        member(TOP + "a."),
        member(TOP + "a "),
        member(TOP + "C:a"),
        member(TOP + "policies/nul.yaml"),
        member(TOP + "Com1"),
        member(TOP.upper() + "a"),
        member("x" * 120 + "/" + TOP + "a"),
    ],
    "file_not_regular": [
        member(TOP + "a", b"", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        member(TOP + "a", b"", type=tarfile.LNKTYPE, linkname="/etc/passwd"),
        member(TOP + "a", b"", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
        member(TOP + "a", b"", type=tarfile.BLKTYPE),
        member(TOP + "a", b"", type=tarfile.FIFOTYPE),
        member(TOP + "a", b"", type=tarfile.DIRTYPE),
        member(TOP + "a", b"path=x", type=tarfile.XHDTYPE),
        member(TOP + "a", b"path=x", type=tarfile.XGLTYPE),
        member(TOP + "a", b"long name", type=tarfile.GNUTYPE_LONGNAME),
        member(TOP + "a", b"", type=tarfile.GNUTYPE_SPARSE),
        member(TOP + "a", b"", type=tarfile.GNUTYPE_LONGLINK),
        member(TOP + "a", b"", type=tarfile.CONTTYPE),
        member(TOP + "a", b"", type=tarfile.AREGTYPE),
        member(TOP + "a", b"", type=b"X"),
        member(TOP + "a", b"", type=b"V"),
    ],
    "name_duplicate": [ONE + ONE],
    "name_collision": [ONE + encode_header("A", 1) + b"x" + bytes(511)],
    "archive_not_canonical": [
        encode_header("b", 0) + encode_header("a", 0),
        member(TOP + "a", mtime=1),
        member(TOP + "a", uid=1),
        member(TOP + "a", mode=0o755),
        member(TOP + "a", uname="root"),
        encode_header("a", 1) + b"x" + b"y" + bytes(510),
        ONE + END + encode_header("b", 0),
        ONE + END + END,
        member(TOP + "a", linkname="b"),
        _with_field(ONE, 124, b"0000001 \0\0\0\0"),
        _with_field(ONE, 257, b"ustar  \0"),
    ],
    "archive_malformed": [
        ONE[:100],
        bytes(512) + ONE,
        encode_header("a", 5000) + b"x",
        b"\xff" * 512,
        encode_header("a", 1)[:-1] + b"\x01" + b"x" + bytes(511),
        _with_field(ONE, 124, b"\x80" + (1 << 62).to_bytes(11)),
        _with_field(ONE, 124, b"\xff" * 12),
    ],
}


@pytest.mark.parametrize(
    ("code", "data"),
    [
        pytest.param(code, data, id=f"{code}-{number}")
        for code, cases in ATTACKS.items()
        for number, data in enumerate(cases)
    ],
)
def test_every_attack_is_refused_before_anything_is_written(
    tmp_path: Path, trust: Trust, temporary: Path, code: str, data: bytes
) -> None:
    path = tmp_path / "evil.tar.zst"
    path.write_bytes(compress(data + END))
    with unpacked(path, PackReport()) as root:
        assert root is None
        assert list(temporary.iterdir()) == []
    assert code in codes(verify_pack(path, trust))
    with pytest.raises(FleetError) as caught, sound_pack(path):
        pass
    assert caught.value.code == "evidence_invalid"
    with pytest.raises(FleetError), editable(path):
        pass


def test_a_bomb_is_left_alone(tmp_path: Path, trust: Trust) -> None:
    size = FREE_BYTES * 2
    path = tmp_path / "bomb.tar.zst"
    path.write_bytes(compress(encode_header("a", size) + bytes(size) + END))
    assert path.stat().st_size < 100_000
    assert codes(verify_pack(path, trust)) == ["archive_bomb"]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda data: data + b"\0", "archive_malformed"),
        (lambda data: data + data, "archive_not_canonical"),
        (lambda data: b"\x50\x2a\x4d\x18\x04\0\0\0junk" + data, "archive_malformed"),
        (lambda data: data[:-5], "archive_malformed"),
        (lambda data: data[: len(data) // 2], "archive_malformed"),
        (lambda data: data[:0], "archive_malformed"),
        (lambda data: b"PK\x03\x04" + data, "archive_malformed"),
        (lambda data: zstandard.compress(zstandard.decompress(data, 10**8)), "archive_malformed"),
    ],
)
def test_anything_around_the_frame_is_found(
    archive: Path, trust: Trust, change: Callable[[bytes], bytes], code: str
) -> None:
    archive.write_bytes(change(archive.read_bytes()))
    assert codes(verify_pack(archive, trust)) == [code]


def test_an_archive_that_is_not_there(tmp_path: Path, trust: Trust) -> None:
    with pytest.raises(FleetError) as caught:
        verify_pack(tmp_path / "absent.tar.zst", trust)
    assert caught.value.code == "input_not_found"


@pytest.mark.parametrize("step", [97, pytest.param(1, marks=pytest.mark.long)])
def test_every_flipped_byte_of_an_archive_is_found(
    archive: Path, trust: Trust, step: int, tmp_path: Path
) -> None:
    data = archive.read_bytes()
    missed = []
    for at in range(0, len(data), step):
        spoilt = bytearray(data)
        spoilt[at] ^= 1 << at % 8
        archive.write_bytes(spoilt)
        report = verify_pack(archive, trust)
        # Some bits of a zstd frame mean nothing: then the content is sound, and the form is told.
        if not report.findings and [each.code for each in report.warnings] != [
            "archive_recompressed"
        ]:
            missed.append(at)
    assert missed == []
    archive.write_bytes(data)
    assert verify_pack(archive, trust).warnings == []


def test_a_file_that_is_written_is_the_one_that_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "log").mkdir(parents=True)
    (folder / "run.json").write_bytes(b"")
    (folder / "log" / "leaf.json").write_bytes(b"y" * 512)
    with (tmp_path / "x.tar.zst").open("wb") as file:
        write_archive(folder, file)
    with unpacked(tmp_path / "x.tar.zst", PackReport()) as root:
        assert root is not None
        assert load_pack(root) == {"log/leaf.json": b"y" * 512, "run.json": b""}
