"""What the leaves of the ledger say: one RFC 8785 JSON object each, told apart by `type`.

Rule for editors: a leaf is hashed for ever. Add types and fields; never change how an existing
one is written, and raise `SCHEMA` of that type when a field is added.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from clikit.canonical import CanonicalError, encode_canonical
from fleetmdm.governance.statements import Statement, Waiver
from fleetmdm.results import Run
from fleetmdm.rfc3339 import encode_time

SCHEMA = 1
"""Version of the leaf types below; of a run it is 2 where its roots are over salted sets."""

MAX_LEAF_BYTES = 64 * 1024
"""Longest leaf that is read back; ours have some hundred bytes."""


class LeafError(ValueError):
    """Bytes that are no leaf of this ledger."""


def encode_run_leaf(run: Run) -> bytes:
    """The leaf of a finished run: everything that fixes what it judged and what it said."""
    return encode_canonical(
        {
            "type": "run",
            "schema": run.roots,
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
        }
    )


def encode_export_leaf(
    *,
    run_id: int,
    manifest_sha256: str,
    profile: str,
    signers: Sequence[str],
    exported_at: datetime,
    tool_version: str,
) -> bytes:
    """The leaf of one evidence export; `signers` are key fingerprints."""
    return encode_canonical(
        {
            "type": "export",
            "schema": SCHEMA,
            "run_id": run_id,
            "manifest_sha256": manifest_sha256,
            "profile": profile,
            "signers": sorted(signers),
            "exported_at": encode_time(exported_at),
            "tool_version": tool_version,
        }
    )


def encode_statement_leaf(statement: Statement) -> bytes:
    """The leaf of a waiver or an attestation that was made, or of its revocation.

    It hashes the canonical document, frozen devices included, and names no device itself.
    """
    revocation = statement.revocation
    happened_at = statement.begins_at if revocation is None else revocation.revoked_at
    return encode_canonical(
        {
            "type": "waiver" if isinstance(statement, Waiver) else "attestation",
            "schema": SCHEMA,
            "event": "made" if revocation is None else "revoked",
            "id": statement.id,
            "policy_id": statement.policy_id,
            "devices": len(statement.device_ids),
            "document_sha256": statement_sha256(statement),
            "ends_at": encode_time(statement.ends_at),
            "happened_at": encode_time(happened_at),
        }
    )


def statement_sha256(statement: Statement) -> str:
    """What a leaf says of the document of a statement; lower-case hex."""
    return hashlib.sha256(encode_canonical(statement.as_json())).hexdigest()


def encode_prune_leaf(
    *, run_ids: Sequence[int], pruned_at: datetime, removed: Mapping[str, int], tool_version: str
) -> bytes:
    """The leaf of a pruning: which runs went, and how many rows of each kind with them.

    The leaves of these runs stay; this one says why the store no longer has what they commit to.
    """
    return encode_canonical(
        {
            "type": "prune",
            "schema": SCHEMA,
            "runs": len(run_ids),
            "first_run": min(run_ids),
            "last_run": max(run_ids),
            "removed": dict(removed),
            "pruned_at": encode_time(pruned_at),
            "tool_version": tool_version,
        }
    )


def encode_key_leaf(
    *, event: str, fingerprint: str, name: str, at: datetime, reason: str = "", tool_version: str
) -> bytes:
    """The leaf of a signing key's life: created, imported, rotated or revoked."""
    return encode_canonical(
        {
            "type": "key",
            "schema": SCHEMA,
            "event": event,
            "fingerprint": fingerprint,
            "name": name,
            "at": encode_time(at),
            "reason": reason,
            "tool_version": tool_version,
        }
    )


def parse_leaf(data: bytes) -> dict[str, Any]:
    """The object in a leaf; raises `LeafError` unless its bytes are the canonical ones."""
    if len(data) > MAX_LEAF_BYTES:
        raise LeafError(f"leaf of {len(data)} bytes is over the limit of {MAX_LEAF_BYTES}")
    try:
        value = json.loads(data)
        canonical = encode_canonical(value)
    except (ValueError, RecursionError, CanonicalError) as error:
        raise LeafError("leaf is not canonical JSON") from error
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        raise LeafError("leaf is not an object with a type")
    if canonical != data:
        raise LeafError("leaf is not in canonical form")
    return value
