"""Strict reading of positioned values: every key known, every kind right, all problems kept.

A reader answers None (or what it could read) and records the problem; it never raises.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Final, TypeVar

from fleetmdm.policy import Position
from fleetmdm.policy_yaml.problems import Problems, suggest
from fleetmdm.policy_yaml.yaml_tree import Node

MAX_TEXT_CHARACTERS: Final = 16_384
MAX_LIST_MEMBERS: Final = 10_000

Word = TypeVar("Word", bound=StrEnum)


def describe(node: Node) -> str:
    """The kind of a value, for people."""
    if node.kind != "scalar":
        return node.kind
    if node.scalar is None:
        return "nothing"
    return {bool: "boolean", int: "number", float: "number"}.get(type(node.scalar), "text")


class Strict:
    """Reads values of one file; knows where to put what is wrong."""

    def __init__(self, problems: Problems) -> None:
        self.problems = problems

    def wrong(self, where: Position, code: str, message: str) -> None:
        """Record one problem."""
        self.problems.add(where, code, message)

    def mapping(
        self,
        node: Node,
        what: str,
        *,
        known: frozenset[str],
        required: Collection[str] = (),
    ) -> Mapping[str, Node]:
        """The entries of a mapping with known keys; empty where it is no mapping."""
        if node.kind != "mapping":
            self.wrong(node.position, "wrong_type", f"{what} is a mapping, not {describe(node)}")
            return {}
        entries: dict[str, Node] = {}
        for key, (where, value) in node.entries.items():
            if key in known:
                entries[key] = value
            else:
                self.wrong(
                    where, "unknown_key", f"unknown key {key[:80]!r} in {what}{suggest(key, known)}"
                )
        for key in required:
            if key not in entries:
                self.wrong(node.position, "missing_key", f"{what} needs {key!r}")
        return entries

    def text(self, node: Node | None, what: str, *, empty: bool = True) -> str:
        """A text; "" where there is none."""
        if node is None:
            return ""
        value = node.scalar
        if node.kind != "scalar" or not isinstance(value, str):
            hint = " (quote it)" if describe(node) in ("number", "boolean") else ""
            self.wrong(node.position, "wrong_type", f"{what} is text, not {describe(node)}{hint}")
            return ""
        if len(value) > MAX_TEXT_CHARACTERS:
            self.wrong(
                node.position, "too_large", f"{what} has over {MAX_TEXT_CHARACTERS} characters"
            )
        if not value.strip() and not empty:
            self.wrong(node.position, "invalid_value", f"{what} is empty")
        return value

    def flag(self, node: Node | None, what: str, *, default: bool) -> bool:
        """A boolean."""
        if node is None:
            return default
        if node.kind != "scalar" or not isinstance(node.scalar, bool):
            self.wrong(
                node.position, "wrong_type", f"{what} is true or false, not {describe(node)}"
            )
            return default
        return node.scalar

    def word(self, node: Node | None, what: str, words: type[Word], default: Word) -> Word:
        """One of a fixed set of words."""
        if node is None:
            return default
        text = self.text(node, what)
        try:
            return words(text)
        except ValueError:
            allowed = frozenset(word.value for word in words)
            if text or node.scalar == "":
                self.wrong(
                    node.position,
                    "invalid_value",
                    f"{what} is one of {', '.join(words)}, not {text[:80]!r}"
                    f"{suggest(text, allowed)}",
                )
            return default

    def members(self, node: Node | None, what: str) -> list[Node]:
        """The members of a list; empty where there is none."""
        if node is None:
            return []
        if node.kind != "list":
            self.wrong(node.position, "wrong_type", f"{what} is a list, not {describe(node)}")
            return []
        if len(node.members) > MAX_LIST_MEMBERS:
            self.wrong(
                node.position, "too_large", f"{what} has more than {MAX_LIST_MEMBERS} members"
            )
            return node.members[:MAX_LIST_MEMBERS]
        return node.members

    def texts(self, node: Node | None, what: str) -> tuple[str, ...]:
        """A list of texts; one text stands for a list of one."""
        if node is not None and node.kind == "scalar" and isinstance(node.scalar, str):
            return (self.text(node, what, empty=False),)
        return tuple(
            self.text(each, f"{what}: a member", empty=False) for each in self.members(node, what)
        )
