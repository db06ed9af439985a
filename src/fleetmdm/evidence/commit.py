"""One record of a pack: fields committed to by salted hashes, some of them opened.

docs/evidence-format.md, "Records". A field's digest is SHA-256 over the canonical JSON array
`[salt, path, value]`; a record's leaf is the concatenation of its digests in ascending order, so
neither the order nor the names of hidden fields show. A line opens some fields and lists the
digests of the others: `{"fields":{path:[salt,value]},"hidden":[digest]}`. Pure.
Rule for editors: the leaf depends on the fields alone, never on which of them are open.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from json.encoder import encode_basestring
from typing import Any

from clikit.canonical import MAX_SAFE_INTEGER, CanonicalError, encode_canonical

SALT_BYTES = 16
"""128 bits, so that a hidden value cannot be found by trying likely ones."""

MAX_RECORD_BYTES = 32 * 1024 * 1024
"""Longest line of a record file; a device document of the largest size has a tenth of it."""

_INNER_PAD = bytes(byte ^ 0x36 for byte in range(256))
_OUTER_PAD = bytes(byte ^ 0x5C for byte in range(256))

_SALT = re.compile(r"[0-9a-f]{32}\Z")
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")


class RecordError(ValueError):
    """A line that is no record, or a value that no record can hold."""


@dataclass(frozen=True, slots=True)
class Field:
    """A field before it is written. `value` is plain JSON; `is_open` says whether it shows."""

    path: str
    value: Any
    is_open: bool


@dataclass(frozen=True, slots=True)
class Record:
    """A record as one view shows it. `fields` are the opened ones, as plain JSON values."""

    line: bytes
    leaf: bytes
    fields: Mapping[str, Any]
    hidden: int


def carry(value: Any) -> Any:
    """A value in a form that has an exact canonical encoding.

    Numbers that doubles cannot hold exactly, and floats, travel as `{"int": text}` and
    `{"float": text}`; objects as `{"map": {...}}`, so that the three cannot be confused.
    """
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


def encode_record(fields: Iterable[Field], *, key: bytes) -> Record:
    """Write a record; `key` is the record's own secret, from which each field's salt derives."""
    opened: dict[str, tuple[str, Any]] = {}
    hidden: list[str] = []
    salt_of = _salts(key)
    try:
        for field in fields:
            value = carry(field.value)
            salt = salt_of(field.path)
            if field.is_open:
                opened[field.path] = (salt, value)
            else:
                hidden.append(_digest(salt, _name(field.path), _text(value)))
        line, digests = _assemble(opened, sorted(hidden))
    except UnicodeEncodeError as error:
        raise RecordError("text has a lone surrogate") from error
    if len(line) > MAX_RECORD_BYTES:
        raise RecordError(f"a record of {len(line)} bytes is over the limit of {MAX_RECORD_BYTES}")
    plain = {path: value for path, (_, value) in opened.items()}
    return Record(line, _leaf(digests, hidden), plain, len(hidden))


def _salts(key: bytes) -> Callable[[str], str]:
    """HMAC-SHA-256 (RFC 2104) under one key of at most a block, cut to a salt, by path.

    Written out because a record has dozens: `hmac.digest` sets the key up anew for each.
    """
    block = key.ljust(hashlib.sha256().block_size, b"\0")
    inner = hashlib.sha256(block.translate(_INNER_PAD))
    outer = hashlib.sha256(block.translate(_OUTER_PAD))

    def salt(path: str) -> str:
        inside, outside = inner.copy(), outer.copy()
        inside.update(path.encode())
        outside.update(inside.digest())
        return outside.digest()[:SALT_BYTES].hex()

    return salt


def parse_record(line: bytes) -> Record:
    """Read one line with its newline; raises `RecordError` unless it is in canonical form."""
    try:
        value = json.loads(line)
        opened, hidden = value["fields"], value["hidden"]
        _check_shape(opened, hidden)
        expected, digests = _assemble(opened, hidden)
        plain = {path: uncarry(pair[1]) for path, pair in opened.items()}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        if isinstance(error, RecordError):
            raise
        raise RecordError("line is not a record") from error
    if expected != line:
        raise RecordError("record is not in canonical form")
    return Record(line, _leaf(digests, hidden), plain, len(hidden))


def narrow_record(line: bytes, keep: Callable[[str, Mapping[str, Any]], bool]) -> Record:
    """The same record with fewer fields open: those for which `keep(path, fields)` is true.

    The leaf stays what it was. Raises `RecordError` as `parse_record` does.
    """
    record = parse_record(line)
    document = json.loads(line)
    opened: dict[str, Any] = {}
    hidden: list[str] = list(document["hidden"])
    for path, (salt, value) in document["fields"].items():
        if keep(path, record.fields):
            opened[path] = (salt, value)
        else:
            hidden.append(_digest(salt, _name(path), _text(value)))
    narrowed, _ = _assemble(opened, sorted(hidden))
    plain = {path: record.fields[path] for path in opened}
    return Record(narrowed, record.leaf, plain, len(hidden))


def rewrite_record(line: bytes, values: Mapping[str, Any]) -> bytes:
    """The same line with other values behind its opened fields, under the salts that it has.

    Raises `RecordError` for a line that opens a field without a value here.
    """
    document = json.loads(line)
    try:
        opened = {
            path: (salt, carry(values[path])) for path, (salt, _) in document["fields"].items()
        }
    except KeyError as error:
        raise RecordError(f"nothing stands at {error}") from error
    return _assemble(opened, document["hidden"])[0]


def _check_shape(opened: Any, hidden: Any) -> None:
    if not isinstance(opened, dict) or not isinstance(hidden, list):
        raise RecordError("record is not fields and hidden digests")
    for pair in opened.values():
        if not isinstance(pair, list) or len(pair) != 2 or not _is(_SALT, pair[0]):
            raise RecordError("an opened field is not a salt and a value")
    if not all(_is(_DIGEST, digest) for digest in hidden) or hidden != sorted(set(hidden)):
        raise RecordError("hidden digests are not distinct, sorted, lower-case hex")


def _is(pattern: re.Pattern[str], value: Any) -> bool:
    return isinstance(value, str) and pattern.match(value) is not None


def _assemble(opened: Mapping[str, Any], hidden: list[str]) -> tuple[bytes, list[str]]:
    """The canonical line, and the digests of the opened fields."""
    parts: list[str] = []
    digests: list[str] = []
    plain = all(map(str.isascii, opened))
    for path in sorted(opened) if plain else sorted(opened, key=_utf16):
        salt, value = opened[path]
        name, text = _name(path), _text(value)
        parts.append(f'{name}:["{salt}",{text}]')
        digests.append(_digest(salt, name, text))
    shut = ",".join(f'"{digest}"' for digest in hidden)
    return f'{{"fields":{{{",".join(parts)}}},"hidden":[{shut}]}}\n'.encode(), digests


def _leaf(opened: list[str], hidden: list[str]) -> bytes:
    digests = sorted((*opened, *hidden))
    if not digests:
        raise RecordError("record has no field")
    if len(set(digests)) != len(digests):
        raise RecordError("a field is both opened and hidden")
    return bytes.fromhex("".join(digests))


def _digest(salt: str, name: str, text: str) -> str:
    return hashlib.sha256(f'["{salt}",{name},{text}]'.encode()).hexdigest()


def _utf16(name: str) -> bytes:
    """RFC 8785 section 3.2.3: names are sorted by their UTF-16 code units."""
    return name.encode("utf-16-be", "surrogatepass")


@lru_cache(maxsize=65536)
def _name(path: str) -> str:
    return encode_basestring(path)


def _text(value: Any) -> str:
    """RFC 8785 form; what most values are goes the short way."""
    if isinstance(value, str):
        return encode_basestring(value)
    if value is True or value is False:
        return "true" if value else "false"
    try:
        return encode_canonical(value).decode()
    except CanonicalError as error:
        raise RecordError(str(error)) from error
