"""The file store: private keys in files and folders, read when the agent starts and on reload.

Rule for editors: a skipped file is an event with its reason, once; a file that stays skipped for
the same reason is not reported again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from secretivex.identity import Identity, KeyRecord, StoreEvent, StoreHealth
from secretivex.stores.key_files import Candidate, SkippedError, list_candidates, load_key
from secretivex.stores.memory import MemoryStore
from sshwire.privkey import PrivateKey


@dataclass(frozen=True, slots=True)
class FileSource:
    """Which files a store reads; `key_types` () is all types."""

    paths: tuple[Path, ...]
    owner_uid: int
    key_types: tuple[str, ...] = ()
    passphrase: bytes | None = field(default=None, repr=False)


class FileStore:
    """Keys of files, sorted by comment, then blob."""

    kind = "file"

    def __init__(self, source: FileSource, name: str = "file") -> None:
        self.name = name
        self._source = source
        self._keys = MemoryStore(name)
        self._skipped: dict[Path, str] = {}

    def refresh(self) -> tuple[StoreEvent, ...]:
        """Read every file again; answers the files skipped that were not skipped before."""
        keys: dict[bytes, PrivateKey] = {}
        skipped: dict[Path, str] = {}
        for candidate in list_candidates(self._source.paths):
            try:
                key = self._load(candidate)
                keys.setdefault(key.public.blob, key)
            except SkippedError as error:
                if not error.quiet:
                    skipped[candidate.path] = str(error)
        self._keys = _hold(self.name, keys)
        news = skipped.items() - self._skipped.items()
        self._skipped = skipped
        return tuple(
            StoreEvent(self.name, "key_skipped", str(path), reason) for path, reason in sorted(news)
        )

    def _load(self, candidate: Candidate) -> PrivateKey:
        key = load_key(candidate, self._source.passphrase, self._source.owner_uid)
        wanted = self._source.key_types
        if wanted and key.public.algorithm not in wanted:
            raise SkippedError(f"{key.public.algorithm} is not among key_types")
        return key

    def identities(self) -> tuple[Identity, ...]:
        """The keys found, by comment, then blob."""
        return self._keys.identities()

    def sign(self, identity: Identity, data: bytes, flags: int = 0) -> bytes:
        """The encoded signature."""
        return self._keys.sign(identity, data, flags)

    def export(self, identity: Identity) -> KeyRecord:
        """The key itself, for a worker."""
        return self._keys.export(identity)

    def health(self) -> StoreHealth:
        """Well even if files were skipped; the reason names how many."""
        count = len(self._skipped)
        reason = f"{count} file{'' if count == 1 else 's'} skipped" if count else ""
        held = len(self.identities())
        return StoreHealth(self.name, self.kind, is_well=True, identities=held, reason=reason)


def _hold(name: str, keys: dict[bytes, PrivateKey]) -> MemoryStore:
    store = MemoryStore(name)
    for key in sorted(keys.values(), key=lambda key: (key.comment, key.public.blob)):
        store.add(key)
    return store
