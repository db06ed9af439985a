"""Waivers from YAML, as strictly as policies: one document for each waiver.

waiver = [id] policy scope reason risk_owner approver expires zone [compensating_control]
scope  = device: ID | tag: TAG | where: check
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Final

from clikit.canonical import encode_canonical
from fleetmdm.governance.expiry import end_of_day, parse_day
from fleetmdm.governance.scope import Scope, ScopeKind, parse_tag
from fleetmdm.policy import Position
from fleetmdm.policy_yaml.checks import CheckReader
from fleetmdm.policy_yaml.document import ID_PATTERN
from fleetmdm.policy_yaml.parameters import Substitution
from fleetmdm.policy_yaml.problems import Problems, refusal
from fleetmdm.policy_yaml.strict import Strict
from fleetmdm.policy_yaml.yaml_tree import Node, decode_text, read_documents

WAIVER_REQUIRED: Final = (
    "policy",
    "scope",
    "reason",
    "risk_owner",
    "approver",
    "expires",
    "zone",
)
WAIVER_KEYS: Final = frozenset({*WAIVER_REQUIRED, "id", "compensating_control"})
SCOPE_KEYS: Final = frozenset(kind.value for kind in ScopeKind)


@dataclass(frozen=True, slots=True)
class WaiverRequest:
    """What is asked for: a waiver before its devices are looked up and it is approved."""

    id: str
    policy_id: str
    scope: Scope
    reason: str
    risk_owner: str
    approver: str
    expires: date
    zone: str
    compensating_control: str = ""


def parse_waivers(data: bytes, *, name: str) -> tuple[WaiverRequest, ...]:
    """The waivers of a file; raises `waiver_invalid` with every problem."""
    problems = Problems(name)
    strict = Strict(problems)
    documents = read_documents(decode_text(data, problems), problems)
    if not documents and not problems.found:
        problems.add(Position(1, 1), "missing_key", "no waiver in this file")
    found = [_read(strict, each.root) for each in documents]
    if problems.found:
        raise refusal(
            "waiver_invalid",
            tuple(sorted(problems.found)),
            hint="docs/governance.md shows the form of a waiver",
        )
    return tuple(one for one in found if one is not None)


def _read(strict: Strict, root: Node) -> WaiverRequest | None:
    entries = strict.mapping(root, "a waiver", known=WAIVER_KEYS, required=WAIVER_REQUIRED)
    texts = {
        key: strict.text(entries.get(key), key, empty=key == "compensating_control")
        for key in WAIVER_KEYS - {"scope"}
    }
    given = entries.get("id")
    if given is not None and texts["id"] and not ID_PATTERN.fullmatch(texts["id"]):
        strict.wrong(given.position, "invalid_value", "id has letters, digits and . _ -")
    scope = _read_scope(strict, entries.get("scope"))
    expires = _read_expiry(strict, entries, texts)
    if scope is None or expires is None:
        return None
    return WaiverRequest(
        id=texts["id"],
        policy_id=texts["policy"],
        scope=scope,
        reason=texts["reason"],
        risk_owner=texts["risk_owner"],
        approver=texts["approver"],
        expires=expires,
        zone=texts["zone"],
        compensating_control=texts["compensating_control"],
    )


def _read_scope(strict: Strict, node: Node | None) -> Scope | None:
    if node is None:
        return None
    entries = strict.mapping(node, "scope", known=SCOPE_KEYS)
    if len(entries) != 1:
        if node.kind == "mapping":
            strict.wrong(node.position, "missing_key", "scope has one of device, tag, where")
        return None
    ((kind, value),) = entries.items()
    if kind == ScopeKind.SELECTOR:
        check = CheckReader(strict, Substitution(strict, {})).condition(value, "where")
        if check is None:
            return None
        return Scope(ScopeKind.SELECTOR, encode_canonical(value.plain()).decode())
    text = strict.text(value, f"scope.{kind}", empty=False)
    return Scope(ScopeKind(kind), parse_tag(text) if kind == ScopeKind.TAG else text)


def _read_expiry(
    strict: Strict, entries: Mapping[str, Node], texts: Mapping[str, str]
) -> date | None:
    if not texts["expires"]:
        return None
    where = entries["expires"].position
    try:
        day = parse_day(texts["expires"])
        if texts["zone"]:
            end_of_day(day, texts["zone"])
    except ValueError as error:
        strict.wrong(where, "invalid_value", f"expires: {error}")
        return None
    return day
