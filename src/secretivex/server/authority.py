"""What the supervisor knows and workers are told: stores, policy, settings and the generation.

Rule for editors: whoever changes something here makes a new generation and hands it to every
worker; nothing is ever told in part.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import cached_property
from typing import TYPE_CHECKING

from secretivex.config import AgentConfig
from secretivex.identity import AddRules, Identity, KeyRecord, KeyStore, StoreEvent, StoreHealth
from secretivex.key_table import count_listed, list_health
from secretivex.lock import SALT_BYTES, Lock
from secretivex.server.state import ServerLimits, WorkerState
from secretivex.server.surroundings.lifetime import lifetime_clock
from secretivex.stores.hosting.nameless import open_nameless
from secretivex.stores.opening import environ_of_modules, open_stores
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
    from secretivex.server.confirm.asked import Asked
    from secretivex.stores.hosting.group import HostGroup
    from secretivex.stores.hosting.modules import ModuleHosts
    from secretivex.stores.token.askpass import Prompt
    from secretivex.stores.token.tools import TokenTools

LOG = logging.getLogger("secretivex.stores")

OpenStores = Callable[[AgentConfig, Mapping[str, str]], Sequence[KeyStore]]


class Authority:
    """The one owner of the agent's state."""

    def __init__(
        self,
        config: AgentConfig,
        environ: Mapping[str, str],
        rules: AddRules = AddRules(),  # noqa: B008 - frozen
        clock: Callable[[], float] = lifetime_clock,
        open_: OpenStores = open_stores,
    ) -> None:
        self._config = config
        self._limits = limits_of(config)
        self._open_stores = open_
        self._rules = rules
        self._environ = environ
        self._clock = clock
        self._generation = 0
        self._left_out = 0
        self.served = 0
        """Keys in the last state that was made."""
        self.lock = Lock()
        # Made before any fork, so that every worker has the same descriptor.
        self._device_lock = open_nameless() if self._limits.workers > 1 else -1

    @cached_property
    def _registry(self) -> Registry:
        """Nothing is read from them before the first refresh: by then the zygote has split off."""
        return Registry(self._open_stores(self._config, self._environ))

    @cached_property
    def _hosts(self) -> HostGroup | None:
        """The processes of stores; None where stores are opened in this one."""
        if self._open_stores is open_stores:
            return None
        from secretivex.stores.hosting.group import HostGroup

        return HostGroup(self._registry.hosted)

    def start_stores(self) -> None:
        """Have the processes of stores begin, so that they read keys while we do something else."""
        if self._hosts is not None:
            self._hosts.start()

    @cached_property
    def _modules(self) -> ModuleHosts:
        """The processes of modules that clients loaded."""
        from secretivex.stores.hosting.modules import ModuleHosts

        helper = self._tools.pkcs11_helper
        return ModuleHosts(environ_of_modules(self._config, self._environ), helper)

    def _attach(self, records: tuple[KeyRecord, ...]) -> tuple[KeyRecord, ...]:
        """Tell whom to ask for keys of modules; the processes follow what is served."""
        if self._hosts is None:
            return records
        attached = self._modules.attach(records, self._config.memory_lock)
        self._hosts.hold((*self._registry.hosted, *self._modules.stores))
        self._hosts.end_retired()
        return attached

    def ask_person(self, asked: Asked, now: float) -> Prompt:
        """Show a question; raises `TokenError` if there is nobody to ask."""
        from secretivex.stores.token.askpass import Prompt

        return Prompt(self._tools, asked.question, now)

    @property
    def remember_answers_s(self) -> float:
        """How long an answer holds for requests like the one it was given to."""
        return self._config.confirm_cache_ms / 1000

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

    def health(self) -> tuple[StoreHealth, ...]:
        """Of every store, as they were when they were last read."""
        return (*self._registry.health(), *list_health(self.served, self._left_out))

    def reconfigure(self, config: AgentConfig) -> None:
        """Go on with another configuration, or change nothing and raise OSError; then `refresh`."""
        is_same = config.stores == self._config.stores
        opened = () if is_same else self._open_stores(config, self._environ)
        self._config, self._limits = config, limits_of(config)
        if not is_same:
            self._registry.replace(opened)
            if self._hosts is not None:
                self._hosts.replace((*self._registry.hosted, *self._modules.stores))
        self.__dict__.pop("_tools", None)

    def refresh(self) -> None:
        """Let every store look again and log what it found; the next state is a new generation.

        Stores with processes of their own are waited for the first time only.
        """
        hosts = self._hosts
        has_settled = hosts is not None and hosts.settle()
        for event in self._registry.take_events() if has_settled else self._registry.refresh():
            _log_event(event)
        self._clients.show_all()
        self._generation += 1
        if hosts is not None:
            hosts.advance()

    def stores_fileno(self) -> int | None:
        """Readable when `advance_stores` has something to do; None where nothing ever is."""
        return None if self._hosts is None else self._hosts.fileno()

    def until_stores_s(self) -> float | None:
        """Seconds to the next thing that `advance_stores` does unasked; None if there is none."""
        due = None if self._hosts is None else self._hosts.due
        return None if due is None else max(0.0, due - time.monotonic())

    @property
    def is_waiting(self) -> bool:
        """Whether the state had better wait: stores that were made or asked anew have not spoken."""
        return self._hosts is not None and self._hosts.awaited_until() is not None

    def advance_stores(self) -> bool:
        """Take in what stores say, start their processes again; whether the state is another one."""
        if self._hosts is None or not self._hosts.advance():
            return False
        for event in self._hosts.take_events():
            _log_event(event)
        self._generation += 1
        return True

    def close_stores(self) -> None:
        """End the processes of stores."""
        if self._hosts is not None:
            self._hosts.close()

    def forget_stores(self) -> None:
        """Let go of the stores' descriptors in a process that was forked from this one."""
        hosts = self.__dict__.get("_hosts")
        if hosts is not None:
            hosts.forget()

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
        kept = self._attach(records[: self._limits.max_identities])
        self.served = len(kept)
        if len(kept) < len(records):
            fields_ = {"held": len(kept), "left_out": len(records) - len(kept)}
            LOG.warning("more keys than max_identities", extra={"fields": fields_})
        self._note_list(tuple(record.identity for record in kept))
        return WorkerState(
            self._generation,
            self._limits,
            self._config.rule_lists,
            kept,
            self.lock.salt,
            self._tools.as_table(),
        )

    def _note_list(self, identities: tuple[Identity, ...]) -> None:
        """Log once when a list cannot hold every key."""
        left_out = len(identities) - count_listed(identities)
        if left_out and left_out != self._left_out:
            LOG.warning("the list is cut", extra={"fields": {"left_out": left_out}})
        self._left_out = left_out


_TOOL_SETTINGS = (
    *("allowed_providers", "restrict_websafe", "websafe_allow", "fingerprint_hash"),
    *("confirm_command", "confirm_timeout_ms"),
)


def limits_of(config: AgentConfig) -> ServerLimits:
    """The part of a configuration that bounds workers."""
    return ServerLimits(**{row.name: getattr(config, row.name) for row in fields(ServerLimits)})


def _log_event(event: StoreEvent) -> None:
    fields_ = {"store": event.store, "subject": event.subject, "reason": event.reason}
    LOG.warning(event.kind.replace("_", " "), extra={"fields": fields_})
