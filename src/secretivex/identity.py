"""The keys that the agent offers, and the ports through which it reaches them.

A `KeyStore` lives in the supervisor; a `SigningKey` is what a worker signs with. Rule for editors:
a new kind of store implements `KeyStore`, and nothing above this module learns that it exists.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Identity:
    """A key as clients see it, and the name of the store that signs for it."""

    key_blob: bytes
    comment: str
    algorithm: str
    store: str


@dataclass(frozen=True, slots=True)
class Restrictions:
    """What a key's owner demanded when adding it.

    `provider` is the middleware of a security key or a PKCS#11 module, and `pin` what opens the
    module; `destinations` the encoded steps that the key may be used for, empty for no restriction.
    """

    provider: str = ""
    destinations: bytes = b""
    pin: bytes = field(default=b"", repr=False)
    confirm: bool = False
    """Whether a person is to be asked before every use."""
    expires_s: float | None = None
    """When its life ends, by `lifetime_clock`; None where it has no end."""


UNRESTRICTED = Restrictions()


@dataclass(frozen=True, slots=True)
class Signer:
    """The process that signs for a key: where it listens, the word that opens it, its width.

    `at_a_time` is how many signatures of one store are under way at a time.
    """

    address: str
    password: bytes = field(repr=False)
    at_a_time: int = 1


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """An identity with what a worker needs to sign for it.

    `private_fields` is the encoding that openssh-key-v1 and the agent's ADD message share: the
    algorithm's name, then its fields. It is empty for a key that a client added from a PKCS#11
    module, and for one that a store keeps to itself: then `signer` is whom to ask. It travels over
    private channels only.
    """

    identity: Identity
    private_fields: bytes = field(repr=False)
    restrictions: Restrictions = UNRESTRICTED
    signer: Signer | None = None


@dataclass(frozen=True, slots=True)
class AddRules:
    """What applies to keys that clients add without saying more."""

    lifetime_s: int | None = None


@dataclass(frozen=True, slots=True)
class StoreEvent:
    """Something a person should know about a store: what it concerns, and why."""

    store: str
    kind: str
    """`key_skipped` or `store_broken`."""
    subject: str
    reason: str


@dataclass(frozen=True, slots=True)
class StoreHealth:
    """How a store does; `reason` says what is wrong with one that is not well."""

    store: str
    kind: str
    is_well: bool
    identities: int
    reason: str = ""
    remedy: str = ""
    """What a person can do about the reason; "" where it says so itself."""
    since_s: float = 0.0
    """When the store came to be as it is: seconds since 1970, 0 where nobody noted it."""


class SigningKey(Protocol):
    """A key that can sign."""

    def sign(self, data: bytes, flags: int = 0) -> bytes:
        """The encoded signature; blocks for as long as the key needs. Raises on failure."""
        ...


@runtime_checkable
class PatientKey(Protocol):
    """A key that may wait for a person."""

    def sign_while(self, is_wanted: Callable[[], bool], data: bytes, flags: int = 0, /) -> bytes:
        """As `sign`, given up once nobody wants the signature any more."""
        ...


class KeyStore(Protocol):
    """A place that keys live in. Every method blocks; none is called from an event loop."""

    @property
    def name(self) -> str:
        """Unique among the stores of one agent."""
        ...

    @property
    def kind(self) -> str:
        """`file`, `memory` and so on, as policies and health name it."""
        ...

    def refresh(self) -> tuple[StoreEvent, ...]:
        """Look again at what there is; answers what was not reported before."""
        ...

    def identities(self) -> tuple[Identity, ...]:
        """What the last refresh found, in the store's stable order."""
        ...

    def sign(self, identity: Identity, data: bytes, flags: int = 0) -> bytes:
        """The encoded signature; raises `LookupError` for an identity that is not here."""
        ...

    def export(self, identity: Identity) -> KeyRecord:
        """What a worker needs to sign by itself; raises `LookupError` as `sign` does."""
        ...

    def health(self) -> StoreHealth:
        """How the store does since its last refresh."""
        ...


@runtime_checkable
class TendedStore(Protocol):
    """A store that changes by itself, so that somebody must look after it."""

    @property
    def tend_every_s(self) -> float:
        """Longest time between two calls of `tend`."""
        ...

    def fileno(self) -> int:
        """A descriptor that is readable when `tend` should be called at once; -1 for none."""
        ...

    def tend(self) -> bool:
        """Look after what it runs, read again what changed; whether there is news of any kind."""
        ...

    def news(self) -> tuple[StoreEvent, ...]:
        """What was not reported before."""
        ...

    def close(self) -> None:
        """End what it runs."""
        ...
