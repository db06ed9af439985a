"""What the supervisor knows and workers are told: stores, policy, settings and the generation.

Rule for editors: whoever changes something here makes a new generation and hands it to every
worker; nothing is ever told in part.
"""

from __future__ import annotations

import logging
import os
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import fields
from functools import cached_property
from typing import TYPE_CHECKING

from secretivex.config import AgentConfig, FileStoreConfig
from secretivex.identity import AddRules, KeyStore, StoreEvent
from secretivex.lock import SALT_BYTES, Lock
from secretivex.server.state import ServerLimits, WorkerState
from secretivex.stores.registry import Registry
from secretivex.stores.token.loaded import LoadedModule
from sshwire.agent.requests import (
    AddRequest,
    LockRequest,
    RemoveAllRequest,
    RemoveRequest,
    RemoveSmartcardRequest,
    Request,
)

if TYPE_CHECKING:
    from secretivex.server.client_keys import ClientKeys
    from secretivex.stores.file import FileSource
    from secretivex.stores.token.tools import TokenTools

LOG = logging.getLogger("secretivex.stores")


def lifetime_clock() -> float:
    """Seconds that go on while the machine sleeps, and that nobody can set back."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


class Authority:
    """The one owner of the agent's state."""

    def __init__(
        self,
        config: AgentConfig,
        environ: Mapping[str, str],
        rules: AddRules = AddRules(),  # noqa: B008 - frozen
        clock: Callable[[], float] = lifetime_clock,
    ) -> None:
        self._config = config
        self._limits = limits_of(config)
        self._rules = rules
        self._environ = environ
        self._clock = clock
        self._generation = 0
        self.lock = Lock()
        # Made before any fork, so that every worker has the same descriptor.
        self._device_lock = _make_device_lock() if self._limits.workers > 1 else -1

    @cached_property
    def _registry(self) -> Registry:
        """Opened at the first refresh: by then the zygote has split off."""
        return Registry(open_stores(self._config, self._environ))

    @cached_property
    def _tools(self) -> TokenTools:
        from secretivex.stores.token.tools import find_tools

        settings = {name: getattr(self._config, name) for name in _TOOL_SETTINGS}
        return find_tools(self._environ, **settings, device_lock=self._device_lock)

    @cached_property
    def _clients(self) -> ClientKeys:
        from secretivex.server.client_keys import ClientKeys

        return ClientKeys(self._rules, self._tools, self._limits.max_identities)

    @property
    def workers(self) -> int:
        """Processes that serve."""
        return self._limits.workers

    @property
    def generation(self) -> int:
        """Of the state as it is now."""
        return self._generation

    def reconfigure(self, config: AgentConfig) -> None:
        """Go on with another configuration; call `refresh` next. Client keys and the lock stay."""
        before, self._config = self._config, config
        self._limits = limits_of(config)
        if config.stores != before.stores:
            self.__dict__.pop("_registry", None)
        self.__dict__.pop("_tools", None)

    def refresh(self) -> None:
        """Let every store look again and log what it found; the next state is a new generation."""
        for event in self._registry.refresh():
            _log_event(event)
        self._clients.show_all()
        self._generation += 1

    def change(self, request: Request | LoadedModule) -> str:
        """Do what a client asks; "ok", or the word for why not."""
        outcome = self._change(request)
        if outcome == "ok":
            self._generation += 1
        fields_ = {"request": type(request).__name__, "outcome": outcome}
        LOG.info("change", extra={"fields": fields_})
        return outcome

    def _change(self, request: Request | LoadedModule) -> str:  # noqa: PLR0911 - one row a request
        match request:
            case AddRequest():
                return self._clients.add(request, self._clock(), self._stored())
            case LoadedModule():
                return self._clients.add_module(request, self._clock(), self._stored())
            case RemoveSmartcardRequest(provider):
                return self._clients.remove_module(provider)
            case RemoveRequest(key_blob):
                return self._clients.remove(key_blob, self._stored())
            case RemoveAllRequest():
                self._clients.remove_all(self._stored())
                return "ok"
            case LockRequest(derived):
                is_done = self.lock.lock(derived[:SALT_BYTES], derived[SALT_BYTES:])
                return "ok" if is_done else "locked"
        return "unsupported_message"

    def unlocked(self) -> None:
        """The lock was opened: a new generation."""
        self._generation += 1

    def drop_client_keys(self) -> None:
        """Forget what clients added."""
        self._clients.drop()
        self._generation += 1

    def expire(self) -> bool:
        """Forget keys whose lifetime is over; whether there were any."""
        over = self._clients.expire(self._clock())
        if over:
            self._generation += 1
            LOG.info("keys expired", extra={"fields": {"keys": len(over)}})
        return bool(over)

    def until_expiry_s(self) -> float | None:
        """Seconds to the next end of a lifetime; None if there is none.

        At most one second: a timer of the system may stand still while the machine sleeps.
        """
        moment = self._clients.next_expiry
        return None if moment is None else min(1.0, max(0.0, moment - self._clock()))

    def _stored(self) -> frozenset[bytes]:
        return frozenset(identity.key_blob for identity in self._registry.identities())

    def state(self) -> WorkerState:
        """Everything that a worker answers from."""
        records = self._clients.merge(self._registry.export())
        kept = records[: self._limits.max_identities]
        if len(kept) < len(records):
            fields_ = {"held": len(kept), "left_out": len(records) - len(kept)}
            LOG.warning("more keys than max_identities", extra={"fields": fields_})
        return WorkerState(
            self._generation,
            self._limits,
            self._config.rule_lists,
            kept,
            self.lock.salt,
            self._tools.as_table(),
        )


_TOOL_SETTINGS = (
    *("allowed_providers", "restrict_websafe", "websafe_allow", "fingerprint_hash"),
    *("confirm_command", "confirm_timeout_ms"),
)


def _make_device_lock() -> int:
    """The descriptor of a file without a name, open as long as the agent runs."""
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())


def limits_of(config: AgentConfig) -> ServerLimits:
    """The part of a configuration that bounds workers."""
    return ServerLimits(**{row.name: getattr(config, row.name) for row in fields(ServerLimits)})


def open_stores(config: AgentConfig, environ: Mapping[str, str]) -> tuple[KeyStore, ...]:
    """The configured stores; nothing is read yet."""
    from secretivex.stores.file import FileStore

    stores: list[KeyStore] = []
    for number, store in enumerate(config.stores, start=1):
        name = FileStore.kind if number == 1 else f"{FileStore.kind}-{number}"
        stores.append(FileStore(_file_source(store, environ), name))
    return tuple(stores)


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
