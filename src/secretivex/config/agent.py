"""The agent's configuration as one frozen value, resolved from flags, environment, file, profile.

Rule for editors: what cannot be understood or is not enforced is a problem or a warning here; the
agent reads `AgentConfig` and never a raw table.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from clikit.config import ConfigError, ConfigFile, Problem, Resolved, Value, resolve
from clikit.nearest import nearest
from secretivex.config.paths import (
    PathError,
    default_socket_path,
    expand_path,
    parse_listen,
)
from secretivex.config.problems import Problems, place_of
from secretivex.config.settings import ENV_PREFIX, SETTINGS, AgentSetting, settings_at
from secretivex.config.store_kinds import StoreConfig
from secretivex.config.stores import check_stores
from secretivex.config.systems import settle_for_system
from secretivex.config.table_settings import CONFIRM_TIMEOUT_MS
from secretivex.config.tables import Place, check_policy, refuse_unenforced
from secretivex.profiles import PROFILE_NAMES, Profile, find_profile

_STRENGTH = ("default", "profile", "file", "env", "flag")


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


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """Effective settings, one attribute a key of the settings table, and where each came from.

    `policy` holds what the policy table says; `secretivex.loading` makes rules of its lists.
    """

    profile: str | None
    socket_path: Path
    socket_backlog: int
    pid_file: Path | None
    stores: tuple[StoreConfig, ...]
    policy: Mapping[str, Any]
    agent_mode: str
    allow_sha1: bool
    query_reply: str
    allowed_providers: str
    memory_lock: str
    restrict_websafe: bool
    websafe_allow: str
    fingerprint_hash: str
    hide_denied: bool
    workers: int
    worker_threads: int | None
    max_connections: int
    max_signers: int
    max_blocking_threads: int
    inline_sign: bool | None
    max_frame_bytes: int
    max_identities: int
    sign_timeout_ms: int
    idle_timeout_ms: int
    write_timeout_ms: int
    drain_timeout_ms: int
    identity_cache_ms: int
    watch_files: bool
    watch_debounce_ms: int
    metrics_every: int
    metrics_interval_ms: int
    metrics_json: bool
    metrics_output_path: Path | None
    metrics_listen: str | None
    audit_requests: bool
    audit_to: str | None
    audit_path: Path | None
    audit_key_path: Path | None
    audit_max_bytes: int
    audit_keep: int
    audit_fsync: str
    audit_on_full: str
    origins: Mapping[str, str]
    file_name: str | None
    warnings: tuple[Problem, ...]

    @property
    def rule_lists(self) -> Mapping[str, tuple[Any, ...]]:
        """The lists of the policy table that rules are made of; `rules` is one of tables."""
        lists = {key: value for key, value in self.policy.items() if isinstance(value, tuple)}
        lists.pop("confirm_command", None)
        return lists

    @property
    def confirm_command(self) -> tuple[str, ...]:
        """What asks before each signature; empty for none."""
        return tuple(self.policy.get("confirm_command", ()))

    @property
    def confirm_cache_ms(self) -> int:
        """How long an answer holds for requests like the one it was given to."""
        return int(self.policy.get("confirm_cache_ms", 0))

    @property
    def confirm_timeout_ms(self) -> int:
        """How long a person may take to answer."""
        return int(self.policy.get("confirm_timeout_ms", CONFIRM_TIMEOUT_MS))


def resolve_config(given: ConfigInput, problems: Problems) -> AgentConfig:
    """The configuration; only fit for use while `problems` has none."""
    profile = _find_profile(given, problems)
    resolved = _resolve_layers(given, profile, problems)
    if profile:
        resolved["profile"] = Value(profile.name, resolved["profile"].origin)
    _settle(resolved, given, problems)
    _check_listen(resolved["metrics_listen"], problems)
    for row in SETTINGS:
        _check_state(row, resolved[row.key], problems)
    _warn_unknown_variables(given.environ, problems)
    return _build(resolved, given, problems)


def _resolve_layers(given: ConfigInput, profile: Profile | None, problems: Problems) -> Resolved:
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
        bad = {problem.key for problem in error.problems}
    names = {_variable(row) for row in SETTINGS if row.key in bad}
    file = given.file
    if file is not None:
        file = replace(file, values={k: v for k, v in file.values.items() if k not in bad})
    return resolve_layers(
        flags={key: value for key, value in given.flags.items() if key not in bad},
        environ={key: value for key, value in given.environ.items() if key not in names},
        file=file,
    )


def _variable(row: AgentSetting) -> str:
    """The environment variable of a setting."""
    return row.env or ENV_PREFIX + row.key.upper()


def _find_profile(given: ConfigInput, problems: Problems) -> Profile | None:
    """The profile that the strongest layer names; an unknown name is a problem."""
    from_file = given.file.values.get("profile") if given.file else None
    file_where = given.file.where("profile") if given.file else ""
    layers = (
        ("--profile", given.flags.get("profile")),
        ("environment SECRETIVE_PROFILE", given.environ.get("SECRETIVE_PROFILE") or None),
        (file_where, from_file),
    )
    where, name = next(((where, name) for where, name in layers if name is not None), ("", None))
    if not isinstance(name, str):
        return None
    profile = find_profile(name)
    if profile is None:
        near = nearest(name.lower(), PROFILE_NAMES)
        hint = f"did you mean {near!r}?" if near else f"profiles: {', '.join(PROFILE_NAMES)}"
        problems.add(Problem(where, "profile", f"unknown profile {name!r}", hint))
    return profile


def _place(key: str, origin: str, given: ConfigInput) -> Place:
    """Where a table stands; relative paths in a file start at the file's folder."""
    if given.file is None or origin == "flag":
        return Place(None, "command line", (key,), given.base)
    return Place(given.file, "", (key,), given.base / Path(given.file.name).parent)


def _settle(resolved: Resolved, given: ConfigInput, problems: Problems) -> None:
    """Fill in the defaults that depend on other settings or on the environment."""
    _settle_workers(resolved, problems)
    settle_for_system(resolved, given.platform, problems)
    if resolved["audit_to"].value == "file" and resolved["audit_path"].value is None:
        where = place_of(resolved["audit_to"].origin)
        problems.add(Problem(where, "audit_to", "a file needs its name", "set audit_path too"))
    if resolved["max_blocking_threads"].value is None:
        resolved["max_blocking_threads"] = Value(resolved["max_signers"].value, "default")
    for row in SETTINGS:
        if row.kind == "path" and resolved[row.key].value is not None:
            _settle_path(row.key, resolved, given, problems)
    if resolved["socket_path"].value is None:
        try:
            path = default_socket_path(given.environ, given.platform)
        except PathError as error:
            problems.add(Problem("", "socket_path", str(error), "set it, or name --socket-path"))
        else:
            resolved["socket_path"] = Value(path, "default")


def _settle_workers(resolved: Resolved, problems: Problems) -> None:
    """Let the deprecated `worker_threads` set `workers`, unless a stronger layer does."""
    old, new = resolved["worker_threads"], resolved["workers"]
    if old.value is None:
        return
    where = place_of(old.origin)
    problems.warn(where, "worker_threads", "is deprecated", "write workers instead")
    old_strength, new_strength = (
        _STRENGTH.index(value.origin.partition(" ")[0]) for value in (old, new)
    )
    if old_strength == new_strength and old.value != new.value:
        reason = f"contradicts workers = {new.value}"
        problems.add(Problem(where, "worker_threads", reason, "remove worker_threads"))
    elif old_strength > new_strength:
        resolved["workers"] = old


def _settle_path(key: str, resolved: Resolved, given: ConfigInput, problems: Problems) -> None:
    value = resolved[key]
    if key == "socket_path" and given.platform == "win32":
        resolved[key] = Value(Path(str(value.value)), value.origin)
        return
    base = given.base
    if value.origin.startswith("file ") and given.file:
        base = given.base / Path(given.file.name).parent
    try:
        path = expand_path(str(value.value), given.environ, base=base)
    except PathError as error:
        problems.add(Problem(place_of(value.origin), key, str(error)))
    else:
        resolved[key] = Value(path, value.origin)


def _check_listen(value: Value, problems: Problems) -> None:
    """Metrics are for this machine alone."""
    if value.value is None:
        return
    try:
        parse_listen(str(value.value))
    except ValueError as error:
        hint = "write 127.0.0.1:9464, [::1]:9464 or /path/to/socket"
        problems.add(Problem(place_of(value.origin), "metrics_listen", str(error), hint))


def _check_state(row: AgentSetting, value: Value, problems: Problems) -> None:
    """Say which settings that somebody chose this version does not act on."""
    if value.origin != "default" and not value.origin.startswith("profile "):
        refuse_unenforced(row, value.value, place_of(value.origin), row.key, problems)


def _warn_unknown_variables(environ: Mapping[str, str], problems: Problems) -> None:
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


def _build(resolved: Resolved, given: ConfigInput, problems: Problems) -> AgentConfig:
    values = {key: value.value for key, value in resolved.items()}
    values["stores"] = _build_stores(resolved["stores"], given, problems)
    place = _place("policy", resolved["policy"].origin, given)
    values["policy"] = check_policy(resolved["policy"].value or {}, place, problems)
    return AgentConfig(
        **values,
        origins={key: value.origin for key, value in resolved.items()},
        file_name=given.file.name if given.file else None,
        warnings=tuple(problems.warnings),
    )


def _build_stores(stores: Value, given: ConfigInput, problems: Problems) -> tuple[StoreConfig, ...]:
    """The stores that some layer names, else the default ones, of which there may be none."""
    if stores.value is None:
        place = Place(None, "", ("stores",), given.base)
        default = given.default_stores if given.platform != "win32" else ()
        return check_stores(default, place, given.environ, problems) if default else ()
    place = _place("stores", stores.origin, given)
    return check_stores(stores.value, place, given.environ, problems)
