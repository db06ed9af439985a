"""Parameters of a policy: named values, put where `${name}` stands, with their types.

A value that is exactly `${name}` becomes the parameter; inside a longer text the parameter is
written out; `$${` is a plain `${`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from fleetmdm.policy import Position
from fleetmdm.policy_yaml.problems import suggest
from fleetmdm.policy_yaml.strict import Strict, describe
from fleetmdm.policy_yaml.yaml_tree import Node

NAME_PATTERN = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}", re.ASCII)
_USE = re.compile(r"\$\$\{|\$\{([^{}]*)\}")
_KINDS: Final = ("text", "number", "boolean")


def read_parameters(strict: Strict, node: Node | None) -> dict[str, Any]:
    """The `parameters` of a policy."""
    if node is None:
        return {}
    if node.kind != "mapping":
        strict.wrong(node.position, "wrong_type", f"parameters is a mapping, not {describe(node)}")
        return {}
    values: dict[str, Any] = {}
    for name, (where, value) in node.entries.items():
        if not NAME_PATTERN.fullmatch(name):
            strict.wrong(
                where, "invalid_value", "a parameter's name has letters, digits and _, at most 64"
            )
        elif not _is_simple(value):
            strict.wrong(
                value.position,
                "wrong_type",
                f"parameter {name!r} is text, a number, a boolean or a list of those",
            )
        else:
            values[name] = value.plain()
    return values


def _is_simple(node: Node) -> bool:
    members = node.members if node.kind == "list" else [node]
    return bool(members) and all(describe(member) in _KINDS for member in members)


class Substitution:
    """Puts parameters into values, and remembers which ones were used."""

    def __init__(self, strict: Strict, values: Mapping[str, Any]) -> None:
        self._strict = strict
        self._values = values
        self.used: set[str] = set()

    def value(self, value: Any, where: Position) -> Any:
        """A JSON value with every parameter in its texts replaced."""
        if isinstance(value, list):
            return [self.value(member, where) for member in value]
        if isinstance(value, dict):
            return {name: self.value(member, where) for name, member in value.items()}
        if not isinstance(value, str):
            return value
        whole = _USE.fullmatch(value)
        if whole is not None and whole[1] is not None:
            return self._lookup(whole[1], where, value)
        return self.text(value, where)

    def text(self, text: str, where: Position) -> str:
        """A text with every parameter written out."""
        return _USE.sub(self._writer(where), text)

    def _writer(self, where: Position) -> Callable[[re.Match[str]], str]:
        def write(match: re.Match[str]) -> str:
            if match[1] is None:
                return "${"
            return write_value(self._lookup(match[1], where, match[0]))

        return write

    def _lookup(self, name: str, where: Position, otherwise: str) -> Any:
        if name in self._values:
            self.used.add(name)
            return self._values[name]
        self._strict.wrong(
            where, "unknown_parameter", f"no parameter {name!r}{suggest(name, self._values)}"
        )
        return otherwise


def write_value(value: Any) -> str:
    """A parameter inside a text: as YAML would write it, lists with commas."""
    if isinstance(value, list):
        return ", ".join(map(write_value, value))
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
