"""Evidence of a large fleet, exported under `strict` and verified, beside a loop of as many hashes.

The loop is plain Python over byte strings that lie in memory, as long as those of the pack are on
average. For the export: SHAKE256 for the salts of every record, SHA-256 for every field, and two for
every record (leaf and node). For the verification: SHA-256 for every field that shows, and the two.
For both: SHA-256 over every file. What else is hashed (pseudonyms, the documents' own hashes) is left
out, and so is everything that is not hashing: reading the store, writing JSON, reading it back.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path
from typing import NamedTuple

from bench_check import check, fill
from fleet import NOW
from fleetmdm.evidence.records.reading import LineReader
from fleetmdm.store.sqlite import open_store
from ratio import Measured, bound, finish, judge, read_options, with_note

AT_MOST = 2.0
VERIFY_S = 60.0
FLAT = 1.25
"""Times the memory of a fleet of a tenth of the size."""
SALT_BYTES = 16
Words = tuple[str | Path, ...]
SAMPLE = 1000
"""Lines of each file from which mean lengths are taken."""


class Spent(NamedTuple):
    """What a command took."""

    wall_s: float
    cpu_s: float
    mib: float


class Counted(NamedTuple):
    """One file of records."""

    records: int
    opened: int
    hidden: int
    field_bytes: int
    """Mean length of what is hashed for a field, of those that show."""


class Archive(NamedTuple):
    """The same pack as one file, and a view of it; of fleets that are not the largest."""

    mib: float
    export: Spent
    verify: Spent
    redact: Spent


class Size(NamedTuple):
    """Everything that was measured on one fleet."""

    devices: int
    pack_mib: float
    export: Spent
    verify: Spent
    files: list[Counted]
    loops: tuple[float, float]
    archive: Archive | None


def run(*words: str | Path) -> Spent:
    """Run a command of ours."""
    begun = time.perf_counter()
    argv = [sys.executable, "-m", "fleetmdm", *map(str, words)]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{argv} exits with {process.returncode}")
    spent = usage.ru_utime + usage.ru_stime
    return Spent(time.perf_counter() - begun, spent, usage.ru_maxrss / 1024)


def count_hashes(pack: Path) -> list[Counted]:
    """Every file of records."""
    view = json.loads((pack / "view.json").read_text())
    manifest = json.loads((pack / "manifest.json").read_text())
    return [
        Counted(
            manifest["files"][name]["count"],
            shown["opened"],
            shown["hidden"],
            _mean_field(pack / name),
        )
        for name, shown in view["records"].items()
        if manifest["files"][name]["count"]
    ]


def _mean_field(path: Path) -> int:
    """What is hashed is `["SALT","NAME",VALUE]`."""
    lengths, reader = [], LineReader()
    with path.open("rb") as file:
        for _, line in zip(range(SAMPLE), file, strict=False):
            taken = reader.read(line)
            pairs = zip(taken.names, taken.values, strict=True)
            lengths += [len(name) + len(value) + 2 * SALT_BYTES + 8 for name, value in pairs]
    return round(sum(lengths) / len(lengths))


def hash_all(pack: Path, files: list[Counted]) -> tuple[float, float]:
    """Seconds of the loops of export and verification."""
    return _hash(pack, files, export=True), _hash(pack, files, export=False)


def _hash(pack: Path, files: list[Counted], *, export: bool) -> float:
    sha256, shake256 = hashlib.sha256, hashlib.shake_256
    begun = time.perf_counter()
    for each in files:
        fields = (each.opened + each.hidden) // each.records
        field, record, salts = b"x" * each.field_bytes, b"x" * 32 * fields, SALT_BYTES * fields
        for _ in range(each.opened + each.hidden if export else each.opened):
            sha256(field).digest()
        for _ in range(each.records):
            sha256(record).digest()
            sha256(field).digest()
        for _ in range(each.records if export else 0):
            shake256(field).hexdigest(salts)
    for path in pack.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                hashlib.file_digest(file, "sha256")
    return time.perf_counter() - begun


def make_fleet(path: Path, devices: int) -> None:
    """A fleet with one run."""
    fill(path, devices, keep=False)
    with closing(open_store(path, now=NOW)) as store:
        check(store)


def measure_archive(folder: Path, fleet: Path, signed: Words, trust: Words) -> Archive:
    """Export as one file, verify it; and make a strict view of a pack that shows everything."""
    path, full = folder / "pack.tar.zst", folder / "full"
    export = run("evidence", "export", "--db", fleet, "--output", path, *signed)
    verify = run("evidence", "verify", path, *trust)
    run("evidence", "export", "--db", fleet, "--output", full, "--redact-profile", "none", *signed)
    redact = run("evidence", "redact", full, "--profile", "strict", "--output", folder / "view")
    return Archive(path.stat().st_size / 2**20, export, verify, redact)


def measure(devices: int, folder: Path, *, as_archive: bool) -> Size:
    """One export and one verification of a fleet: the large ones are long."""
    path, pack, key = folder / "fleet.db", folder / "pack", folder / "key"
    # Elsewhere: a process that starts another hands its own highest memory on to it.
    maker = get_context("spawn").Process(target=make_fleet, args=(path, devices))
    maker.start()
    maker.join()
    if maker.exitcode:
        raise SystemExit("the fleet was not made")
    make = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "auditor", "-f", str(key)]
    subprocess.run(make, check=True)
    signers = folder / "signers"
    signers.write_text(f"auditor {key.with_suffix('.pub').read_text()}")
    signed = ("--signing-key-file", key)
    export = run("evidence", "export", "--db", path, "--output", pack, *signed)
    trust = ("--allowed-signers", signers, "--signer", "auditor")
    verify = run("evidence", "verify", pack, *trust)
    files = count_hashes(pack)
    pack_mib = sum(one.stat().st_size for one in pack.rglob("*") if one.is_file()) / 2**20
    archive = measure_archive(folder, path, signed, trust) if as_archive else None
    return Size(devices, pack_mib, export, verify, files, hash_all(pack, files), archive)


def render(size: Size, *, at_most: float | None) -> list[Measured]:
    """The rows of one size; without a target they are reported."""
    export, verify, (for_export, for_verify) = size.export, size.verify, size.loops
    fields = sum(2 * each.opened + each.hidden for each in size.files)
    row = judge(
        f"evidence export and verify, {size.devices} devices, strict",
        f"a loop of {fields + 5 * sum(each.records for each in size.files)} hashes",
        [export.wall_s + verify.wall_s],
        [for_export + for_verify],
        at_most=at_most,
    )
    note = (
        f"pack of {size.pack_mib:.0f} MiB; export {export.wall_s:.1f} s ({export.cpu_s:.1f} s CPU,"
        f" {export.mib:.0f} MiB) beside {for_export:.1f} s; verify {verify.wall_s:.1f} s"
        f" ({verify.cpu_s:.1f} s CPU, {verify.mib:.0f} MiB) beside {for_verify:.1f} s"
    )
    rows = [with_note(row, note)]
    if size.archive is not None:
        one, count = size.archive, size.devices
        rows += [
            bound(f".tar.zst of {count} devices, strict", [one.mib], unit="MiB"),
            bound(f"evidence export to .tar.zst, {count} devices", [one.export.wall_s]),
            bound(f"evidence verify of .tar.zst, {count} devices", [one.verify.wall_s]),
            bound(f"evidence redact, {count} devices, none to strict", [one.redact.wall_s]),
        ]
    return rows


def main() -> None:
    """Every size, smallest first; the target is that of the largest, the others tell how it grows."""
    options = read_options(devices=100_000)
    sizes = []
    for devices in (options.devices // 100, options.devices // 10, options.devices):
        with tempfile.TemporaryDirectory() as name:
            as_archive = devices < options.devices
            sizes.append(measure(devices, Path(name), as_archive=as_archive))
    largest, before = sizes[-1], sizes[-2]
    rows = [
        row for size in sizes for row in render(size, at_most=AT_MOST if size is largest else None)
    ]
    rows.append(
        bound(
            f"evidence verify, {largest.devices} devices", [largest.verify.wall_s], at_most=VERIFY_S
        )
    )
    for work in ("export", "verify"):
        many, few = getattr(largest, work).mib, getattr(before, work).mib
        name = f"evidence {work}, most memory of {largest.devices} devices"
        against = f"of {before.devices}"
        rows.append(judge(name, against, [many], [few], at_most=FLAT, unit="MiB"))
    finish(rows, options)


if __name__ == "__main__":
    main()
