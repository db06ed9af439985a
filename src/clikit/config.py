"""Settings in layers: flag over environment over file over profile over default, each with origin.

Strict: an unknown key, a wrong type or a value out of bounds is a problem, and all problems are
reported at once. Pure: files are read, and the environment is handed in, by the caller.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from clikit.config_file import ConfigError, ConfigFile, Problem, parse_config
from clikit.nearest import nearest

__all__ = [
    "ConfigError",
    "ConfigFile",
    "Problem",
    "Resolved",
    "Setting",
    "Value",
    "parse_config",
    "resolve",
]

Kind = Literal["text", "int", "float", "bool", "path", "list", "numbers", "table", "tables"]

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


@dataclass(frozen=True, slots=True)
class Setting:
    """One key: its kind, bounds and default; `key` is dotted for keys inside tables.

    `list` is a list of texts, `numbers` one of whole numbers, `table` one table, `tables` a list of tables: what is inside the
    latter two is the product's to check. `env` overrides the name made from prefix and key.
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

    A flag of None was not given. Of the environment only the settings' own names are read.
    """
    problems: list[Problem] = []
    table = {setting.key: setting for setting in settings}
    from_file = _flatten(file, table, problems) if file else {}
    resolved = Resolved()
    for setting in settings:
        layers = _layers(setting, flags, environ, env_prefix, from_file, preset or {}, preset_name)
        where, raw, origin, is_text = next(layers)
        try:
            value = raw if origin == "default" else check_value(setting, raw, from_text=is_text)
        except ValueError as error:
            problems.append(Problem(where, setting.key, str(error)))
            continue
        resolved[setting.key] = Value(value, origin)
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


def check_value(setting: Setting, raw: Any, *, from_text: bool = False) -> Any:
    """`raw` as the setting's kind; raises ValueError with a reason fit for a message."""
    value = _from_text(setting, raw) if from_text else raw
    accepted = _KINDS[setting.kind]
    if (isinstance(value, bool) and setting.kind != "bool") or not isinstance(value, accepted):
        raise ValueError(f"must be {_WORDS[setting.kind]}, not {_describe(raw)}")
    if setting.kind == "list" and not all(isinstance(item, str) for item in value):
        raise ValueError("must be a list of texts")
    if setting.kind == "numbers" and not all(type(item) is int for item in value):
        raise ValueError("must be a list of whole numbers")
    if setting.kind == "tables" and not all(isinstance(item, dict) for item in value):
        raise ValueError("must be a list of tables")
    if setting.choices and value not in setting.choices:
        near = nearest(str(value), setting.choices)
        meant = f"; did you mean {near!r}?" if near else ""
        raise ValueError(f"must be one of {', '.join(setting.choices)}, not {value!r}{meant}")
    if setting.minimum is not None and value < setting.minimum:
        raise ValueError(f"must be at least {setting.minimum:g}, not {value}")
    if setting.maximum is not None and value > setting.maximum:
        raise ValueError(f"must be at most {setting.maximum:g}, not {value}")
    return value


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


def _describe(raw: Any) -> str:
    return repr(raw) if isinstance(raw, str | int | float) else f"a {type(raw).__name__}"


def _from_text(setting: Setting, raw: str) -> Any:
    """A value of the environment; numbers and switches are spelled in text there."""
    word = raw.strip().lower()
    if setting.kind == "bool":
        return True if word in _TRUE else False if word in _FALSE else raw
    if setting.kind == "int" and word.removeprefix("-").isdecimal():
        return int(word)
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
                    problems.append(Problem(where, key, "must be a table of settings"))
            else:
                near = nearest(key, [*table, *sections])
                hint = f"did you mean {near!r}?" if near else "remove it"
                problems.append(Problem(where, key, "unknown key", hint))

    walk(file.values, ())
    return found
