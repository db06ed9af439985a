"""The processes of modules that clients loaded: one a module and PIN, whatever the number of workers.

Rule for editors: a worker is told whom to ask, and no PIN.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from secretivex.identity import KeyRecord
from secretivex.stores.hosting.hosted import HostedStore, HostSpec
from secretivex.stores.token.module_store import PIN

_Access = tuple[str, bytes]
"""A module's path and PIN: a module that is loaded with another PIN is another helper."""


class ModuleHosts:
    """Who signs for the keys of modules."""

    def __init__(self, environ: Mapping[str, str], helper: str) -> None:
        self._environ = environ
        self._helper = helper
        self._hosts: dict[_Access, HostedStore] = {}

    @property
    def stores(self) -> tuple[HostedStore, ...]:
        """The processes that there should be."""
        return tuple(self._hosts.values())

    def attach(
        self, records: Iterable[KeyRecord], memory_lock: str = "off"
    ) -> tuple[KeyRecord, ...]:
        """The same keys, those of modules with whom to ask; modules without a key are given up.

        Whoever calls this looks after `stores` then.
        """
        hosts: dict[_Access, HostedStore] = {}
        attached = []
        for record in records:
            if record.private_fields or record.signer is not None:
                attached.append(record)
                continue
            access = record.restrictions.provider, record.restrictions.pin
            host = hosts.get(access) or self._hosts.get(access) or self._host(access, memory_lock)
            hosts[access] = host
            restrictions = replace(record.restrictions, pin=b"")
            attached.append(replace(record, restrictions=restrictions, signer=host.signer))
        self._hosts = hosts
        return tuple(attached)

    def _host(self, access: _Access, memory_lock: str) -> HostedStore:
        provider, pin = access
        settings = {"helper": self._helper, "provider": provider, "memory_lock": memory_lock}
        return HostedStore(
            HostSpec("module", f"module {provider}", settings, self._environ, {PIN: pin})
        )
