"""The names, defaults and presets that people's files, variables and scripts already rely on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from secretivex.config import ConfigInput
from secretivex.config.rows.policy import POLICY_SETTINGS
from secretivex.config.rows.stores import STORE_TYPES
from secretivex.config.settings import SETTINGS
from secretivex.loading import make_setup

CORES = 8

DEFAULTS: dict[str, Any] = {
    "profile": None,
    "socket_backlog": 0,
    "pid_file": None,
    "policy": {},
    "agent_mode": "full",
    "hide_denied": False,
    "workers": CORES,
    "max_connections": 0,
    "max_signers": 4 * CORES,
    "max_blocking_threads": 4 * CORES,
    "inline_sign": None,
    "max_frame_bytes": 262_144,
    "sign_timeout_ms": 0,
    "idle_timeout_ms": 0,
    "identity_cache_ms": 1000,
    "watch_files": True,
    "watch_debounce_ms": 200,
    "metrics_every": 1000,
    "metrics_interval_ms": 0,
    "metrics_json": False,
    "metrics_output_path": None,
    "metrics_listen": None,
    "audit_requests": False,
    "audit_path": None,
    "allow_sha1": False,
}
"""What holds where nobody says anything, on a machine of eight cores."""

VARIABLES = {
    "SECRETIVE_PROFILE": ("profile", "pssh", "pssh"),
    "SECRETIVE_SOCK": ("socket_path", "/run/a.sock", Path("/run/a.sock")),
    "SECRETIVE_SOCKET_BACKLOG": ("socket_backlog", "9", 9),
    "SECRETIVE_MAX_SIGNERS": ("max_signers", "9", 9),
    "SECRETIVE_MAX_CONNECTIONS": ("max_connections", "9", 9),
    "SECRETIVE_MAX_BLOCKING_THREADS": ("max_blocking_threads", "9", 9),
    "SECRETIVE_WORKER_THREADS": ("workers", "3", 3),
    "SECRETIVE_WATCH_FILES": ("watch_files", "off", False),
    "SECRETIVE_WATCH_DEBOUNCE_MS": ("watch_debounce_ms", "9", 9),
    "SECRETIVE_METRICS_EVERY": ("metrics_every", "0", 0),
    "SECRETIVE_METRICS_INTERVAL_MS": ("metrics_interval_ms", "9", 9),
    "SECRETIVE_METRICS_JSON": ("metrics_json", "yes", True),
    "SECRETIVE_METRICS_OUTPUT": ("metrics_output_path", "/m.json", Path("/m.json")),
    "SECRETIVE_AUDIT_REQUESTS": ("audit_requests", "1", True),
    "SECRETIVE_SIGN_TIMEOUT_MS": ("sign_timeout_ms", "9", 9),
    "SECRETIVE_IDENTITY_CACHE_MS": ("identity_cache_ms", "0", 0),
    "SECRETIVE_IDLE_TIMEOUT_MS": ("idle_timeout_ms", "9", 9),
    "SECRETIVE_INLINE_SIGN": ("inline_sign", "true", True),
}

PRESETS: dict[str, dict[str, int]] = {
    "balanced": {
        "max_signers": 4 * CORES,
        "max_blocking_threads": 4 * CORES,
        "max_connections": 1024,
        "sign_timeout_ms": 500,
        "identity_cache_ms": 1000,
        "watch_debounce_ms": 200,
        "idle_timeout_ms": 0,
    },
    "fanout": {
        "max_signers": 8 * CORES,
        "max_blocking_threads": 8 * CORES,
        "max_connections": 8192,
        "socket_backlog": 2048,
        "sign_timeout_ms": 250,
        "identity_cache_ms": 5000,
        "idle_timeout_ms": 10_000,
        "watch_debounce_ms": 200,
    },
    "pssh": {
        "max_signers": 12 * CORES,
        "max_blocking_threads": 12 * CORES,
        "max_connections": 32_768,
        "socket_backlog": 4096,
        "sign_timeout_ms": 150,
        "identity_cache_ms": 10_000,
        "idle_timeout_ms": 5000,
        "watch_debounce_ms": 500,
    },
    "low-memory": {
        "max_signers": 2 * CORES,
        "max_blocking_threads": 2 * CORES,
        "max_connections": 256,
        "sign_timeout_ms": 2000,
        "identity_cache_ms": 250,
        "watch_debounce_ms": 1000,
        "idle_timeout_ms": 0,
    },
}

STORE_KEYS = {
    "file": {"paths", "scan_default_dir", "passphrase_env", "passphrase_command", "askpass"},
    "pkcs11": {
        *("module_path", "slot", "pin_env", "refresh_min_interval_ms", "token_label"),
        *("token_serial", "uri", "pin_command", "pin_file", "max_sessions", "key_types"),
    },
}

POLICY_KEYS = {
    *("allow_key_blobs", "allow_fingerprints", "allow_comments", "pin_fingerprints"),
    *("deny_key_blobs", "deny_fingerprints", "deny_comments"),
    *("confirm_command", "confirm_timeout_ms", "confirm_cache_ms"),
}


def config_of(environ: dict[str, str] | None = None, **flags: Any) -> Any:
    environ = {"HOME": "/home/alice", **(environ or {})}
    return make_setup(ConfigInput(flags, environ, None, CORES, Path("/"))).config


def test_the_defaults_are_the_known_ones() -> None:
    config = config_of()
    assert {key: getattr(config, key) for key in DEFAULTS} == DEFAULTS
    assert str(config.socket_path) == "/home/alice/.secretive/agent.sock"


@pytest.mark.parametrize("variable", VARIABLES)
def test_each_known_variable_sets_its_key(variable: str) -> None:
    key, text, wanted = VARIABLES[variable]
    config = config_of({variable: text})
    assert getattr(config, key) == wanted
    assert config.origins[key] in ("env " + variable, "env")


@pytest.mark.parametrize("profile", PRESETS)
def test_each_profile_presets_what_it_is_known_for(profile: str) -> None:
    config = config_of(profile=profile)
    wanted = PRESETS[profile]
    assert {key: getattr(config, key) for key in wanted} == wanted
    chosen = config_of(profile=profile, max_signers=3)
    assert chosen.max_signers == 3


@pytest.mark.parametrize(
    ("alias", "name"),
    [("low_memory", "low-memory"), ("LOWMEMORY", "low-memory"), ("high-fanout", "pssh")],
)
def test_a_profile_has_its_other_names(alias: str, name: str) -> None:
    assert config_of(profile=alias).profile == name


def test_stores_and_policy_have_the_known_keys() -> None:
    for kind, keys in STORE_KEYS.items():
        assert keys <= {row.key for row in STORE_TYPES[kind].settings}
    assert {row.key for row in POLICY_SETTINGS} >= POLICY_KEYS


def test_what_a_reload_cannot_take_over_is_told_by_the_table() -> None:
    fixed = {row.key for row in SETTINGS if row.needs_restart}
    taken = {"stores", "policy", "max_signers", "max_connections", "metrics_listen", "hide_denied"}
    assert fixed.isdisjoint(taken)
    assert fixed >= {"socket_path", "workers", "audit_path", "pid_file"}
