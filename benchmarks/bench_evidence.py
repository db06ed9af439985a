"""Evidence of a large fleet, exported under `strict` and verified, beside a loop of as many hashes.

The loop computes a SHA-256 for every field of every record (salted, of the mean length) and two for
every record (its leaf and a node), once for the export and once for the verification.
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
from pathlib import Path

from bench_check import check, fill
from fleet import NOW
from fleetmdm.store.sqlite import open_store
from ratio import bound, finish, judge, read_options, with_note

AT_MOST = 2.0
VERIFY_S = 60.0
FIELD_BYTES = 70
"""Of what is hashed for a field: the salt in hex, the path, the value."""
RECORD_BYTES = 1000
"""Of a leaf: the digests of its fields."""


def run(*words: str | Path) -> tuple[float, float]:
    """Wall seconds and the most memory, in MiB, of a command."""
    begun = time.perf_counter()
    argv = [sys.executable, "-m", "fleetmdm", *map(str, words)]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{argv} exits with {process.returncode}")
    return time.perf_counter() - begun, usage.ru_maxrss / 1024


def count_hashes(pack: Path) -> tuple[int, int]:
    """Fields and records of a pack."""
    view = json.loads((pack / "view.json").read_text())
    manifest = json.loads((pack / "manifest.json").read_text())
    fields = sum(each["opened"] + each["hidden"] for each in view["records"].values())
    records = sum(each.get("count", 0) for each in manifest["files"].values())
    return fields, records


def hash_all(fields: int, records: int) -> float:
    """Seconds of a tight loop over as many hashes, twice."""
    sha256, field, record = hashlib.sha256, b"x" * FIELD_BYTES, b"x" * RECORD_BYTES
    begun = time.perf_counter()
    for _ in range(2 * fields):
        sha256(field).digest()
    for _ in range(4 * records):
        sha256(record).digest()
    return time.perf_counter() - begun


def main() -> None:
    """One export and one verification: they are long."""
    options = read_options(devices=100_000)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path, pack, key = folder / "fleet.db", folder / "pack", folder / "key"
        fill(path, options.devices, keep=False)
        with closing(open_store(path, now=NOW)) as store:
            check(store)
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "auditor", "-f", str(key)],
            check=True,
        )
        signers = folder / "signers"
        signers.write_text(f"auditor {key.with_suffix('.pub').read_text()}")
        exported, export_mib = run(
            "evidence", "export", "--db", path, "--output", pack, "--signing-key-file", key
        )
        trust = ("--allowed-signers", signers, "--signer", "auditor")
        verified, verify_mib = run("evidence", "verify", pack, *trust)
        fields, records = count_hashes(pack)
        loop = hash_all(fields, records)
    row = judge(
        f"evidence export and verify, {options.devices} devices, strict",
        f"a loop of {2 * fields + 4 * records} hashes",
        [exported + verified],
        [loop],
        at_most=AT_MOST,
    )
    note = f"export {exported:.0f} s and {export_mib:.0f} MiB, verify {verify_mib:.0f} MiB"
    finish([with_note(row, note), bound("evidence verify", [verified], at_most=VERIFY_S)], options)


if __name__ == "__main__":
    main()
