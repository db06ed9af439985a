"""The keys of a list answer as commands show and choose them.

Rule for editors: an agent's answer is not trusted to hold keys we know; what cannot be read is
shown as such and never hides another key.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from typing import Any

from clikit.table import show_text
from secretivex.errors import SecretiveError
from sshwire.agent.replies import Identity
from sshwire.errors import WireError
from sshwire.pubkey import fingerprint
from sshwire.wire import Reader

UNREADABLE = "unreadable"
"""Shown for the type of a blob that does not even begin with one."""

MAX_TYPE_BYTES = 256
"""Longest type name shown; RFC 4251 allows 64."""


@dataclass(frozen=True, slots=True)
class ListedKey:
    """One identity with what can be said of it without loading a cryptography library."""

    blob: bytes
    comment: str
    algorithm: str
    fingerprint: str

    def public_line(self) -> str:
        """As in a `.pub` file; the comment may hold anything, so it is shown by `show_text`."""
        return f"{self.algorithm} {base64.b64encode(self.blob).decode()} {self.comment}".rstrip()

    def shown(self) -> str:
        """On one line for a person, whatever the comment holds."""
        return show_text(f"{self.fingerprint} {self.algorithm} {self.comment}".rstrip())

    def to_json(self) -> dict[str, Any]:
        """The documented members of a key in JSON."""
        return {
            "algorithm": self.algorithm,
            "comment": self.comment,
            "fingerprint": self.fingerprint,
            "key_blob_hex": self.blob.hex(),
            "openssh": None if self.algorithm == UNREADABLE else self.public_line(),
        }


def listed_key(identity: Identity) -> ListedKey:
    """What to show of an identity."""
    try:
        algorithm = Reader(identity.blob).text(MAX_TYPE_BYTES)
    except WireError:
        algorithm = UNREADABLE
    return ListedKey(identity.blob, identity.comment, algorithm, _fingerprint(identity.blob))


def _fingerprint(blob: bytes) -> str:
    """Of the whole blob where the type is not known to us, as OpenSSH would once it knew it."""
    try:
        return fingerprint(blob)
    except WireError:
        digest = base64.b64encode(hashlib.sha256(blob).digest()).decode()
        return f"SHA256:{digest.rstrip('=')}"


def filter_keys(keys: list[ListedKey], text: str) -> list[ListedKey]:
    """Keys whose comment or fingerprint holds the text, whatever its case."""
    wanted = text.casefold()
    return [k for k in keys if wanted in k.comment.casefold() or wanted in k.fingerprint.casefold()]


def find_by_blob(keys: list[ListedKey], text: str) -> list[ListedKey]:
    """Keys with this blob: hex, or base64 as in a `.pub` line with or without the type before."""
    blob = _parse_blob(text)
    return [key for key in keys if key.blob == blob]


def find_by_fingerprint(keys: list[ListedKey], text: str) -> list[ListedKey]:
    """Keys with this fingerprint: `SHA256:` or `SHA512:` in any case, or bare base64.

    A key and its certificates share a fingerprint; then the key itself is meant.
    """
    prefix, _, digest = text.strip().rpartition(":")
    digest = digest.rstrip("=")
    hashes = [prefix.lower()] if prefix else list(_DIGEST_CHARS)
    found = [key for key in keys if any(_full_fingerprint(key, name) == digest for name in hashes)]
    return _without_own_certificates(found)


_DIGEST_CHARS = {"sha256": 43, "sha512": 86}
"""Length of a fingerprint in base64 without padding, by its hash."""


def fingerprint_hint(text: str) -> str:
    """What to say where nothing has this fingerprint: it may be none that we compare."""
    prefix, _, digest = text.strip().rpartition(":")
    sizes = [_DIGEST_CHARS.get(prefix.lower(), 0)] if prefix else [*_DIGEST_CHARS.values()]
    if len(digest.rstrip("=")) in sizes:
        return ""
    return "a whole SHA256 or SHA512 fingerprint is wanted, as `ssh-keygen -l` prints it"


def find_by_comment(keys: list[ListedKey], text: str) -> list[ListedKey]:
    """Keys with exactly this comment, or else with it in letters of another case.

    A certificate has the comment of its key; then the key itself is meant.
    """
    exact = [key for key in keys if key.comment == text]
    found = exact or [key for key in keys if key.comment.casefold() == text.casefold()]
    return _without_own_certificates(found)


def _without_own_certificates(found: list[ListedKey]) -> list[ListedKey]:
    """The keys, and such certificates as stand for no key among them."""
    plain = {key.fingerprint for key in found if "-cert-" not in key.algorithm}
    return [key for key in found if "-cert-" not in key.algorithm or key.fingerprint not in plain]


def the_one(found: list[ListedKey], *, wanted: str, hint: str = "") -> ListedKey:
    """The only key that was found; raises `key_not_found` or `key_ambiguous`."""
    distinct = list({key.blob: key for key in found}.values())
    if not distinct:
        raise SecretiveError(
            "key_not_found",
            f"the agent has no key with {wanted}",
            hint=hint or "`secretive-client list` shows its keys",
        )
    if len(distinct) > 1:
        candidates = [key.to_json() for key in distinct]
        lines = "".join(f"\n  {key.shown()}" for key in distinct)
        raise SecretiveError(
            "key_ambiguous",
            f"{len(distinct)} keys have {wanted}:{lines}",
            hint="choose one by --fingerprint or --key",
            details={"candidates": candidates},
        )
    return distinct[0]


def _full_fingerprint(key: ListedKey, hash_name: str) -> str:
    if hash_name == "sha256":
        return key.fingerprint.removeprefix("SHA256:")
    try:
        return fingerprint(key.blob, hash_name).partition(":")[2]
    except WireError:
        return ""


def _parse_blob(text: str) -> bytes:
    word = next((part for part in text.split() if part.startswith("AAAA")), text.strip())
    try:
        if word.startswith("AAAA"):
            return base64.b64decode(word, validate=True)
        return bytes.fromhex(word)
    except (binascii.Error, ValueError) as error:
        raise SecretiveError(
            "usage", "--key is neither hex nor base64", hint="give the second word of a .pub line"
        ) from error
