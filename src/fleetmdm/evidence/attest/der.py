"""Just enough DER (X.690) to take a time-stamp token apart. Pure.

Rule for editors: lengths are minimal and definite and everything is consumed, so that one value has
one spelling; what is not understood is refused.
"""

from __future__ import annotations

from dataclasses import dataclass

SEQUENCE, SET, INTEGER, OCTETS, OID = 0x30, 0x31, 0x02, 0x04, 0x06
GENERALIZED_TIME = 0x18
MAX_NODES = 2000


class DerError(ValueError):
    """Bytes that are not the DER that was expected."""


@dataclass(frozen=True, slots=True)
class Node:
    """One value: its tag, its content, and both with the length between them."""

    tag: int
    body: bytes
    whole: bytes

    def children(self) -> list[Node]:
        """The values inside."""
        nodes: list[Node] = []
        at = 0
        while at < len(self.body):
            if len(nodes) >= MAX_NODES:
                raise DerError("too many values")
            node = _read(self.body, at)
            nodes.append(node)
            at += len(node.whole)
        return nodes

    def expect(self, tag: int) -> Node:
        """This value, which must have this tag."""
        if self.tag != tag:
            raise DerError(f"tag {self.tag:#04x} where {tag:#04x} belongs")
        return self

    def oid(self) -> str:
        """The dotted form of an object identifier."""
        body = self.expect(OID).body
        if not body or body[-1] & 0x80:
            raise DerError("an object identifier is cut off")
        arcs: list[int] = []
        value = 0
        for byte in body:
            value = value << 7 | byte & 0x7F
            if not byte & 0x80:
                arcs.append(value)
                value = 0
        first = min(arcs[0] // 40, 2)
        return ".".join(map(str, (first, arcs[0] - 40 * first, *arcs[1:])))


def parse_der(data: bytes) -> Node:
    """The one value that `data` is."""
    node = _read(data, 0)
    if len(node.whole) != len(data):
        raise DerError("something follows the value")
    return node


def _read(data: bytes, at: int) -> Node:
    if at + 2 > len(data):
        raise DerError("a value is cut off")
    tag, length, start = data[at], data[at + 1], at + 2
    if tag & 0x1F == 0x1F:
        raise DerError("tags of several bytes are not expected")
    if length & 0x80:
        count = length & 0x7F
        if not 1 <= count <= 4 or start + count > len(data):
            raise DerError("a length is not definite, or too long")
        length, start = int.from_bytes(data[start : start + count], "big"), start + count
        if length < 0x80 or length >> (8 * (count - 1)) == 0:
            raise DerError("a length is not minimal")
    end = start + length
    if end > len(data):
        raise DerError("a value is cut off")
    return Node(tag, data[start:end], data[at:end])
