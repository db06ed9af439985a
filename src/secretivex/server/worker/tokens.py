"""A worker's tokens: how a key signs that is elsewhere, and what a module offers.

Each worker has helpers of its own, started when first needed. Rule for editors: whatever asks the
file system, a module or a person blocks, and is called in a thread.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial

from secretivex.identity import KeyRecord
from secretivex.key_table import TableEntry, build_entry
from secretivex.server.control import MAX_WORKER_FRAME_BYTES
from secretivex.server.state import ServerLimits, WorkerState
from secretivex.signers import quickest
from secretivex.stores.hosting.endpoint import RemoteKey
from secretivex.stores.sha1 import Sha1Key, signs_over_sha1
from secretivex.stores.token.errors import TokenError
from secretivex.stores.token.loaded import LoadedModule, encode_loaded_module
from secretivex.stores.token.module import HelperModule, ModuleKey
from secretivex.stores.token.security_key import LANE, SecurityKey
from secretivex.stores.token.tools import TokenTools
from sshwire.agent.destinations import parse_destinations
from sshwire.agent.requests import AddSmartcardRequest, RemoveSmartcardRequest
from sshwire.errors import WireError
from sshwire.privkey import SecurityKeyHandle, parse_private_fields
from sshwire.token.sk_helper import INTERNAL_PROVIDER
from sshwire.wire import Reader

LOG = logging.getLogger("secretivex.server")

MAX_LOADED_BYTES = MAX_WORKER_FRAME_BYTES - 64
"""What the supervisor takes from a worker in one message, less what stands before it."""

_Access = tuple[str, bytes]
"""A module's path and PIN: a module that is loaded with another PIN is another helper."""


class TokenDesk:
    """One worker's helpers. `prepare` blocks; the rest is for the loop."""

    def __init__(self) -> None:
        self.tools = TokenTools()
        self._modules: dict[_Access, HelperModule] = {}
        self._loading: set[HelperModule] = set()

    def entry_of(self, record: KeyRecord, limits: ServerLimits) -> TableEntry:
        """The table's entry for any key; raises `WireError`."""
        entry = self._entry_of(record, limits)
        return replace(entry, asks_each_time=True) if record.restrictions.confirm else entry

    def _entry_of(self, record: KeyRecord, limits: ServerLimits) -> TableEntry:
        steps = record.restrictions.destinations
        build = partial(
            build_entry,
            record.identity,
            inline=limits.inline_sign,
            destinations=parse_destinations(steps) if steps else (),
            must_confirm=record.restrictions.confirm or bool(self.tools.confirm_command),
        )
        if record.signer is not None:
            remote = RemoteKey(record.signer, record.identity.key_blob)
            return replace(build(remote, lane=remote.lane), lane_width=record.signer.at_a_time)
        if not record.private_fields:
            key = ModuleKey(self._module_of(record), record.identity.key_blob)
            return build(key, lane=key.lane)
        reader = Reader(record.private_fields)
        software = parse_private_fields(reader, reader.text(), record.identity.comment)
        if not isinstance(software.secret, SecurityKeyHandle):
            is_old = limits.allow_sha1 and signs_over_sha1(software)
            entry = build(Sha1Key(software) if is_old else quickest(software))
            return replace(entry, signs_sha1=is_old)
        provider = record.restrictions.provider or INTERNAL_PROVIDER
        fido = SecurityKey(software, provider, self.tools)
        return build(fido, lane=LANE, is_ssh_only=self.tools.is_web_key(fido.application))

    def _module_of(self, record: KeyRecord) -> HelperModule:
        access = _access_of(record)
        module = self._modules.get(access)
        if module is None:
            module = self._modules[access] = HelperModule(*access, self.tools)
        return module

    def prepare(
        self, request: AddSmartcardRequest | RemoveSmartcardRequest
    ) -> RemoveSmartcardRequest | LoadedModule:
        """What the authority is to be asked: the path resolved, the module loaded.

        Raises `TokenError`. The PIN is tried here first, by one helper.
        """
        if isinstance(request, RemoveSmartcardRequest):
            return replace(request, provider=self.tools.resolve(request.provider), pin=b"")
        path = self.tools.allow(request.provider)
        module = HelperModule(path, request.pin, self.tools)
        self._loading.add(module)
        try:
            loaded = LoadedModule(replace(request, provider=path), module.load())
        finally:
            self._loading.discard(module)
        if len(encode_loaded_module(loaded)) > MAX_LOADED_BYTES:
            module.close()
            raise TokenError("module_refused", f"{path} offers more than can be passed on")
        # The helper that listed the keys signs with them too.
        if self._modules.setdefault((path, request.pin), module) is not module:
            module.close()
        return loaded

    def take_unused(self, records: Iterable[KeyRecord]) -> tuple[HelperModule, ...]:
        """The modules of which no key is served any more; whoever takes them must end them."""
        if not self._modules:
            return ()
        unused = self._modules.keys() - _accesses_of(records)
        taken = (self._modules.pop(access, None) for access in unused)
        return tuple(module for module in taken if module is not None)

    def abandon(self) -> None:
        """End every helper now, whatever it does: the worker is about to end."""
        abandon_all((*self._modules.values(), *self._loading))


def abandon_all(modules: Iterable[HelperModule]) -> None:
    """End helpers in the middle of whatever they do; blocks for moments."""
    for module in modules:
        module.abandon()


def _access_of(record: KeyRecord) -> _Access:
    return record.restrictions.provider, record.restrictions.pin


def _accesses_of(records: Iterable[KeyRecord]) -> set[_Access]:
    modules = (record for record in records if not record.private_fields and not record.signer)
    return set(map(_access_of, modules))


def load_entries(
    state: WorkerState, known: Mapping[KeyRecord, TableEntry], tokens: TokenDesk
) -> dict[KeyRecord, TableEntry]:
    """The keys of a state in their order; a key that was loaded before is not loaded again.

    A key that cannot be loaded is logged and left out.
    """
    entries: dict[KeyRecord, TableEntry] = {}
    for record in state.keys[: state.limits.max_identities]:
        try:
            entry = known.get(record) or tokens.entry_of(record, state.limits)
        except WireError as error:
            LOG.error("a key cannot be loaded", extra={"fields": {"reason": str(error)}})  # noqa: TRY400 - a traceback could show more of the key than its reason
            continue
        entries[record] = entry
    return entries
