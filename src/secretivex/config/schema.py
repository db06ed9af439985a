"""The JSON Schema of a configuration file, made from the tables that the loader reads it by.

Rule for editors: what the loader refuses for a reason that no schema can say is named in
`BEYOND_SCHEMA`; a property test holds the two together.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from secretivex.config.settings import SETTINGS, AgentSetting
from secretivex.config.table_settings import POLICY_SETTINGS, STORE_TYPES
from secretivex.profiles import PROFILE_NAMES

DIALECT = "https://json-schema.org/draft/2020-12/schema"

BEYOND_SCHEMA = (
    "paths, variables and programs exist and expand",
    "the socket path is short enough for this system",
    "worker_threads does not contradict workers",
    "a PKCS#11 store names its module, by module_path or in its uri, and a TPM store its paths",
    "a store exists on this system, and a secret is asked for in one way only",
    "names of key types and of environment variables",
    "entries of policy lists are fingerprints, blobs and patterns that can be read",
)
"""What only the loader checks."""

_BYTE = "(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
_PORT = "([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
_LISTEN = rf"^(/.*|unix:.*|(localhost|127(\.{_BYTE}){{3}}|\[::1\])?:{_PORT})$"
"""A path, or a loopback address and a port."""

_TYPES: dict[str, dict[str, Any]] = {
    "text": {"type": "string"},
    "path": {"type": "string", "pattern": r"\S"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "list": {"type": "array", "items": {"type": "string"}},
    "table": {"type": "object"},
    "tables": {"type": "array", "items": {"type": "object"}},
}


def config_schema() -> dict[str, Any]:
    """The schema of a whole file."""
    schema = _table(SETTINGS)
    properties = schema["properties"]
    properties["profile"]["enum"] = list(PROFILE_NAMES)
    properties["stores"] |= {"minItems": 1, "items": {"oneOf": list(_stores())}}
    properties["metrics_listen"]["pattern"] = _LISTEN
    properties["policy"] |= _table(POLICY_SETTINGS)
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
