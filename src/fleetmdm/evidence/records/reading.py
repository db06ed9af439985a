"""Records read back, from lines that a stranger may have written. Pure.

`parse_record` reads every line that is in canonical form, value by value. `LineReader` gives the
same leaves without looking into values that it has seen, for who asks nothing else of a line.
Rule for editors: what `LineReader` cannot take apart for certain goes to `parse_record`; it never
accepts what `parse_record` refuses, and a property test holds the two together.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import lt
from struct import Struct
from typing import Any, Final, NamedTuple

from fleetmdm.evidence.records.commit import Form, Written, encode_value, lay_out_hashed
from fleetmdm.evidence.records.values import (
    RecordError,
    carry,
    encode_carried,
    encode_text,
    uncarry,
    utf16,
)

MAX_KNOWN: Final = 4096
"""Values, and sets of names, that are remembered at a time."""

_SALT = re.compile(r"[0-9a-f]{32}\Z")
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")


__all__ = [
    "LineReader",
    "Record",
    "RecordError",
    "Taken",
    "parse_record",
    "rewrite_record",
]


@dataclass(frozen=True, slots=True)
class Record:
    """A record as one view shows it. `fields` are the opened ones, as plain JSON values."""

    line: bytes
    leaf: bytes
    fields: Mapping[str, Any]
    hidden: int


def parse_record(line: bytes) -> Record:
    """Read one line with its newline; raises `RecordError` unless it is in canonical form."""
    salts, values, hidden = _parse(line)
    names = sorted(values, key=utf16)
    written = _assemble(names, values, [salts[name] for name in names], hidden)
    if written.line != line:
        raise RecordError("record is not in canonical form")
    _check_leaf(written)
    return Record(line, written.leaf, values, len(hidden))


def _parse(line: bytes) -> tuple[dict[str, bytes], dict[str, Any], list[bytes]]:
    """Salts and plain values by name, and the hidden digests."""
    try:
        document = json.loads(line)
        opened, hidden = document["fields"], document["hidden"]
        _check_shape(opened, hidden)
        salts = {path: pair[0].encode() for path, pair in opened.items()}
        values = {path: uncarry(pair[1]) for path, pair in opened.items()}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        if isinstance(error, RecordError):
            raise
        raise RecordError("line is not a record") from error
    return salts, values, list(map(bytes.fromhex, hidden))


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


def _check_leaf(written: Written) -> None:
    if not written.leaf:
        raise RecordError("record has no field")
    digests = [written.leaf[at : at + 32] for at in range(0, len(written.leaf), 32)]
    if len(set(digests)) != len(digests):
        raise RecordError("a field is both opened and hidden")


def rewrite_record(line: bytes, values: Mapping[str, Any]) -> bytes:
    """The same line with other values behind its opened fields, under the salts that it has.

    Raises `RecordError` for a line that opens a field without a value here.
    """
    document = json.loads(line)
    names = sorted(document["fields"], key=utf16)
    salts = [document["fields"][name][0].encode() for name in names]
    try:
        return _assemble(names, values, salts, list(map(bytes.fromhex, document["hidden"]))).line
    except KeyError as error:
        raise RecordError(f"nothing stands at {error}") from error


def _assemble(
    names: Sequence[str], values: Mapping[str, Any], salts: Sequence[bytes], hidden: Sequence[bytes]
) -> Written:
    """The record that opens these names, in their order."""
    form = Form(names, [True] * len(names))
    return form.assemble([encode_value(values[name]) for name in names], salts, hidden)


class Taken(NamedTuple):
    """What a line opens, as its bytes stand there, what it hides, and its leaf."""

    names: tuple[bytes, ...]
    """Without their quotes."""
    salts: tuple[bytes, ...]
    values: tuple[bytes, ...]
    digests: list[bytes]
    """Of the open fields, in the same order."""
    shut: list[bytes]
    """Those of the others, ascending."""
    leaf: bytes


_TEXT = rb'"[^"\\\x00-\x1f]*+(?:\\.[^"\\\x00-\x1f]*+)*+"'
_ATOM = rb"(?:%b|0|-?[1-9][0-9]{0,14}+|true|false|null)" % _TEXT
_NUMBER = rb'\{"(?:int|float)":%b\}' % _TEXT
_LIST = rb"\[(?:(?:{0}|{1})(?:,(?:{0}|{1}))*+)?+\]".replace(b"{0}", _ATOM).replace(b"{1}", _NUMBER)
_MEMBER = rb"%b:(?:%b|%b|%b)" % (_TEXT, _ATOM, _NUMBER, _LIST)
_MAP = rb'\{"map":\{(?:%b(?:,%b)*+)?+\}\}' % (_MEMBER, _MEMBER)
_FIELD = re.compile(
    rb'"([^"\\\x00-\x1f]*+(?:\\.[^"\\\x00-\x1f]*+)*+)":\["([0-9a-f]{32})",(%b|%b|%b|%b)\](?:,|\Z)'
    % (_ATOM, _LIST, _NUMBER, _MAP),
    re.DOTALL,
)
"""A field whose value is no deeper than a list or a map of plain values."""

_HEAD, _MIDDLE, _TAIL = b'{"fields":{', b'},"hidden":[', b"]}\n"


class LineReader:
    """Reads many lines of one file; remembers values and sets of names that it has looked at."""

    def __init__(self) -> None:
        self._values: set[bytes] = set()
        self._names: dict[tuple[bytes, ...], list[bytes]] = {}
        """What is hashed of fields with these names, laid out."""

    def read(self, line: bytes) -> Taken:
        """One line with its newline; raises `RecordError` unless it is in canonical form."""
        taken = self._read(line)
        return _take_apart(line) if taken is None else taken

    def _read(self, line: bytes) -> Taken | None:
        """None for what is not certain here."""
        middle = line.rfind(_MIDDLE)
        if middle < 0 or not (line.startswith(_HEAD) and line.endswith(_TAIL) and _is_text(line)):
            return None
        section = line[len(_HEAD) : middle]
        hidden = _cut_digests(line[middle + len(_MIDDLE) : -len(_TAIL)])
        parts = _FIELD.split(section)
        names, salts, values = tuple(parts[1::4]), tuple(parts[2::4]), tuple(parts[3::4])
        # What no match takes stands between them: nothing, if the fields are an unbroken row.
        if hidden is None or not names or any(parts[::4]) or not section.endswith(b"]"):
            return None
        hashed = self._names.get(names) or self._learn(names)
        if hashed is None:
            return None
        if (b"{" in section or b"\\" in section) and not all(map(self._is_sound, values)):
            return None
        hashed = hashed.copy()
        hashed[1::4], hashed[3::4] = salts, values
        sha256 = hashlib.sha256
        digests = [sha256(field).digest() for field in b"".join(hashed).split(b"\n")]
        if not set(digests).isdisjoint(hidden):
            return None
        return Taken(names, salts, values, digests, hidden, b"".join(sorted(digests + hidden)))

    def _learn(self, names: tuple[bytes, ...]) -> list[bytes] | None:
        """What is hashed of fields with these names, but for salts and values."""
        try:
            texts = [json.loads(b'"%b"' % name) for name in names]
            written = [encode_text(text) for text in texts]
        except ValueError:
            return None
        keys = list(map(utf16, texts))
        if written != [b'"%b"' % name for name in names] or not all(map(lt, keys, keys[1:])):
            return None
        if len(self._names) >= MAX_KNOWN:
            self._names.clear()
        hashed = self._names[names] = lay_out_hashed([b'",%b,' % name for name in written])
        return hashed

    def _is_sound(self, value: bytes) -> bool:
        """Whether a value is written as `carry` has it; plain ones are by the pattern."""
        if value in self._values or not (b"{" in value or b"\\" in value):
            return True
        try:
            if encode_carried(carry(uncarry(json.loads(value)))) != value:
                return False
        except (ValueError, RecursionError):
            return False
        if len(self._values) >= MAX_KNOWN:
            self._values.clear()
        if len(value) <= MAX_KNOWN:
            self._values.add(value)
        return True


def _is_text(line: bytes) -> bool:
    if line.isascii():
        return True
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _cut_digests(listed: bytes) -> list[bytes] | None:
    """The hidden digests of a line; None unless they are distinct, sorted, lower-case hex."""
    if not listed:
        return []
    count = (len(listed) + 1) // len(_LISTED)
    if listed.translate(_ANY_DIGIT) != (_LISTED * count)[:-1]:
        return None
    raw = bytes.fromhex(listed.translate(None, b'",').decode())
    digests = list(Struct("32s" * count).unpack(raw))
    return digests if all(map(lt, digests, digests[1:])) else None


_LISTED = b'"%b",' % (b"0" * 64)
_ANY_DIGIT = bytes.maketrans(b"123456789abcdef", b"0" * 15)


def _take_apart(line: bytes) -> Taken:
    record = parse_record(line)
    salts, _, hidden = _parse(line)
    names = sorted(record.fields, key=utf16)
    written = [encode_text(name) for name in names]
    values = [encode_value(record.fields[name]) for name in names]
    fields = zip([salts[name] for name in names], written, values, strict=True)
    return Taken(
        tuple([name[1:-1] for name in written]),
        tuple([salts[name] for name in names]),
        tuple(values),
        [hashlib.sha256(b'["%b",%b,%b]' % field).digest() for field in fields],
        hidden,
        record.leaf,
    )
