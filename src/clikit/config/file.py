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

from clikit.config.lines import JsonFindings, KeyPath, json_lines, toml_lines
from clikit.errors import Failure

Syntax = Literal["toml", "json", "yaml"]

MAX_CONFIG_BYTES = 1024 * 1024
"""A configuration larger than this is a mistake; parsing it could be slow."""

_LONG_NUMBER = re.compile(r"[0-9_]{4001,}")
"""Python refuses numbers of more than 4300 digits, and says so without a line."""


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
        reason = f"larger than {MAX_CONFIG_BYTES} bytes"
        raise ConfigError([Problem(name, "", reason, "is it the right file?")])
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        hint = "save the file as UTF-8"
        raise ConfigError([Problem(f"{name}:{line}", "", "not UTF-8", hint)]) from error
    parse = {"toml": _parse_toml, "json": _parse_json, "yaml": _parse_yaml}[syntax]
    try:
        values, lines = parse(text, name)
    except RecursionError as error:
        hint = "no setting has so many brackets"
        raise ConfigError([Problem(name, "", "nested too deeply", hint)]) from error
    if not isinstance(values, dict):
        raise ConfigError([Problem(f"{name}:1", "", "the file must hold one table of settings")])
    return ConfigFile(name, values, lines)


def _parse_toml(text: str, name: str) -> tuple[Any, dict[KeyPath, int]]:
    try:
        return tomllib.loads(text), toml_lines(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError([_toml_problem(text, name, str(error))]) from error
    except ValueError as error:
        raise ConfigError([_long_number(text, name)]) from error


def _toml_problem(text: str, name: str, message: str) -> Problem:
    """What the parser says, or what that means, with its remedy."""
    found = re.search(r"\(at line (\d+)", message)
    line = int(found[1]) if found else text.count("\n") + 1
    reason, key, hint = message.split(" (at ", maxsplit=1)[0], "", "correct the line"
    for beginning, word, remedy in _TOML_WORDS:
        if reason.startswith(beginning):
            reason, hint = word or reason, remedy
            break
    if reason.endswith("given twice"):
        key = text.split("\n")[line - 1].partition("=")[0].strip("[] \t\r")
    return Problem(f"{name}:{line}", key, f"not valid TOML: {reason}", hint)


_QUOTES = 'a text stands in quotes: key = "value"'
_TOML_WORDS = (
    ("Cannot overwrite a value", "the key is given twice", "remove one of the two"),
    ("Duplicate inline table key", "the key is given twice", "remove one of the two"),
    ("Cannot declare", "the table is given twice", "join the two"),
    ("Illegal character '\\n'", "the text does not end in its line", "close its quotes"),
    ("Unterminated string", "", "close its quotes"),
    ("Unclosed array", "", "close it with ]"),
    ("Unclosed inline table", "", "close it with }"),
    ("Unescaped", "", "write two backslashes, or the text in single quotes"),
    ("Invalid value", "", _QUOTES),
    ("Invalid statement", "", _QUOTES),
    ("Expected '=' after", "", _QUOTES),
)
"""How the parser's message begins, what we say in its place ("" for itself), and the remedy."""


def _long_number(text: str, name: str) -> Problem:
    found = _LONG_NUMBER.search(text)
    line = text.count("\n", 0, found.start()) + 1 if found else 1
    return Problem(f"{name}:{line}", "", "the number has too many digits", "shorten it")


def _parse_json(text: str, name: str) -> tuple[Any, dict[KeyPath, int]]:
    try:
        values = json.loads(text)
    except json.JSONDecodeError as error:
        reason = f"not valid JSON: {error.msg}"
        problem = Problem(f"{name}:{error.lineno}", "", reason, "correct the line")
        raise ConfigError([problem]) from error
    except ValueError as error:
        raise ConfigError([_long_number(text, name)]) from error
    found = json_lines(text)
    if problems := [*_json_problems(found, name)]:
        raise ConfigError(problems)
    return values, found.lines


def _json_problems(found: JsonFindings, name: str) -> Iterator[Problem]:
    for line, key in found.twice:
        yield Problem(f"{name}:{line}", key, "the key is given twice", "remove one of the two")
    for line, word in found.no_numbers:
        reason = f"not valid JSON: {word} is not a JSON number"
        yield Problem(f"{name}:{line}", "", reason, "write a number in figures")
    for line in found.no_texts:
        reason = "not valid JSON: the text has half a surrogate pair"
        yield Problem(f"{name}:{line}", "", reason, "write the whole character")


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
