"""The JSON Schema of a configuration file, made from the tables that the loader reads it by.

Rule for editors: what the loader refuses for a reason that no schema can say is named in
`BEYOND_SCHEMA`; a property test holds the two together.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from secretivex.config.paths import LISTEN_PATTERN
from secretivex.config.rows.policy import POLICY_SETTINGS, RATE_SETTINGS, RULE_SETTINGS
from secretivex.config.rows.stores import STORE_TYPES
from secretivex.config.settings import SETTINGS, AgentSetting
from secretivex.profiles import PROFILE_NAMES, PROFILES

DIALECT = "https://json-schema.org/draft/2020-12/schema"

BEYOND_SCHEMA = (
    "a whole number is written without a decimal point",
    "paths, variables and programs exist and expand",
    "the socket path is short enough for this system",
    "worker_threads does not contradict workers",
    "a PKCS#11 store names its module, by module_path or in its uri, and a TPM store its paths",
    "a store exists on this system, and a secret is asked for in one way only",
    "names of key types and of environment variables",
    "entries of policy lists are fingerprints, blobs and patterns that can be read, and few enough",
    "the conditions of a rule fit each other, and its name is its own",
)
"""What only the loader checks."""

_TYPES: dict[str, dict[str, Any]] = {
    "text": {"type": "string"},
    "path": {"type": "string", "pattern": r"\S"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "list": {"type": "array", "items": {"type": "string"}},
    "numbers": {"type": "array", "items": {"type": "integer"}},
    "table": {"type": "object"},
    "tables": {"type": "array", "items": {"type": "object"}},
}


def _in_any_case(word: str) -> str:
    """A pattern of a word that `re.IGNORECASE` is not to be had for."""
    return "".join(f"[{c.upper()}{c}]" if c.isalpha() else c for c in word)


_PROFILE = "|".join(
    _in_any_case(name) for profile in PROFILES for name in (profile.name, *profile.aliases)
).join((r"^\s*(", r")\s*$"))


def config_schema() -> dict[str, Any]:
    """The schema of a whole file."""
    schema = _table(SETTINGS)
    properties = schema["properties"]
    properties["profile"]["anyOf"] = [{"enum": list(PROFILE_NAMES)}, {"pattern": _PROFILE}]
    properties["stores"] |= {"minItems": 1, "items": {"oneOf": list(_stores())}}
    properties["metrics_listen"]["pattern"] = LISTEN_PATTERN
    properties["policy"] |= _policy()
    return {
        "$schema": DIALECT,
        "title": "Configuration of secretive-agent",
        "description": "TOML, or JSON with the same keys.",
        **schema,
    }


def _stores() -> Iterable[dict[str, Any]]:
    """One table for each kind of store that this version has."""
    for store in STORE_TYPES.values():
        if not store.unavailable:
            table = _table(store.settings)
            table["properties"] = {"type": {"const": store.name}, **table["properties"]}
            yield {"title": store.help, **table, "required": ["type"]}


def _policy() -> dict[str, Any]:
    """The flat lists, and rules with what a table of one may hold."""
    policy = _table(POLICY_SETTINGS)
    for key, value in policy["properties"].items():
        if key.startswith(("allow_", "pin_")):
            value["minItems"] = 1
    rule = {**_table(RULE_SETTINGS), "required": ["effect"]}
    for value in rule["properties"].values():
        if value["type"] == "array":
            value["minItems"] = 1
    rate = {**_table(RATE_SETTINGS), "required": ["per_s"]}
    rule["properties"]["rate"] |= {**rate, "oneOf": [{"required": [key]} for key in _COUNTS]}
    policy["properties"]["rules"]["items"] = rule
    return policy


_COUNTS = ("at_most", "over")


def _table(rows: Iterable[AgentSetting]) -> dict[str, Any]:
    properties = {row.key: _value(row) for row in rows}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _value(row: AgentSetting) -> dict[str, Any]:
    schema: dict[str, Any] = {"description": row.help, **_TYPES[row.kind]}
    if row.state == "refused":
        schema["const"] = row.acts_as
    elif row.choices:
        schema["enum"] = list(row.choices)
    if row.minimum is not None:
        schema["minimum"] = row.minimum
    if row.maximum is not None:
        schema["maximum"] = row.maximum
    if row.default is not None and isinstance(row.default, bool | int | str):
        schema["default"] = row.default
    return schema
