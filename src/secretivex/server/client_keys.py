"""What clients did to the keys: those they added, with lifetimes, and those they removed.

A store's key that a client removed, or that it added with a lifetime which is over, is hidden until
the stores are read again. Rule for editors: a constraint that is not enforced here or in the engine
is refused; nothing here is ever written to a disk.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import replace

from secretivex.identity import AddRules, KeyRecord, Restrictions
from secretivex.stores.memory import MemoryStore
from secretivex.stores.token.errors import TokenError
from secretivex.stores.token.loaded import LoadedModule
from secretivex.stores.token.tools import TokenTools
from sshwire.agent.constraints import (
    ASSOCIATED_CERTS,
    RESTRICT_DESTINATION,
    SK_PROVIDER,
    Constraints,
)
from sshwire.agent.destinations import (
    AssociatedCertificates,
    parse_associated_certificates,
    parse_destinations,
)
from sshwire.agent.requests import AddRequest, AddSmartcardRequest
from sshwire.errors import UnsupportedError, WireError
from sshwire.keyblob import PublicKey, plain_public_key
from sshwire.privkey import PrivateKey, SecurityKeyHandle, parse_private_fields
from sshwire.pubkey import parse_public_key
from sshwire.wire import Reader

MEAN_KEY_BYTES = 4096
"""Room for each of `max_keys`: RSA-8192 and its comment. It is the whole that is bounded."""

MAX_HIDDEN = 65536
"""Keys that are remembered as hidden, beyond which those that no store holds are forgotten."""

OK = "ok"
"""The word for a change that was made; every other word says why it was not."""


class ClientKeys:
    """The supervisor's own keys. `now` is of a clock that goes on while the machine sleeps."""

    def __init__(self, rules: AddRules, tools: TokenTools, max_keys: int) -> None:
        self._rules = rules
        self._tools = tools
        self._max_keys = max_keys
        self._store = MemoryStore()
        self._expiries: dict[bytes, float] = {}
        self._sizes: dict[bytes, int] = {}
        self._hidden: set[bytes] = set()
        """SHA-256 of key blobs: a certificate can be as long as a message."""

    @property
    def next_expiry(self) -> float | None:
        """When the next key is to be forgotten."""
        return min(self._expiries.values(), default=None)

    def add(self, request: AddRequest, now: float, stored: Iterable[bytes] = ()) -> str:
        """Hold a key, or replace it and its constraints; `stored` are the keys of stores."""
        constraints = request.constraints
        try:
            key = _parse_key(request)
            restrictions = self._restrict(key, constraints)
        except UnsupportedError:
            return "unsupported_constraint"
        except WireError:
            return "bad_key"
        except TokenError as error:
            return error.reason
        blob = key.public.blob
        size = len(request.private_fields) + _size_of(restrictions) + len(request.comment)
        if not self._has_room(blob, size, stored):
            return "too_many_keys"
        self._store.add(key, self._begin_life(blob, restrictions, constraints, now))
        self._sizes[blob] = size
        return OK

    def add_module(self, loaded: LoadedModule, now: float, stored: Iterable[bytes] = ()) -> str:
        """Hold the keys of a module that are not here yet; those that are stay as they are."""
        request = loaded.request
        try:
            restrictions = _restrict_module(request)
            found = tuple(_offered_keys(loaded))
        except UnsupportedError:
            return "unsupported_constraint"
        except WireError:
            return "bad_key"
        added = 0
        for public, comment in found:
            if self._store.holds(public.blob):
                continue
            size = len(public.blob) + _size_of(restrictions) + len(comment)
            if not self._has_room(public.blob, size, stored):
                break
            lasting = self._begin_life(public.blob, restrictions, request.constraints, now)
            self._store.add_on_module(public, comment, lasting)
            self._sizes[public.blob] = size
            added += 1
        return OK if added else "no_new_key"

    def remove_module(self, provider: str) -> str:
        """Forget the keys of a module."""
        for blob in self._store.on_module(provider):
            self._forget(blob)
        return OK

    def _has_room(self, blob: bytes, size: int, stored: Iterable[bytes]) -> bool:
        """Whether a key would be served: a client must not be told so if it would be left out."""
        served = self._sizes.keys() | {one for one in stored if not self._is_hidden(one)} | {blob}
        held_bytes = sum(self._sizes.values()) - self._sizes.get(blob, 0)
        max_bytes = self._max_keys * MEAN_KEY_BYTES
        return len(served) <= self._max_keys and held_bytes + size <= max_bytes

    def _begin_life(
        self, blob: bytes, restrictions: Restrictions, constraints: Constraints, now: float
    ) -> Restrictions:
        """The key is there from now on; its restrictions with its end, if it has one."""
        self._hidden.discard(_digest(blob))
        self._expiries.pop(blob, None)
        lifetime_s = constraints.lifetime_s
        if lifetime_s is None:
            lifetime_s = self._rules.lifetime_s
        if lifetime_s is None:
            return restrictions
        self._expiries[blob] = now + lifetime_s
        return replace(restrictions, expires_s=now + lifetime_s)

    def _restrict(self, key: PrivateKey, constraints: Constraints) -> Restrictions:
        """What a worker enforces; raises `UnsupportedError` for what none does, `TokenError`."""
        bodies = {extension.name: extension.body for extension in constraints.extensions}
        destinations = bodies.pop(RESTRICT_DESTINATION, b"")
        provider = bodies.pop(SK_PROVIDER, None)
        if bodies:
            raise UnsupportedError("a constraint that is not enforced here")
        if destinations:
            parse_destinations(destinations)
        if not isinstance(key.secret, SecurityKeyHandle):
            if provider is not None:
                raise WireError("a provider for a key that is in no device")
            return Restrictions(destinations=destinations, confirm=constraints.confirm)
        named = "" if provider is None else Reader(provider).text()
        middleware = self._tools.allow_security_key(named)
        return Restrictions(middleware, destinations, confirm=constraints.confirm)

    def remove(self, key_blob: bytes, stored: Iterable[bytes]) -> str:
        """Forget a client's key, hide a store's."""
        if self._is_hidden(key_blob) or not (self._store.holds(key_blob) or key_blob in stored):
            return "key_not_found"
        self._forget(key_blob)
        return OK

    def remove_all(self, stored: Iterable[bytes]) -> None:
        """Forget every client's key, hide every store's."""
        self.drop()
        self._hidden.update(map(_digest, stored))

    def drop(self) -> None:
        """Forget every client's key."""
        for identity in self._store.identities():
            self._forget(identity.key_blob)

    def expire(self, now: float) -> tuple[bytes, ...]:
        """Forget the keys whose lifetime is over; answers their blobs."""
        over = tuple(blob for blob, moment in self._expiries.items() if now >= moment)
        for blob in over:
            self._forget(blob)
        return over

    def show_all(self) -> None:
        """Hide no store's key any more."""
        self._hidden.clear()

    def merge(self, stored: Iterable[KeyRecord]) -> tuple[KeyRecord, ...]:
        """Every key to serve: a key that a client added too is served as the client added it."""
        records = tuple(stored)
        if len(self._hidden) > MAX_HIDDEN:
            self._hidden &= {_digest(record.identity.key_blob) for record in records}
        added = {
            identity.key_blob: self._store.export(identity) for identity in self._store.identities()
        }
        merged = [
            added.pop(record.identity.key_blob, record)
            for record in records
            if not self._is_hidden(record.identity.key_blob)
        ]
        return (*merged, *added.values())

    def _is_hidden(self, key_blob: bytes) -> bool:
        return bool(self._hidden) and _digest(key_blob) in self._hidden

    def _forget(self, key_blob: bytes) -> None:
        self._store.remove(key_blob)
        self._sizes.pop(key_blob, None)
        self._expiries.pop(key_blob, None)
        self._hidden.add(_digest(key_blob))


def _digest(key_blob: bytes) -> bytes:
    return hashlib.sha256(key_blob).digest()


def _size_of(restrictions: Restrictions) -> int:
    return len(restrictions.destinations) + len(restrictions.provider) + len(restrictions.pin)


def _restrict_module(request: AddSmartcardRequest) -> Restrictions:
    """What workers enforce for every key of a module; raises `UnsupportedError` for what none does."""
    bodies = {extension.name: extension.body for extension in request.constraints.extensions}
    destinations = bodies.pop(RESTRICT_DESTINATION, b"")
    bodies.pop(ASSOCIATED_CERTS, None)
    if bodies:
        raise UnsupportedError("a constraint that is not enforced here")
    if destinations:
        parse_destinations(destinations)
    return Restrictions(
        request.provider, destinations, request.pin, confirm=request.constraints.confirm
    )


def _offered_keys(loaded: LoadedModule) -> Iterator[tuple[PublicKey, str]]:
    """The keys of a module with their comments, and the certificates that came with the request."""
    associated = _associated_certificates(loaded.request)
    for key in loaded.keys:
        public = parse_public_key(key.key_blob)
        comment = key.label or loaded.request.provider
        if not associated.certs_only:
            yield public, comment
        for certificate in associated.certificates:
            if plain_public_key(certificate) == public:
                yield certificate, comment


def _associated_certificates(request: AddSmartcardRequest) -> AssociatedCertificates:
    for extension in request.constraints.extensions:
        if extension.name == ASSOCIATED_CERTS:
            return parse_associated_certificates(extension.body)
    return AssociatedCertificates(certs_only=False, certificates=())


def _parse_key(request: AddRequest) -> PrivateKey:
    reader = Reader(request.private_fields)
    key = parse_private_fields(reader, request.algorithm, request.comment)
    reader.finish()
    return key
