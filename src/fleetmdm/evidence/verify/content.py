"""Whether the files of a pack tell one story: run, leaf, log, counts. Pure.

Each file is what the manifest says by now; here it is asked whether they agree with each other.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from io import BytesIO
from typing import Any

from clikit.canonical import encode_canonical
from fleetmdm.evidence.agent_audit import check_segment
from fleetmdm.evidence.manifest import TOOL, Manifest, Records
from fleetmdm.evidence.names import (
    AGENT_AUDIT,
    DRIFT,
    INVENTORY,
    LOG_CHECKPOINT,
    LOG_HASHES,
    LOG_INCLUSION,
    LOG_LEAF,
    MANIFEST,
    METADATA,
    POLICIES,
    POPULATION,
    RECONCILIATION,
    RESULTS,
    RUN,
    TRANSITIONS,
    VIEW,
)
from fleetmdm.evidence.pack.reconcile import check_reconciliation
from fleetmdm.evidence.verify.files import Contents
from fleetmdm.evidence.verify.findings import PackReport
from fleetmdm.ledger.checkpoint import Checkpoint, CheckpointError, parse_checkpoint
from fleetmdm.ledger.entries import LeafError, parse_leaf
from fleetmdm.ledger.merkle import ProofError, leaf_hash
from fleetmdm.ledger.proof import RunProof, verify_run_proof

MAX_AUDIT_PROBLEMS = 20
"""Problems of an agent's log that are listed."""

_HASH = re.compile(rb"[0-9a-f]{64}\n")


class _StoryError(ValueError):
    """A file that cannot be read as what it is."""


def check_story(contents: Contents, report: PackReport) -> None:
    """Everything that two files say twice must be said alike."""
    manifest = contents.manifest
    if manifest is None:
        return
    if contents.view is not None and contents.view.manifest_sha256 != report.manifest_sha256:
        report.add("view_mismatch", VIEW, f"{VIEW} belongs to another {MANIFEST}")
    _check_metadata(contents, manifest, report)
    leaf = _check_log(contents, manifest, report)
    run = _object(contents, RUN, "run_mismatch", report)
    if run is not None:
        run_id = run.get("run_id")
        report.run_id = run_id if isinstance(run_id, int) else None
        report.as_of = str(run.get("as_of"))
        if leaf is not None:
            _check_run(run, leaf, report)
    _check_counts(contents, manifest, run, report)
    if AGENT_AUDIT in contents.kept:
        segment = check_segment(BytesIO(contents.kept[AGENT_AUDIT]))
        for problem in segment.problems[:MAX_AUDIT_PROBLEMS]:
            report.add("agent_audit_invalid", AGENT_AUDIT, problem)
        if segment.unsealed:
            message = f"{segment.unsealed} of {segment.records} records stand under no seal"
            report.add("agent_audit_unsealed", AGENT_AUDIT, message)
        report.agent_audit = segment


def _check_metadata(contents: Contents, manifest: Manifest, report: PackReport) -> None:
    """Tool and fleet are those of the manifest."""
    metadata = _object(contents, METADATA, "metadata_mismatch", report)
    if metadata is None:
        return
    tool = {"name": TOOL, "version": manifest.tool_version}
    said = (metadata.get("tool"), metadata.get("fleet"))
    if said != (tool, manifest.ledger.get("origin")):
        report.add("metadata_mismatch", METADATA)


def _check_log(contents: Contents, manifest: Manifest, report: PackReport) -> dict[str, Any] | None:
    """The run's leaf, when the log files are there and prove it."""
    if not {LOG_LEAF, LOG_CHECKPOINT, LOG_INCLUSION, LOG_HASHES} <= set(contents.kept):
        return None
    try:
        proof = _parse_proof(contents)
        leaf = parse_leaf(proof.leaf)
        verify_run_proof(proof)
    except (_StoryError, CheckpointError, LeafError, ProofError) as error:
        report.add("ledger_proof_invalid", LOG_INCLUSION, str(error))
        return None
    _check_ledger(manifest, proof.checkpoint, proof.leaf, report)
    return leaf


def _parse_proof(contents: Contents) -> RunProof:
    inclusion = _object(contents, LOG_INCLUSION)
    hashes = contents.kept[LOG_HASHES]
    if len(hashes) % 65 or len(_HASH.findall(hashes)) != len(hashes) // 65:
        raise _StoryError(f"{LOG_HASHES} is not a list of hashes")
    try:
        assert inclusion is not None  # noqa: S101 - narrows; a TypeError would say the same
        index, path = inclusion["index"], [bytes.fromhex(step) for step in inclusion["path"]]
    except (AssertionError, KeyError, TypeError, ValueError) as error:
        raise _StoryError(f"{LOG_INCLUSION} is not a proof") from error
    if not isinstance(index, int):
        raise _StoryError(f"{LOG_INCLUSION} has no index")
    checkpoint = parse_checkpoint(contents.kept[LOG_CHECKPOINT])
    listed = tuple(bytes.fromhex(line.decode()) for line in hashes.split(b"\n")[:-1])
    return RunProof(contents.kept[LOG_LEAF], index, checkpoint, tuple(path), listed)


def _check_ledger(
    manifest: Manifest, checkpoint: Checkpoint, leaf: bytes, report: PackReport
) -> None:
    said = {
        "origin": checkpoint.origin,
        "size": checkpoint.size,
        "root": checkpoint.root.hex(),
    }
    if dict(manifest.ledger) != said:
        report.add("ledger_mismatch", LOG_CHECKPOINT, f"{MANIFEST} names another checkpoint")
    if manifest.run.get("leaf") != leaf_hash(leaf).hex():
        report.add("ledger_mismatch", LOG_LEAF, f"{MANIFEST} names another leaf")


def _check_run(run: Mapping[str, Any], leaf: Mapping[str, Any], report: PackReport) -> None:
    """run.json says what the leaf says, and nothing else."""
    said = {name: value for name, value in run.items() if name not in ("schema", "settings")}
    logged = {name: value for name, value in leaf.items() if name not in ("schema", "type")}
    if leaf.get("type") != "run" or said != logged:
        differing = sorted(name for name in {*said, *logged} if said.get(name) != logged.get(name))
        report.add("run_mismatch", RUN, f"{RUN} and the leaf differ in: {', '.join(differing)}")


def _check_counts(
    contents: Contents, manifest: Manifest, run: Mapping[str, Any] | None, report: PackReport
) -> None:
    reconciliation = _object(contents, RECONCILIATION, "reconciliation_mismatch", report)
    if reconciliation is not None:
        message = check_reconciliation(reconciliation) or _compare(reconciliation, manifest, run)
        if message is not None:
            report.add("reconciliation_mismatch", RECONCILIATION, message)
        else:
            _check_outside(reconciliation, report)
    drift = _object(contents, DRIFT, "drift_mismatch", report)
    if drift is not None and drift.get("transitions") != _count(manifest, TRANSITIONS):
        report.add("drift_mismatch", DRIFT)


def _check_outside(document: Mapping[str, Any], report: PackReport) -> None:
    """A population that is not that of the outside list is no fault of the pack, and is told."""
    outside = document["outside_list"]
    if outside is not None and (outside["missing_from_fleet"] or outside["devices_not_on_it"]):
        message = (
            f"{outside['missing_from_fleet']} names on the outside list are unknown to the fleet,"
            f" {outside['devices_not_on_it']} devices are not on it"
        )
        report.add("outside_list_differs", RECONCILIATION, message)


def _compare(
    document: Mapping[str, Any], manifest: Manifest, run: Mapping[str, Any] | None
) -> str | None:
    """Why a reconciliation that adds up is not that of these files; None when it is."""
    policies = sum(1 for name in manifest.files if name.startswith(f"{POLICIES}/"))
    pairs = {
        f"devices in {POPULATION}": (
            sum(
                document["devices"].get(name, 0) for name in ("in_scope", "retired", "not_in_fleet")
            ),
            _count(manifest, POPULATION),
        ),
        f"devices in {INVENTORY}": (document["devices"]["in_scope"], _count(manifest, INVENTORY)),
        "policies": (document["policies"], policies),
        f"rows in {RESULTS}": (document["rows"]["results"], _count(manifest, RESULTS)),
    }
    if run is not None:
        pairs["devices that the run judged"] = (
            document["devices"].get("evaluated"),
            run.get("devices"),
        )
        pairs["verdicts by state"] = (document["verdicts"]["by_state"], run.get("counts"))
    wrong = [
        f"{what}: {said} against {found}" for what, (said, found) in pairs.items() if said != found
    ]
    return "; ".join(wrong) or None


def _count(manifest: Manifest, name: str) -> int | None:
    entry = manifest.files.get(name)
    return entry.count if isinstance(entry, Records) else None


def _object(
    contents: Contents, name: str, code: str = "", report: PackReport | None = None
) -> dict[str, Any] | None:
    """A kept JSON object; None when it is absent, and with a finding when it is none.

    Only the canonical bytes will do: of two members of one name, readers take different ones.
    """
    if name not in contents.kept:
        return None
    try:
        value = json.loads(contents.kept[name])
        canonical = encode_canonical(value) + b"\n"
    except (ValueError, RecursionError):
        value, canonical = None, b""
    if isinstance(value, dict) and canonical == contents.kept[name]:
        return value
    if report is not None:
        report.add(code, name, f"{name} is not a JSON object in canonical form")
    return None
