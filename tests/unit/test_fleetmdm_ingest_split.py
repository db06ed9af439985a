"""Streams are cut into the same documents whole, byte by byte, and with what should not follow."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fleetmdm.ingest.split import Piece, split_documents
from fleetmdm.ingest.stream import Fault

LIMIT = 200
FORMS = {
    "one": (b'{"a": 1}', [(1, b'{"a": 1}')]),
    "pretty": (b'\n{\n "a": [1,\n 2]\n}\n', [(2, b'{\n "a": [1,\n 2]\n}')]),
    "two pretty": (b'{\n"a":1}\n{"b":\n2}', [(1, b'{\n"a":1}'), (3, b'{"b":\n2}')]),
    "lines": (b'{"a":1}\n\n{"b":2}\r\n', [(1, b'{"a":1}'), (3, b'{"b":2}')]),
    "array": (b'[{"a":1},\n {"b":2} ]\n', [(1, b'{"a":1}'), (2, b'{"b":2}')]),
    "empty array": (b" [ ] ", []),
    "signs in strings": (
        b'[{"a":"]},\\"{["}, "x,]\\\\", 3, [4]]',
        [(1, b'{"a":"]},\\"{["}'), (1, b'"x,]\\\\"'), (1, b"3"), (1, b"[4]")],
    ),
    "byte order mark": (b"\xef\xbb\xbf[1]", [(1, b"1")]),
    "bad first line": (b'{"a":\n{"b":2}\n', [(1, b'{"a":'), (2, b'{"b":2}')]),
    "no object": (b"hello\n1\n", [(1, b"hello"), (2, b"1")]),
}


def cut(data: bytes, size: int) -> list[Piece | Fault]:
    chunks = [data[at : at + size] for at in range(0, len(data), size)]
    return list(split_documents(chunks, max_document_bytes=LIMIT))


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_a_stream_gives_its_documents(name: str, size: int) -> None:
    data, expected = FORMS[name]
    assert cut(data, size) == [Piece(line, piece) for line, piece in expected]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b" \n ", "empty"),
        (b'{"a": ', "truncated"),
        (b'{"a": "x', "truncated"),
        (b'[{"a": 1}', "truncated"),
        (b'[{"a": 1},', "truncated"),
        (b"[", "truncated"),
        (b'[{"a": 1}] x', "trailing"),
        (b'[{"a": 1}] [', "trailing"),
        (b'{\n"a": 1} x', "trailing"),
        (b"\xff\xfe{\x00", "not_utf8"),
        (b'[{"a": "' + b"x" * LIMIT + b'"}]', "too_large"),
        (b'{\n"a": "' + b"x" * LIMIT + b'"}', "too_large"),
        (b"[" + b"[" * 3 * LIMIT, "too_large"),
    ],
)
@pytest.mark.parametrize("size", [1, 5, 1000])
def test_a_stream_that_cannot_be_trusted_says_so_as_a_whole(
    data: bytes, reason: str, size: int
) -> None:
    fault = cut(data, size)[-1]
    assert isinstance(fault, Fault)
    assert (fault.reason, fault.whole) == (reason, True)


@pytest.mark.parametrize("data", [b'[{"a":1},,{"b":2}]', b'[{"a":1},{"b":2},]', b'[,{"a":1}]'])
def test_a_comma_without_document_is_one_fault(data: bytes) -> None:
    faults = [item for item in cut(data, 4) if isinstance(item, Fault)]
    assert [(fault.reason, fault.whole) for fault in faults] == [("malformed", False)]


@pytest.mark.parametrize("size", [1, 64, 10_000])
def test_a_line_over_the_limit_is_passed_over(size: int) -> None:
    long = b'{"x": "' + b"x" * 5 * LIMIT + b'"}'
    found = cut(b'{"a":1}\n' + long + b'\n{"b":2}\n' + long, size)
    assert [item.line for item in found] == [1, 2, 3, 4]
    assert [isinstance(item, Fault) for item in found] == [False, True, False, True]


def test_a_document_of_exactly_the_limit_is_let_through() -> None:
    data = b'{"x": "' + b"x" * (LIMIT - 9) + b'"}'
    assert len(data) == LIMIT
    for text in (data, b"[" + data + b"]", data + b"\n" + data):
        assert all(isinstance(item, Piece) for item in cut(text, 16))


def test_nothing_more_than_a_document_is_held() -> None:
    drawn: list[bytes] = []

    def chunks() -> Iterator[bytes]:
        yield b"["
        for _ in range(1000):
            drawn.append(b'{"a":1},' * 8)
            yield drawn[-1]

    next(split_documents(chunks(), max_document_bytes=LIMIT))
    assert len(drawn) <= 2
