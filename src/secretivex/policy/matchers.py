"""What a rule may ask: each matcher looks at one facet of a query and answers yes, no or unknown.

Rule for editors: a matcher looks at nothing but its own facet, for its answer is remembered by
that facet alone.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from secretivex.context.purpose import Purpose
from secretivex.context.signed_data import DataKind
from secretivex.policy.facets import Facet, Match, yes_or_no
from secretivex.policy.query import SignQuery
from sshwire.errors import WireError
from sshwire.keyblob import PublicKey, plain_public_key

MAX_COMMENT_CHARS = 1024
"""Longest comment that is compared; a longer one counts as undetermined. It is the buffer that
`ssh-keygen -c` reads a new comment into."""

MAX_DETAIL_CHARS = 256
"""Longest user, namespace or payload type that is compared; a longer one counts as undetermined.
LOGIN_NAME_MAX of Linux; clients choose these, and what they choose is held against every pattern."""


@dataclass(frozen=True, slots=True)
class KeyBlobs:
    """Matches the key blob byte for byte; a certificate also by the blob of its plain key."""

    blobs: frozenset[bytes]

    facet = Facet.KEY

    def match(self, query: SignQuery) -> Match:
        """Unknown for a blob whose plain key cannot be told."""
        if query.key_blob in self.blobs:
            return Match.YES
        try:
            plain = plain_public_key(PublicKey(query.algorithm, query.key_blob))
        except WireError:
            return Match.UNKNOWN
        return yes_or_no(plain.blob in self.blobs)


@dataclass(frozen=True, slots=True)
class Fingerprints:
    """Matches SHA256 or SHA512 fingerprints in their canonical, unpadded form."""

    fingerprints: frozenset[str]

    facet = Facet.KEY

    def match(self, query: SignQuery) -> Match:
        """Unknown where a hash that some entry uses was not computed."""
        known = (query.fingerprint_sha256, query.fingerprint_sha512)
        if any(value in self.fingerprints for value in known if value is not None):
            return Match.YES
        for value, prefix in zip(known, ("SHA256:", "SHA512:"), strict=True):
            if value is None and any(entry.startswith(prefix) for entry in self.fingerprints):
                return Match.UNKNOWN
        return Match.NO


@dataclass(frozen=True, slots=True)
class Globs:
    """Texts, and patterns of texts: `*`, `?` and `[...]` as in sh, where `*` takes `/` too."""

    exact: frozenset[str]
    patterns: tuple[re.Pattern[str], ...] = ()

    def fit(self, text: str) -> bool:
        """Whether any of them is or matches the text."""
        return text in self.exact or any(pattern.match(text) for pattern in self.patterns)

    @property
    def fit_everything(self) -> bool:
        """Whether one of them is a lone `*`."""
        return any(pattern.pattern == _ANYTHING for pattern in self.patterns)


_ANYTHING = fnmatch.translate("*")


def parse_globs(entries: tuple[str, ...]) -> Globs:
    """Each entry is a text or a pattern."""
    patterns = tuple(entry for entry in entries if any(char in entry for char in "*?["))
    return Globs(
        exact=frozenset(entries).difference(patterns),
        patterns=tuple(re.compile(fnmatch.translate(entry)) for entry in patterns),
    )


def fits_nothing(entry: str) -> bool:
    """Whether no text fits a pattern: it has a class without a character, as in `[z-a]`."""
    return "(?!)" in fnmatch.translate(entry)


@dataclass(frozen=True, slots=True)
class Comments:
    """Matches comments, trimmed and without regard to ASCII case; `*`, `?` and `[...]` as in sh."""

    globs: Globs

    facet = Facet.KEY

    def match(self, query: SignQuery) -> Match:
        """Unknown where the comment is not known or longer than `MAX_COMMENT_CHARS`."""
        if query.comment is None or len(query.comment) > MAX_COMMENT_CHARS:
            return Match.UNKNOWN
        return yes_or_no(self.globs.fit(fold_comment(query.comment)))


def fold_comment(comment: str) -> str:
    """The form in which comments are compared: trimmed, ASCII letters in lower case."""
    return "".join(char.lower() if char.isascii() else char for char in comment.strip())


def comments_matcher(entries: tuple[str, ...]) -> Comments:
    """A matcher for any of `entries`, each a comment or a glob over comments."""
    return Comments(parse_globs(tuple(map(fold_comment, entries))))


_TEXTS: Mapping[str, tuple[Facet, Callable[[SignQuery], str | None]]] = {
    "key_types": (Facet.KEY, lambda query: query.algorithm),
    "stores": (Facet.KEY, lambda query: query.store),
    "executables": (Facet.CALLER, lambda query: query.executable or None),
    "algorithms": (Facet.FORMAT, lambda query: query.signature_format),
}


@dataclass(frozen=True, slots=True)
class Texts:
    """Matches a fact that is a text; `key` names it as rules do."""

    key: str
    globs: Globs

    @property
    def facet(self) -> Facet:
        """What the fact belongs to."""
        return _TEXTS[self.key][0]

    def match(self, query: SignQuery) -> Match:
        """Unknown where the fact is."""
        text = _TEXTS[self.key][1](query)
        return Match.UNKNOWN if text is None else yes_or_no(self.globs.fit(text))


_NUMBERS: Mapping[str, tuple[Facet, Callable[[SignQuery], int | None]]] = {
    "uids": (Facet.CALLER, lambda query: query.peer_uid),
    "gids": (Facet.CALLER, lambda query: query.peer_gid),
    "flags": (Facet.FORMAT, lambda query: query.flags),
}


@dataclass(frozen=True, slots=True)
class Numbers:
    """Matches a fact that is a number; `key` names it as rules do."""

    key: str
    numbers: frozenset[int]

    @property
    def facet(self) -> Facet:
        """What the fact belongs to."""
        return _NUMBERS[self.key][0]

    def match(self, query: SignQuery) -> Match:
        """Unknown where the fact is."""
        number = _NUMBERS[self.key][1](query)
        return Match.UNKNOWN if number is None else yes_or_no(number in self.numbers)


@dataclass(frozen=True, slots=True)
class Ancestors:
    """Matches where the caller, or any process that it descends from, runs one of these programs."""

    globs: Globs

    facet = Facet.CALLER

    def match(self, query: SignQuery) -> Match:
        """Unknown where one that might have matched cannot be told."""
        known = (query.executable or "", *(query.ancestors or ()))
        if any(self.globs.fit(path) for path in known if path):
            return Match.YES
        is_whole = query.ancestors is not None and all(known)
        return Match.NO if is_whole else Match.UNKNOWN


@dataclass(frozen=True, slots=True)
class Forwarded:
    """Matches connections that were bound for forwarding, or those that were not."""

    is_forwarded: bool

    facet = Facet.ROUTE

    def match(self, query: SignQuery) -> Match:
        """Unknown where nobody looked."""
        if query.is_forwarded is None:
            return Match.UNKNOWN
        return yes_or_no(query.is_forwarded == self.is_forwarded)


@dataclass(frozen=True, slots=True)
class Kinds:
    """Matches the kind of the data."""

    kinds: frozenset[DataKind]

    facet = Facet.PURPOSE

    def match(self, query: SignQuery) -> Match:
        """Unknown where nobody looked at the data."""
        if query.purpose is None:
            return Match.UNKNOWN
        return self.match_kind(query.purpose.kind)

    def match_kind(self, kind: DataKind) -> Match:
        """What it says of all data of one kind."""
        return yes_or_no(kind in self.kinds)


_DETAILS: Mapping[str, tuple[DataKind, Callable[[Purpose], str]]] = {
    "namespaces": (DataKind.SSHSIG, lambda purpose: purpose.detail),
    "payload_types": (DataKind.DSSE, lambda purpose: purpose.detail),
    "users": (DataKind.USERAUTH, lambda purpose: purpose.user),
}


@dataclass(frozen=True, slots=True)
class Details:
    """Matches what data of one kind say: a namespace, a payload type, a user; `key` says which."""

    key: str
    globs: Globs

    facet = Facet.PURPOSE

    def match(self, query: SignQuery) -> Match:
        """No for data of another kind; unknown where nobody looked at the data, or it is too long."""
        purpose = query.purpose
        if purpose is None:
            return Match.UNKNOWN
        kind, read = _DETAILS[self.key]
        if purpose.kind is not kind:
            return Match.NO
        text = read(purpose)
        if not purpose.is_told or len(text) > MAX_DETAIL_CHARS:
            return self.match_kind(kind)
        return yes_or_no(self.globs.fit(text))

    def match_kind(self, kind: DataKind) -> Match:
        """What it says of all data of one kind; unknown where that depends on the data."""
        if kind is not _DETAILS[self.key][0]:
            return Match.NO
        return Match.YES if self.globs.fit_everything else Match.UNKNOWN


@dataclass(frozen=True, slots=True)
class Hosts:
    """Matches logins to hosts with one of these keys, or whose key one of these has certified."""

    keys: frozenset[bytes]

    facet = Facet.PURPOSE

    def match(self, query: SignQuery) -> Match:
        """No for what is no login; unknown where the host is not proved."""
        purpose = query.purpose
        if purpose is None:
            return Match.UNKNOWN
        if purpose.kind is not DataKind.USERAUTH:
            return Match.NO
        if purpose.host_key is None:
            return Match.UNKNOWN
        return yes_or_no(not self.keys.isdisjoint((purpose.host_key, purpose.authority)))

    def match_kind(self, kind: DataKind) -> Match:
        """What it says of all data of one kind; unknown where that depends on the host."""
        return Match.UNKNOWN if kind is DataKind.USERAUTH else Match.NO
