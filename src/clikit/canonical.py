"""JSON Canonicalization Scheme, RFC 8785: one byte string for one JSON value, so it can be hashed.

Integers beyond 2**53 are refused rather than rounded: carry those as strings.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from json.encoder import encode_basestring
from typing import Any

MAX_SAFE_INTEGER = 2**53 - 1
"""RFC 8785 section 3.2.2.3: numbers are IEEE 754 doubles; beyond this they are not exact."""


class CanonicalError(ValueError):
    """A value that has no canonical JSON form."""


def encode_canonical(value: Any) -> bytes:
    """The canonical UTF-8 form of a JSON value; raises `CanonicalError` where there is none."""
    try:
        return _encode(value).encode("utf-8")
    except UnicodeEncodeError as error:
        raise CanonicalError("text has a lone surrogate") from error
    except RecursionError as error:
        raise CanonicalError("value is nested too deeply") from error


def _encode(value: Any) -> str:
    if value is None or value is True or value is False:
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return encode_basestring(value)
    if isinstance(value, int):
        if abs(value) > MAX_SAFE_INTEGER:
            raise CanonicalError(f"integer beyond 2**53: {value}")
        return str(int(value))
    if isinstance(value, float):
        return _encode_number(value)
    if isinstance(value, Mapping):
        return _encode_object(value)
    if isinstance(value, list | tuple):
        return "[" + ",".join(_encode(item) for item in value) + "]"
    raise CanonicalError(f"not a JSON value: {type(value).__name__}")


def _encode_object(value: Mapping[Any, Any]) -> str:
    for key in value:
        if not isinstance(key, str):
            raise CanonicalError(f"object name is not text: {key!r}")
    # Section 3.2.3: names are sorted by their UTF-16 code units.
    names = sorted(value, key=lambda name: name.encode("utf-16-be", "surrogatepass"))
    return "{" + ",".join(f"{_encode(name)}:{_encode(value[name])}" for name in names) + "}"


def _encode_number(value: float) -> str:
    """ECMAScript's Number.prototype.toString, which RFC 8785 section 3.2.2.3 asks for."""
    if not math.isfinite(value):
        raise CanonicalError("number is not finite")
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    digits, exponent = _shortest_digits(abs(value))
    count = len(digits)
    # ECMA-262 Number::toString: `exponent` is its n, `count` its k.
    if count <= exponent <= 21:
        return sign + digits + "0" * (exponent - count)
    if 0 < exponent <= 21:
        return f"{sign}{digits[:exponent]}.{digits[exponent:]}"
    if -6 < exponent <= 0:
        return f"{sign}0.{'0' * -exponent}{digits}"
    mantissa = digits if count == 1 else f"{digits[0]}.{digits[1:]}"
    return f"{sign}{mantissa}e{'+' if exponent > 0 else '-'}{abs(exponent - 1)}"


def _shortest_digits(value: float) -> tuple[str, int]:
    """Shortest digits that read back as `value`, and the power of ten so it is 0.digits x 10**n."""
    _, digits, power = Decimal(repr(value)).as_tuple()
    text = "".join(map(str, digits))
    return text.rstrip("0"), len(text) + int(power)
