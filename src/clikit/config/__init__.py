"""Settings in layers: flag over environment over file over profile over default, each with origin.

Strict: an unknown key, a wrong type or a value out of bounds is a problem, and all problems are
reported at once. Pure: files are read, and the environment is handed in, by the caller.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from clikit.config.file import ConfigError, ConfigFile, Problem, parse_config
from clikit.nearest import nearest

__all__ = [
    "ConfigError",
    "ConfigFile",
    "Problem",
    "Resolved",
    "Setting",
    "Value",
    "ValueProblem",
    "parse_config",
    "resolve",
]

Kind = Literal["text", "int", "float", "bool", "path", "list", "numbers", "table", "tables"]

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})
_WHOLE = re.compile(r"-?[0-9]{1,30}")


@dataclass(frozen=True, slots=True)
class Setting:
    """One key: its kind, bounds and default; `key` is dotted for keys inside tables.

    `list` is a list of texts, `numbers` one of whole numbers, `table` one table, `tables` a list of
    tables: what is inside the latter two is the product's to check. `env` overrides the name made from prefix and key.
    """

    key: str
    kind: Kind
    default: Any
    help: str
    env: str | None = None
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    unit: str = ""
    is_private: bool = False
    """What stands here by mistake may be a secret: no message repeats it."""


@dataclass(frozen=True, slots=True)
class Value:
    """A setting's effective value and the layer it came from."""

    value: Any
    origin: str


class Resolved(dict[str, Value]):
    """Effective values by key."""

    def get_value(self, key: str) -> Any:
        """The value alone."""
        return self[key].value


def resolve(
    settings: Sequence[Setting],
    *,
    flags: Mapping[str, Any],
    environ: Mapping[str, str],
    env_prefix: str,
    file: ConfigFile | None = None,
    preset: Mapping[str, Any] | None = None,
    preset_name: str = "",
) -> Resolved:
    """Effective settings; raises `ConfigError` with every problem of every layer.

    A flag of None was not given. What a stronger layer hides is judged too. Of the environment only the settings' own names are read.
    """
    problems: list[Problem] = []
    table = {setting.key: setting for setting in settings}
    from_file = _flatten(file, table, problems) if file else {}
    resolved = Resolved()
    for setting in settings:
        layers = _layers(setting, flags, environ, env_prefix, from_file, preset or {}, preset_name)
        # All are looked at: what a stronger layer hides today is in force without it tomorrow.
        for where, raw, origin, is_text in layers:
            try:
                value = raw if origin == "default" else check_value(setting, raw, from_text=is_text)
            except ValueProblem as error:
                name = setting.key + "".join(f"[{index}]" for index in error.item)
                problems.append(Problem(where, name, str(error), error.hint))
            else:
                resolved.setdefault(setting.key, Value(value, origin))
    if problems:
        raise ConfigError(problems)
    return resolved


def _layers(
    setting: Setting,
    flags: Mapping[str, Any],
    environ: Mapping[str, str],
    env_prefix: str,
    from_file: Mapping[str, tuple[str, Any]],
    preset: Mapping[str, Any],
    preset_name: str,
) -> Iterator[tuple[str, Any, str, bool]]:
    """(where, raw value, origin, is text) of each layer that has the key, strongest first."""
    key = setting.key
    name = setting.env or env_prefix + key.upper().replace(".", "_")
    if flags.get(key) is not None:
        yield f"--{key.replace('_', '-')}", flags[key], "flag", False
    if environ.get(name):
        yield f"environment {name}", environ[name], f"env {name}", True
    if key in from_file:
        where, value = from_file[key]
        yield where, value, f"file {where}", False
    if key in preset:
        yield f"profile {preset_name}", preset[key], f"profile {preset_name}", False
    yield "", setting.default, "default", False


class ValueProblem(ValueError):  # noqa: N818 - it becomes a `Problem` of a key
    """A value that a setting cannot have; the message says why, `hint` what to write.

    `item` is the element of a list that is meant, (index,) or ().
    """

    def __init__(self, reason: str, hint: str = "", item: tuple[int, ...] = ()) -> None:
        super().__init__(reason)
        self.hint = hint
        self.item = item


def check_value(setting: Setting, raw: Any, *, from_text: bool = False) -> Any:
    """`raw` as the setting's kind; raises `ValueProblem`."""
    if from_text and setting.kind in ("table", "tables"):
        raise ValueProblem("cannot stand in a variable", "put it into the configuration file")
    value = _from_text(setting, raw) if from_text else raw
    accepted = _KINDS[setting.kind]
    if (isinstance(value, bool) and setting.kind != "bool") or not isinstance(value, accepted):
        given = "" if setting.is_private else f", not {_describe(raw)}"
        reason = f"must be {_WORDS[setting.kind]}{given}"
        raise ValueProblem(reason, _remedy(setting, is_text=from_text))
    if setting.kind in _ITEMS:
        _check_items(setting, value)
    if setting.choices and value not in setting.choices:
        near = nearest(str(value), setting.choices)
        hint = f"did you mean {near!r}?" if near else "choose one of them"
        raise ValueProblem(f"must be one of {', '.join(setting.choices)}, not {value!r}", hint)
    if setting.minimum is not None and value < setting.minimum:
        raise ValueProblem(f"must be at least {setting.minimum}, not {value}", _span(setting))
    if setting.maximum is not None and value > setting.maximum:
        raise ValueProblem(f"must be at most {setting.maximum}, not {value}", _span(setting))
    return value


def _check_items(setting: Setting, items: Sequence[Any]) -> None:
    kind, word = _ITEMS[setting.kind]
    for index, item in enumerate(items):
        if isinstance(item, bool) or not isinstance(item, kind):
            given = "" if setting.is_private else f", not {_describe(item)}"
            hint = _EXAMPLES[setting.kind].format(key=setting.key)
            raise ValueProblem(f"must be {word}{given}", hint, (index,))


def _span(setting: Setting) -> str:
    """The bounds of a number, and what it counts."""
    low, high = setting.minimum, setting.maximum
    unit = f" {setting.unit}" if setting.unit else ""
    if high is None:
        return f"{low} or more{unit}"
    return f"{low} to {high}{unit}" if low is not None else f"at most {high}{unit}"


def _remedy(setting: Setting, *, is_text: bool = False) -> str:
    """What to write for a value of another kind than the setting has."""
    if setting.kind in ("int", "float"):
        return _span(setting) if setting.minimum is not None else "without quotes"
    if is_text:
        return "on or off, true or false"
    if setting.choices:
        return f"one of: {', '.join(setting.choices)}"
    return _EXAMPLES[setting.kind].format(key=setting.key)


_KINDS: Mapping[str, Any] = {
    "text": str,
    "path": str,
    "int": int,
    "float": (int, float),
    "bool": bool,
    "list": list | tuple,
    "numbers": list | tuple,
    "table": dict,
    "tables": list,
}
_ITEMS: Mapping[str, tuple[type, str]] = {
    "list": (str, "a text"),
    "numbers": (int, "a whole number"),
    "tables": (dict, "a table"),
}
"""What the elements of a list are."""
_WORDS = {
    "text": "a text",
    "path": "a path",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "list": "a list of texts",
    "numbers": "a list of whole numbers",
    "table": "a table",
    "tables": "a list of tables",
}
_EXAMPLES = {
    "text": "put it in quotes",
    "path": "put it in quotes",
    "bool": "without quotes",
    "list": '{key} = ["..."]',
    "numbers": "{key} = [1, 2]",
    "table": "as [{key}] in TOML",
    "tables": "as [[{key}]] in TOML",
}


def _describe(raw: Any) -> str:
    if isinstance(raw, bool):
        return str(raw).lower()
    if isinstance(raw, str | int | float):
        return repr(raw)
    if raw is None:
        return "null"
    return f"a {'table' if isinstance(raw, dict) else type(raw).__name__}"


def _from_text(setting: Setting, raw: str) -> Any:
    """A value of the environment; numbers and switches are spelled in text there."""
    word = raw.strip().lower()
    if setting.kind == "bool":
        return True if word in _TRUE else False if word in _FALSE else raw
    if setting.kind == "int":
        return int(word) if _WHOLE.fullmatch(word) else raw
    if setting.kind == "float":
        try:
            return float(word)
        except ValueError:
            return raw
    return [part for part in raw.split(",") if part] if setting.kind == "list" else raw


def _flatten(
    file: ConfigFile, table: Mapping[str, Setting], problems: list[Problem]
) -> dict[str, tuple[str, Any]]:
    """(where, value) of every known key in the file; unknown ones become problems."""
    found: dict[str, tuple[str, Any]] = {}
    sections = {key.rpartition(".")[0] for key in table if "." in key}

    def walk(values: Mapping[str, Any], path: tuple[str, ...]) -> None:
        for name, value in values.items():
            key = ".".join((*path, name))
            where = file.where(*path, name)
            if key in table:
                found[key] = (where, value)
            elif any(section == key or section.startswith(key + ".") for section in sections):
                if isinstance(value, Mapping):
                    walk(value, (*path, name))
                else:
                    hint = f"as [{key}] in TOML"
                    problems.append(Problem(where, key, "must be a table of settings", hint))
            else:
                near = nearest(key, [*table, *sections])
                hint = f"did you mean {near!r}?" if near else "remove it"
                problems.append(Problem(where, key, "unknown key", hint))

    walk(file.values, ())
    return found
