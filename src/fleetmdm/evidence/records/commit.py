"""One record of a pack: fields committed to by salted hashes, some of them opened.

docs/evidence-format.md, "Records". A field's digest is SHA-256 over the canonical JSON array
`[salt, path, value]`; a record's leaf is the concatenation of its digests in ascending order, so
neither the order nor the names of hidden fields show. A line opens some fields and lists the
digests of the others: `{"fields":{path:[salt,value]},"hidden":[digest]}`. Pure.
Rule for editors: the leaf depends on the fields alone, never on which of them are open; a salt
depends on the names of all the record's fields, so that no salt ever stands for two values.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import compress
from operator import itemgetter
from struct import Struct
from typing import Any, Final, NamedTuple

from fleetmdm.evidence.records.values import (
    RecordError,
    carry,
    encode_carried,
    encode_text,
    utf16,
)

SALT_BYTES: Final = 16
"""128 bits, so that a hidden value cannot be found by trying likely ones."""

MAX_RECORD_BYTES: Final = 32 * 1024 * 1024
"""Longest line of a record file; a device document of the largest size has a tenth of it."""

MAX_FORMS: Final = 1024
"""Forms that are remembered at a time."""

MAX_NAMES: Final = 4096
"""Names of fields of which it is remembered how they are written."""

SALT_KEY_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class Field:
    """A field before it is written. `value` is plain JSON; `is_open` says whether it shows."""

    path: str
    value: Any
    is_open: bool


class Written(NamedTuple):
    """A record as one view shows it; `opened` and `hidden` count fields."""

    line: bytes
    leaf: bytes
    opened: int
    hidden: int


class Block(NamedTuple):
    """Records that follow each other in a file."""

    data: bytes
    leaves: tuple[bytes, ...]
    """Leaf hashes of RFC 6962."""
    opened: int
    hidden: int


def encode_value(value: Any) -> bytes:
    """A value as it is hashed and shown; raises `RecordError` for what is no JSON value."""
    return encode_text(value) if type(value) is str else encode_carried(carry(value))


class Form:
    """All that is the same for records with the same names of which the same show.

    What goes between salts and values is laid out once; a record is put together by filling it in.
    """

    __slots__ = ("_hashed", "_opens", "_shown", "_shuts", "arrange", "cut", "names", "salt_bytes")

    def __init__(self, paths: Sequence[str], opens: Sequence[bool]) -> None:
        if len(set(paths)) != len(paths):
            raise RecordError("a record has a field twice")
        named = list(map(_name, paths))
        order = sorted(range(len(paths)), key=named.__getitem__)
        self.arrange: Callable[[Sequence[bytes]], Sequence[bytes]] = (
            itemgetter(*order) if len(order) > 1 else tuple
        )
        """What has the order of the paths in the order of a record."""
        names = [named[at].written for at in order]
        self.names = hashlib.sha256(b",".join(names)).digest()
        self.cut = Struct("32s" * len(paths)).unpack
        self.salt_bytes = SALT_BYTES * len(paths)
        self._opens = [opens[at] for at in order]
        self._shuts = [not each for each in self._opens]
        self._hashed = lay_out_hashed([named[at].hashed for at in order])
        shown = [named[at].shown for at in compress(order, self._opens)]
        self._shown = [piece for name in shown for piece in (name, b"", b'",', b"")]
        if shown:
            self._shown[0] = shown[0].removeprefix(b"],")
            self._shown.append(b"]")

    def assemble(
        self, values: Sequence[bytes], salts: Sequence[bytes], others: Sequence[bytes] = ()
    ) -> Written:
        """The record of values and salts in its own order; `others` are further hidden digests."""
        sha256, digests, shown = hashlib.sha256, list(others), b""
        if values:
            hashed = self._hashed.copy()
            hashed[1::4], hashed[3::4] = salts, values
            made = [sha256(field).digest() for field in b"".join(hashed).split(b"\n")]
            digests += made
            others = [*compress(made, self._shuts), *others]
        if self._shown:
            line = self._shown.copy()
            line[1::4] = compress(salts, self._opens)
            line[3::4] = compress(values, self._opens)
            shown = b"".join(line)
        shut = sorted(others)
        digests.sort()
        count = len(digests) - len(shut)
        return Written(write_line(shown, shut), b"".join(digests), count, len(shut))


class Name(NamedTuple):
    """The name of a field as it stands in records of many forms."""

    order: bytes
    """By what names are sorted (RFC 8785 section 3.2.3)."""
    written: bytes
    hashed: bytes
    """Between salt and value where they are hashed."""
    shown: bytes
    """From the field before to the salt where it is shown."""


@lru_cache(maxsize=MAX_NAMES)
def _name(path: str) -> Name:
    written = encode_text(path)
    return Name(utf16(path), written, b'",%b,' % written, b'],%b:["' % written)


def lay_out_hashed(between: Sequence[bytes]) -> list[bytes]:
    """What is hashed of fields, a line each: salts go to every fourth place from 1, values from 3.

    `between` stands between the two. No canonical JSON holds a newline.
    """
    pieces = [piece for middle in between for piece in (b']\n["', b"", middle, b"")]
    return [b'["', *pieces[1:], b"]"] if pieces else []


class RecordEncoder:
    """Writes records under the salts of one run."""

    def __init__(self, salt_key: bytes) -> None:
        if len(salt_key) != SALT_KEY_BYTES:
            raise ValueError("a salt key has 32 bytes")
        self._key = salt_key
        self._forms: dict[tuple[tuple[str, ...], tuple[bool, ...]], Form] = {}

    def encode(self, form: Form, values: Sequence[bytes], identity: str) -> Written:
        """Write a record of values in the order of its form's paths, each as `encode_value` has it.

        `identity` names it within its run, its file included.
        """
        if not values:
            raise RecordError("a record has no field")
        # SHAKE256 (FIPS 202) of key, names and identity: the first two are of fixed length.
        secret = self._key + form.names + identity.encode("utf-8", "surrogatepass")
        salts = hashlib.shake_256(secret).hexdigest(form.salt_bytes).encode()
        return form.assemble(form.arrange(values), form.cut(salts))

    def form(self, paths: tuple[str, ...], opens: tuple[bool, ...]) -> Form:
        """The form of such records."""
        form = self._forms.get((paths, opens))
        if form is None:
            if len(self._forms) >= MAX_FORMS:
                self._forms.clear()
            form = self._forms[paths, opens] = Form(paths, opens)
        return form


def encode_record(fields: Sequence[Field], *, key: bytes, identity: str = "") -> Written:
    """Write one record from its fields; raises `RecordError`."""
    form = Form([each.path for each in fields], [each.is_open for each in fields])
    return RecordEncoder(key).encode(form, [encode_value(one.value) for one in fields], identity)


def write_line(shown: bytes, shut: Sequence[bytes]) -> bytes:
    """The line of open fields, in the order of their names, and digests of others, in theirs."""
    listed = b"".join(shut).hex(",", 32).replace(",", '","').encode()
    line = b'{"fields":{%b},"hidden":[%b]}\n' % (shown, b'"%b"' % listed if shut else b"")
    if len(line) > MAX_RECORD_BYTES:
        raise RecordError(f"a record of {len(line)} bytes is over the limit of {MAX_RECORD_BYTES}")
    return line


def pack_block(records: Sequence[Written]) -> Block:
    """Records put together."""
    sha256 = hashlib.sha256
    return Block(
        b"".join([record.line for record in records]),
        tuple([sha256(b"\0" + record.leaf).digest() for record in records]),
        sum([record.opened for record in records]),
        sum([record.hidden for record in records]),
    )
