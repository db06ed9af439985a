"""What somebody without the signing key tries, and what a signer tries with words that mean two things.

Each attack is tried on a pack whose other parts are made to agree with it, as a careful forger would.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from sealed_pack import Pack

from fleetmdm.evidence.archive.read import unpacked
from fleetmdm.evidence.names import SUMS, VIEW
from fleetmdm.evidence.pack.export import ExportOptions, export_pack
from fleetmdm.evidence.redact import Profile
from fleetmdm.evidence.verify import PackReport, Trust, verify_pack
from fleetmdm.evidence.view import encode_sums
from fleetmdm.store.sqlite import SqliteStore
from sshwire.allowed_signers import parse_allowed_signers
from sshwire.privkey import PrivateKey
from sshwire.pubkey import encode_public_line

NOW = datetime(2026, 11, 22, 13, tzinfo=UTC)
Export = Callable[..., Path]


@pytest.fixture
def trust(make_key: Callable[[int], PrivateKey]) -> Trust:
    line = f'me namespaces="evidence@fleetmdm" {encode_public_line(make_key(1).public_key)}'
    return Trust(parse_allowed_signers(line), ["me"], NOW)


@pytest.fixture(scope="module")
def packs(tmp_path_factory: pytest.TempPathFactory, export_sample: Export) -> Callable[[str], Path]:
    """The sample exported once under each profile, to be copied."""
    folder = tmp_path_factory.mktemp("packs")
    return cache(lambda profile: export_sample(folder / profile, profile))


@pytest.fixture
def copy_of(packs: Callable[[str], Path]) -> Export:
    """A copy to be spoilt."""

    def copy(output: Path, profile: str = "strict") -> Path:
        shutil.copytree(packs(profile), output)
        return output

    return copy


def codes(report: PackReport) -> set[str]:
    return {each.code for each in report.findings}


def redo_sums(root: Path) -> None:
    """What anyone can: list every file again."""
    digests = {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in root.rglob("*")
        if path.is_file() and path.parent.name != "signatures" and path.name != SUMS
    }
    (root / SUMS).write_bytes(encode_sums(digests))


def call_derived(root: Path) -> None:
    """Say that the view was derived, so that no signature over SHA256SUMS is asked for."""
    view = json.loads((root / VIEW).read_bytes())
    text = json.dumps({**view, "derived": True}, sort_keys=True, separators=(",", ":"))
    (root / VIEW).write_text(text + "\n")
    for path in (root / "signatures").glob("*.sums.sshsig"):
        path.unlink()
    redo_sums(root)


def test_a_view_swapped_for_another_of_the_same_run(
    tmp_path: Path, copy_of: Export, trust: Trust
) -> None:
    """As exported it does not verify; called derived, it must be what it says that it is."""
    strict, full = copy_of(tmp_path / "strict"), copy_of(tmp_path / "none", "none")
    shutil.copy(full / "inventory.ndjson", strict / "inventory.ndjson")
    redo_sums(strict)
    assert codes(verify_pack(strict, trust)) == {
        *("signature_invalid", "view_mismatch", "view_shows_more")
    }
    call_derived(strict)
    assert codes(verify_pack(strict, trust)) == {"view_mismatch", "view_shows_more"}


@pytest.mark.parametrize("claimed", ["none", "minimal"])
def test_a_profile_downgraded(tmp_path: Path, copy_of: Export, trust: Trust, claimed: str) -> None:
    pack = copy_of(tmp_path / "pack")
    text = (pack / VIEW).read_text().replace('"profile":"strict"', f'"profile":"{claimed}"')
    (pack / VIEW).write_text(text)
    assert codes(verify_pack(pack, trust)) == {"sums_mismatch"}
    redo_sums(pack)
    assert codes(verify_pack(pack, trust)) == {"signature_invalid"}


def test_an_older_pack_shown_again(
    tmp_path: Path, sample_store: SqliteStore, trust: Trust, make_key: Callable[[int], PrivateKey]
) -> None:
    """It is genuine, so it verifies; who has seen a newer one and says so is not taken in."""
    for run_id in (1, 2):
        options = ExportOptions(
            tmp_path / str(run_id), Profile.STRICT, (make_key(1),), "0.1.0", NOW
        )
        export_pack(sample_store, sample_store.run(run_id), options)
    older, newer = tmp_path / "1", tmp_path / "2"
    assert verify_pack(older, trust).run_id == 1
    assert codes(verify_pack(newer, trust, older=older)) == set()
    assert codes(verify_pack(older, trust, older=newer)) == {"ledger_shorter"}


@pytest.mark.parametrize("name", ["population.ndjson", "inventory.ndjson", "results.ndjson"])
def test_a_device_taken_out(tmp_path: Path, copy_of: Export, trust: Trust, name: str) -> None:
    pack = copy_of(tmp_path / "pack")
    lines = (pack / name).read_bytes().splitlines(keepends=True)
    first = json.loads(lines[0])
    (pack / name).write_bytes(b"".join(lines[1:]))
    view = json.loads((pack / VIEW).read_bytes())
    view["records"][name]["opened"] -= len(first["fields"])
    view["records"][name]["hidden"] -= len(first["hidden"])
    (pack / VIEW).write_text(json.dumps(view, sort_keys=True, separators=(",", ":")) + "\n")
    call_derived(pack)
    found = codes(verify_pack(pack, trust))
    assert found == {"record_count_mismatch", "record_root_mismatch"}


def test_a_value_put_behind_a_digest_that_is_not_its_own(
    tmp_path: Path, copy_of: Export, trust: Trust
) -> None:
    """Opening a withheld field needs its salt; a value of one's own gives another leaf."""
    pack = copy_of(tmp_path / "pack")
    path = pack / "inventory.ndjson"
    first, *rest = path.read_bytes().splitlines(keepends=True)
    record = json.loads(first)
    record["hidden"].pop()
    record["fields"]["hostname"] = ["0" * 32, "made-up"]
    text = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    path.write_bytes(text.encode() + b"\n" + b"".join(rest))
    call_derived(pack)
    assert "record_root_mismatch" in codes(verify_pack(pack, trust))


SALT = "0" * 32


@pytest.mark.parametrize(
    "line",
    [
        f'{{"fields":{{"a":["{SALT}",NaN]}},"hidden":[]}}',
        f'{{"fields":{{"a":["{SALT}",1e999]}},"hidden":[]}}',
        f'{{"fields":{{"a":["{SALT}",{"9" * 5000}]}},"hidden":[]}}',
        f'{{"fields":{{"a":["{SALT}",-0]}},"hidden":[]}}',
        f'{{"fields":{{"a":["{SALT}",1],"a":["{SALT}",1]}},"hidden":[]}}',
        f'{{"fields":{{"a":["{SALT}",1]}},"fields":{{"a":["{SALT}",1]}},"hidden":[]}}',
        f'{{"fields":{{"a":["{SALT}","\\u0061"]}},"hidden":[]}}',
        f'{{"fields":{{"\\u0061":["{SALT}",1]}},"hidden":[]}}',
        f'{{"fields":{{"a":["{SALT}","\\ud83d\\ude00"]}},"hidden":[]}}',
        f'{{"fields":{{"b":["{SALT}",1],"a":["{SALT}",1]}},"hidden":[]}}',
        f'{{"fields":{{"\ue000":["{SALT}",1],"\U0001f600":["{SALT}",1]}},"hidden":[]}}',
        f'\ufeff{{"fields":{{"a":["{SALT}",1]}},"hidden":[]}}',
        f'{{"fields":{{"a":["{SALT}",{"[" * 3000}{"]" * 3000}]}},"hidden":[]}}',
    ],
)
def test_a_signer_cannot_write_a_record_that_reads_in_two_ways(
    tmp_path: Path, copy_of: Export, trust: Trust, line: str
) -> None:
    """Numbers that are none, names twice, the same text in other letters, another order."""
    pack = copy_of(tmp_path / "pack")
    path = pack / "transitions.ndjson"
    path.write_bytes(path.read_bytes() + line.encode() + b"\n")
    call_derived(pack)
    report = verify_pack(pack, trust)
    manifest = json.loads((pack / "manifest.json").read_bytes())
    assert "record_count_mismatch" in codes(report)
    # The same line where the manifest has one more record: then it is the form that is wrong.
    manifest["files"]["transitions.ndjson"]["count"] += 1
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":"))
    (pack / "manifest.json").write_text(text + "\n")
    assert "record_malformed" in codes(verify_pack(pack, trust))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"schema":1', '"schema":1.0'),
        ('"schema":1', '"schema":true'),
        ('"schema":1', f'"schema":{"9" * 5000}'),
        ('"count":0', '"count":-0'),
        ('"count":0', '"count":0e0'),
        ('"count":0', f'"count":{"9" * 400}'),
        ('"type":', '"type":"x","type":'),
        ('"run.json"', '"run.json":{"kind":"whole","sha256":"","bytes":0},"run.json"'),
        ('"run.json"', '"\\u0072un.json"'),
        ('"run.json"', '"run\u200b.json"'),
        ('"run.json"', '"../run.json"'),
        ('"tool":', '"tool":NaN,"tool":'),
    ],
)
def test_a_manifest_that_reads_in_two_ways(
    tmp_path: Path,
    copy_of: Export,
    trust: Trust,
    make_key: Callable[[int], PrivateKey],
    old: str,
    new: str,
) -> None:
    """Signed by the very key that is trusted."""
    pack = Pack(copy_of(tmp_path / "pack"), make_key(1))
    text = (pack.root / "manifest.json").read_text()
    assert old in text
    (pack.root / "manifest.json").write_text(text.replace(old, new, 1))
    pack.seal(manifest=False, view=False)
    found = codes(verify_pack(pack.root, trust))
    assert found & {
        *("manifest_malformed", "manifest_not_canonical", "manifest_unsupported", "name_unsafe")
    }


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"opened":', '"opened":0,"opened":'),
        ('"derived":false', '"derived":0'),
        ('"profile":"strict"', '"profile":"Strict"'),
        ('"schema":1', '"schema":2'),
        ('"schema":1', '"rules":{"allow":[],"deny":[]},"schema":1'),
        ('"hidden":0', f'"hidden":{"9" * 5000}'),
    ],
)
def test_a_view_that_reads_in_two_ways(
    tmp_path: Path,
    copy_of: Export,
    trust: Trust,
    make_key: Callable[[int], PrivateKey],
    old: str,
    new: str,
) -> None:
    pack = Pack(copy_of(tmp_path / "pack"), make_key(1))
    text = (pack.root / VIEW).read_text()
    assert old in text
    (pack.root / VIEW).write_text(text.replace(old, new, 1))
    pack.seal(manifest=False, view=False)
    assert "view_malformed" in codes(verify_pack(pack.root, trust))


def test_no_word_of_a_pack_reaches_the_file_system(tmp_path: Path, copy_of: Export) -> None:
    """Every name that a stranger's pack could be read by is checked before it is opened."""
    pack = copy_of(tmp_path / "pack")
    report = PackReport()
    with unpacked(pack, report) as root:
        assert root == pack
    swap: dict[str, Any] = json.loads((pack / "manifest.json").read_bytes())
    swap["files"]["../../etc/passwd"] = swap["files"].pop("run.json")
    text = json.dumps(swap, sort_keys=True, separators=(",", ":"))
    (pack / "manifest.json").write_text(text + "\n")
    assert "name_unsafe" in codes(verify_pack(pack, Trust(None, (), NOW)))
