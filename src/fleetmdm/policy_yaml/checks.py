"""Checks and compositions from YAML: the grammar of `checks`, `when`, `where` and `os_version`.

check       = key op [value] [message] [on_missing] [scheme] [severity] [when]
composition = (all: [node...] / any: [node...] / none: [node...] / not: node) [when]
"""

from __future__ import annotations

from typing import Any, Final

from fleetmdm.evaluate.fact_path import PathError, parse_path
from fleetmdm.evaluate.operators import OPERATORS
from fleetmdm.evaluate.operators.row import OperandError, Operator
from fleetmdm.policy import Combine, Group, Leaf, OnMissing, Position
from fleetmdm.policy import Node as Check
from fleetmdm.policy_yaml.parameters import Substitution
from fleetmdm.policy_yaml.problems import suggest
from fleetmdm.policy_yaml.strict import Strict
from fleetmdm.policy_yaml.yaml_tree import Node
from fleetmdm.results import Severity

MAX_CHECK_DEPTH: Final = 16
"""Levels of compositions; deeper trees are not read by people."""

COMBINES: Final = {
    "all": Combine.ALL,
    "any": Combine.ANY,
    "not": Combine.NOT,
    "none": Combine.NONE,
}
_COMPOSITION: Final = frozenset({*COMBINES, "when"})
LEAF_KEYS: Final = frozenset(
    {"key", "op", "value", "message", "on_missing", "scheme", "severity", "when"}
)
OS_VERSION_KEYS: Final = frozenset({"op", "value", "scheme", "on_missing"})


class CheckReader:
    """Reads the checks of one policy."""

    def __init__(self, strict: Strict, substitution: Substitution) -> None:
        self._strict = strict
        self._substitution = substitution

    def checks(self, node: Node | None, position: Position) -> Group:
        """The policy's `checks`: all of them."""
        members = self._strict.members(node, "checks")
        if node is not None and node.kind == "list" and not members:
            self._strict.wrong(node.position, "invalid_value", "checks is empty: nothing to check")
        return Group("checks", Combine.ALL, self._list(members, "checks", 1), position)

    def condition(self, node: Node | None, path: str) -> Check | None:
        """A condition that stands by itself (`where`)."""
        return None if node is None else self._node(node, path, 1)

    def os_version(self, node: Node | None) -> Leaf | None:
        """`targets.os_version`: a check of the device's own `os_version`."""
        if node is None:
            return None
        entries = self._strict.mapping(
            node, "targets.os_version", known=OS_VERSION_KEYS, required=("op",)
        )
        if not entries:
            return None
        key = Node("scalar", node.position, "os_version")
        return self._leaf({**entries, "key": key}, "targets.os_version", node.position)

    def _list(self, nodes: list[Node], path: str, depth: int) -> tuple[Check, ...]:
        read = (self._node(node, f"{path}[{i}]", depth) for i, node in enumerate(nodes))
        return tuple(check for check in read if check is not None)

    def _node(self, node: Node, path: str, depth: int) -> Check | None:
        if depth > MAX_CHECK_DEPTH:
            self._strict.wrong(
                node.position, "too_deep", f"more than {MAX_CHECK_DEPTH} levels of checks"
            )
            return None
        composed = node.kind == "mapping" and not COMBINES.keys().isdisjoint(node.entries)
        known = _COMPOSITION if composed else LEAF_KEYS
        required = () if composed else ("key", "op")
        entries = self._strict.mapping(node, "a check", known=known, required=required)
        if not entries:
            return None
        check = (
            self._group(dict(entries), path, depth, node.position)
            if composed
            else self._leaf(dict(entries), path, node.position)
        )
        return self._guarded(check, entries.get("when"), path, depth)

    def _guarded(
        self, check: Check | None, when: Node | None, path: str, depth: int
    ) -> Check | None:
        if check is None or when is None:
            return check
        condition = self._node(when, f"{path}.when", depth + 1)
        if condition is None:
            return None
        return Group(path, Combine.WHEN, (condition, check), when.position)

    def _group(
        self, entries: dict[str, Node], path: str, depth: int, position: Position
    ) -> Group | None:
        entries.pop("when", None)
        if len(entries) != 1:
            self._strict.wrong(
                position, "unknown_key", "a composition has one of all, any, not, none"
            )
            return None
        ((name, node),) = entries.items()
        if name == "not":
            member = self._node(node, f"{path}.not", depth + 1)
            members: tuple[Check, ...] = () if member is None else (member,)
        else:
            members = self._list(self._strict.members(node, name), f"{path}.{name}", depth + 1)
            if node.kind == "list" and not node.members:
                self._strict.wrong(node.position, "invalid_value", f"{name} is empty")
        return Group(path, COMBINES[name], members, position) if members else None

    def _leaf(self, entries: dict[str, Node], path: str, position: Position) -> Leaf | None:
        key = self._key(entries.get("key"))
        row = self._operator(entries.get("op"))
        message = self._strict.text(entries.get("message"), "message")
        wish = entries.get("on_missing")
        on_missing = wish and self._strict.word(wish, "on_missing", OnMissing, OnMissing.UNKNOWN)
        grade = entries.get("severity")
        severity = grade and self._strict.word(grade, "severity", Severity, Severity.MEDIUM)
        if key is None or row is None:
            return None
        scheme = self._scheme(entries.get("scheme"), row)
        value = self._operand(entries.get("value"), row, scheme, position)
        return Leaf(
            path=path,
            key=key,
            op=row.name,
            value=value,
            position=position,
            message=self._substitution.text(message, position),
            on_missing=on_missing or None,
            scheme=scheme or None,
            severity=severity or None,
        )

    def _key(self, node: Node | None) -> str | None:
        if node is None:
            return None
        text = self._strict.text(node, "key", empty=False)
        if not text.strip():
            return None
        try:
            return parse_path(text).text
        except PathError as error:
            self._strict.wrong(node.position, "invalid_key", str(error))
            return None

    def _operator(self, node: Node | None) -> Operator | None:
        if node is None:
            return None
        name = self._strict.text(node, "op", empty=False)
        row = OPERATORS.get(name)
        if row is None and name.strip():
            self._strict.wrong(
                node.position,
                "unknown_operator",
                f"unknown operator {name[:80]!r}{suggest(name, OPERATORS)}",
            )
        return row

    def _scheme(self, node: Node | None, row: Operator) -> str:
        if node is None:
            return ""
        scheme = self._strict.text(node, "scheme")
        if not row.schemes:
            self._strict.wrong(node.position, "unknown_key", f"{row.name} takes no scheme")
        elif scheme not in row.schemes:
            self._strict.wrong(
                node.position,
                "invalid_value",
                f"scheme is one of {', '.join(row.schemes)}, not {scheme[:80]!r}",
            )
            return row.schemes[0]
        return scheme

    def _operand(self, node: Node | None, row: Operator, scheme: str, check: Position) -> Any:
        where = check if node is None else node.position
        if node is None and row.operand:
            self._strict.wrong(where, "missing_key", f"{row.name} needs 'value'")
            return None
        value = None if node is None else self._substitution.value(node.plain(), where)
        if node is not None and value is None:
            self._strict.wrong(
                where, "invalid_operand", "value is null; use not_exists to ask for nothing"
            )
            return None
        try:
            row.prepare(value, scheme)
        except OperandError as fault:
            code = "invalid_regex" if "RE2" in str(fault) else "invalid_operand"
            self._strict.wrong(where, code, f"the value of {row.name} {fault}")
        return value
