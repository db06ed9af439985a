"""What a configuration is made from, and which layer each setting's value comes from.

Rule for editors: every layer is judged, also where a stronger one hides it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from clikit.config import ConfigError, ConfigFile, Problem, Resolved, Value, resolve
from clikit.nearest import nearest
from secretivex.config.problems import Problems
from secretivex.config.rows.policy import POLICY_SETTINGS
from secretivex.config.rows.stores import STORE_TYPES
from secretivex.config.settings import ENV_PREFIX, SETTINGS, AgentSetting, settings_at
from secretivex.profiles import PROFILE_NAMES, Profile, find_profile


@dataclass(frozen=True, slots=True)
class ConfigInput:
    """Everything a configuration is made from; flags of None were not given.

    `default_stores` stand where neither flag nor file names stores; `base` is the folder that
    relative paths of flags and environment start at.
    """

    flags: Mapping[str, Any]
    environ: Mapping[str, str]
    file: ConfigFile | None
    cores: int
    base: Path
    default_stores: tuple[Mapping[str, Any], ...] = ({"type": "file"},)
    platform: str = sys.platform


def resolve_layers(given: ConfigInput, profile: Profile | None, problems: Problems) -> Resolved:
    """Every setting's value; what is invalid becomes a problem and falls back to a weaker layer."""
    resolve_layers = partial(
        resolve,
        settings_at(given.cores),
        env_prefix=ENV_PREFIX,
        preset=profile.at(given.cores) if profile else None,
        preset_name=profile.name if profile else "",
    )
    try:
        return resolve_layers(flags=given.flags, environ=given.environ, file=given.file)
    except ConfigError as error:
        problems.add_all(error.problems)
        bad = {problem.key.partition("[")[0] for problem in error.problems}
    names = {_variable(row) for row in SETTINGS if row.key in bad}
    file = given.file
    if file is not None:
        good = {row.key for row in SETTINGS} - bad
        file = replace(file, values={k: v for k, v in file.values.items() if k in good})
    return resolve_layers(
        flags={key: value for key, value in given.flags.items() if key not in bad},
        environ={key: value for key, value in given.environ.items() if key not in names},
        file=file,
    )


def _variable(row: AgentSetting) -> str:
    """The environment variable of a setting."""
    return row.env or ENV_PREFIX + row.key.upper()


def find_profile_of(given: ConfigInput, problems: Problems) -> Profile | None:
    """The profile that the strongest layer names; an unknown name in any layer is a problem."""
    file = given.file
    layers = (
        ("--profile", given.flags.get("profile")),
        ("environment SECRETIVE_PROFILE", given.environ.get("SECRETIVE_PROFILE") or None),
        (file.where("profile"), file.values.get("profile")) if file else ("", None),
    )
    named = [(where, name) for where, name in layers if isinstance(name, str)]
    found = [_look_up_profile(where, name, problems) for where, name in named]
    return found[0] if found else None


def _look_up_profile(where: str, name: str, problems: Problems) -> Profile | None:
    profile = find_profile(name)
    if profile is None:
        near = nearest(name.lower(), PROFILE_NAMES)
        hint = f"did you mean {near!r}?" if near else f"profiles: {', '.join(PROFILE_NAMES)}"
        problems.add(Problem(where, "profile", f"unknown profile {name!r}", hint))
    return profile


def warn_unknown_variables(environ: Mapping[str, str], problems: Problems) -> None:
    """A variable that is nearly one of ours is a slip of the pen."""
    known = (*map(_variable, SETTINGS), "SECRETIVE_CONFIG")
    words = {name.removeprefix(ENV_PREFIX) for name in known}
    for name in sorted(environ):
        word = name.removeprefix(ENV_PREFIX)
        if not name.startswith(ENV_PREFIX) or word in words:
            continue
        if near := nearest(word, words):
            hint = f"did you mean {ENV_PREFIX}{near}?"
            problems.warn(f"environment {name}", "", "is not a setting and is ignored", hint)


def inner_origins(resolved: Resolved, given: ConfigInput) -> dict[str, str]:
    """Where each key inside the stores and the policy comes from, by its name in messages."""
    found: dict[str, str] = {}
    for index, table in enumerate(resolved["stores"].value or given.default_stores):
        kind = STORE_TYPES.get(str(table.get("type")))
        keys = ["type", *(row.key for row in kind.settings)] if kind else []
        found |= _origins_of(keys, table, resolved["stores"], ("stores", index), given)
    keys = [row.key for row in POLICY_SETTINGS]
    policy = resolved["policy"]
    return found | _origins_of(keys, policy.value or {}, policy, ("policy",), given)


def _origins_of(
    keys: Sequence[str],
    table: Mapping[str, Any],
    whole: Value,
    path: tuple[str | int, ...],
    given: ConfigInput,
) -> dict[str, str]:
    file = given.file if whole.origin.startswith("file ") else None
    name = path[0] if len(path) == 1 else f"{path[0]}[{path[1]}]"

    def origin(key: str) -> str:
        if key not in table:
            return "default"
        return f"file {file.where(*path, key)}" if file else whole.origin

    return {f"{name}.{key}": origin(key) for key in keys}
