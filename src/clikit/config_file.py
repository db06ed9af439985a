"""Configuration files as values with the line of every key, so that errors can point at it.

TOML and JSON by the standard library, YAML 1.2 by ruamel.yaml where it is installed. Duplicate
keys are refused in all three. Pure: bytes in, values out.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from clikit.errors import Failure

Syntax = Literal["toml", "json", "yaml"]
KeyPath = tuple[str | int, ...]

MAX_CONFIG_BYTES = 1024 * 1024
"""A configuration larger than this is a mistake; parsing it could be slow."""

_TOML_HEADER = re.compile(r"^\s*(\[\[?)\s*(.*?)\s*\]\]?\s*(#.*)?$")
_TOML_KEY = re.compile(r"""^\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'|\s*\.\s*)+?)\s*=(.*)$""")
_JSON_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a configuration: where, which key, why, and what to do."""

    where: str
    key: str
    reason: str
    hint: str = ""

    def __str__(self) -> str:
        """`file:line: key: reason (hint)`."""
        parts = [part for part in (self.where, self.key, self.reason) if part]
        return ": ".join(parts) + (f" ({self.hint})" if self.hint else "")


class ConfigError(Failure):
    """Every problem of a configuration, all at once; the message has one a line."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__(
            "config_invalid",
            "\n".join(str(problem) for problem in problems),
            details={
                "problems": [
                    {"where": p.where, "key": p.key, "reason": p.reason, "hint": p.hint}
                    for p in problems
                ]
            },
        )
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """A parsed file: its name for messages, its values, and lines (from 1) by key path."""

    name: str
    values: Mapping[str, Any]
    lines: Mapping[KeyPath, int]

    def where(self, *path: str | int) -> str:
        """`file:line` of a key, or of its nearest parent that has a line."""
        for size in range(len(path), 0, -1):
            if path[:size] in self.lines:
                return f"{self.name}:{self.lines[path[:size]]}"
        return f"{self.name}:1"


def parse_config(data: bytes, *, name: str, syntax: Syntax) -> ConfigFile:
    """Parse a whole file; raises `ConfigError` naming file and line."""
    if len(data) > MAX_CONFIG_BYTES:
        raise ConfigError([Problem(name, "", f"larger than {MAX_CONFIG_BYTES} bytes")])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError([Problem(f"{name}:{line}", "", "not UTF-8")]) from error
    parse = {"toml": _parse_toml, "json": _parse_json, "yaml": _parse_yaml}[syntax]
    try:
        values, lines = parse(text, name)
    except RecursionError as error:
        raise ConfigError([Problem(name, "", "nested too deeply")]) from error
    if not isinstance(values, dict):
        raise ConfigError([Problem(f"{name}:1", "", "the file must hold one table of settings")])
    return ConfigFile(name, values, lines)


def _parse_toml(text: str, name: str) -> tuple[Any, dict[KeyPath, int]]:
    try:
        return tomllib.loads(text), _toml_lines(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"\(at line (\d+)", str(error))
        line = found[1] if found else str(text.count("\n") + 1)
        reason = "not valid TOML: " + str(error).split(" (at ")[0]
        raise ConfigError([Problem(f"{name}:{line}", "", reason)]) from error


def _toml_lines(text: str) -> dict[KeyPath, int]:
    """Lines of the keys of valid TOML; keys inside an inline table share its line."""
    lines: dict[KeyPath, int] = {}
    counts: dict[KeyPath, int] = {}
    table: KeyPath = ()
    rows = iter(enumerate(text.splitlines(), 1))
    for number, row in rows:
        if header := _TOML_HEADER.match(row):
            table = _toml_table(header[1], _toml_path(header[2]), counts)
            lines.setdefault(table, number)
        elif key := _TOML_KEY.match(row):
            path = table + _toml_path(key[1])
            for size in range(len(table) + 1, len(path) + 1):
                lines.setdefault(path[:size], number)
            _skip_toml_value(key[2], rows)
    return lines


def _toml_table(bracket: str, path: KeyPath, counts: dict[KeyPath, int]) -> KeyPath:
    """The full path of a header; arrays of tables are counted, also as parents of others."""
    full: KeyPath = ()
    for part in path[:-1]:
        full += (part,)
        if full in counts:
            full += (counts[full],)
    full += path[-1:]
    if bracket == "[[":
        counts[full] = counts.get(full, -1) + 1
        full += (counts[full],)
    return full


def _toml_path(key: str) -> KeyPath:
    try:
        value: Any = tomllib.loads(f"{key} = 0")
    except tomllib.TOMLDecodeError:
        return (key,)
    path: KeyPath = ()
    while isinstance(value, dict):
        name, value = next(iter(value.items()))
        path += (name,)
    return path


def _skip_toml_value(first: str, rows: Iterator[tuple[int, str]]) -> None:
    """Consume the rows that a multi-line value goes on over."""
    value = first
    while True:
        try:
            tomllib.loads(f"x = {value}")
        except tomllib.TOMLDecodeError:
            following = next(rows, None)
            if following is None:
                return
            value += "\n" + following[1]
        else:
            return


def _parse_json(text: str, name: str) -> tuple[Any, dict[KeyPath, int]]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        for index, (key, _) in enumerate(pairs):
            if key in {other for other, _ in pairs[:index]}:
                raise ConfigError([Problem(name, key, "the key is given twice")])
        return dict(pairs)

    try:
        values = json.loads(text, object_pairs_hook=unique, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        problem = Problem(f"{name}:{error.lineno}", "", f"not valid JSON: {error.msg}")
        raise ConfigError([problem]) from error
    except ValueError as error:
        raise ConfigError([Problem(name, "", f"not valid JSON: {error}")]) from error
    return values, _json_lines(text)


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is not a JSON number")


def _json_lines(text: str) -> dict[KeyPath, int]:
    """Lines of the members and elements of valid JSON."""
    lines: dict[KeyPath, int] = {}
    stack: list[tuple[str, KeyPath]] = []
    path: KeyPath = ()
    key: str | None = None
    for token in _JSON_TOKEN.finditer(text):
        word, line = token[0], text.count("\n", 0, token.start()) + 1
        in_object = bool(stack) and stack[-1][0] == "{"
        if word in "}]":
            path = stack.pop()[1]
        elif word == ":":
            path = (*stack[-1][1], json.loads(key or '""'))
        elif word == ",":
            base = stack[-1][1]
            path = base if in_object else (*base, int(path[len(base)]) + 1)
        else:
            if in_object and path == stack[-1][1]:
                key = word
                lines[(*path, json.loads(word))] = line
                continue
            lines.setdefault(path, line)
            if word in "{[":
                stack.append((word, path))
                path = path if word == "{" else (*path, 0)
    return lines


def _parse_yaml(text: str, name: str) -> tuple[Any, dict[KeyPath, int]]:
    try:
        from ruamel.yaml import YAML
        from ruamel.yaml.error import MarkedYAMLError, YAMLError
    except ImportError as error:
        raise Failure(
            "missing_extra", "YAML needs ruamel.yaml", hint="install the [fleet] extra"
        ) from error
    loader = YAML(typ="rt", pure=True)
    try:
        values = loader.load(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{name}:{mark.line + 1}" if mark else name
        raise ConfigError([Problem(where, "", f"not valid YAML: {error.problem}")]) from error
    except (YAMLError, ValueError) as error:
        raise ConfigError([Problem(name, "", f"not valid YAML: {error}")]) from error
    return _plain(values if values is not None else {}), dict(_yaml_lines(values, ()))


def _yaml_lines(node: Any, path: KeyPath) -> Iterator[tuple[KeyPath, int]]:
    if not isinstance(node, dict | list):
        return
    places = getattr(getattr(node, "lc", None), "data", None) or {}
    members = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in members:
        if key in places:
            yield (*path, key), places[key][0] + 1
        yield from _yaml_lines(value, (*path, key))


def _plain(node: Any) -> Any:
    """Ruamel's containers and scalar classes as plain Python ones."""
    if isinstance(node, dict):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, list):
        return [_plain(value) for value in node]
    for kind in (bool, int, float, str):
        if isinstance(node, kind):
            return node if node is True or node is False else kind(node)
    return node
