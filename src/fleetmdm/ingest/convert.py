"""What the readers of foreign forms share: identities, operating systems, facts by path. Pure.

Rule for editors: a foreign value becomes one of our facts only where the field catalogue has a
fact that says exactly the same; all else keeps the source's own names below its own namespace.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from fleetmdm.device import UNKNOWN, is_placeholder
from fleetmdm.errors import FleetError
from fleetmdm.ingest.read import invalid

_LINUX = (
    "almalinux alpine amazon amzn arch archlinux centos clear-linux-os cos debian elementary"
    " endeavouros fedora flatcar gentoo kali linux linuxmint manjaro manjaro-arm mariner neon nixos"
    " ol opensuse opensuse-leap opensuse-tumbleweed oracle photon pop raspbian redhat rhel rocky"
    " scientific sled sles suse tuxedo ubuntu void zorin"
)
LINUX_PLATFORMS = frozenset(_LINUX.split())
"""Distributions as osquery and Fleet name them in `platform`; all of them are `linux`."""

_WINDOWS = frozenset({"win32nt", "windows"})

_DOTTED = re.compile(r"(?<![\w.])[0-9]+(?:\.[0-9]+)+[^\s()]*")
_NUMBER = re.compile(r"(?<![\w.])[0-9][^\s()]*")


def usable(value: Any) -> str | None:
    """Text that can name something: trimmed, printable, no placeholder; else None."""
    if not isinstance(value, str):
        return None
    text = value.strip()
    return text if text and text.isprintable() and not is_placeholder(text) else None


def identify(candidates: Iterable[tuple[str, Any]]) -> str:
    """The first (name, value) that can be an identity. Raises `inventory_invalid`, `no_identity`."""
    names = []
    for name, value in candidates:
        names.append(name)
        if (text := usable(value)) is not None:
            return text
    raise no_identity(f"no usable {' or '.join(names)}")


def no_identity(message: str) -> FleetError:
    """The refusal of a document that cannot be told from others."""
    hint = "a host needs an identity that never changes; see Identity in docs/inventory.md"
    return invalid("no_identity", message, hint=hint)


def system_of(platform: Any, like: Any = None) -> str:
    """`linux`, `windows`, `darwin` or whatever else a platform's name says, in lower case."""
    name = (usable(platform) or "").lower()
    family = (usable(like) or "").lower()
    if name in LINUX_PLATFORMS or LINUX_PLATFORMS & set(re.split(r"[\s,]+", family)):
        return "linux"
    return "windows" if name in _WINDOWS else name or UNKNOWN


def version_of(text: Any) -> str:
    """The version inside a name such as `Ubuntu 24.04.3 LTS`; a dotted one before a bare number."""
    plain = usable(text) or UNKNOWN
    found = _DOTTED.search(plain) or _NUMBER.search(plain)
    return found[0] if found else plain


def put_fact(facts: dict[str, Any], path: Iterable[str], value: Any) -> None:
    """Set one fact, with the objects on the way to it; None sets nothing."""
    if value is None:
        return
    *folders, name = path
    for folder in folders:
        facts = facts.setdefault(folder, {})
    facts[name] = value


def integer(value: Any) -> int | None:
    """A whole number, from a number or from text; None for anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,19}", value.strip(), re.ASCII):
        return int(value)
    return None


def flag(value: Any) -> bool | None:
    """A truth value, from JSON or from the texts `1 0 true false`; None for anything else."""
    if isinstance(value, bool):
        return value
    return {"1": True, "true": True, "0": False, "false": False}.get(str(value).lower())


def moment_of_seconds(value: Any) -> datetime | None:
    """A moment from seconds since 1970, as number or text."""
    seconds = integer(value)
    if seconds is None:
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (OverflowError, OSError, ValueError):
        return None


def member(document: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """An object inside an object; empty where there is none."""
    value = document.get(key)
    return value if isinstance(value, dict) else {}
