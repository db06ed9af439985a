"""What the supervisor knows and workers are told: stores, policy, settings and the generation.

Rule for editors: whoever changes something here makes a new generation and hands it to every
worker; nothing is ever told in part.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import fields
from functools import cached_property, partial
from typing import TYPE_CHECKING

from secretivex.config import AgentConfig, FileStoreConfig
from secretivex.identity import KeyStore, StoreEvent
from secretivex.server.state import ServerLimits, WorkerState
from secretivex.stores.registry import Registry

if TYPE_CHECKING:
    from secretivex.stores.file import FileSource

LOG = logging.getLogger("secretivex.stores")


class Authority:
    """The one owner of the agent's state."""

    def __init__(self, config: AgentConfig, environ: Mapping[str, str]) -> None:
        self._limits = limits_of(config)
        self._policy = config.policy
        self._open = partial(open_stores, config, environ)
        self._generation = 0

    @cached_property
    def _registry(self) -> Registry:
        """Opened at the first refresh: by then the zygote has split off."""
        return Registry(self._open())

    @property
    def workers(self) -> int:
        """Processes that serve."""
        return self._limits.workers

    def refresh(self) -> None:
        """Let every store look again and log what it found; the next state is a new generation."""
        for event in self._registry.refresh():
            _log_event(event)
        self._generation += 1

    def state(self) -> WorkerState:
        """Everything that a worker answers from."""
        records = self._registry.export()
        kept = records[: self._limits.max_identities]
        if len(kept) < len(records):
            fields_ = {"held": len(kept), "left_out": len(records) - len(kept)}
            LOG.warning("more keys than max_identities", extra={"fields": fields_})
        return WorkerState(self._generation, self._limits, self._policy, kept)


def limits_of(config: AgentConfig) -> ServerLimits:
    """The part of a configuration that bounds workers."""
    return ServerLimits(**{row.name: getattr(config, row.name) for row in fields(ServerLimits)})


def open_stores(config: AgentConfig, environ: Mapping[str, str]) -> tuple[KeyStore, ...]:
    """The configured stores, then the one for keys that clients add; nothing is read yet."""
    from secretivex.stores.file import FileStore
    from secretivex.stores.memory import MemoryStore

    stores: list[KeyStore] = []
    for number, store in enumerate(config.stores, start=1):
        name = FileStore.kind if number == 1 else f"{FileStore.kind}-{number}"
        stores.append(FileStore(_file_source(store, environ), name))
    return (*stores, MemoryStore())


def _file_source(store: FileStoreConfig, environ: Mapping[str, str]) -> FileSource:
    from secretivex.stores.file import FileSource

    secret = environ.get(store.passphrase_env) if store.passphrase_env else None
    return FileSource(
        paths=(*store.paths, *((store.default_dir,) if store.default_dir else ())),
        owner_uid=os.geteuid(),
        key_types=store.key_types,
        passphrase=None if secret is None else secret.encode(),
    )


def _log_event(event: StoreEvent) -> None:
    fields_ = {"store": event.store, "subject": event.subject, "reason": event.reason}
    LOG.warning(event.kind.replace("_", " "), extra={"fields": fields_})
