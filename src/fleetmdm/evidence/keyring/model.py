"""The keyring: which keys may sign evidence, from when to when, and which were revoked. Pure.

Its exchange forms are OpenSSH's: allowed signers in and out, revocation lists out. A revoked key
keeps its line with `valid-before`, so that what it signed earlier can still be judged.
Rule for editors: an entry is never removed and a revocation never taken back.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from clikit.canonical import CanonicalError, encode_canonical
from fleetmdm.errors import FleetError
from fleetmdm.evidence.keyring.revocation import Revocation
from fleetmdm.evidence.manifest import NAMESPACE
from fleetmdm.rfc3339 import encode_time, parse_time
from sshwire.allowed_signers import AllowedSigners
from sshwire.errors import WireError
from sshwire.krl import encode_krl
from sshwire.pubkey import PublicKey, encode_public_line, fingerprint, parse_public_line

SCHEMA = 1
MAX_KEYRING_BYTES = 16 * 1024 * 1024
MAX_NAME_CHARS = 64

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@-]*\Z")


@dataclass(frozen=True, slots=True)
class KeyEntry:
    """One key. `principal` is the name by which verifiers look it up."""

    name: str
    principal: str
    key: PublicKey
    created_at: datetime
    valid_after: datetime | None = None
    valid_before: datetime | None = None
    revoked: Revocation | None = None
    replaced_by: str | None = None
    """Fingerprint of the key that a rotation put in its place."""

    @property
    def fingerprint(self) -> str:
        """As ssh-keygen -l prints it."""
        return fingerprint(self.key.blob)

    def state(self, now: datetime) -> str:
        """What the key is good for: active, not_yet_valid, expired or revoked."""
        if self.revoked is not None:
            return "revoked"
        if self.valid_before is not None and now > self.valid_before:
            return "expired"
        if self.valid_after is not None and now < self.valid_after:
            return "not_yet_valid"
        return "active"


@dataclass(frozen=True, slots=True)
class Keyring:
    """Every key that there ever was, oldest first."""

    entries: tuple[KeyEntry, ...] = ()

    def find(self, wanted: str) -> KeyEntry:
        """The entry with this name or fingerprint; raises `key_not_found`."""
        for entry in self.entries:
            if wanted in (entry.name, entry.fingerprint, entry.fingerprint.removeprefix("SHA256:")):
                return entry
        names = [entry.name for entry in self.entries]
        raise FleetError(
            "key_not_found",
            f"the keyring has no key {wanted}",
            hint="it has: " + ", ".join(names) if names else "see fleetmdm evidence keygen",
        )

    def active(self, now: datetime) -> list[KeyEntry]:
        """The keys that may sign now and that no other replaces, oldest first."""
        return [
            entry
            for entry in self.entries
            if entry.state(now) == "active" and entry.replaced_by is None
        ]

    def add(self, entry: KeyEntry) -> Keyring:
        """One more key; raises `key_exists`."""
        if not _NAME.match(entry.name) or len(entry.name) > MAX_NAME_CHARS:
            raise FleetError(
                "key_name_invalid",
                f"not a name for a key: {entry.name[:80]!r}",
                hint=f"letters, digits and . _ @ -, at most {MAX_NAME_CHARS}",
            )
        for other in self.entries:
            if entry.name == other.name or entry.fingerprint == other.fingerprint:
                raise FleetError(
                    "key_exists", f"the keyring has {other.name} ({other.fingerprint}) already"
                )
        return Keyring((*self.entries, entry))

    def revoke(self, wanted: str, *, at: datetime, reason: str) -> Keyring:
        """Take a key out of use since a moment; raises `key_not_found` and `key_unusable`."""
        entry = self.find(wanted)
        if entry.revoked is not None:
            raise FleetError("key_unusable", f"{entry.name} is revoked already")
        return self.with_entry(replace(entry, revoked=Revocation(at, reason)))

    def rotate(self, wanted: str, new: KeyEntry, *, now: datetime, overlap: timedelta) -> Keyring:
        """Put a new key in the place of an active one, which stays valid for the overlap."""
        old = self.find(wanted)
        if old.state(now) != "active" or old.replaced_by is not None:
            raise FleetError("key_unusable", f"{old.name} is not active and cannot be rotated")
        end = now + overlap
        if old.valid_before is not None:
            end = min(end, old.valid_before)
        grown = self.add(replace(new, valid_after=now))
        return grown.with_entry(replace(old, valid_before=end, replaced_by=new.fingerprint))

    def revocations(self) -> Mapping[str, Revocation]:
        """By fingerprint, as verification takes it."""
        return {
            entry.fingerprint: entry.revoked for entry in self.entries if entry.revoked is not None
        }

    def with_entry(self, changed: KeyEntry) -> Keyring:
        """The keyring with one entry changed."""
        return Keyring(
            tuple(
                changed if entry.fingerprint == changed.fingerprint else entry
                for entry in self.entries
            )
        )


def render_allowed_signers(keyring: Keyring) -> str:
    """The keyring as verifiers take it: one line a key, good for evidence alone."""
    return "".join(_render_line(entry) for entry in keyring.entries)


def _render_line(entry: KeyEntry) -> str:
    options = [f'namespaces="{NAMESPACE}"']
    if entry.valid_after is not None:
        options.append(f'valid-after="{_stamp(entry.valid_after)}"')
    ends = [entry.valid_before, entry.revoked.at if entry.revoked is not None else None]
    known = [end for end in ends if end is not None]
    if known:
        options.append(f'valid-before="{_stamp(min(known))}"')
    return f"{entry.principal} {','.join(options)} {encode_public_line(entry.key, entry.name)}\n"


def _stamp(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y%m%d%H%M%SZ")


def entries_of(allowed: AllowedSigners, *, names: Iterable[str], now: datetime) -> list[KeyEntry]:
    """The lines of an allowed signers file that can sign evidence, as entries.

    Authorities are left out: a keyring lists keys.
    """
    usable = [each for each in allowed.entries if not each.is_authority]
    return [
        KeyEntry(
            name=name,
            principal=each.principals,
            key=each.key,
            created_at=now,
            valid_after=each.valid_after,
            valid_before=each.valid_before,
        )
        for name, each in zip(names, usable, strict=False)
    ]


def render_krl(keyring: Keyring, *, now: datetime) -> bytes:
    """The revoked keys as a list for `ssh-keygen -Y verify -r`, which knows no times."""
    revoked = [entry.key.blob for entry in keyring.entries if entry.revoked is not None]
    return encode_krl(revoked, serial=len(revoked), generated=int(now.timestamp()))


def encode_keyring(keyring: Keyring) -> bytes:
    """The bytes of keyring.json."""
    document = {"schema": SCHEMA, "keys": [describe_entry(entry) for entry in keyring.entries]}
    return encode_canonical(document) + b"\n"


def describe_entry(entry: KeyEntry) -> dict[str, Any]:
    """One key as JSON."""
    revoked = entry.revoked
    return {
        "name": entry.name,
        "principal": entry.principal,
        "fingerprint": entry.fingerprint,
        "public_key": encode_public_line(entry.key),
        "created_at": encode_time(entry.created_at),
        "valid_after": _encode_optional(entry.valid_after),
        "valid_before": _encode_optional(entry.valid_before),
        "revoked_at": None if revoked is None else _encode_optional(revoked.at),
        "revocation_reason": None if revoked is None else revoked.reason,
        "replaced_by": entry.replaced_by,
    }


def _encode_optional(at: datetime | None) -> str | None:
    return None if at is None else encode_time(at)


def parse_keyring(data: bytes, *, name: str) -> Keyring:
    """Read keyring.json; raises `keyring_invalid`."""
    try:
        document = json.loads(data)
        if document["schema"] != SCHEMA:
            raise ValueError(f"schema {document['schema']!r} is not {SCHEMA}")
        keyring = Keyring(tuple(_parse_entry(entry) for entry in document["keys"]))
        if encode_keyring(keyring) != data:
            raise ValueError("it was edited by hand")
    except (AttributeError, KeyError, TypeError, ValueError, WireError, CanonicalError) as error:
        raise FleetError(
            "keyring_invalid", f"{name}: {error}", hint="restore it from a backup"
        ) from error
    return keyring


def _parse_entry(entry: dict[str, Any]) -> KeyEntry:
    key, _comment = parse_public_line(entry["public_key"])
    revoked = None
    if entry["revoked_at"] is not None:
        revoked = Revocation(parse_time(entry["revoked_at"]), entry["revocation_reason"])
    return KeyEntry(
        name=entry["name"],
        principal=entry["principal"],
        key=key,
        created_at=parse_time(entry["created_at"]),
        valid_after=_parse_optional(entry["valid_after"]),
        valid_before=_parse_optional(entry["valid_before"]),
        revoked=revoked,
        replaced_by=entry["replaced_by"],
    )


def _parse_optional(text: str | None) -> datetime | None:
    return None if text is None else parse_time(text)
