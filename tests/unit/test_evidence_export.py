"""Exports: the same bytes each time, nothing that was not to be shown, nothing half-written."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fleetmdm.errors import FleetError
from fleetmdm.evidence.pack.controls import encode_controls
from fleetmdm.evidence.pack.documents import name_policies
from fleetmdm.evidence.pack.export import ExportOptions, export_pack, newest_run
from fleetmdm.evidence.pack.folder import atomic_folder
from fleetmdm.evidence.pack.reconcile import Tally, check_reconciliation, reconcile
from fleetmdm.evidence.records.reading import parse_record
from fleetmdm.evidence.redact import Profile, Redaction
from fleetmdm.evidence.verify import Trust, verify_pack
from fleetmdm.evidence.verify.records import RecordChecker, check_together
from fleetmdm.governance.effective import EffectiveStatus
from fleetmdm.ledger.entries import parse_leaf
from fleetmdm.policy_yaml import parse_policy
from fleetmdm.results import Run, Status
from fleetmdm.store.sqlite import SqliteStore
from sshwire.allowed_signers import AllowedSigners
from sshwire.errors import WireError
from sshwire.privkey import PrivateKey
from sshwire.pubkey import PublicKey

PLANTED = b"canary"
"""In every identifier of the sample fleet, in facts that are known and facts that are not."""


def _files(root: Path) -> dict[str, bytes]:
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
    }


def _records(root: Path, name: str) -> list[dict[str, Any]]:
    lines = (root / name).read_bytes().splitlines(keepends=True)
    return [dict(parse_record(line).fields) for line in lines]


def test_the_same_run_and_options_give_the_same_bytes(
    tmp_path: Path, export_sample: Callable[..., Path]
) -> None:
    first, second = (_files(export_sample(tmp_path / name)) for name in ("a", "b"))
    assert first == second, "Ed25519 signatures are deterministic too"


def test_the_manifest_does_not_depend_on_the_profile(
    tmp_path: Path, export_sample: Callable[..., Path]
) -> None:
    packs = [_files(export_sample(tmp_path / name, name)) for name in ("none", "minimal", "strict")]
    differing = {name for name in packs[0] for pack in packs if pack[name] != packs[0][name]}
    assert {name for name in differing if not name.endswith(".sums.sshsig")} == {
        "SHA256SUMS",
        "inventory.ndjson",
        "population.ndjson",
        "results.ndjson",
        "transitions.ndjson",
        "view.json",
    }


def test_nothing_that_names_anyone_is_in_a_strict_pack(
    tmp_path: Path, export_sample: Callable[..., Path]
) -> None:
    for name, data in _files(export_sample(tmp_path / "pack")).items():
        assert PLANTED not in data.lower(), name
        assert b"192.0.2.77" not in data, name


def test_nothing_is_lost_in_a_pack_without_redaction(
    tmp_path: Path, export_sample: Callable[..., Path]
) -> None:
    root = export_sample(tmp_path / "pack", "none")
    first = _records(root, "inventory.ndjson")[0]
    assert first["hostname"] == "canary-host-0.example.org"
    assert first["facts.inodes"] == 9223372036854775807
    assert first["facts.load"] == 0.25
    assert first["facts.empty.map"] == {}
    assert first['facts."odd \\"name\\".x"'] is True
    assert first["facts.disks[0].serial"] == "CANARY-DISK-0"
    lines = (root / "results.ndjson").read_bytes().splitlines(keepends=True)
    assert [parse_record(line).hidden for line in lines] == [0] * 5


def test_minimal_hides_identifiers_and_what_repeats_them(
    tmp_path: Path, export_sample: Callable[..., Path]
) -> None:
    first = _records(export_sample(tmp_path / "pack", "minimal"), "inventory.ndjson")[0]
    assert first["facts.load"] == 0.25
    assert first["facts.owner.name"] == "Canary Person"
    for path in ("hostname", "facts.kernel.note", "facts.sshd.banner", "facts.owner.email"):
        assert path not in first, path


def test_a_device_goes_by_one_pseudonym_in_every_file(
    tmp_path: Path, export_sample: Callable[..., Path]
) -> None:
    strict = export_sample(tmp_path / "strict")
    devices = {record["device"] for record in _records(strict, "population.ndjson")}
    assert len(devices) == 3
    for name in ("inventory.ndjson", "results.ndjson", "transitions.ndjson"):
        assert {record["device"] for record in _records(strict, name)} <= devices
    shown = _records(export_sample(tmp_path / "none", "none"), "population.ndjson")
    assert {record["device"] for record in shown} == devices


def test_results_keep_what_was_seen_where_its_fact_may_show(
    tmp_path: Path, export_sample: Callable[..., Path]
) -> None:
    results = _records(export_sample(tmp_path / "pack"), "results.ndjson")
    assert Counter(each["policy_id"] for each in results) == {
        "Disk.Encryption": 3,
        "ssh-root-login": 2,
    }
    login = next(each for each in results if each["policy_id"] == "ssh-root-login")
    assert login["finding[0].observed"] == "yes"
    assert login["finding[0]"]["reason"] == "mismatch"
    disk = next(each for each in results if each["policy_id"] == "Disk.Encryption")
    assert "finding[0].observed" not in disk, "the catalogue does not know disks"


def test_transitions_and_drift_count_the_same(
    tmp_path: Path, export_sample: Callable[..., Path]
) -> None:
    root = export_sample(tmp_path / "pack")
    changes = Counter(
        (each["before"], each["after"]) for each in _records(root, "transitions.ndjson")
    )
    assert changes == {("none", "fail"): 1, ("fail", "none"): 1}
    drift = json.loads((root / "drift.json").read_bytes())
    assert (drift["from_run"], drift["to_run"], drift["transitions"]) == (1, 2, 2)


def test_the_export_itself_is_recorded_with_the_manifest_hash(
    tmp_path: Path, export_sample: Callable[..., Path], sample_store: SqliteStore
) -> None:
    import hashlib

    root = export_sample(tmp_path / "pack")
    leaf = parse_leaf(list(sample_store.leaves())[-1])
    manifest = (root / "manifest.json").read_bytes()
    assert leaf["manifest_sha256"] == hashlib.sha256(manifest).hexdigest()
    assert (leaf["type"], leaf["run_id"], leaf["profile"]) == ("export", 2, "strict")


def test_an_existing_output_is_refused_and_left_alone(
    tmp_path: Path, export_sample: Callable[..., Path], sample_store: SqliteStore
) -> None:
    leaves = len(list(sample_store.leaves()))
    (tmp_path / "folder").mkdir()
    (tmp_path / "dangling").symlink_to("nowhere")
    for name in ("folder", "dangling"):
        with pytest.raises(FleetError) as caught:
            export_sample(tmp_path / name)
        assert caught.value.code == "output_exists"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dangling", "folder"]
    assert len(list(sample_store.leaves())) == leaves


def test_a_signer_that_refuses_leaves_nothing_behind(
    tmp_path: Path,
    export_sample: Callable[..., Path],
    sample_store: SqliteStore,
    make_key: Callable[[int], PrivateKey],
) -> None:
    class Refusing:
        public_key: PublicKey = make_key(1).public_key

        def sign(self, data: bytes, flags: int = 0) -> bytes:
            raise WireError(f"no signature over {len(data)} bytes with flags {flags}")

    leaves = len(list(sample_store.leaves()))
    with pytest.raises(WireError):
        export_sample(tmp_path / "pack", signers=[Refusing()])
    assert list(tmp_path.iterdir()) == []
    assert len(list(sample_store.leaves())) == leaves


def test_a_signer_that_signs_with_another_key_is_found_out(
    tmp_path: Path, export_sample: Callable[..., Path], make_key: Callable[[int], PrivateKey]
) -> None:
    class Lying:
        public_key: PublicKey = make_key(1).public_key

        def sign(self, data: bytes, flags: int = 0) -> bytes:
            return make_key(2).sign(data, flags)

    with pytest.raises(FleetError) as caught:
        export_sample(tmp_path / "pack", signers=[Lying()])
    assert caught.value.code == "agent_refused"
    assert list(tmp_path.iterdir()) == []


def test_a_parent_that_is_not_there_is_an_output_failure(
    tmp_path: Path, export_sample: Callable[..., Path]
) -> None:
    from clikit.errors import Failure

    with pytest.raises(Failure) as caught:
        export_sample(tmp_path / "absent" / "pack")
    assert caught.value.code == "output_failed"


def test_a_folder_taken_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    output = tmp_path / "pack"
    with pytest.raises(FleetError), atomic_folder(output):
        output.mkdir()
    assert [path.name for path in tmp_path.iterdir()] == ["pack"]
    assert list(output.iterdir()) == []


def test_an_unsigned_pack_says_so(tmp_path: Path, export_sample: Callable[..., Path]) -> None:
    from datetime import UTC, datetime

    root = export_sample(tmp_path / "pack", signers=[])
    assert "Nobody" in (root / "README.txt").read_text()
    trust = Trust(AllowedSigners(()), ["x"], datetime(2026, 11, 22, tzinfo=UTC))
    assert {each.code for each in verify_pack(root, trust).findings} == {"unsigned"}


def _run_and_tally(store: SqliteStore) -> tuple[Run, Tally]:
    run = next(iter(store.runs(limit=1)))
    tally = Tally(devices=3, policies=2)
    for row in store.results(run.run_id):
        tally.add_row(row.policy_id, row.status)
    return run, tally


def test_counts_that_add_up_are_told(sample_store: SqliteStore) -> None:
    run, tally = _run_and_tally(sample_store)
    document = reconcile(run, tally)
    assert document["verdicts"]["by_state"] == {"fail": 5, "pass": 1}
    assert document["rows"] == {"results": 5, "not_stored": 1}
    assert check_reconciliation(document) is None


@pytest.mark.parametrize(
    "spoil",
    [
        lambda run, tally: (run, Tally(2, tally.policies, tally.rows, tally.by_policy)),
        lambda run, tally: (run, Tally(3, 1, tally.rows, tally.by_policy)),
        lambda run, tally: (run, Tally(3, 2, tally.rows + Counter({Status.ERROR: 1}))),
        lambda run, tally: (run, Tally(tally.devices, tally.policies)),
        lambda run, tally: (replace(run, counts={Status.FAIL: 6}), tally),
        lambda run, tally: (replace(run, devices=4), tally),
    ],
)
def test_counts_that_do_not_add_up_stop_the_export(
    sample_store: SqliteStore, spoil: Callable[[Run, Tally], tuple[Run, Tally]]
) -> None:
    with pytest.raises(FleetError) as caught:
        reconcile(*spoil(*_run_and_tally(sample_store)))
    assert caught.value.code == "reconciliation_failed"


def test_policies_get_file_names_that_every_system_keeps_apart() -> None:
    ids = ["plain-1", "Case", "case", "a/b", "ä", ".hidden", "x" * 500, "..", ""]
    names = name_policies(ids)
    assert names["plain-1"] == "policies/plain-1.yaml"
    assert names["a/b"] == "policies/a%2Fb.yaml"
    assert len({name.casefold() for name in names.values()}) == len(ids)
    from fleetmdm.evidence.manifest import is_safe_name

    assert [name for name in names.values() if not is_safe_name(name)] == []


def test_controls_count_every_state_and_cannot_be_formulas(sample_store: SqliteStore) -> None:
    policy = parse_policy(
        b"---\nid: p\nname: p\nreferences:\n  - {framework: '=1+1', control: '@x'}\n"
        b"checks:\n  - {key: a, op: exists}\n",
        name="p",
    )
    run = next(sample_store.runs(limit=1))
    run = replace(run, policy_counts={"p": {Status.PASS: 1, Status.NOT_APPLICABLE: 2}})
    waived = {(Status.PASS, EffectiveStatus.STALE): 1}
    text = encode_controls([policy], run, {"p": waived}).decode()
    header, row = (line.split(",") for line in text.split("\r\n")[:2])
    assert row[:5] == ["'=1+1", "'@x", "p", "medium", "3"]
    counted = {name: int(value) for name, value in zip(header[5:], row[5:], strict=True)}
    assert {name: count for name, count in counted.items() if count} == {
        "pass": 1,
        "notapplicable": 2,
        "stale": 1,
    }


def test_a_pack_is_the_same_whoever_made_its_records(
    sample_store: SqliteStore, tmp_path: Path, make_key: Callable[[int], PrivateKey]
) -> None:
    """In this process or in others; they are checked in others too."""
    for workers in (0, 1):
        options = ExportOptions(
            tmp_path / str(workers),
            Profile.STRICT,
            (make_key(1),),
            "0.1.0",
            datetime.now(UTC),
            workers=workers,
        )
        export_pack(sample_store, newest_run(sample_store), options)
    assert _files(tmp_path / "1") == _files(tmp_path / "0")
    lines = (tmp_path / "1" / "inventory.ndjson").read_bytes().splitlines(keepends=True)
    alone, tasks = RecordChecker(Redaction(Profile.NONE)), [lines, [b"spoilt"], lines[:1]] * 9
    with check_together(Redaction(Profile.NONE), 1) as crew:
        assert list(crew.do(tasks)) == [alone.check(task) for task in tasks]
