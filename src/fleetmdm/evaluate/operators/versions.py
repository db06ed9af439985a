"""Version numbers under a declared scheme: each row turns a text into a key that sorts rightly.

A text that the scheme cannot read raises ValueError: it is reported as an error, never compared
as something else. Keys of one scheme compare with each other only.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

MAX_VERSION_CHARACTERS: Final = 256
Key = tuple[Any, ...]

# Debian policy 5.6.12; dpkg's lib/dpkg/version.c orders "~" before the end and letters before
# other characters.
_DPKG = re.compile(r"(\d[A-Za-z0-9.+~:-]*?)(?:-([A-Za-z0-9+.~]+))?", re.ASCII)
_DPKG_PARTS = re.compile(r"(\D*)(\d*)", re.ASCII)


def dpkg_key(text: str) -> Key:
    """Epoch, upstream version and revision as dpkg sorts them."""
    epoch, rest = _epoch(text)
    match = _DPKG.fullmatch(rest)
    if match is None or (match[2] is None and "-" in rest):
        raise ValueError("not a Debian version")
    return (epoch, _dpkg_part(match[1]), _dpkg_part(match[2] or "0"))


def _epoch(text: str) -> tuple[int, str]:
    """The number before the first colon, and the rest; 0 where there is no colon."""
    head, colon, rest = text.partition(":")
    if not colon:
        return 0, text
    if not (head.isascii() and head.isdigit()):
        raise ValueError("not a version: the epoch is no number")
    return int(head), rest


def _dpkg_part(text: str) -> Key:
    parts = [
        (*map(_dpkg_order, other), 0, int(digits or 0))
        for other, digits in _DPKG_PARTS.findall(text)
        if other or digits
    ]
    # What has ended sorts as if nothing and then 0 followed.
    return (*parts, (0, 0))


def _dpkg_order(character: str) -> int:
    if character == "~":
        return -1
    return ord(character) if character.isalpha() else ord(character) + 256


# rpm's rpmio/rpmvercmp.cc and its manual "rpm-version(7)".
_RPM = re.compile(r"([A-Za-z0-9._+~^]+)(?:-([A-Za-z0-9._+~^]+))?", re.ASCII)
_RPM_PARTS = re.compile(r"\d+|[A-Za-z]+|[~^]", re.ASCII)
_RPM_END, _RPM_MARKS = (0,), {"~": (-1,), "^": (1,)}


def rpm_key(text: str) -> Key:
    """Epoch, version and release by rpmvercmp; an absent release is older than any."""
    epoch, rest = _epoch(text)
    match = _RPM.fullmatch(rest)
    if match is None or not re.search(r"\d", match[1]):
        raise ValueError("not an RPM version")
    return (epoch, _rpm_part(match[1]), _rpm_part(match[2] or ""))


def _rpm_part(text: str) -> Key:
    return (*map(_rpm_segment, _RPM_PARTS.findall(text)), _RPM_END)


def _rpm_segment(part: str) -> Key:
    if part in _RPM_MARKS:
        return _RPM_MARKS[part]
    return (3, int(part)) if part.isdigit() else (2, part)


# Semantic Versioning 2.0.0, clauses 2, 9, 10, 11.
_SEMVER = re.compile(
    r"v?(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)"
    r"(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?",
    re.ASCII,
)
_SEMVER_IDENTIFIER = re.compile(r"0|[1-9]\d*|\d*[A-Za-z-][0-9A-Za-z-]*", re.ASCII)


def semver_key(text: str) -> Key:
    """Major, minor, patch and pre-release; build metadata does not count."""
    match = _SEMVER.fullmatch(text)
    if match is None:
        raise ValueError("not a semantic version (three numbers are needed)")
    release = tuple(int(match[place]) for place in (1, 2, 3))
    if match[4] is None:
        return (*release, (1,))
    return (*release, (0, *map(_semver_identifier, match[4].split("."))))


def _semver_identifier(text: str) -> Key:
    if _SEMVER_IDENTIFIER.fullmatch(text) is None:
        raise ValueError("not a semantic version (bad pre-release)")
    return (0, int(text)) if text.isdigit() else (1, text)


# PEP 440, "Summary of permitted suffixes and relative ordering", with its normalisations.
_PEP440 = re.compile(
    r"\s*v?(?:(\d+)!)?(\d+(?:\.\d+)*)"
    r"(?:[-_.]?(alpha|beta|preview|pre|a|b|c|rc)[-_.]?(\d*))?"
    r"(?:-(\d+)|[-_.]?(post|rev|r)[-_.]?(\d*))?"
    r"(?:[-_.]?(dev)[-_.]?(\d*))?"
    r"(?:\+([a-z0-9]+(?:[-_.][a-z0-9]+)*))?\s*",
    re.ASCII | re.IGNORECASE,
)
_PEP440_PRE = {"alpha": "a", "beta": "b", "c": "rc", "pre": "rc", "preview": "rc"}


def pep440_key(text: str) -> Key:
    """Epoch, release without trailing zeros, pre, post, dev and local parts."""
    match = _PEP440.fullmatch(text)
    if match is None:
        raise ValueError("not a PEP 440 version")
    epoch, release, pre, pre_n, bare_post, post, post_n, dev, dev_n, local = match.groups()
    has_post = bool(post or bare_post)
    post_key = (1, int(bare_post or post_n or 0)) if has_post else (0, 0)
    return (
        int(epoch or 0),
        _trimmed(release),
        _pep440_pre(pre, pre_n, dev_alone=bool(dev) and not has_post),
        post_key,
        (0, int(dev_n or 0)) if dev else (1, 0),
        _pep440_local(local),
    )


def _pep440_pre(name: str | None, number: str, *, dev_alone: bool) -> Key:
    """1.0.dev1 comes before 1.0a1, and 1.0 after 1.0rc1."""
    if name is None:
        return (0 if dev_alone else 2, "", 0)
    lower = name.lower()
    return (1, _PEP440_PRE.get(lower, lower), int(number or 0))


def _pep440_local(text: str | None) -> Key:
    if text is None:
        return ()
    parts = re.split(r"[-_.]", text.lower())
    return tuple((1, int(part), "") if part.isdigit() else (0, 0, part) for part in parts)


# Apple's product versions, and builds such as 23E224 or the rapid response 22E772610a.
_MACOS_VERSION = re.compile(r"\d+(?:\.\d+){0,3}", re.ASCII)
_MACOS_BUILD = re.compile(r"(\d+)([A-Z])(\d+)([a-z]?)", re.ASCII)


def macos_key(text: str) -> Key:
    """A product version (kind 0) or a build (kind 1)."""
    if _MACOS_VERSION.fullmatch(text):
        return (0, _trimmed(text))
    match = _MACOS_BUILD.fullmatch(text)
    if match is None:
        raise ValueError("neither a macOS version nor a build")
    return (1, (int(match[1]), match[2], int(match[3]), match[4]))


def _trimmed(text: str) -> Key:
    numbers = [int(part) for part in text.split(".")]
    while len(numbers) > 1 and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)


SCHEMES: Final[Mapping[str, Callable[[str], Key]]] = {
    "dpkg": dpkg_key,
    "macos": macos_key,
    "pep440": pep440_key,
    "rpm": rpm_key,
    "semver": semver_key,
}


def version_key(scheme: str, text: str) -> Key:
    """The sort key of a version; raises ValueError."""
    if len(text) > MAX_VERSION_CHARACTERS:
        raise ValueError(f"a version has at most {MAX_VERSION_CHARACTERS} characters")
    return SCHEMES[scheme](text)


def same_shape(scheme: str, left: Key, right: Key) -> bool:
    """False for a macOS version beside a macOS build: neither is older."""
    return scheme != "macos" or left[0] == right[0]
