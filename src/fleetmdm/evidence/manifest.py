"""The manifest: what a pack consists of, whatever a view of it shows. Pure.

Its bytes are canonical JSON (RFC 8785) and one newline, and are what gets signed. Each file is
`whole` (its SHA-256 and size) or `records` (the Merkle root over its records, and their number).
Rule for editors: nothing here may depend on the redaction profile or on the moment of export.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clikit.canonical import encode_canonical

TYPE = "fleetmdm-evidence-manifest"
TOOL = "fleetmdm"
SCHEMA = 1
"""Raised when a reader of this version could not check what a newer writer wrote."""

MAX_MANIFEST_BYTES = 16 * 1024 * 1024
MAX_FILES = 100_000
"""Files that a pack may list: far above a policy library's size."""

NAMESPACE = "evidence@fleetmdm"
"""The SSHSIG namespace of everything that a pack has signed."""

_DIGEST = re.compile(r"[0-9a-f]{64}\Z")
_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}\Z")
_PART = re.compile(r"[A-Za-z0-9_%~-][A-Za-z0-9._%~-]*\Z")
_DEVICE = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\.|\Z)", re.IGNORECASE | re.ASCII)
MAX_NAME_BYTES = 200


class ManifestError(ValueError):
    """Bytes that are no manifest; `code` is that of the finding."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Whole:
    """A file that is the same in every view."""

    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Records:
    """A file of records, of which views open different fields."""

    root: str
    count: int


Entry = Whole | Records


@dataclass(frozen=True, slots=True)
class ExpectedSigner:
    """A key that signs the pack at export, and the forms of its signatures."""

    fingerprint: str
    algorithm: str
    forms: tuple[str, ...] = ("sshsig",)


@dataclass(frozen=True, slots=True)
class Manifest:
    """Everything that a signature over a pack vouches for."""

    tool_version: str
    run: Mapping[str, Any]
    ledger: Mapping[str, Any]
    signers: tuple[ExpectedSigner, ...]
    files: Mapping[str, Entry]


def is_reserved(part: str) -> bool:
    """Whether Windows takes a name for one of its devices, whatever follows its first dot."""
    return _DEVICE.match(part) is not None


def is_safe_name(name: str) -> bool:
    """Whether a path stays inside a pack and means the same on every file system."""
    parts = name.split("/")
    plain = all(
        _PART.match(part) and not part.endswith(".") and not is_reserved(part) for part in parts
    )
    return plain and len(parts) <= 2 and len(name) <= MAX_NAME_BYTES


def encode_manifest(manifest: Manifest) -> bytes:
    """The exact bytes of manifest.json."""
    document = {
        "type": TYPE,
        "schema": SCHEMA,
        "tool": {"name": TOOL, "version": manifest.tool_version},
        "run": dict(manifest.run),
        "ledger": dict(manifest.ledger),
        "signers": [
            {
                "fingerprint": signer.fingerprint,
                "algorithm": signer.algorithm,
                "forms": list(signer.forms),
            }
            for signer in manifest.signers
        ],
        "files": {name: _encode_entry(entry) for name, entry in manifest.files.items()},
    }
    return encode_canonical(document) + b"\n"


def _encode_entry(entry: Entry) -> dict[str, Any]:
    if isinstance(entry, Whole):
        return {"kind": "whole", "sha256": entry.sha256, "bytes": entry.size}
    return {"kind": "records", "root": entry.root, "count": entry.count}


def parse_manifest(data: bytes) -> Manifest:
    """Read a manifest; raises `ManifestError` unless it is exactly what we would have written."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ManifestError("manifest_malformed", "manifest.json is not JSON") from error
    if not isinstance(document, dict) or document.get("type") != TYPE:
        raise ManifestError("manifest_malformed", f"manifest.json is not of type {TYPE}")
    if document.get("schema") != SCHEMA or isinstance(document["schema"], bool):
        raise ManifestError(
            "manifest_unsupported",
            f"manifest.json has schema {document.get('schema')!r}; this version reads {SCHEMA}",
        )
    try:
        manifest = _parse_document(document)
        canonical = encode_manifest(manifest)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, ManifestError):
            raise
        raise _malformed(f"manifest.json lacks a member or has a wrong one: {error}") from error
    if canonical != data:
        raise ManifestError("manifest_not_canonical", "manifest.json is not in canonical form")
    return manifest


def _parse_document(document: dict[str, Any]) -> Manifest:
    files = {name: _parse_entry(name, entry) for name, entry in document["files"].items()}
    if len(files) > MAX_FILES:
        raise _malformed(f"manifest.json lists more than {MAX_FILES} files")
    tool_version = document["tool"]["version"]
    if not isinstance(tool_version, str):
        raise _malformed("manifest.json names no tool version")
    for member in ("run", "ledger"):
        if not isinstance(document[member], dict):
            raise _malformed(f"manifest.json has a malformed {member!r}")
    signers = tuple(_parse_signer(signer) for signer in document["signers"])
    if len({signer.fingerprint for signer in signers}) != len(signers):
        raise _malformed("manifest.json names a signer twice")
    return Manifest(tool_version, document["run"], document["ledger"], signers, files)


def _parse_entry(name: str, entry: dict[str, Any]) -> Entry:
    if not is_safe_name(name):
        raise ManifestError("name_unsafe", f"manifest.json lists an unsafe name: {name!r}")
    kind = entry["kind"]
    if kind == "whole":
        return Whole(_matching(_DIGEST, entry["sha256"]), _count(entry["bytes"]))
    if kind == "records":
        return Records(_matching(_DIGEST, entry["root"]), _count(entry["count"]))
    raise _malformed(f"manifest.json lists {name} as {kind!r}")


def _parse_signer(signer: dict[str, Any]) -> ExpectedSigner:
    forms = tuple(signer["forms"])
    algorithm = signer["algorithm"]
    if not forms or not all(isinstance(word, str) for word in (*forms, algorithm)):
        raise _malformed("manifest.json has a malformed signer")
    return ExpectedSigner(_matching(_FINGERPRINT, signer["fingerprint"]), algorithm, forms)


def _matching(pattern: re.Pattern[str], value: Any) -> str:
    if not isinstance(value, str) or not pattern.match(value):
        raise _malformed(f"manifest.json has a malformed value: {str(value)[:80]!r}")
    return value


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise _malformed(f"manifest.json has a malformed number: {str(value)[:80]!r}")
    return value


def _malformed(message: str) -> ManifestError:
    return ManifestError("manifest_malformed", message)
