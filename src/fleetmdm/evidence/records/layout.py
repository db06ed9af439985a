"""Stored documents taken apart to their leaves without being decoded. Pure.

Most documents of a fleet differ in their values alone. A quote ends each text, so a document is cut
at all quotes at once. What stands outside of texts, less the characters of numbers and words, is its
outline; with the names it tells the path of each leaf, and where its value lies among what was cut.
Rule for editors: what cannot be taken apart in this way for certain is decoded instead; both ways give
the same leaves, and a property test holds them together.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from operator import itemgetter
from typing import Any, Final

import msgspec

from fleetmdm.evidence.records.commit import encode_value
from fleetmdm.evidence.records.flatten import flatten
from fleetmdm.evidence.records.places import MAX_HELD, Layout, PlaceBook

KEYS: Final = ("device_id", "facts", "hostname", "os", "os_version", "serial", "tags")
"""Of every document, in this order; all but the facts are one leaf each."""

_BRACKETS: Final = b'{}[]:,"'
_ATOM_CHARACTERS: Final = b"+-.0123456789Eaeflnrstu"
_SPACED: Final = bytes.maketrans(_BRACKETS, b" " * len(_BRACKETS))
_ATOM: Final = re.compile(rb"[%b]+" % re.escape(_ATOM_CHARACTERS))

_ODD: Final = re.compile(rb"[0-9](?:[.eE]|[0-9]{15})|\{\}")
"""Outside of texts, what RFC 8785, or a record, writes otherwise than msgspec."""

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder().decode

Pick = Callable[[Sequence[bytes]], Sequence[bytes]]

Leaves = tuple[Layout, Sequence[bytes], Sequence[bytes]]
"""The places of leaves, in the order of the document; their bytes in it; and as records have them."""


def read_leaves(book: PlaceBook, document: bytes) -> Leaves:
    """The leaves of what `encode_facts` wrote."""
    # A text that holds a quote, or ends with a backslash, is not cut where it ends.
    if b'\\"' in document:
        layout, values = _learn(book, document)
        return layout, values, _write(values)
    pieces = document.split(b'"')
    texts, outside = pieces[1::2], b'"'.join(pieces[::2])
    outline = outside.translate(None, _ATOM_CHARACTERS)
    if outline.count(b"[]") != outside.count(b"[]"):
        outline = _ATOM.sub(b"0", outside)
    names = book.names.get(outline) or _learn_names(book, outline)
    shape = outline + b'"'.join(names(texts))
    atoms = outside.translate(_SPACED).split()
    known = book.layouts.get(shape)
    if known is None:
        layout, values = _learn(book, document)
        cut = Cut(outside)
        if len(book.layouts) < MAX_HELD and list(cut(texts, atoms)) == values:
            book.layouts[shape] = layout, cut
    else:
        layout, values = known[0], known[1](texts, atoms)
    is_odd = b"\\" in document or _ODD.search(outside) is not None
    return layout, values, _write(values) if is_odd else values


def _write(values: Sequence[bytes]) -> list[bytes]:
    return [encode_value(_decode(raw)) for raw in values]


def _learn(book: PlaceBook, document: bytes) -> tuple[Layout, Sequence[bytes]]:
    """The same by decoding."""
    leaves = list(_flatten(_decode(document)))
    return Layout([book.place(path) for path, _ in leaves]), [_encode(leaf) for _, leaf in leaves]


def _flatten(decoded: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Path and value of every leaf."""
    for key, value in zip(KEYS, decoded.values(), strict=True):
        yield from flatten(key, value) if key == "facts" else [(key, value)]


def _learn_names(book: PlaceBook, outline: bytes) -> Pick:
    """What takes the names from among the texts of a document."""
    after = outline.split(b'"')[1:]
    names: Pick = itemgetter(*[at for at, piece in enumerate(after) if piece.startswith(b":")])
    if len(book.names) < MAX_HELD:
        book.names[outline] = names
    return names


class Cut:
    """Takes the leaves of documents of one layout from their texts and atoms."""

    __slots__ = ("_arrange", "_gathered", "_pick")

    def __init__(self, outside: bytes) -> None:
        """`outside` is what stands outside of the texts of any such document."""
        numbers = count()
        pieces = _ATOM.sub(lambda _: b"%d" % next(numbers), outside).split(b'"')
        # Each text and each atom is its number, then all are decoded as they stand.
        texts = [b'"%d"' % at for at in range(len(pieces) - 1)]
        numbered = b"".join([piece for pair in zip(pieces, texts, strict=False) for piece in pair])
        leaves = [leaf for _, leaf in _flatten(_decode(numbered + pieces[-1]))]
        plain = [int(leaf) for leaf in leaves if type(leaf) is str]
        self._gathered = [leaf for leaf in leaves if type(leaf) in (list, dict)]
        self._pick: Pick = itemgetter(*plain)
        atom, text, gathered = len(plain), count(), count(len(plain) + next(numbers))
        self._arrange: Pick = itemgetter(
            *[
                atom + leaf if type(leaf) is int else next(text if type(leaf) is str else gathered)
                for leaf in leaves
            ]
        )

    def __call__(self, texts: Sequence[bytes], atoms: Sequence[bytes]) -> Sequence[bytes]:
        """In the order of the document."""
        plain = [b'"%b"' % text for text in self._pick(texts)]
        return self._arrange(
            [*plain, *atoms, *[_gather(leaf, texts, atoms) for leaf in self._gathered]]
        )


def _gather(leaf: Any, texts: Sequence[bytes], atoms: Sequence[bytes]) -> bytes:
    """A list that is one leaf, or an object without members."""
    if type(leaf) is dict:
        return b"{}"
    members = [b'"%b"' % texts[int(each)] if type(each) is str else atoms[each] for each in leaf]
    return b"[%b]" % b",".join(members)
