"""`check-config --probe`: opens the configured stores and says what they hold.

Rule for editors: the stores are only read, by the same code that the agent reads them with, and no
key is read before the process is hardened.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from secretivex.config import AgentConfig
from secretivex.errors import SecretiveError
from secretivex.identity import StoreEvent, StoreHealth


@dataclass(frozen=True, slots=True)
class Probe:
    """What the stores hold, and what they had to leave out."""

    stores: tuple[StoreHealth, ...]
    left_out: tuple[StoreEvent, ...]
    named: frozenset[str]
    """Paths that the configuration names one by one."""

    def finding(self) -> SecretiveError | None:
        """What is wrong: a store that is not well, or a named file that gives no key."""
        reasons = [
            f"store {store.store}: {store.reason}" for store in self.stores if not store.is_well
        ]
        reasons += [
            f"{event.subject}: {event.reason}" for event in self.left_out if self._bad(event)
        ]
        return SecretiveError("unhealthy", "\n".join(reasons)) if reasons else None

    def notes(self) -> list[str]:
        """What was left out of folders, for a person."""
        return [f"{e.subject}: {e.reason}" for e in self.left_out if not self._bad(e)]

    def _bad(self, event: StoreEvent) -> bool:
        return event.subject in self.named

    def encode(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "stores": [
                {"name": s.store, "type": s.kind, "well": s.is_well, "keys": s.identities}
                for s in self.stores
            ],
            "left_out": [{"path": e.subject, "reason": e.reason} for e in self.left_out],
        }


def probe_stores(config: AgentConfig, environ: Mapping[str, str]) -> Probe:
    """Open every configured store and read it once."""
    from secretivex.hardening import harden
    from secretivex.stores.opening import open_stores
    from secretivex.stores.registry import Registry

    harden()
    registry = Registry(open_stores(config, environ))
    events = registry.refresh()
    stores = tuple(store for store in registry.health() if store.kind != "memory")
    named = frozenset(str(path) for store in config.stores for path in store.paths)
    return Probe(stores, events, named)
