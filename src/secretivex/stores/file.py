"""The file store: private keys in files and folders, read when it starts, on reload and on change.

Rule for editors: a skipped file is an event with its reason, once; a file that stays skipped for
the same reason is not reported again. A key is not lost because its file cannot be read for a moment.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from secretivex.identity import Identity, KeyRecord, StoreEvent, StoreHealth
from secretivex.stores.certificates import Certificates
from secretivex.stores.key_files import (
    AwayError,
    Candidate,
    ClosedError,
    LoadedFile,
    SkippedError,
    list_candidates,
    load_key,
    mark_of,
)
from secretivex.stores.kinds import StoreSetup
from secretivex.stores.memory import MemoryStore
from secretivex.stores.secret_source import SecretSource
from secretivex.stores.token.errors import TokenError
from secretivex.stores.watch import LOOK_EVERY_S, Watch
from sshwire.privkey import PrivateKey

MAX_READERS = 8
"""Threads that load keys; the derivation of a passphrase runs outside the interpreter's lock."""

GRACE_S = 1.0
"""A key whose file was changed less than this ago and cannot be read is kept: an editor may be at work."""


@dataclass(frozen=True, slots=True)
class FileSource:
    """Which files a store reads; `key_types` () is all types, `passphrase` one that is at hand."""

    paths: tuple[Path, ...]
    owner_uid: int
    key_types: tuple[str, ...] = ()
    passphrase: bytes | None = field(default=None, repr=False)
    secret: SecretSource | None = None
    certificates: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Known:
    """What a file gave when its mark was this one."""

    mark: tuple[object, ...]
    result: LoadedFile | SkippedError


class FileStore:
    """Keys of files, sorted by comment, then blob."""

    kind = "file"

    def __init__(
        self,
        source: FileSource,
        name: str = "file",
        watch: Watch | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.name = name
        self._source = source
        self._watch = watch
        self._clock = clock
        self._keys = MemoryStore(name)
        self._known: dict[Path, _Known] = {}
        self._skipped: dict[str, str] = {}
        self._news: list[StoreEvent] = []
        self._passphrases = () if source.passphrase is None else (source.passphrase,)
        self._may_ask = True
        self._certificates = Certificates(source.certificates)

    def refresh(self) -> tuple[StoreEvent, ...]:
        """Read what changed; answers the files skipped that were not skipped before."""
        self._look()
        return self.news()

    def news(self) -> tuple[StoreEvent, ...]:
        """What was not reported before."""
        news, self._news = tuple(self._news), []
        return news

    def forgive(self) -> None:
        """Ask again for passphrases that nobody gave."""
        self._may_ask = True
        self._known = {
            path: known
            for path, known in self._known.items()
            if not isinstance(known.result, SkippedError)
        }

    def memory(self) -> bytes:
        """Nothing survives."""
        return b""

    def _look(self) -> bool:
        """Whether anything is another than it was."""
        candidates = list_candidates(self._source.paths)
        known = self._read_all(candidates)
        self._certificates.refresh()
        skipped = dict(self._certificates.problems)
        keys: dict[bytes, PrivateKey] = {}
        for path, one in known.items():
            if isinstance(one.result, SkippedError):
                if not one.result.quiet:
                    skipped[str(path)] = str(one.result)
                continue
            for key in self._offered(one.result):
                refusal = self._refuse_type(key)
                if refusal:
                    skipped[str(path)] = refusal
                else:
                    keys.setdefault(key.public.blob, key)
        self._note_skipped(skipped)
        before = self._keys.identities()
        self._keys, self._known = _hold(self.name, keys), known
        if self._watch is not None:
            self._watch.set_folders((*self._source.paths, *known))
        return self._keys.identities() != before or bool(self._news)

    def _read_all(self, candidates: Sequence[Candidate]) -> dict[Path, _Known]:
        """Every candidate in order; those whose mark is the same are not read again."""
        marks = {one.path: mark_of(one.path) for one in candidates}
        stale = [one for one in candidates if not self._is_known(one.path, marks[one.path])]
        workers = min(MAX_READERS, os.cpu_count() or 1, len(stale) or 1)
        with ThreadPoolExecutor(workers) as pool:
            results = dict(
                zip((one.path for one in stale), pool.map(self._load, stale), strict=True)
            )
        for one in stale:
            if isinstance(results[one.path], ClosedError):
                results[one.path] = self._ask_and_load(one, results[one.path])
        found = {path: self._known.get(path) for path in marks}
        for path, result in results.items():
            found[path] = self._settle(path, marks[path], result)
            if isinstance(result, AwayError):
                # It may be a folder: its keys are not gone because it cannot be listed.
                found |= {p: one for p, one in self._known.items() if p.parent == path}
        return {path: known for path, known in found.items() if known is not None}

    def _is_known(self, path: Path, mark: tuple[object, ...]) -> bool:
        known = self._known.get(path)
        return known is not None and known.mark == mark and not isinstance(known.result, AwayError)

    def _load(self, candidate: Candidate) -> LoadedFile | SkippedError:
        try:
            return load_key(candidate, self._passphrases, self._source.owner_uid)
        except SkippedError as error:
            return error

    def _ask_and_load(
        self, candidate: Candidate, closed: LoadedFile | SkippedError
    ) -> LoadedFile | SkippedError:
        """Try each source of passphrases; a person who gave none is not asked again until told."""
        if not self._may_ask:
            return closed
        prompt = f"Passphrase for {candidate.path}"
        secret = self._source.secret
        for read in () if secret is None else secret.readers(prompt, str(candidate.path)):
            try:
                passphrase = read()
            except TokenError as error:
                closed = ClosedError(f"encrypted, and {error}")
                self._may_ask &= error.reason != "pin_refused"
                continue
            self._passphrases = tuple(dict.fromkeys((*self._passphrases, passphrase)))
            loaded = self._load(candidate)
            if not isinstance(loaded, ClosedError):
                return loaded
            closed = loaded
        return closed

    def _settle(
        self, path: Path, mark: tuple[object, ...], result: LoadedFile | SkippedError
    ) -> _Known:
        """What is known of a file from now on: its old key while nobody can say better."""
        known = self._known.get(path)
        if known is None or isinstance(known.result, SkippedError):
            return _Known(mark, result)
        if isinstance(result, AwayError):
            self._look_again()
            return known
        if isinstance(result, SkippedError) and self._is_fresh(path):
            self._look_again()
            return known
        return _Known(mark, result)

    def _is_fresh(self, path: Path) -> bool:
        try:
            return self._clock() - path.stat().st_mtime < GRACE_S and self._watch is not None
        except OSError:
            return False

    def _look_again(self) -> None:
        if self._watch is not None:
            self._watch.note()

    def _offered(self, loaded: LoadedFile) -> Iterator[PrivateKey]:
        yield from loaded.keys
        key = loaded.keys[0]
        for certificate in self._certificates.of(key.public.blob):
            yield key.with_certificate(certificate)

    def _refuse_type(self, key: PrivateKey) -> str:
        wanted = self._source.key_types
        algorithm = key.public.algorithm
        return f"{algorithm} is not among key_types" if wanted and algorithm not in wanted else ""

    def _note_skipped(self, skipped: dict[str, str]) -> None:
        news = skipped.items() - self._skipped.items()
        self._skipped = skipped
        self._news += [
            StoreEvent(self.name, "key_skipped", path, reason) for path, reason in sorted(news)
        ]

    # What a store that watches its files does by itself.

    @property
    def tend_every_s(self) -> float:
        """Until the next look."""
        return LOOK_EVERY_S * 10 if self._watch is None else self._watch.wait_s

    def fileno(self) -> int:
        """Readable when something happened in a folder of keys."""
        return -1 if self._watch is None else self._watch.fileno()

    def tend(self) -> bool:
        """Look if it is time; whether anything is another than it was."""
        return self._watch is not None and self._watch.is_due() and self._look()

    def close(self) -> None:
        """Watch no more."""
        if self._watch is not None:
            self._watch.close()

    # The rest of the port of every store.

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


def open_file_store(setup: StoreSetup) -> FileStore:
    """The store that settings describe."""
    settings = setup.settings
    secret = SecretSource.from_table(settings["passphrase"], setup.environ, setup.secrets)
    source = FileSource(
        tuple(map(Path, settings["paths"])),
        setup.owner_uid,
        tuple(settings["key_types"]),
        secret=secret,
        certificates=tuple(settings["certificates"]),
    )
    watch = Watch(settings["debounce_ms"] / 1000) if settings["watch"] else None
    return FileStore(source, setup.name, watch)
