"""The whole files of a pack: the same in every view, so they name no device. Pure.

JSON is canonical (RFC 8785) with a newline at its end, so that the same run gives the same bytes.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from clikit.canonical import encode_canonical
from fleetmdm.evidence.manifest import is_reserved
from fleetmdm.evidence.names import (
    AGENT_AUDIT,
    ALLOWED_SIGNERS,
    ASSIGNMENTS,
    ATTESTATIONS,
    CONTROLS,
    DRIFT,
    HISTORY,
    LOG_CHECKPOINT,
    LOG_HASHES,
    LOG_INCLUSION,
    LOG_LEAF,
    METADATA,
    OSCAL,
    POLICIES,
    RECONCILIATION,
    RUN,
    WAIVERS,
)
from fleetmdm.ledger.checkpoint import encode_checkpoint
from fleetmdm.ledger.proof import RunProof
from fleetmdm.results import Run
from fleetmdm.rfc3339 import encode_time

PRINCIPAL = "evidence"
"""The name under which keys/allowed_signers lists the pack's own keys; it carries no trust."""

_UNSAFE_CHARACTER = re.compile(r"[^A-Za-z0-9._-]")
_MAX_STEM_CHARACTERS = 120


def encode_json(value: Any) -> bytes:
    """A canonical document and a newline."""
    return encode_canonical(value) + b"\n"


def encode_metadata(*, tool_version: str, origin: str, files: Iterable[str]) -> bytes:
    """What made this pack, and what each of its `files` is."""
    folders = {name.partition("/")[0] for name in files}
    present = {METADATA, *files, *folders}
    return encode_json(
        {
            "schema": 1,
            "format": "fleetmdm-evidence/1",
            "tool": {"name": "fleetmdm", "version": tool_version},
            "fleet": origin,
            "files": {name: role for name, role in ROLES.items() if name in present},
        }
    )


ROLES = {
    METADATA: "what made this pack, and what each file is",
    RUN: "when, with which tool, over what, with which result",
    "population.ndjson": "every device in scope and outside it, and why",
    RECONCILIATION: "the counts, and that they add up",
    "inventory.ndjson": "the document of every device, as the run judged it",
    POLICIES: "the exact source of every policy that the run used",
    ASSIGNMENTS: "where policies apply; none: everywhere",
    WAIVERS: "risks that somebody accepted, and until when",
    ATTESTATIONS: "answers that people gave where no check can",
    "results.ndjson": "every verdict that is neither pass nor notapplicable",
    "transitions.ndjson": "every verdict that changed since the run before",
    HISTORY: "over which runs verdicts stood",
    CONTROLS: "counts for each control and policy",
    DRIFT: "the counts of what changed since the run before",
    OSCAL: "OSCAL assessment results",
    AGENT_AUDIT: "what the SSH agent recorded",
    "log": "the run's leaf in the append-only log, its checkpoint and its proof",
    ALLOWED_SIGNERS: "the keys that signed, as they say of themselves",
}


def encode_run(run: Run) -> bytes:
    """run.json: what the leaf says, and what the run was told."""
    return encode_json(
        {
            "schema": 1,
            "run_id": run.run_id,
            "started_at": encode_time(run.started_at),
            "finished_at": encode_time(run.finished_at),
            "as_of": encode_time(run.as_of),
            "tool_version": run.tool_version,
            "devices": run.devices,
            "policies": run.policies,
            "counts": {status.value: count for status, count in run.counts.items() if count},
            "policy_set_hash": run.policy_set_hash,
            "inventory_root": run.inventory_root,
            "result_root": run.result_root,
            "settings": {
                "only_assigned": run.only_assigned,
                "stale_after_s": run.stale_after_s,
            },
        }
    )


def name_policies(ids: Iterable[str]) -> dict[str, str]:
    """File names by policy id: safe everywhere, and distinct where case does not count."""
    stems = {policy_id: _stem(policy_id) for policy_id in ids}
    taken = Counter(stem.casefold() for stem in stems.values())
    return {
        policy_id: f"{POLICIES}/{stem if taken[stem.casefold()] == 1 else _marked(policy_id)}.yaml"
        for policy_id, stem in stems.items()
    }


def _stem(policy_id: str) -> str:
    stem = _UNSAFE_CHARACTER.sub(
        lambda match: "".join(f"%{b:02X}" for b in match[0].encode()), policy_id
    )
    stem = re.sub(r"^[.]", "%2E", stem)
    usable = stem and len(stem) <= _MAX_STEM_CHARACTERS and not is_reserved(stem)
    return stem if usable else _marked(policy_id)


def _marked(policy_id: str) -> str:
    stem = _UNSAFE_CHARACTER.sub("_", policy_id).strip(".")[:_MAX_STEM_CHARACTERS]
    stem = "_" if is_reserved(stem) else stem
    return f"{stem or '_'}~{hashlib.sha256(policy_id.encode()).hexdigest()[:16]}"


def encode_drift(
    *,
    before: Run | None,
    after: Run,
    changes: Mapping[tuple[str, str], int],
    population: Mapping[str, int],
) -> bytes:
    """drift.json: the counts of transitions.ndjson."""
    return encode_json(
        {
            "schema": 1,
            "from_run": None if before is None else before.run_id,
            "to_run": after.run_id,
            "transitions": sum(changes.values()),
            "changes": [
                {"before": old, "after": new, "count": changes[old, new]}
                for old, new in sorted(changes)
            ],
            "population": dict(population),
        }
    )


def encode_log(proof: RunProof) -> dict[str, bytes]:
    """The files under log/."""
    inclusion = {
        "index": proof.index,
        "size": proof.checkpoint.size,
        "path": [step.hex() for step in proof.path],
    }
    return {
        LOG_LEAF: proof.leaf,
        LOG_CHECKPOINT: encode_checkpoint(proof.checkpoint),
        LOG_INCLUSION: encode_json(inclusion),
        LOG_HASHES: b"".join(step.hex().encode() + b"\n" for step in proof.hashes),
    }
