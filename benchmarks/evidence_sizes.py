"""Evidence packs by the size of the fleet: bytes, seconds and memory of export and verify.

Beside them the seconds that hashing the same bytes once takes. Each step runs in a process of its
own, whose processor time and highest memory are the system's own figures. Not a ratio with a limit:
`python benchmarks/evidence_sizes.py [--devices N ...]` prints one row a size.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import tempfile
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from bench_check import check, fill
from fleet import NOW
from fleetmdm.evidence.pack.export import ExportOptions, export_pack, newest_run
from fleetmdm.evidence.redact import Profile
from fleetmdm.evidence.verify import Trust, verify_pack
from fleetmdm.store.sqlite import open_store
from sshwire.allowed_signers import parse_allowed_signers
from sshwire.privkey import PrivateKey
from sshwire.pubkey import PublicKey, encode_public_line
from sshwire.wire import encode_string

SIZES = (1_000, 10_000, 100_000)


def make_key() -> PrivateKey:
    """One Ed25519 key, always the same."""
    secret = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    blob = encode_string(b"ssh-ed25519") + encode_string(secret.public_key().public_bytes_raw())
    return PrivateKey(PublicKey("ssh-ed25519", blob), "", secret)


def in_child(step: Callable[[], None]) -> tuple[float, float]:
    """Processor seconds and highest MiB of a step in a process of its own."""
    child = os.fork()
    if not child:
        code = 1
        try:
            step()
            code = 0
        finally:
            os._exit(code)
    _, status, usage = os.wait4(child, 0)
    if status:
        raise SystemExit("a step failed")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def export(database: Path, output: Path) -> None:
    """One strict pack."""
    with closing(open_store(database, now=NOW)) as store:
        options = ExportOptions(output, Profile.STRICT, (make_key(),), "benchmark", NOW)
        export_pack(store, newest_run(store), options)


def verify(pack: Path) -> None:
    """Every byte and signature."""
    allowed = parse_allowed_signers(f"me {encode_public_line(make_key().public_key)}")
    report = verify_pack(pack, Trust(allowed, ["me"], datetime.now(UTC)))
    if report.findings:
        raise SystemExit(str(report.findings[:3]))


def hash_all(pack: Path) -> None:
    """The same bytes through SHA-256, once."""
    for path in pack.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                hashlib.file_digest(file, "sha256")


def measure(devices: int, folder: Path) -> None:
    """Print one row."""
    database, pack = folder / f"{devices}.db", folder / f"{devices}"
    fill(database, devices, keep=False)
    with closing(open_store(database, now=NOW)) as store:
        check(store)
    export_s, export_mib = in_child(lambda: export(database, pack))
    size = sum(path.stat().st_size for path in pack.rglob("*") if path.is_file())
    hash_s, _ = in_child(lambda: hash_all(pack))
    verify_s, verify_mib = in_child(lambda: verify(pack))
    single = folder / f"{devices}.tar.zst"
    single_s, _ = in_child(lambda: export(database, single))
    unpacked_s, _ = in_child(lambda: verify(single))
    print(
        f"{devices:>8} devices {size / 2**20:9.1f} MiB ({single.stat().st_size / 2**20:.1f} as one"
        f" file)  export {export_s:.1f} s {export_mib:.0f} MiB  verify {verify_s:.1f} s"
        f" {verify_mib:.0f} MiB  hashing {hash_s:.2f} s  one file: export {single_s:.1f} s,"
        f" verify {unpacked_s:.1f} s",
        flush=True,
    )


def main() -> None:
    """Measure each size in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, nargs="*", default=SIZES)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        for devices in options.devices:
            measure(devices, Path(name))


if __name__ == "__main__":
    main()
