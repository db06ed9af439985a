"""Which signatures the agent may make: rules as data, and one pure function that decides.

Order: a deny that matches refuses; every pin must match; where there is an allow, one must match.
Rule for editors: what cannot be determined never matches an allow or a pin and always matches a
deny, so adding a deny or a pin rule can only take permissions away (a property test holds that).
"""

from __future__ import annotations

import fnmatch
import re
from dataclasses import dataclass
from enum import Enum

from sshwire.errors import WireError
from sshwire.keyblob import PublicKey, plain_public_key

MAX_COMMENT_CHARS = 1024
"""Longest comment that is compared; a longer one counts as undetermined. It is the buffer that
`ssh-keygen -c` reads a new comment into."""


class Match(Enum):
    """What a matcher says of a query."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


class Effect(Enum):
    """What a rule that matches does."""

    DENY = "deny"
    PIN = "pin"
    ALLOW = "allow"


@dataclass(frozen=True, slots=True)
class SignQuery:
    """Everything a rule may ask about one signature; None is "could not be determined".

    Fingerprints are of the plain key, also where `key_blob` is a certificate, as in OpenSSH.
    """

    key_blob: bytes
    fingerprint_sha256: str | None
    fingerprint_sha512: str | None
    comment: str | None
    algorithm: str
    store: str | None
    peer_uid: int | None


@dataclass(frozen=True, slots=True)
class KeyBlobs:
    """Matches the key blob byte for byte; a certificate also by the blob of its plain key."""

    blobs: frozenset[bytes]

    def match(self, query: SignQuery) -> Match:
        """Unknown for a blob whose plain key cannot be told."""
        if query.key_blob in self.blobs:
            return Match.YES
        try:
            plain = plain_public_key(PublicKey(query.algorithm, query.key_blob))
        except WireError:
            return Match.UNKNOWN
        return Match.YES if plain.blob in self.blobs else Match.NO


@dataclass(frozen=True, slots=True)
class Fingerprints:
    """Matches SHA256 or SHA512 fingerprints in their canonical, unpadded form."""

    fingerprints: frozenset[str]

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
class Comments:
    """Matches comments, trimmed and without regard to ASCII case; `*`, `?` and `[...]` as in sh."""

    exact: frozenset[str]
    globs: tuple[re.Pattern[str], ...]

    def match(self, query: SignQuery) -> Match:
        """Unknown where the comment is not known or longer than `MAX_COMMENT_CHARS`."""
        if query.comment is None or len(query.comment) > MAX_COMMENT_CHARS:
            return Match.UNKNOWN
        comment = fold_comment(query.comment)
        if comment in self.exact or any(glob.match(comment) for glob in self.globs):
            return Match.YES
        return Match.NO


Matcher = KeyBlobs | Fingerprints | Comments


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of a policy; `name` is what audit records and messages call it."""

    name: str
    effect: Effect
    matcher: Matcher


@dataclass(frozen=True, slots=True)
class SigningPolicy:
    """All rules; their order within one effect does not change a decision."""

    rules: tuple[Rule, ...] = ()

    def having(self, effect: Effect) -> tuple[Rule, ...]:
        """The rules of one effect."""
        return tuple(rule for rule in self.rules if rule.effect is effect)


@dataclass(frozen=True, slots=True)
class Decision:
    """The verdict, the rule that made it ("" for none) and a stable word for why."""

    allowed: bool
    rule: str
    reason: str


def decide(policy: SigningPolicy, query: SignQuery) -> Decision:
    """Whether the signature may be made."""
    if not policy.rules:
        return Decision(allowed=True, rule="", reason="no_rules")
    for rule in policy.having(Effect.DENY):
        found = rule.matcher.match(query)
        if found is not Match.NO:
            reason = "denied" if found is Match.YES else "undetermined"
            return Decision(allowed=False, rule=rule.name, reason=reason)
    pinned = ""
    for rule in policy.having(Effect.PIN):
        if rule.matcher.match(query) is not Match.YES:
            return Decision(allowed=False, rule=rule.name, reason="not_pinned")
        pinned = rule.name
    return _decide_allow(policy.having(Effect.ALLOW), query, pinned)


def _decide_allow(allows: tuple[Rule, ...], query: SignQuery, pinned: str) -> Decision:
    for rule in allows:
        if rule.matcher.match(query) is Match.YES:
            return Decision(allowed=True, rule=rule.name, reason="allowed")
    if allows:
        return Decision(allowed=False, rule="", reason="no_allow_matches")
    if pinned:
        return Decision(allowed=True, rule=pinned, reason="pinned")
    return Decision(allowed=True, rule="", reason="no_deny_matches")


def fold_comment(comment: str) -> str:
    """The form in which comments are compared: trimmed, ASCII letters in lower case."""
    return "".join(char.lower() if char.isascii() else char for char in comment.strip())


def comments_matcher(entries: tuple[str, ...]) -> Comments:
    """A matcher for any of `entries`, each a comment or a glob over comments."""
    folded = tuple(fold_comment(entry) for entry in entries)
    globs = tuple(entry for entry in folded if any(char in entry for char in "*?["))
    return Comments(
        exact=frozenset(folded).difference(globs),
        globs=tuple(re.compile(fnmatch.translate(entry)) for entry in globs),
    )
