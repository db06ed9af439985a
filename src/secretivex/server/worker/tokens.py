"""A worker's tokens: how a key signs that is elsewhere, and what a module offers.

A module is loaded here once, to try its PIN and list its keys; who signs with them is a process that
all workers share. Rule for editors: whatever asks the
file system, a module or a person blocks, and is called in a thread.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
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
from secretivex.stores.token.module import HelperModule
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


class TokenDesk:
    """One worker's helpers. `prepare` blocks; the rest is for the loop."""

    def __init__(self) -> None:
        self.tools = TokenTools()
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
            raise WireError("a key of a module that nobody signs for")
        reader = Reader(record.private_fields)
        software = parse_private_fields(reader, reader.text(), record.identity.comment)
        if not isinstance(software.secret, SecurityKeyHandle):
            is_old = limits.allow_sha1 and signs_over_sha1(software)
            entry = build(Sha1Key(software) if is_old else quickest(software))
            return replace(entry, signs_sha1=is_old)
        provider = record.restrictions.provider or INTERNAL_PROVIDER
        fido = SecurityKey(software, provider, self.tools)
        return build(fido, lane=LANE, is_ssh_only=self.tools.is_web_key(fido.application))

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
            module.close()
        if len(encode_loaded_module(loaded)) > MAX_LOADED_BYTES:
            raise TokenError("module_refused", f"{path} offers more than can be passed on")
        return loaded

    def abandon(self) -> None:
        """End every helper now, whatever it does: the worker is about to end."""
        for module in tuple(self._loading):
            module.abandon()


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


def leave_living(
    entries: Mapping[KeyRecord, TableEntry], now_s: float
) -> tuple[dict[KeyRecord, TableEntry], float | None]:
    """The keys whose life is not over by `lifetime_clock`, and when the next of them ends."""
    living = {
        record: entry
        for record, entry in entries.items()
        if (end_s := record.restrictions.expires_s) is None or end_s > now_s
    }
    ends = (record.restrictions.expires_s for record in living)
    return living, min((end_s for end_s in ends if end_s is not None), default=None)
