"""One view of a pack: view.json says what it shows, SHA256SUMS fixes its bytes. Pure.

SHA256SUMS is what `sha256sum` writes in text mode, sorted by name, and lists every file but itself
and those under signatures/. At export both the manifest and SHA256SUMS are signed; a view derived
later has no signature over SHA256SUMS and rests on the manifest's roots alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clikit.canonical import CanonicalError, encode_canonical
from fleetmdm.evidence.manifest import MAX_FILES, is_safe_name
from fleetmdm.evidence.names import SUMS
from fleetmdm.evidence.redact import Profile, Redaction
from fleetmdm.evidence.rules import NO_RULES, Rules

TYPE = "fleetmdm-evidence-view"
SCHEMA = 1
SCHEMA_WITH_RULES = 2
"""Of a view that rules for facts decided too; one without is written as it always was."""

MAX_VIEW_BYTES = 1024 * 1024
MAX_SUMS_BYTES = MAX_FILES * 300

_SUM_LINE = re.compile(r"([0-9a-f]{64})  ([^\n]+)\Z")


class ViewError(ValueError):
    """Bytes that are no view.json or no SHA256SUMS; `code` is that of the finding."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Shown:
    """How much of one record file a view shows; both count fields."""

    opened: int
    hidden: int


@dataclass(frozen=True, slots=True)
class View:
    """What a view says of itself. A derived one was made without the signing key."""

    manifest_sha256: str
    profile: Profile
    derived: bool
    records: Mapping[str, Shown]
    rules: Rules = NO_RULES

    @property
    def redaction(self) -> Redaction:
        """What decided what this view shows."""
        return Redaction(self.profile, self.rules)


def encode_view(view: View) -> bytes:
    """The exact bytes of view.json."""
    document: dict[str, Any] = {
        "type": TYPE,
        "schema": SCHEMA_WITH_RULES if view.rules else SCHEMA,
        "manifest_sha256": view.manifest_sha256,
        "profile": view.profile.value,
        "derived": view.derived,
        "records": {
            name: {"opened": shown.opened, "hidden": shown.hidden}
            for name, shown in view.records.items()
        },
    }
    if view.rules:
        document["rules"] = {"allow": list(view.rules.allow), "deny": list(view.rules.deny)}
    return encode_canonical(document) + b"\n"


def parse_view(data: bytes) -> View:
    """Read view.json; raises `ViewError` unless it is exactly what we would have written."""
    try:
        document = json.loads(data)
        digest, derived = document["manifest_sha256"], document["derived"]
        if not isinstance(derived, bool) or not isinstance(digest, str):
            raise ViewError("view_malformed", "view.json has a member of the wrong type")
        records = {name: _shown(entry) for name, entry in document["records"].items()}
        rules = _rules(document.get("rules", {"allow": [], "deny": []}))
        view = View(digest, Profile(document["profile"]), derived, records, rules)
        if encode_view(view) != data:
            raise ViewError("view_malformed", "view.json is not in canonical form")
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        if isinstance(error, ViewError):
            raise
        raise ViewError("view_malformed", "view.json is not a view of this version") from error
    return view


def _rules(entry: dict[str, Any]) -> Rules:
    texts = (*entry["allow"], *entry["deny"])
    if not all(isinstance(rule, str) for rule in texts):
        raise CanonicalError("not a rule")
    return Rules(tuple(entry["allow"]), tuple(entry["deny"]))


def _shown(entry: dict[str, Any]) -> Shown:
    for count in (entry["opened"], entry["hidden"]):
        if not isinstance(count, int) or isinstance(count, bool):
            raise CanonicalError("not a count")
    return Shown(entry["opened"], entry["hidden"])


def encode_sums(digests: Mapping[str, str]) -> bytes:
    """The exact bytes of SHA256SUMS, from hex digests by name."""
    return "".join(f"{digests[name]}  {name}\n" for name in sorted(digests)).encode()


def parse_sums(data: bytes) -> dict[str, str]:
    """Hex digests by name; raises `ViewError` unless the form is that of `encode_sums`."""
    digests: dict[str, str] = {}
    try:
        lines = data.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise ViewError("sums_malformed", f"{SUMS} is not ASCII") from error
    for number, line in enumerate(lines[:-1], start=1):
        match = _SUM_LINE.match(line)
        if match is None:
            raise ViewError("sums_malformed", f"{SUMS} line {number} is not a digest and a name")
        if not is_safe_name(match[2]):
            raise ViewError("name_unsafe", f"{SUMS} line {number} lists an unsafe name")
        digests[match[2]] = match[1]
    if encode_sums(digests) != data:
        raise ViewError("sums_not_canonical", f"{SUMS} is not sorted, or lists a name twice")
    return digests
