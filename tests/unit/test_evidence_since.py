"""A later pack of the same fleet must continue the log of the earlier one, or it is caught."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sealed_pack import Pack

from clikit.canonical import encode_canonical
from fleetmdm.evidence.manifest import encode_manifest, parse_manifest
from fleetmdm.evidence.pack.export import ExportOptions, export_pack
from fleetmdm.evidence.redact import Profile
from fleetmdm.evidence.verify import PackReport, Trust, verify_pack
from fleetmdm.ledger.checkpoint import Checkpoint, encode_checkpoint, parse_checkpoint
from fleetmdm.ledger.merkle import inclusion_proof, leaf_hash, root_of_hashes
from fleetmdm.store.sqlite import SqliteStore
from sshwire.allowed_signers import parse_allowed_signers
from sshwire.privkey import PrivateKey
from sshwire.pubkey import encode_public_line

NOW = datetime(2026, 11, 22, 13, tzinfo=UTC)
Make = Callable[[int], PrivateKey]
Export = Callable[[int, Path], Path]


@pytest.fixture
def export_run(sample_store: SqliteStore, make_key: Make) -> Export:
    def export(run_id: int, output: Path) -> Path:
        options = ExportOptions(output, Profile.NONE, (make_key(1),), "0.1.0", NOW)
        export_pack(sample_store, sample_store.run(run_id), options)
        return output

    return export


@pytest.fixture
def trust(make_key: Make) -> Trust:
    line = f"me {encode_public_line(make_key(1).public_key)}"
    return Trust(parse_allowed_signers(line), ["me"], NOW)


def codes(report: PackReport) -> list[str]:
    return [each.code for each in report.findings]


def test_a_later_pack_continues_an_earlier_one(
    export_run: Export, trust: Trust, tmp_path: Path
) -> None:
    older, newer = export_run(1, tmp_path / "older"), export_run(2, tmp_path / "newer")
    report = verify_pack(newer, trust, older=older)
    assert report.findings == []
    assert report.continues is not None
    assert report.continues.older_size < report.continues.size
    same = verify_pack(newer, trust, older=newer)
    assert (same.findings, same.continues and same.continues.proof) == ([], ())
    assert codes(verify_pack(older, trust, older=newer)) == ["ledger_shorter"]


def test_an_older_pack_that_does_not_hold_proves_nothing(
    export_run: Export, trust: Trust, tmp_path: Path
) -> None:
    older, newer = export_run(1, tmp_path / "older"), export_run(2, tmp_path / "newer")
    with (older / "run.json").open("ab") as file:
        file.write(b"\n")
    assert codes(verify_pack(newer, trust, older=older)) == ["older_pack_invalid"]


def chain(leaves: Sequence[bytes]) -> str:
    """A plain hash chain over a log: each link covers the one before and a leaf."""
    link = b""
    for leaf in leaves:
        link = hashlib.sha256(link + leaf).digest()
    return link.hex()


def follows(leaves: Sequence[bytes], head: str) -> bool:
    """All that a chain can check of a log that is shown whole: that its head is its head."""
    return chain(leaves) == head


def forge(root: Path, key: PrivateKey, leaves: Sequence[bytes]) -> None:
    """What the holder of the key can do: write the log anew, ending in the pack's own run."""
    pack = Pack(root, key)
    hashes = [leaf_hash(leaf) for leaf in leaves]
    old = parse_checkpoint((root / "log" / "checkpoint").read_bytes())
    checkpoint = Checkpoint(old.origin, len(hashes), root_of_hashes(hashes))
    proof = inclusion_proof(hashes, len(hashes) - 1)
    inclusion = {
        "index": len(hashes) - 1,
        "size": len(hashes),
        "path": [step.hex() for step in proof],
    }
    (root / "log" / "checkpoint").write_bytes(encode_checkpoint(checkpoint))
    (root / "log" / "inclusion.json").write_bytes(encode_canonical(inclusion) + b"\n")
    (root / "log" / "hashes").write_text("".join(f"{each.hex()}\n" for each in hashes))
    manifest = parse_manifest((root / "manifest.json").read_bytes())
    ledger = {"origin": old.origin, "size": len(hashes), "root": checkpoint.root.hex()}
    (root / "manifest.json").write_bytes(encode_manifest(replace(manifest, ledger=ledger)))
    pack.seal()


@pytest.mark.parametrize("forgery", ["rewritten", "cut"])
def test_a_log_that_was_forged_and_hashed_again_is_caught(
    export_run: Export,
    trust: Trust,
    tmp_path: Path,
    sample_store: SqliteStore,
    make_key: Make,
    forgery: str,
) -> None:
    """A chain of hashes accepts it, and so does every check of the pack by itself."""
    older, newer = export_run(1, tmp_path / "older"), export_run(2, tmp_path / "newer")
    index = sample_store.leaf_of_run(2)
    honest = list(sample_store.leaves())[: index + 1]
    if forgery == "cut":
        forged = honest[1:]
    else:
        first = json.loads(honest[0])
        first["counts"] = {"pass": 6}
        forged = [encode_canonical(first), *honest[1:]]
    forge(newer, make_key(1), forged)
    assert follows(forged, chain(forged)), "whoever can write the chain can write its head"
    assert codes(verify_pack(newer, trust)) == [], "alone, the forged pack is sound"
    known = parse_checkpoint((older / "log" / "checkpoint").read_bytes()).size
    found = codes(verify_pack(newer, trust, older=older))
    assert found == (["ledger_shorter"] if len(forged) < known else ["ledger_rewritten"])


def test_the_log_of_another_fleet_continues_nothing(
    export_run: Export, trust: Trust, tmp_path: Path, make_key: Make
) -> None:
    older, newer = export_run(1, tmp_path / "older"), export_run(2, tmp_path / "newer")
    checkpoint = parse_checkpoint((older / "log" / "checkpoint").read_bytes())
    other = replace(checkpoint, origin="fleetmdm/0000000000000000")
    (older / "log" / "checkpoint").write_bytes(encode_checkpoint(other))
    manifest = parse_manifest((older / "manifest.json").read_bytes())
    ledger = {**manifest.ledger, "origin": other.origin}
    (older / "manifest.json").write_bytes(encode_manifest(replace(manifest, ledger=ledger)))
    metadata = json.loads((older / "metadata.json").read_bytes())
    metadata["fleet"] = other.origin
    (older / "metadata.json").write_bytes(encode_canonical(metadata) + b"\n")
    Pack(older, make_key(1)).seal()
    assert codes(verify_pack(newer, trust, older=older)) == ["ledger_other_fleet"]
