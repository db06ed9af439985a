"""A value of a field in the one form that has an exact canonical encoding (RFC 8785). Pure.

Numbers that doubles cannot hold exactly, and floats, travel as `{"int": text}` and
`{"float": text}`; objects as `{"map": {...}}`, so that the three cannot be confused.
Rule for editors: one value has one form; a reader refuses every other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from json.encoder import encode_basestring
from typing import Any

from clikit.canonical import MAX_SAFE_INTEGER, CanonicalError, encode_canonical


class RecordError(ValueError):
    """A line that is no record, or a value that no record can hold."""


def carry(value: Any) -> Any:
    """A value as it is written; raises `RecordError` for what is no JSON value."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return value if abs(value) <= MAX_SAFE_INTEGER else {"int": str(value)}
    if isinstance(value, float):
        if not math.isfinite(value):
            raise RecordError(f"not a JSON number: {value}")
        return {"float": repr(value)}
    if isinstance(value, Mapping):
        return {"map": {str(key): carry(member) for key, member in value.items()}}
    if isinstance(value, list | tuple):
        return [carry(member) for member in value]
    raise RecordError(f"not a JSON value: {type(value).__name__}")


def uncarry(value: Any) -> Any:
    """What was carried; raises `RecordError` for what `carry` would not have written."""
    plain = _uncarry(value)
    if carry(plain) != value:
        raise RecordError("a value is not carried as this format carries it")
    return plain


def _uncarry(value: Any) -> Any:
    if isinstance(value, list):
        return [_uncarry(member) for member in value]
    if not isinstance(value, dict):
        return value
    kind, held = next(iter(value.items())) if len(value) == 1 else ("", None)
    if kind == "map" and isinstance(held, dict):
        return {key: _uncarry(member) for key, member in held.items()}
    try:
        if kind == "int" and isinstance(held, str):
            return int(held)
        if kind == "float" and isinstance(held, str):
            return _finite(float(held))
    except ValueError as error:
        raise RecordError(f"not a number: {held!r}") from error
    raise RecordError("an object is neither int, float nor map")


def _finite(number: float) -> float:
    if not math.isfinite(number):
        raise ValueError(number)
    return number


def encode_text(text: str) -> bytes:
    """A text as RFC 8785 writes it; raises `RecordError` for one with a lone surrogate."""
    try:
        return encode_basestring(text).encode()
    except UnicodeEncodeError as error:
        raise RecordError("text has a lone surrogate") from error


def encode_carried(value: Any) -> bytes:
    """RFC 8785 form of a carried value."""
    try:
        return encode_canonical(value)
    except CanonicalError as error:
        raise RecordError(str(error)) from error


def utf16(name: str) -> bytes:
    """RFC 8785 section 3.2.3: names are sorted by their UTF-16 code units."""
    return name.encode("utf-16-be", "surrogatepass")
