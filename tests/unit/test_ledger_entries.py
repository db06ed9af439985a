"""Leaves, checkpoints and run proofs: what they say, and what they refuse."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from fleetmdm.ledger.checkpoint import (
    Checkpoint,
    CheckpointError,
    encode_checkpoint,
    parse_checkpoint,
)
from fleetmdm.ledger.entries import (
    LeafError,
    encode_export_leaf,
    encode_run_leaf,
    parse_leaf,
)
from fleetmdm.ledger.merkle import ProofError, leaf_hash, root_of_hashes
from fleetmdm.ledger.proof import prove_run, verify_extends, verify_run_proof
from fleetmdm.ledger.replay import replay
from fleetmdm.results import Run, Status

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def _run(run_id: int) -> Run:
    return Run(
        run_id=run_id,
        started_at=NOON,
        finished_at=NOON + timedelta(seconds=1.5),
        as_of=NOON,
        devices=2,
        policies=1,
        counts={Status.PASS: 1, Status.FAIL: 1, Status.ERROR: 0},
        tool_version="0.1.0",
        policy_set_hash="a" * 64,
        inventory_root="b" * 64,
        result_root="c" * 64,
    )


def _log() -> list[bytes]:
    export = encode_export_leaf(
        run_id=1,
        manifest_sha256="d" * 64,
        profile="strict",
        signers=["SHA256:x"],
        exported_at=NOON,
        tool_version="0.1.0",
    )
    return [encode_run_leaf(_run(1)), export, encode_run_leaf(_run(2)), encode_run_leaf(_run(3))]


def test_a_run_leaf_is_these_bytes() -> None:
    assert encode_run_leaf(_run(7)).decode() == (
        '{"as_of":"2026-11-22T12:00:00Z","counts":{"fail":1,"pass":1},"devices":2,'
        '"finished_at":"2026-11-22T12:00:01.500000Z","inventory_root":"' + "b" * 64 + '",'
        '"policies":1,"policy_set_hash":"' + "a" * 64 + '","result_root":"' + "c" * 64 + '",'
        '"run_id":7,"schema":2,"started_at":"2026-11-22T12:00:00Z","tool_version":"0.1.0",'
        '"type":"run"}'
    )


def test_an_export_leaf_holds_the_manifest_hash() -> None:
    entry = parse_leaf(_log()[1])
    assert (entry["type"], entry["manifest_sha256"]) == ("export", "d" * 64)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"{}",
        b'{"type":1}',
        b'{ "type":"run"}',
        b'{"type":"run","type":"run"}',
        b"\xff",
        b"[" * 100_000,
        b'{"type":"' + b"x" * 70_000 + b'"}',
        b'{"a":9007199254740993,"type":"run"}',
    ],
)
def test_a_leaf_that_is_not_canonical_is_refused(data: bytes) -> None:
    with pytest.raises(LeafError):
        parse_leaf(data)


def test_a_checkpoint_is_three_lines() -> None:
    checkpoint = Checkpoint("fleetmdm/fleet-1", 3, bytes(32))
    data = encode_checkpoint(checkpoint)
    assert data == b"fleetmdm/fleet-1\n3\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
    assert parse_checkpoint(data) == checkpoint


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"o\n3\n",
        b"o\n03\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n",
        b"o\n-3\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n",
        b"o\n3\nAAAA\n",
        b"o\n3\n!!!!\n",
        b"o\n3\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB=\n",
        b"o\n3\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
        b"o\n3\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\nmore",
        b"o o\n3\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n",
        b"\xc3\xb6\n3\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n",
        b"o\n9999999999999999999\nAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n",
        b"o" * 2000,
    ],
)
def test_a_malformed_checkpoint_is_refused(data: bytes) -> None:
    with pytest.raises(CheckpointError):
        parse_checkpoint(data)


def test_a_run_proof_stands_at_the_runs_own_leaf_whatever_follows() -> None:
    log = _log()
    proof = prove_run(log, 2, origin="o")
    assert (proof.index, proof.checkpoint.size) == (2, 3)
    assert prove_run(log[:3], 2, origin="o") == proof
    verify_run_proof(proof)


def test_a_leaf_that_the_log_does_not_hold_has_no_proof() -> None:
    for index in (-1, 4):
        with pytest.raises(ProofError, match=f"no leaf {index}"):
            prove_run(_log(), index, origin="o")


def test_a_run_proof_whose_parts_disagree_is_refused() -> None:
    proof = prove_run(_log(), 2, origin="o")
    for wrong in (
        replace(proof, leaf=_log()[0]),
        replace(proof, index=1),
        replace(proof, path=proof.path[:-1]),
        replace(proof, hashes=proof.hashes[:-1]),
        replace(proof, hashes=(*proof.hashes[:-1], bytes(32))),
        replace(proof, checkpoint=replace(proof.checkpoint, root=bytes(32))),
    ):
        with pytest.raises(ProofError):
            verify_run_proof(wrong)


def test_a_later_log_must_begin_with_the_older_one() -> None:
    hashes = [leaf_hash(leaf) for leaf in _log()]
    older = Checkpoint("o", 2, root_of_hashes(hashes[:2]))
    verify_extends(older, hashes)
    with pytest.raises(ProofError, match="rewritten"):
        verify_extends(older, [hashes[1], *hashes[1:]])
    with pytest.raises(ProofError, match="older log has 2"):
        verify_extends(older, hashes[:1])


def test_a_log_that_holds_every_run_replays_without_a_word() -> None:
    seen = replay(_log(), {number: _run(number) for number in (1, 2, 3)})
    assert seen.problems == []
    assert (seen.size, seen.counts) == (4, {"run": 3, "export": 1})
    assert seen.root == root_of_hashes(leaf_hash(leaf) for leaf in _log())


def test_a_log_that_does_not_hold_every_run_says_where() -> None:
    log = _log()
    runs = {number: _run(number) for number in (1, 2, 3, 4)}
    runs[2] = replace(runs[2], result_root="0" * 64)
    seen = replay([log[1], *log, log[0], b"{}"], runs)
    assert seen.problems == [
        "leaf 0: an export of run 1, which is not logged before",
        "leaf 3: run 2 is stored otherwise than logged",
        "leaf 5: run 1 is in the log twice",
        "leaf 6: leaf is not an object with a type",
        "run 4 is not in the log",
    ]


def test_a_run_that_was_pruned_stays_in_the_log() -> None:
    assert replay(_log(), {3: _run(3)}).problems == []
