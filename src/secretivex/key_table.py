"""The keys of one generation, ready to be answered from: an index and a list reply made once.

Rule for editors: a table never changes; a change of keys is a new table with the next generation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice

from secretivex.context.bindings import Bindings
from secretivex.context.destinations import refuse_sight
from secretivex.identity import Identity, SigningKey, StoreHealth
from sshwire.agent.connection import encode_frame
from sshwire.agent.destinations import Destination
from sshwire.agent.numbers import MAX_FRAME_BYTES, MAX_IDENTITIES, SignFlag
from sshwire.agent.replies import IdentitiesAnswer, encode_identity, encode_reply
from sshwire.agent.replies import Identity as ListedIdentity
from sshwire.algorithms import find_algorithm
from sshwire.keyblob import plain_public_key
from sshwire.pubkey import fingerprint, parse_public_key

INLINE_ALGORITHMS = frozenset({"ssh-ed25519", "ecdsa-sha2-nistp256"})
"""Signatures that take less than the hand-over to another thread would, whatever library makes them;
a key whose library is quick for its type says so itself (`is_quick`)."""

_LIST_HEAD_BYTES = 5
"""Message number and count, before the first identity of a list."""


@dataclass(frozen=True, slots=True)
class TableEntry:
    """One key: what clients see, what signs, and whether that is quick enough for an event loop."""

    identity: Identity
    key: SigningKey
    is_cheap: bool
    sha256: str
    sha512: str
    lane: str = ""
    """Keys of one lane wait for each other, and hold up no key of another; "" is none."""
    lane_width: int = 1
    """Signatures of the lane that are under way at a time."""
    destinations: tuple[Destination, ...] = ()
    is_ssh_only: bool = False
    """Whether nothing but logins and SSHSIG may be signed: PROTOCOL.u2f."""
    must_confirm: bool = False
    """Whether a person is asked before every signature."""

    asks_each_time: bool = False
    """Whether no answer holds for another signature: ssh-add(1), option -c."""
    signs_sha1: bool = False
    """Whether it makes `ssh-rsa` where a request has no flags."""

    is_free: bool = field(init=False)
    """Whether nothing about the key itself can forbid a signature or have a person asked."""

    def __post_init__(self) -> None:
        is_bound = self.destinations or self.is_ssh_only or self.must_confirm
        object.__setattr__(self, "is_free", not is_bound)

    def format_of(self, flags: int) -> str:
        """The algorithm of the signature that a request with these flags gets: RFC 8332."""
        return format_of(self.identity.algorithm, flags, over_sha1=self.signs_sha1)


def format_of(algorithm: str, flags: int, *, over_sha1: bool = False) -> str:
    """The same for any key; `over_sha1` if it makes `ssh-rsa` where there are no flags."""
    name = find_algorithm(algorithm).plain_name
    if name != "ssh-rsa":
        return name
    if flags & SignFlag.RSA_SHA2_256:
        return "rsa-sha2-256"
    if flags & SignFlag.RSA_SHA2_512:
        return "rsa-sha2-512"
    return "ssh-rsa" if over_sha1 else "rsa-sha2-256"


@dataclass(frozen=True, slots=True)
class KeyTable:
    """All keys of a generation; `list_frame` answers REQUEST_IDENTITIES.

    `listed` is how many keys the list holds: fewer than there are when they do not fit into what
    OpenSSH's client accepts.
    """

    generation: int
    entries: dict[bytes, TableEntry]
    list_frame: bytes
    listed: int
    is_same_for_all: bool = True
    """Whether every connection sees every key."""

    def list_for(
        self, bindings: Bindings, now_s: float, shows: Callable[[TableEntry], bool] | None = None
    ) -> bytes:
        """The list as one connection may see it, with what `shows` says, if anybody hides keys."""
        if shows is None and (self.is_same_for_all or not bindings.is_attempted):
            return self.list_frame
        return _encode_list(
            entry
            for entry in self.entries.values()
            if refuse_sight(entry.destinations, bindings, now_s) is None
            and (shows is None or shows(entry))
        )[0]

    def find(self, key_blob: bytes) -> TableEntry | None:
        """The entry of a key blob."""
        return self.entries.get(key_blob)


def build_entry(
    identity: Identity,
    key: SigningKey,
    *,
    inline: bool | None = None,
    lane: str = "",
    destinations: tuple[Destination, ...] = (),
    is_ssh_only: bool = False,
    must_confirm: bool = False,
) -> TableEntry:
    """An entry; `inline` overrides which thread signs. Raises `WireError` for a bad key blob."""
    plain = plain_public_key(parse_public_key(identity.key_blob))
    is_quick = plain.algorithm in INLINE_ALGORITHMS or getattr(key, "is_quick", False)
    is_cheap = is_quick if inline is None else inline
    return TableEntry(
        identity,
        key,
        is_cheap=is_cheap and not lane,
        sha256=fingerprint(plain.blob, "sha256"),
        sha512=fingerprint(plain.blob, "sha512"),
        lane=lane,
        destinations=destinations,
        is_ssh_only=is_ssh_only,
        must_confirm=must_confirm,
    )


def build_table(generation: int, entries: Iterable[TableEntry]) -> KeyTable:
    """A table in the order of `entries`; of two with one key blob the first counts."""
    index: dict[bytes, TableEntry] = {}
    for entry in entries:
        index.setdefault(entry.identity.key_blob, entry)
    frame, listed = _encode_list(index.values())
    is_same_for_all = not any(entry.destinations for entry in index.values())
    return KeyTable(generation, index, frame, listed, is_same_for_all)


def _encode_list(entries: Iterable[TableEntry]) -> tuple[bytes, int]:
    """The answer and how many it lists."""
    listed = _cut(
        ListedIdentity(entry.identity.key_blob, entry.identity.comment) for entry in entries
    )
    return encode_frame(encode_reply(IdentitiesAnswer(listed))), len(listed)


def _cut(identities: Iterable[ListedIdentity]) -> tuple[ListedIdentity, ...]:
    """As many as OpenSSH's client takes in one answer, in their order."""
    room = MAX_FRAME_BYTES - _LIST_HEAD_BYTES
    listed: list[ListedIdentity] = []
    for identity in islice(identities, MAX_IDENTITIES):
        room -= len(encode_identity(identity))
        if room < 0:
            break
        listed.append(identity)
    return tuple(listed)


def count_listed(identities: Iterable[Identity]) -> int:
    """How many of these keys, in their order, fit into one list."""
    return len(_cut(ListedIdentity(one.key_blob, one.comment) for one in identities))


EMPTY_TABLE = build_table(0, ())
"""What a worker answers from before it knows better."""


def list_health(served: int, left_out: int) -> tuple[StoreHealth, ...]:
    """What is wrong with the list of all keys, if anything is."""
    if not left_out:
        return ()
    reason = f"{left_out} keys do not fit into the list that OpenSSH's client accepts"
    remedy = "serve fewer keys: name them in paths, or choose key_types"
    listed = served - left_out
    return (
        StoreHealth("list", "list", is_well=False, identities=listed, reason=reason, remedy=remedy),
    )
