"""The stores that a configuration names: opened right here, or each in a process of its own.

Rule for editors: a store's process gets the variables it may need and no other; what stands in a
variable that settings name as a secret's travels over its channel, never in an environment.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from secretivex.config import AgentConfig
from secretivex.identity import KeyStore
from secretivex.stores.kinds import StoreSetup, open_store

if TYPE_CHECKING:
    from secretivex.stores.hosting.hosted import HostedStore, HostSpec

KEPT_VARIABLES = frozenset(
    {
        "PATH",
        "HOME",
        "LANG",
        "LANGUAGE",
        "PYTHONPATH",
        "TMPDIR",
        "SOFTHSM2_CONF",
        # For programs that ask a person, and the desktop's keyring.
        "DISPLAY",
        "WAYLAND_DISPLAY",
        "XAUTHORITY",
        "XDG_RUNTIME_DIR",
        "XDG_DATA_HOME",
        "XDG_CONFIG_HOME",
        "XDG_SESSION_TYPE",
        "XDG_CURRENT_DESKTOP",
        "DBUS_SESSION_BUS_ADDRESS",
        "SSH_ASKPASS",
        "SSH_ASKPASS_REQUIRE",
    }
)
"""What of the agent's environment a store's process gets."""

KEPT_PREFIXES = (
    "LC_",
    "TPM2_",
    "TPM2TOOLS_",
    "TSS2_",
    "OPENSC_",
    "PKCS11_",
    "P11_KIT_",
    "PYTHON_KEYRING_",
)
"""Beginnings of variables that middleware is configured by."""


def plan_stores(config: AgentConfig, environ: Mapping[str, str]) -> tuple[HostSpec, ...]:
    """One plan a configured store: its name is its kind, with a number from the second on."""
    from secretivex.stores.hosting.hosted import HostSpec

    seen: Counter[str] = Counter()
    plans = []
    for store in config.stores:
        seen[store.kind] += 1
        number = seen[store.kind]
        name = store.kind if number == 1 else f"{store.kind}-{number}"
        settings: dict[str, Any] = {
            **store.settings(),
            "poll_ms": config.identity_cache_ms,
            "watch": config.watch_files,
            "debounce_ms": config.watch_debounce_ms,
            "memory_lock": config.memory_lock,
        }
        kept = {
            key: value
            for key, value in environ.items()
            if (key in KEPT_VARIABLES or key.startswith(KEPT_PREFIXES))
            and not any(key in other.variables for other in config.stores)
        }
        secrets = {key: environ[key].encode() for key in store.variables if environ.get(key)}
        plans.append(HostSpec(store.kind, name, settings, kept, secrets))
    return tuple(plans)


def environ_of_modules(config: AgentConfig, environ: Mapping[str, str]) -> dict[str, str]:
    """What modules that clients load get: all that OpenSSH's agent gives them, and no secret."""
    secret = {name for store in config.stores for name in store.variables}
    return {name: text for name, text in environ.items() if name not in secret}


def open_stores(config: AgentConfig, environ: Mapping[str, str]) -> tuple[KeyStore, ...]:
    """The stores in this very process; nothing is read yet."""
    return tuple(
        open_store(
            StoreSetup(
                plan.kind,
                plan.name,
                # Who has no process of its own has nobody to look after its files.
                {**plan.settings, "watch": False},
                plan.environ,
                plan.secrets,
            )
        )
        for plan in plan_stores(config, environ)
    )


def host_stores(config: AgentConfig, environ: Mapping[str, str]) -> tuple[HostedStore, ...]:
    """The stores, each in a process of its own that starts when it is first looked after."""
    from secretivex.stores.hosting.hosted import HostedStore

    return tuple(map(HostedStore, plan_stores(config, environ)))
