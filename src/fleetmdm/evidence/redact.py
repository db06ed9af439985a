"""Which fields of a record show under which profile. Pure; docs/evidence-format.md has the table.

`none` opens everything. `minimal` shuts identifiers and shows their pseudonyms instead. `strict`
opens only what the tables below call public, so a fact that nobody classified stays shut.
Rule for editors: a row makes something visible to strangers; when in doubt, leave it out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import lru_cache
from typing import Any

from fleetmdm.evidence.records.flatten import pattern_of
from fleetmdm.evidence.rules import NO_RULES, Rules, covers
from fleetmdm.fields import Kind, Sensitivity, find_field

GUARDED_KINDS = frozenset({"device", "host", "serial", "id", "mac", "email"})
"""Identifiers that are looked for inside other values; user names and addresses are everywhere."""

UNNAMED_KINDS = frozenset({"device", "scope", "text"})
"""Identifiers without a pseudonym beside them: devices have theirs in fields of other names."""

MIN_LEAK_CHARACTERS = 4
"""Identifiers shorter than this are not looked for inside other values: all would match."""


class Profile(StrEnum):
    """How much a pack shows."""

    NONE = "none"
    MINIMAL = "minimal"
    STRICT = "strict"


class Class(StrEnum):
    """How a field is treated."""

    PUBLIC = "public"
    """Opened in every profile."""
    INTERNAL = "internal"
    """In the field catalogue as something that helps an intruder: withheld under `strict`."""
    IDENTIFIER = "identifier"
    """Names a device, a person or an address: opened in `none` alone, else a pseudonym shows."""
    UNCLASSIFIED = "unclassified"
    """In no table: withheld under `strict`."""
    DENIED = "denied"
    """Withheld in every profile, because whoever exported said so."""


@dataclass(frozen=True, slots=True)
class Treatment:
    """What the tables say of one field. `kind` is set for identifiers.

    `known_path` says that the path itself gives nothing away, so its pseudonym may show. `shape`
    is what the catalogue expects; a value of another shape was not classified with it.
    """

    cls: Class
    kind: str = ""
    known_path: bool = True
    shape: Kind | None = None


_PUBLIC = Treatment(Class.PUBLIC)
_UNCLASSIFIED = Treatment(Class.UNCLASSIFIED, known_path=False)

IDENTIFIERS = {
    "device_id": "device",
    "hostname": "host",
    "serial": "serial",
    "device_ids": "device",
    "scope_value": "scope",
    "risk_owner": "user",
    "approver": "user",
    "attested_by": "user",
    **dict.fromkeys(
        ("effective_reason", "justification", "compensating_control", "statement"), "text"
    ),
    "facts.listening.tcp[*].address": "ip",
    **dict.fromkeys(
        (
            "facts.sshd.settings.allowusers",
            "facts.sshd.settings.denyusers",
            "facts.sudo.nopasswd",
            "facts.users.empty_passwords",
            "facts.users.system_with_shell",
            "facts.users.uid0",
            "facts.users.unshadowed",
            "facts.users.weak_hashes",
        ),
        "user",
    ),
}
"""Fields that name someone or something, and the kind of their pseudonyms.

What people wrote in their own words (kind "text"), and what a scope means by its value, may name
anybody: they are withheld in the same way, and have no pseudonyms.
"""

IDENTIFYING_NAMES = {
    **dict.fromkeys(("serial", "serial_number", "asset_tag", "imei"), "serial"),
    **dict.fromkeys(("uuid", "product_uuid", "machine_id", "hardware_uuid", "udid"), "id"),
    **dict.fromkeys(("hostname", "fqdn", "domain", "computer_name", "nodename"), "host"),
    **dict.fromkeys(("mac", "mac_address", "macaddress", "bssid"), "mac"),
    **dict.fromkeys(("ip", "ip_address", "address", "ipv4", "ipv6", "gateway"), "ip"),
    **dict.fromkeys(("email", "mail", "e_mail"), "email"),
    **dict.fromkeys(("user", "users", "username", "owner", "login", "account", "upn"), "user"),
}
"""Last names of a path that identify wherever they stand in facts that no catalogue knows."""

OTHER_IDENTIFIER = "name"
"""The kind of pseudonym for what the catalogue calls identifying and no row above knows."""

PUBLIC_FIELDS = frozenset(
    {
        "device",
        "os",
        "os_version",
        "last_seen",
        "scope",
        "reason",
        "on_outside_list",
        "policy_id",
        "status",
        "since_run",
        "before",
        "after",
        *("effective", "effective_until", "failing_since"),
        *("since", "until", "until_run"),
        *("waiver_id", "attestation_id", "assigned_at", "approved_at", "attested_at"),
        *("scope_kind", "devices", "answer", "expires", "zone", "expires_at", "stale_at"),
    }
)
"""Fields of records that are no facts and name nobody."""

_LAST_NAME = re.compile(r"(\w+)(?:\[\*\])*\Z")

_SENSITIVITIES = {
    Sensitivity.PUBLIC: Class.PUBLIC,
    Sensitivity.INTERNAL: Class.INTERNAL,
    Sensitivity.IDENTIFYING: Class.IDENTIFIER,
}


def classify(path: str) -> Treatment:
    """What the tables say of the field at a path."""
    return _classify(pattern_of(path))


@lru_cache(maxsize=65536)
def _classify(pattern: str) -> Treatment:
    if pattern in IDENTIFIERS:
        return Treatment(Class.IDENTIFIER, IDENTIFIERS[pattern])
    if not pattern.startswith("facts."):
        return _PUBLIC if pattern in PUBLIC_FIELDS else _UNCLASSIFIED
    field = find_field(pattern.removeprefix("facts."))
    if field is not None:
        cls = _SENSITIVITIES[field.sensitivity]
        kind = OTHER_IDENTIFIER if cls is Class.IDENTIFIER else ""
        return Treatment(cls, kind, shape=field.kind)
    last = _LAST_NAME.search(pattern)
    if last is not None and last[1].lower() in IDENTIFYING_NAMES:
        return Treatment(Class.IDENTIFIER, IDENTIFYING_NAMES[last[1].lower()], known_path=False)
    return _UNCLASSIFIED


def fits(value: Any, shape: Kind | None) -> bool:
    """Whether a value has the shape that was classified; a text where a number belongs has not."""
    if value is None or shape is None or shape is Kind.ANY:
        return True
    if shape is Kind.TEXTS or shape is Kind.NUMBERS:
        member = Kind.TEXT if shape is Kind.TEXTS else Kind.NUMBER
        return isinstance(value, list | tuple) and all(fits(each, member) for each in value)
    if shape is Kind.BOOL:
        return isinstance(value, bool)
    if shape is Kind.NUMBER:
        return isinstance(value, int | float)
    return isinstance(value, str)


def is_open(treatment: Treatment, profile: Profile) -> bool:
    """Whether a field so classified shows under a profile."""
    if treatment.cls is Class.DENIED:
        return False
    if profile is Profile.NONE or treatment.cls is Class.PUBLIC:
        return True
    return profile is Profile.MINIMAL and treatment.cls is not Class.IDENTIFIER


def is_pseudonym_open(treatment: Treatment, profile: Profile) -> bool:
    """Whether the stand-in for an identifier shows; it does wherever its path may be known."""
    return treatment.cls is not Class.DENIED and (
        profile is not Profile.STRICT or treatment.known_path
    )


def fact_path(key: str) -> str:
    """The path in a record of the fact that a policy's key names."""
    first = re.split(r"[.\[]", key, maxsplit=1)[0]
    document = ("device_id", "hostname", "os", "os_version", "serial", "last_seen", "tags", "facts")
    return key if first in document else f"facts.{key}"


def texts_of(value: Any) -> Iterator[str]:
    """Every text inside a value, names of objects included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, member in value.items():
            yield name
            yield from texts_of(member)
    elif isinstance(value, list | tuple):
        for member in value:
            yield from texts_of(member)


def leaks(value: Any, identifiers: frozenset[str]) -> bool:
    """Whether a value that may show holds one of the device's own identifiers (case-folded)."""
    return any(name in text.casefold() for text in texts_of(value) for name in identifiers)


def leaking_text(path: str, value: Any) -> str:
    """Every text of a field that shows, its path too, case-folded: for one look at all of them."""
    if type(value) is str:
        return f"{path}\n{value}".casefold()
    return "\n".join((path, *texts_of(value))).casefold()


def identifiers_in(values: Iterator[Any]) -> frozenset[str]:
    """The identifiers to look for inside other values of the same device; hosts by label too."""
    texts = [
        text.strip().casefold()
        for value in values
        for text in ((value,) if type(value) is str else texts_of(value))
    ]
    labels = [text.partition(".")[0] for text in texts if "." in text]
    return frozenset([text for text in texts + labels if len(text) >= MIN_LEAK_CHARACTERS])


@dataclass(frozen=True, slots=True)
class Redaction:
    """All that decides which fields show: a profile, and rules for facts."""

    profile: Profile
    rules: Rules = NO_RULES

    def classify(self, path: str) -> Treatment:
        """What tables and rules say of the field at a path."""
        treatment = classify(path)
        if not self.rules or not path.startswith("facts"):
            return treatment
        pattern = pattern_of(path)
        if any(covers(rule, pattern) for rule in self.rules.deny):
            return replace(treatment, cls=Class.DENIED, known_path=False)
        closed = treatment.cls in (Class.INTERNAL, Class.UNCLASSIFIED)
        if closed and any(covers(rule, pattern) for rule in self.rules.allow):
            return replace(treatment, cls=Class.PUBLIC)
        return treatment


def may_show(path: str, fields: Mapping[str, Any], redaction: Redaction) -> bool:
    """Whether a view may open this field of a record with these opened `fields`."""
    if redaction.profile is Profile.NONE and not redaction.rules.deny:
        return True
    if path.startswith("pseudonym."):
        treatment = redaction.classify(path.removeprefix("pseudonym."))
        return is_pseudonym_open(treatment, redaction.profile)
    if path.startswith("finding["):
        return _may_show_finding(path, fields, redaction)
    return is_open(redaction.classify(path), redaction.profile)


def may_quote(treatment: Treatment, profile: Profile) -> bool:
    """Whether the message of a check may show: it is a person's text, and may quote what was seen."""
    return treatment.cls is not Class.DENIED and profile is not Profile.STRICT


def _may_show_finding(path: str, fields: Mapping[str, Any], redaction: Redaction) -> bool:
    rule, _, part = path.partition("].")
    if not part:
        return True
    finding = fields.get(f"{rule}]")
    key = finding.get("key") if isinstance(finding, dict) else None
    treatment = redaction.classify(fact_path(key)) if isinstance(key, str) else _UNCLASSIFIED
    if part == "message":
        return may_quote(treatment, redaction.profile)
    return part == "observed" and isinstance(key, str) and is_open(treatment, redaction.profile)
