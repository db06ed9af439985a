"""Bounds on the JSON values of a device document, checked in one walk. Pure.

Rule for editors: every bound has a name in `DeviceLimits`; a value that passes here can be encoded,
hashed, stored and compared without another thought.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from math import isfinite
from typing import Annotated, Any

import msgspec
from msgspec import Meta

MIN_INTEGER, MAX_INTEGER = -(2**63), 2**63 - 1
"""What 64 bits hold: SQLite, Arrow and Parquet round or refuse what is beyond."""

SOUND_DEPTH = 6
"""Levels that the quick check follows; what real sources write has fewer."""

_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*", re.ASCII)


@dataclass(frozen=True, slots=True)
class DeviceLimits:
    """How large a device document may be; each bound is far above what exporters write."""

    max_document_bytes: int = 4 * 1024 * 1024
    max_depth: int = 32
    max_values: int = 100_000
    """Keys and list items of the whole document."""
    max_key_chars: int = 256
    max_text_chars: int = 65_536
    max_identifier_chars: int = 255
    """`device_id`, `hostname` (a DNS name has 253), `os`, `os_version`, `serial`."""
    max_tags: int = 64
    max_tag_chars: int = 128
    max_clock_skew_s: int = 24 * 60 * 60
    """How far in the future `last_seen` may lie."""


class ValueFault(Exception):  # noqa: N818 - becomes a FleetError where the document is known
    """What is wrong with one value; `path` grows while it travels up to the document."""

    def __init__(self, reason: str, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.remedy = remedy
        self.path: list[str | int] = []

    def at(self, step: str | int) -> ValueFault:
        """The same fault, seen from one level further out."""
        self.path.insert(0, step)
        return self


def render_path(path: list[str | int]) -> str:
    """A path as policies write it: `facts.disks[2].name`; odd keys are quoted."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif _PLAIN_KEY.fullmatch(step):
            text += f".{step}" if text else step
        else:
            quoted = json.dumps(step[:80])
            text += f".{quoted}" if text else quoted
    return text


def check_value(value: Any, limits: DeviceLimits, depth: int = 1, seen: int = 0) -> int:
    """Count the values below `value` onto `seen`; raises `ValueFault` for one that may not stay."""
    kind = type(value)
    if kind is str:
        check_text(value, limits.max_text_chars)
    elif kind is dict:
        return _check_object(value, limits, depth, seen)
    elif kind is list:
        return _check_list(value, limits, depth, seen)
    elif kind is int:
        if not MIN_INTEGER <= value <= MAX_INTEGER:
            remedy = "write it as text"
            raise ValueFault("integer_range", "the integer does not fit 64 bits", remedy)
    elif kind is float:
        if not isfinite(value):
            remedy = "leave the fact out, or use null"
            raise ValueFault("not_finite", "NaN and infinities are not JSON", remedy)
    elif value is not None and kind is not bool:
        raise ValueFault("wrong_type", f"{kind.__name__} is not a JSON value")
    return seen


@lru_cache(maxsize=64)
def sound_value(limits: DeviceLimits, depth: int) -> Any:
    """The type of values within all limits, objects and lists `depth` levels deep among them."""
    scalar = (
        None
        | bool
        | Annotated[int, Meta(ge=MIN_INTEGER, le=MAX_INTEGER)]
        | float
        | Annotated[str, Meta(max_length=limits.max_text_chars)]
    )
    if depth < 1:
        return scalar
    below: Any = sound_value(limits, depth - 1)
    return scalar | list[below] | _sound_object(limits, below)


def _sound_object(limits: DeviceLimits, value: Any) -> Any:
    return dict[Annotated[str, Meta(max_length=limits.max_key_chars)], value]


@lru_cache(maxsize=16)
def sound_decoder(limits: DeviceLimits) -> msgspec.json.Decoder[dict[str, Any]]:
    """A decoder that refuses whatever `check_value` could; it refuses deep nesting too.

    What it refuses is to be decoded and checked value by value, which says what is wrong.
    """
    depth = min(SOUND_DEPTH, limits.max_depth)
    document: Any = _sound_object(limits, sound_value(limits, depth))
    return msgspec.json.Decoder(document)


def decode_sound(data: bytes, limits: DeviceLimits) -> dict[str, Any] | None:
    """An object within all limits; None says nothing but that it was not proven quickly."""
    if exceeds_values(data, limits):
        return None
    try:
        return sound_decoder(limits).decode(data)
    except (ValueError, RecursionError):
        return None


def exceeds_values(data: bytes, limits: DeviceLimits) -> bool:
    """Whether a document may have more values than it should; false where it has not."""
    # A value takes two bytes at least, so that a short document need not be counted through.
    return len(data) > 2 * limits.max_values and _count_values(data) > limits.max_values


def _count_values(data: bytes) -> int:
    """At least as many as the values of a document."""
    return data.count(b",") + data.count(b"{") + data.count(b"[")


def check_text(text: str, max_chars: int) -> None:
    """Refuse text that is too long or has no UTF-8 form."""
    if len(text) > max_chars:
        raise ValueFault("too_long", f"text of {len(text)} characters, at most {max_chars}")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueFault("not_unicode", "the text has a lone surrogate") from None


def _check_object(value: dict[Any, Any], limits: DeviceLimits, depth: int, seen: int) -> int:
    seen = _count(len(value), limits, depth, seen)
    max_key_chars, max_text_chars = limits.max_key_chars, limits.max_text_chars
    for key, member in value.items():
        if type(key) is not str:
            raise ValueFault("wrong_type", f"an object's key is {type(key).__name__}, not text")
        try:
            if len(key) > max_key_chars or not key.isascii():
                check_text(key, max_key_chars)
            # Most values are short ASCII text and flags: they are done with here.
            kind = type(member)
            if kind is str and len(member) <= max_text_chars and member.isascii():
                continue
            if kind is not bool:
                seen = check_value(member, limits, depth + 1, seen)
        except ValueFault as fault:
            raise fault.at(key) from None
    return seen


def _check_list(value: list[Any], limits: DeviceLimits, depth: int, seen: int) -> int:
    seen = _count(len(value), limits, depth, seen)
    for index, item in enumerate(value):
        try:
            seen = check_value(item, limits, depth + 1, seen)
        except ValueFault as fault:
            raise fault.at(index) from None
    return seen


def _count(members: int, limits: DeviceLimits, depth: int, seen: int) -> int:
    if depth > limits.max_depth:
        raise ValueFault("too_deep", f"nested more than {limits.max_depth} levels deep")
    if seen + members > limits.max_values:
        raise ValueFault("too_many_values", f"more than {limits.max_values} keys and list items")
    return seen + members
