"""The policy document as JSON Schema (draft 2020-12), for editors and for who writes policies. Pure.

Built from the tables that the reader goes by: a key or an operator added there and not here stops
`policy_schema`. The reader is stricter: it also refuses what a schema cannot say (`BEYOND_SCHEMA`).
Rule for editors: whatever the reader takes, the schema takes; a property test holds them together.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from typing import Any, Final

from fleetmdm.evaluate.operators import OPERATORS
from fleetmdm.evaluate.operators.comparisons import MAX_OPERANDS, MAX_PATTERN_CHARACTERS
from fleetmdm.evaluate.operators.row import Operator
from fleetmdm.policy import Combine, OnMissing
from fleetmdm.policy_yaml.checks import COMBINES, LEAF_KEYS, OS_VERSION_KEYS
from fleetmdm.policy_yaml.document import (
    ATTESTATION_KEYS,
    ATTESTATION_REQUIRED,
    DEVICE_KINDS,
    ID_PATTERN,
    POLICY_KEYS,
    POLICY_ONE_OF,
    POLICY_REQUIRED,
    REFERENCE_KEYS,
    REFERENCE_REQUIRED,
    TARGET_KEYS,
    TEST_KEYS,
    TEST_REQUIRED,
    TEST_STATES,
)
from fleetmdm.policy_yaml.parameters import NAME_PATTERN
from fleetmdm.policy_yaml.strict import MAX_LIST_MEMBERS, MAX_TEXT_CHARACTERS
from fleetmdm.results import Severity

BEYOND_SCHEMA: Final = frozenset(
    {
        "alias",
        "ambiguous_scalar",
        "duplicate_id",
        "duplicate_key",
        "invalid_key",
        "invalid_operand",
        "invalid_regex",
        "tag",
        "too_deep",
        "too_large",
        "unknown_parameter",
        "yaml_syntax",
    }
)
"""Codes under which the reader may refuse a document that the schema takes; and a time that has
the right form but does not exist, or a duration over a hundred years, is an `invalid_value`."""

Schema = dict[str, Any]

# `$` would match before a final line break.
_END: Final = r"(?![\s\S])"
_MOMENT: Final = (
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}"
    rf"(?:\.[0-9]+)?(?:[Zz]|[+-][0-9]{{2}}:[0-9]{{2}}){_END}"
)
_NUMBER: Final[Schema] = {"type": "number"}
_SCALAR: Final[Schema] = {"type": ["boolean", "number", "string"]}
_TEXT: Final[Schema] = {"type": "string", "maxLength": MAX_TEXT_CHARACTERS}
_WORDED: Final[Schema] = {**_TEXT, "pattern": r"\S"}
_PARAMETER: Final[Schema] = {"type": "string", "pattern": rf"^\$\{{[^{{}}]*\}}{_END}"}
_CHECK: Final[Schema] = {"$ref": "#/$defs/check"}


def policy_schema() -> Schema:
    """The schema of one policy document."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "urn:fleetmdm:schema:policy:1",
        "title": "FleetMDM policy",
        **_mapping(POLICY_KEYS, _POLICY, POLICY_REQUIRED),
        "oneOf": [{"required": [key]} for key in POLICY_ONE_OF],
        "$defs": {
            "check": {
                "type": "object",
                "if": {"anyOf": [{"required": [name]} for name in COMBINES]},
                "then": {"$ref": "#/$defs/composition"},
                "else": {"$ref": "#/$defs/leaf"},
            },
            "composition": _composition(),
            "leaf": {**_mapping(LEAF_KEYS, _LEAF, ("key", "op")), "allOf": [_OPERATOR]},
            "operator": {"allOf": list(_operators())},
            "os_version": {**_mapping(OS_VERSION_KEYS, _LEAF, ("op",)), "allOf": [_OPERATOR]},
        },
    }


def _mapping(keys: Iterable[str], said: Mapping[str, Schema], required: Iterable[str]) -> Schema:
    """An object with these keys and no others; a key that nothing is said of is a KeyError."""
    return {
        "type": "object",
        "required": list(required),
        "additionalProperties": False,
        "properties": {key: said[key] for key in sorted(keys)},
    }


def _list(items: Schema, *, least: int = 0, most: int = MAX_LIST_MEMBERS) -> Schema:
    return {"type": "array", "minItems": least, "maxItems": most, "items": items}


def _words(words: Iterable[StrEnum]) -> Schema:
    return {"enum": [word.value for word in words]}


def _told(schema: Schema, sentence: str) -> Schema:
    return {**schema, "description": sentence}


def _composition() -> Schema:
    each: Schema = {name: _list(_CHECK, least=1) for name in COMBINES}
    each |= {name: _CHECK for name, how in COMBINES.items() if how is Combine.NOT}
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {**each, "when": _CHECK},
        "oneOf": [{"required": [name]} for name in COMBINES],
    }


# What an operator's row says, as schemas: its operand and its schemes.

_OPERATOR: Final[Schema] = {"$ref": "#/$defs/operator"}


def _operators() -> Iterator[Schema]:
    """One rule for each group of operators that take the same."""
    groups: dict[tuple[str, tuple[str, ...]], list[Operator]] = {}
    for row in OPERATORS.values():
        groups.setdefault((row.operand, row.schemes), []).append(row)
    for (operand, schemes), rows in groups.items():
        names = {"required": ["op"], "properties": {"op": {"enum": [row.name for row in rows]}}}
        takes: Schema = {"scheme": {"enum": list(schemes)} if schemes else False}
        takes["value"] = _OPERANDS[operand] if operand else False
        needs = [*(["value"] if operand else []), *(["scheme"] if schemes else [])]
        yield {"if": names, "then": {"required": needs, "properties": takes}}


def _or_parameter(schema: Schema) -> Schema:
    return {"anyOf": [schema, _PARAMETER]}


def _operand_list(items: Schema, *, least: int = 1, most: int = MAX_OPERANDS) -> Schema:
    return _or_parameter(_list(items, least=least, most=most))


_OPERANDS: Final[Mapping[str, Schema]] = {
    "anything but null": {"not": {"type": "null"}},
    "number": _or_parameter(_NUMBER),
    "two numbers": _operand_list(_or_parameter(_NUMBER), least=2, most=2),
    "list of booleans, numbers or texts": _operand_list(_SCALAR),
    "boolean, number or text": _SCALAR,
    "list": _operand_list({"not": {"type": "null"}}),
    "text": {"type": "string", "minLength": 1},
    "RE2 pattern": _or_parameter({"type": "string", "maxLength": MAX_PATTERN_CHARACTERS}),
    "whole number": _or_parameter({"type": "integer", "minimum": 0}),
    "text (a version), with `scheme`": {"type": "string"},
    "date-time, date, `now`, `now+30d`, `now-12h`": {"type": "string"},
    "duration (`14d`)": {"type": "string"},
    "network, or list of networks": {
        "anyOf": [{"type": "string"}, _list({"type": "string"}, least=1, most=MAX_OPERANDS)]
    },
}
"""By the words in which a row of `OPERATORS` describes its operand."""

_LEAF: Final[Mapping[str, Schema]] = {
    "key": _told(_WORDED, "the path of a fact"),
    "op": {"enum": list(OPERATORS)},
    "value": _told({}, "what the fact is compared with"),
    "message": _told(_TEXT, "what to say where the check does not hold"),
    "on_missing": _told(_words(OnMissing), "what a missing fact means for the policy"),
    "scheme": _told({"type": "string"}, "how versions are compared"),
    "severity": _told(_words(Severity), "that of the policy where absent"),
    "when": _told(_CHECK, "the check applies where this holds"),
}

# The rest of the document.

_TEXTS: Final[Schema] = {"anyOf": [_WORDED, _list(_WORDED)]}
_TIME: Final[Schema] = {"type": "string", "format": "date-time", "pattern": _MOMENT}
_KINDS: Final[Mapping[str, Schema]] = {
    "text": _TEXT,
    "texts": _TEXTS,
    "moment": _TIME,
    "facts": {"type": "object"},
}
_TARGETS: Final[Mapping[str, Schema]] = {
    "os": _told(_TEXTS, "any of these systems"),
    "tags": _told(_TEXTS, "any of these tags"),
    "os_version": _told({"$ref": "#/$defs/os_version"}, "a check of the device's os_version"),
    "where": _told(_CHECK, "any check or composition"),
}
_TEST: Final[Mapping[str, Schema]] = {
    "name": _WORDED,
    "device": _mapping(DEVICE_KINDS, {key: _KINDS[kind] for key, kind in DEVICE_KINDS.items()}, ()),
    "as_of": _told(_TIME, "the moment of the check"),
    "expect": _words(sorted(TEST_STATES)),
}
_PARAMETERS: Final[Schema] = {
    "type": "object",
    "propertyNames": {"pattern": f"^(?:{NAME_PATTERN.pattern}){_END}"},
    "additionalProperties": {
        "anyOf": [_SCALAR, {"type": "array", "minItems": 1, "items": _SCALAR}]
    },
}
_DURATION: Final[Schema] = {
    "type": "string",
    "pattern": rf"^(?!0+[smhdw]{_END})[0-9]{{1,9}}[smhdw]{_END}",
}
_ATTESTATION: Final[Mapping[str, Schema]] = {
    "question": _told(_WORDED, "what to answer"),
    "period": _told(_DURATION, "how long an answer stands"),
}
_POLICY: Final[Mapping[str, Schema]] = {
    "id": _told({"type": "string", "pattern": f"^(?:{ID_PATTERN.pattern}){_END}"}, "never changes"),
    "name": _told(_WORDED, "what people call it"),
    "description": _told(_TEXT, "what it checks"),
    "severity": _told(_words(Severity), "medium where absent"),
    "rationale": _told(_TEXT, "why it matters"),
    "remediation": _told(_TEXT, "what to do about it"),
    "references": _list(
        _mapping(REFERENCE_KEYS, dict.fromkeys(REFERENCE_KEYS, _WORDED), REFERENCE_REQUIRED)
    ),
    "tags": _TEXTS,
    "enabled": _told({"type": "boolean"}, "true where absent"),
    "on_missing": _told(_words(OnMissing), "for every check without its own"),
    "targets": _told(_mapping(TARGET_KEYS, _TARGETS, ()), "which devices it is for"),
    "parameters": _told(_PARAMETERS, "values that stand in for ${name}"),
    "checks": _told(_list(_CHECK, least=1), "every one must hold"),
    "attestation": _told(
        _mapping(ATTESTATION_KEYS, _ATTESTATION, ATTESTATION_REQUIRED),
        "instead of checks: what only a person can answer",
    ),
    "grace": _told(_DURATION, "how long a device may fail before that counts"),
    "tests": _told(_list(_mapping(TEST_KEYS, _TEST, TEST_REQUIRED)), "examples and their states"),
}
