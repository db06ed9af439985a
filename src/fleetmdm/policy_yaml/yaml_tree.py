"""YAML text to a tree of positioned values: YAML 1.2 core schema, and only its unambiguous part.

Built on the events of ruamel.yaml's parser, so that nothing is constructed before it is counted
and no anchor, alias or tag ever takes effect.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from fleetmdm.policy import Position
from fleetmdm.policy_yaml.problems import Problems

MAX_FILE_BYTES: Final = 1 << 20
"""A megabyte: the largest policy file seen in the wild is about half of it."""
MAX_DEPTH: Final = 64
MAX_NODES: Final = 100_000
MAX_SAFE_INTEGER: Final = 2**53 - 1
"""Beyond this a JSON reader may round (RFC 7493 section 2.2)."""

_INTEGER = re.compile(r"[-+]?[0-9]+", re.ASCII)
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]+", re.ASCII)
_OCTAL = re.compile(r"0o[0-7]+", re.ASCII)
_HEX = re.compile(r"0x[0-9a-fA-F]+", re.ASCII)
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", re.ASCII)
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", re.ASCII)
_CONSTANTS: Final[dict[str, Any]] = {
    "": None,
    "~": None,
    "null": None,
    "Null": None,
    "NULL": None,
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}
_LONG_ESCAPE = re.compile(r"\\U([0-9A-Fa-f]{8})")
_SURROGATE = re.compile("[\ud800-\udfff]")
_AMBIGUOUS = frozenset({"yes", "no", "on", "off"})


@dataclass(slots=True)
class Node:
    """One value and where it begins. `kind` is scalar, list or mapping."""

    kind: str
    position: Position
    scalar: Any = None
    members: list[Node] = field(default_factory=list)
    entries: dict[str, tuple[Position, Node]] = field(default_factory=dict)

    def plain(self) -> Any:
        """The JSON value."""
        if self.kind == "scalar":
            return self.scalar
        if self.kind == "list":
            return [member.plain() for member in self.members]
        return {name: node.plain() for name, (_, node) in self.entries.items()}


@dataclass(frozen=True, slots=True)
class YamlDocument:
    """One document: its root and the place of its first character in the text."""

    root: Node
    start: int


class YamlStopError(Exception):
    """Reading cannot go on; the problem is recorded already."""


def decode_text(data: bytes, problems: Problems) -> str:
    """A file as text; empty, and a problem, where it is too long or not UTF-8."""
    if len(data) > MAX_FILE_BYTES:
        problems.add(Position(1, 1), "too_large", f"more than {MAX_FILE_BYTES} bytes")
        return ""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        problems.add(Position(line, 1), "yaml_syntax", "not UTF-8")
        return ""


def read_documents(text: str, problems: Problems) -> list[YamlDocument]:
    """Every document that is not empty; stops at what makes the rest unreadable."""
    documents: list[YamlDocument] = []
    try:
        for document in _Builder(problems).documents(_events(text, problems)):
            documents.append(document)  # noqa: PERF402 - what came before a fault is kept
    except YamlStopError:
        pass
    return [
        each for each in documents if each.root.kind != "scalar" or each.root.scalar is not None
    ]


def _events(text: str, problems: Problems) -> Iterator[Any]:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        yield from YAML(typ="safe", pure=True).parse(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = " ".join(part for part in (error.context, error.problem) if part)
        where = Position(mark.line + 1, mark.column + 1) if mark else Position(1, 1)
        problems.add(where, "yaml_syntax", said or "not YAML")
        raise YamlStopError from error
    except YAMLError as error:
        problems.add(_reader_place(error, text), "yaml_syntax", "a character YAML does not allow")
        raise YamlStopError from error
    except (ValueError, OverflowError) as error:
        # The parser hands such an escape to `chr` as it is.
        problems.add(_escape_place(text), "yaml_syntax", "an escape is no character of Unicode")
        raise YamlStopError from error


def _escape_place(text: str) -> Position:
    escapes = (found for found in _LONG_ESCAPE.finditer(text) if int(found[1], 16) > sys.maxunicode)
    found = next(escapes, None)
    return Position(1, 1) if found is None else _position(text, found.start())


def _reader_place(error: Exception, text: str) -> Position:
    index = getattr(error, "position", 0)
    return _position(text, index if isinstance(index, int) else 0)


def _position(text: str, index: int) -> Position:
    before = text[:index]
    return Position(before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)


def _place(event: Any) -> Position:
    return Position(event.start_mark.line + 1, event.start_mark.column + 1)


class _Builder:
    """Turns events into trees; an open mapping remembers the key that waits for its value."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._nodes = 0

    def documents(self, events: Iterator[Any]) -> Iterator[YamlDocument]:
        start, stack, keys, root = 0, list[Node](), list[Node | None](), None
        for event in events:
            name = type(event).__name__
            if name == "DocumentStartEvent":
                self._refuse_directives(event)
                start, root = event.start_mark.index, None
            elif name == "DocumentEndEvent":
                if root is not None:
                    yield YamlDocument(root, start)
            elif name in ("SequenceEndEvent", "MappingEndEvent"):
                stack.pop()
                keys.pop()
            elif name in ("ScalarEvent", "SequenceStartEvent", "MappingStartEvent", "AliasEvent"):
                node = self._node(event, name, len(stack))
                self._attach(node, stack, keys)
                root = node if root is None else root
                if name in ("SequenceStartEvent", "MappingStartEvent"):
                    stack.append(node)
                    keys.append(None)

    def _attach(self, node: Node, stack: list[Node], keys: list[Node | None]) -> None:
        if not stack:
            return
        parent = stack[-1]
        if parent.kind == "list":
            parent.members.append(node)
        elif keys[-1] is None:
            keys[-1] = node
        else:
            self._enter(parent, keys[-1], node)
            keys[-1] = None

    def _enter(self, parent: Node, key: Node, node: Node) -> None:
        name = key.scalar
        if key.kind != "scalar" or not isinstance(name, str):
            self._problems.add(key.position, "wrong_type", "a key must be text")
        elif name in parent.entries:
            first = parent.entries[name][0].line
            self._problems.add(
                key.position,
                "duplicate_key",
                f"key {name!r} stands at line {first} already (is a --- missing between policies?)",
            )
        else:
            parent.entries[name] = (key.position, node)

    def _node(self, event: Any, name: str, depth: int) -> Node:
        where = _place(event)
        self._nodes += 1
        if self._nodes > MAX_NODES:
            self._stop(where, "too_large", f"more than {MAX_NODES} values")
        if depth >= MAX_DEPTH:
            self._stop(where, "too_deep", f"more than {MAX_DEPTH} levels")
        if name == "AliasEvent" or event.anchor is not None:
            self._problems.add(where, "alias", "anchors and aliases are not allowed")
            if name == "AliasEvent":
                return Node("scalar", where)
        if event.tag is not None:
            self._problems.add(where, "tag", f"tags are not allowed: {str(event.tag)[:80]!r}")
        if name == "ScalarEvent":
            plain = not event.style and event.tag is None
            value = self._scalar(event.value, where) if plain else self._text(event.value, where)
            return Node("scalar", where, value)
        return Node("list" if name == "SequenceStartEvent" else "mapping", where)

    def _text(self, text: str, where: Position) -> str:
        """A quoted text: two escapes that are a pair of surrogates are one character, as in JSON.

        YAML 1.2.2 is a superset of JSON (section 1.2), whose only way to escape most characters is
        such a pair (RFC 8259 section 7). A lone surrogate is no character and has no UTF-8.
        """
        if text.isascii() or not _SURROGATE.search(text):
            return text
        try:
            return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
        except UnicodeDecodeError:
            message = "an escape is half a surrogate pair: write the character, or both halves"
            self._problems.add(where, "yaml_syntax", message)
            return _SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)

    def _scalar(self, text: str, where: Position) -> Any:
        """A plain scalar by the core schema (YAML 1.2.2 section 10.3.2), less its traps."""
        if text in _CONSTANTS:
            return _CONSTANTS[text]
        if text.lower() in _AMBIGUOUS:
            self._problems.add(
                where,
                "ambiguous_scalar",
                f'{text} is a word to some and a boolean to others: write "{text}", true or false',
            )
            return text
        if _LEADING_ZERO.fullmatch(text) or _NOT_FINITE.fullmatch(text):
            self._problems.add(where, "ambiguous_scalar", f"quote {text[:80]}, or write a number")
            return text
        return self._number(text, where)

    def _number(self, text: str, where: Position) -> Any:
        value: Any = text
        if len(text) > 400:
            return value
        if _INTEGER.fullmatch(text):
            value = int(text)
        elif _OCTAL.fullmatch(text) or _HEX.fullmatch(text):
            value = int(text, 0)
        elif _FLOAT.fullmatch(text):
            value = float(text)
        if isinstance(value, int | float) and not abs(value) <= MAX_SAFE_INTEGER:
            self._problems.add(where, "ambiguous_scalar", f"quote {text[:80]}: it is not exact")
            return text
        return value

    def _refuse_directives(self, event: Any) -> None:
        if event.version is not None or event.tags:
            self._problems.add(_place(event), "tag", "directives are not allowed")

    def _stop(self, where: Position, code: str, message: str) -> None:
        self._problems.add(where, code, message)
        raise YamlStopError
