"""Which line each key and each element of a TOML or JSON document stands at.

Rule for editors: the text was found valid before it comes here, and every character of it is looked
at once: a list of ten thousand entries is usual.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

KeyPath = tuple[str | int, ...]

_TOML_TOKEN: Final = re.compile(
    r'''"""(?:[^"\\]++|\\.|"(?!""))*+"{3,5}'''
    r"""|'{3}(?:[^']++|'(?!''))*+'{3,5}"""
    r'''|"(?:[^"\\]++|\\.)*+"'''
    r"""|'[^']*'"""
    r"""|\#[^\n]*|\n|[\[\]{}=,.]|[^\s\[\]{}=,.\#"']+""",
    re.DOTALL,
)
_JSON_TOKEN: Final = re.compile(r'"(?:[^"\\]++|\\.)*+"|[{}\[\],:]|[^\s{}\[\],:"]+')
_VALUE_ENDS: Final = frozenset("\n,]}")


class Token(NamedTuple):
    """A word of the document and the line that it begins at."""

    word: str
    line: int


def _tokens(pattern: re.Pattern[str], text: str) -> Iterator[Token]:
    line, seen = 1, 0
    for found in pattern.finditer(text):
        line += text.count("\n", seen, found.start())
        seen = found.start()
        yield Token(found[0], line)


def toml_lines(text: str) -> dict[KeyPath, int]:
    """Lines by key path, of valid TOML."""
    return _TomlReader(text).read()


class _TomlReader:
    """Reads statement by statement: a header, or a key and its value."""

    def __init__(self, text: str) -> None:
        self._tokens = (token for token in _tokens(_TOML_TOKEN, text) if token.word[0] != "#")
        self._lines: dict[KeyPath, int] = {}
        self._counts: dict[KeyPath, int] = {}

    def read(self) -> dict[KeyPath, int]:
        """The lines of the whole document."""
        table: KeyPath = ()
        for token in self._tokens:
            if token.word == "[":
                table = self._read_header(token.line)
            elif token.word != "\n":
                self._read_pair(token, table)
        return self._lines

    def _read_header(self, line: int) -> KeyPath:
        first = next(self._tokens)
        is_array = first.word == "["
        names = self._read_names(next(self._tokens) if is_array else first, "]")
        if is_array:
            next(self._tokens)
        table: KeyPath = ()
        for name in names[:-1]:
            table += (name,)
            if table in self._counts:
                table += (self._counts[table],)
        table += names[-1:]
        if is_array:
            self._lines.setdefault(table, line)
            self._counts[table] = self._counts.get(table, -1) + 1
            table += (self._counts[table],)
        self._lines.setdefault(table, line)
        return table

    def _read_names(self, token: Token, end: str) -> KeyPath:
        """The parts of a dotted key that begins with `token` and goes up to `end`."""
        names: KeyPath = ()
        while token.word != end:
            if token.word != ".":
                names += (_toml_name(token.word),)
            token = next(self._tokens)
        return names

    def _read_pair(self, first: Token, table: KeyPath) -> str:
        """A key and its value below `table`; answers the word that ended the value."""
        names = self._read_names(first, "=")
        for size in range(1, len(names) + 1):
            self._lines.setdefault(table + names[:size], first.line)
        return self._read_value(next(self._tokens), table + names)

    def _read_value(self, first: Token, path: KeyPath) -> str:
        """A value that begins with `first`; answers the word that ended it, "" for the last."""
        if first.word == "[":
            self._read_array(path)
        elif first.word == "{":
            self._read_inline_table(path)
        for token in self._tokens:
            if token.word in _VALUE_ENDS:
                return token.word
        return ""

    def _read_array(self, path: KeyPath) -> None:
        index, end = 0, ","
        while end != "]":
            token = self._next_word()
            if token.word == "]":
                return
            self._lines.setdefault((*path, index), token.line)
            end = self._read_value(token, (*path, index))
            while end == "\n":
                end = self._next_word().word
            index += 1

    def _read_inline_table(self, path: KeyPath) -> None:
        end = ","
        while end != "}":
            token = self._next_word()
            if token.word == "}":
                return
            end = self._read_pair(token, path)
            while end == "\n":
                end = self._next_word().word

    def _next_word(self) -> Token:
        """The next token that is no line break."""
        return next(token for token in self._tokens if token.word != "\n")


def _toml_name(word: str) -> str:
    if word[0] not in "\"'":
        return word
    return next(iter(tomllib.loads(f"{word} = 0")))


@dataclass(slots=True)
class JsonFindings:
    """Where things stand in a JSON document, and what its grammar allows and we do not."""

    lines: dict[KeyPath, int] = field(default_factory=dict)
    twice: list[tuple[int, str]] = field(default_factory=list)
    """Line and name of each member that its object has already."""
    no_numbers: list[tuple[int, str]] = field(default_factory=list)
    """Line and word of each NaN and Infinity."""
    no_texts: list[int] = field(default_factory=list)
    """Lines of texts with half a surrogate pair, which no UTF-8 can say."""


def json_lines(text: str) -> JsonFindings:
    """What stands where, of valid JSON."""
    found = JsonFindings()
    stack: list[tuple[bool, KeyPath]] = []  # whether it is an object, and its path
    path: KeyPath = ()
    key = ""
    for word, line in _tokens(_JSON_TOKEN, text):
        is_object, base = stack[-1] if stack else (False, ())
        if word in "}]":
            path = stack.pop()[1]
        elif word == ":":
            path = (*base, key)
        elif word == ",":
            path = base if is_object else (*base, int(path[len(base)]) + 1)
        elif is_object and path == base:
            key = _json_text(word, line, found)
            if (*base, key) in found.lines:
                found.twice.append((line, key))
            found.lines[(*base, key)] = line
        else:
            found.lines.setdefault(path, line)
            _look_at(word, line, found)
            if word in "{[":
                stack.append((word == "{", path))
                path = path if word == "{" else (*path, 0)
    return found


def _look_at(word: str, line: int, found: JsonFindings) -> None:
    if word[0] == '"':
        _json_text(word, line, found)
    elif word in ("NaN", "Infinity", "-Infinity"):
        found.no_numbers.append((line, word))


def _json_text(word: str, line: int, found: JsonFindings) -> str:
    text: str = json.loads(word)
    if "\\u" in word and any("\ud800" <= char <= "\udfff" for char in text):
        found.no_texts.append(line)
    return text
