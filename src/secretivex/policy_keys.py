"""The flat policy keys (`allow_fingerprints`, `deny_comments`, ...) made into rules.

Rule for editors: an entry that cannot be understood is a problem, never skipped: a list that loses
an entry would allow more, or refuse less, than was written.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from secretivex.policy import Effect, Matcher, Rule, SigningPolicy
from secretivex.policy.matchers import (
    Fingerprints,
    KeyBlobs,
    comments_matcher,
    fits_nothing,
    fold_comment,
)
from sshwire.errors import WireError
from sshwire.pubkey import parse_public_key

MAX_ENTRIES = 10_000
"""Entries in one list; a larger one is a mistake in whatever generated it."""

_DIGEST_BYTES = {"SHA256": 32, "SHA512": 64}


class EntryError(ValueError):
    """An entry that cannot be understood; `hint` says what would be."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True, slots=True)
class EntryProblem:
    """One invalid entry: the key it stands under, where, why and what to write instead."""

    key: str
    index: int | None
    reason: str
    hint: str
    inside: tuple[str | int, ...] = ()
    """Keys below `index`, where that is a table."""


@dataclass(frozen=True, slots=True)
class _FlatKey:
    name: str
    effect: Effect
    build: Callable[[Sequence[str]], Matcher]
    check: Callable[[str], object]


def parse_fingerprint(text: str) -> str:
    """The canonical form of `SHA256:...`, `SHA512:...` or the bare base64 of either."""
    prefix, colon, digest = text.strip().rpartition(":")
    stripped = digest.rstrip("=")
    try:
        raw = base64.b64decode(stripped + "=" * (-len(stripped) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise EntryError(f"not a fingerprint: {text!r}", _FINGERPRINT_HINT) from None
    name = prefix.upper() if colon else {32: "SHA256", 64: "SHA512"}.get(len(raw), "")
    if _DIGEST_BYTES.get(name) != len(raw):
        raise EntryError(f"not a SHA256 or SHA512 fingerprint: {text!r}", _FINGERPRINT_HINT)
    canonical = base64.b64encode(raw).decode().rstrip("=")
    if canonical != stripped:
        raise EntryError(f"fingerprint is damaged at its end: {text!r}", _FINGERPRINT_HINT)
    return f"{name}:{canonical}"


_FINGERPRINT_HINT = "copy it from ssh-keygen -lf KEY.pub, for example SHA256:uNiVzt..."


def parse_key_blob(text: str) -> bytes:
    """A public key blob from hex, base64 or a line of a .pub file."""
    fields = text.split()
    word = fields[1] if len(fields) > 1 else text.strip()
    try:
        key = parse_public_key(_decode_hex(word) or _decode_base64(word))
    except WireError as error:
        reason = f"not a public key: {_shorten(text)!r}: {error}"
        raise EntryError(reason, _BLOB_HINT) from error
    if len(fields) > 1 and fields[0] != key.algorithm:
        raise EntryError(f"the line says {fields[0]!r} and its key {key.algorithm!r}", _BLOB_HINT)
    return key.blob


_BLOB_HINT = "the whole line of a .pub file, its base64 part, or that in hexadecimal"


def _decode_hex(word: str) -> bytes:
    try:
        return bytes.fromhex(word)
    except ValueError:
        return b""


def _decode_base64(word: str) -> bytes:
    try:
        return base64.b64decode(word, validate=True)
    except (binascii.Error, ValueError):
        return b""


def _shorten(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:37]}..."


def check_comment(text: str) -> str:
    """A comment or a pattern of comments, as it is."""
    if not fold_comment(text):
        raise EntryError("the comment is blank", "remove the entry or name a comment")
    check_pattern(fold_comment(text))
    return text


def check_pattern(text: str) -> str:
    """A text or a pattern, as it is; one that nothing fits would be a rule that is never met."""
    if fits_nothing(text):
        hint = "a range goes upwards, as in [a-z]; a bracket itself is written [[]"
        raise EntryError(f"nothing fits the pattern {text!r}", hint)
    return text


def _blobs(entries: Sequence[str]) -> Matcher:
    return KeyBlobs(frozenset(map(parse_key_blob, entries)))


def _fingerprints(entries: Sequence[str]) -> Matcher:
    return Fingerprints(frozenset(map(parse_fingerprint, entries)))


def _comments(entries: Sequence[str]) -> Matcher:
    return comments_matcher(tuple(entries))


FLAT_KEYS = (
    _FlatKey("deny_key_blobs", Effect.DENY, _blobs, parse_key_blob),
    _FlatKey("deny_fingerprints", Effect.DENY, _fingerprints, parse_fingerprint),
    _FlatKey("deny_comments", Effect.DENY, _comments, check_comment),
    _FlatKey("pin_fingerprints", Effect.PIN, _fingerprints, parse_fingerprint),
    _FlatKey("allow_key_blobs", Effect.ALLOW, _blobs, parse_key_blob),
    _FlatKey("allow_fingerprints", Effect.ALLOW, _fingerprints, parse_fingerprint),
    _FlatKey("allow_comments", Effect.ALLOW, _comments, check_comment),
)
"""The keys of the `policy` table that are lists of keys to match."""


def parse_flat_policy(
    values: Mapping[str, Sequence[str]],
) -> tuple[SigningPolicy, tuple[EntryProblem, ...]]:
    """Rules of the flat keys present in `values`, and every invalid entry.

    The policy must not be used when there are problems.
    """
    rules: list[Rule] = []
    problems: list[EntryProblem] = []
    for row in FLAT_KEYS:
        if row.name not in values:
            continue
        found = _entry_problems(row, values[row.name])
        problems.extend(found)
        if values[row.name] and not found:
            rules.append(Rule(row.name, row.effect, (row.build(values[row.name]),)))
    return SigningPolicy(tuple(rules)), tuple(problems)


def _entry_problems(row: _FlatKey, entries: Sequence[str]) -> list[EntryProblem]:
    if not entries and row.effect is not Effect.DENY:
        hint = "leave the key out for no restriction, or name the keys"
        return [EntryProblem(row.name, None, "the list is empty", hint)]
    if len(entries) > MAX_ENTRIES:
        reason = f"the list has more than {MAX_ENTRIES} entries"
        return [EntryProblem(row.name, None, reason, "match by comment globs instead")]
    problems = []
    for index, entry in enumerate(entries):
        try:
            row.check(entry)
        except EntryError as error:
            problems.append(EntryProblem(row.name, index, str(error), error.hint))
    return problems
