"""The agent's configuration as one frozen value, resolved from flags, environment, file, profile.

Rule for editors: what cannot be understood or is not enforced is a problem or a warning here; the
agent reads `AgentConfig` and never a raw table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clikit.config import Problem, Resolved, Value
from secretivex.config.layers import (
    ConfigInput,
    find_profile_of,
    inner_origins,
    resolve_layers,
    warn_unknown_variables,
)
from secretivex.config.paths import (
    PathError,
    default_socket_path,
    expand_listen,
    expand_path,
)
from secretivex.config.problems import Problems, place_of
from secretivex.config.rows.policy import CONFIRM_TIMEOUT_MS
from secretivex.config.settings import SETTINGS, AgentSetting
from secretivex.config.store_kinds import StoreConfig
from secretivex.config.stores import check_stores
from secretivex.config.systems import check_socket_length, settle_for_system, warn_idle
from secretivex.config.tables import Place, check_policy, refuse_unenforced

_STRENGTH = ("default", "profile", "file", "env", "flag")


@dataclass(frozen=True, slots=True)
class AgentConfig:
    """Effective settings, one attribute a key of the settings table, and where each came from.

    `origins` has the keys inside stores and policy too: `stores[0].paths`, `policy.rules`.

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
    profile = find_profile_of(given, problems)
    resolved = resolve_layers(given, profile, problems)
    if profile:
        resolved["profile"] = Value(profile.name, resolved["profile"].origin)
    _settle(resolved, given, problems)
    for row in SETTINGS:
        _check_state(row, resolved[row.key], problems)
    warn_unknown_variables(given.environ, problems)
    warn_idle(resolved, problems)
    return _build(resolved, given, problems)


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
    _settle_listen(resolved, given, problems)
    _settle_socket(resolved, given, problems)


def _settle_socket(resolved: Resolved, given: ConfigInput, problems: Problems) -> None:
    """The default socket, and whether a socket can have the path."""
    if resolved["socket_path"].value is None:
        try:
            path = default_socket_path(given.environ, given.platform)
        except PathError as error:
            problems.add(Problem("", "socket_path", str(error), "set it, or name --socket-path"))
        else:
            resolved["socket_path"] = Value(path, "default")
    if given.platform != "win32" and resolved["socket_path"].value is not None:
        check_socket_length(resolved["socket_path"], problems)


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


def _base_of(value: Value, given: ConfigInput) -> Path:
    """Where a relative path of this value starts."""
    if value.origin.startswith("file ") and given.file:
        return given.base / Path(given.file.name).parent
    return given.base


def _settle_path(key: str, resolved: Resolved, given: ConfigInput, problems: Problems) -> None:
    value = resolved[key]
    if key == "socket_path" and given.platform == "win32":
        resolved[key] = Value(Path(str(value.value)), value.origin)
        return
    try:
        path = expand_path(str(value.value), given.environ, base=_base_of(value, given))
    except PathError as error:
        problems.add(Problem(place_of(value.origin), key, str(error), error.hint))
    else:
        resolved[key] = Value(path, value.origin)


def _settle_listen(resolved: Resolved, given: ConfigInput, problems: Problems) -> None:
    """Metrics are for this machine alone."""
    value = resolved["metrics_listen"]
    if value.value is None:
        return
    try:
        place = expand_listen(value.value, given.environ, base=_base_of(value, given))
    except ValueError as error:
        hint = "write 127.0.0.1:9464, [::1]:9464 or /path/to/socket"
        problems.add(Problem(place_of(value.origin), "metrics_listen", str(error), hint))
    else:
        resolved["metrics_listen"] = Value(place, value.origin)


def _check_state(row: AgentSetting, value: Value, problems: Problems) -> None:
    """Say which settings that somebody chose this version does not act on."""
    if value.origin != "default" and not value.origin.startswith("profile "):
        refuse_unenforced(row, value.value, place_of(value.origin), row.key, problems)


def _build(resolved: Resolved, given: ConfigInput, problems: Problems) -> AgentConfig:
    values = {key: value.value for key, value in resolved.items()}
    values["stores"] = _build_stores(resolved["stores"], given, problems)
    place = _place("policy", resolved["policy"].origin, given)
    values["policy"] = check_policy(resolved["policy"].value or {}, place, problems)
    origins = {key: value.origin for key, value in resolved.items()}
    return AgentConfig(
        **values,
        origins=origins | inner_origins(resolved, given),
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
