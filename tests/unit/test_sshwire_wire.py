"""The types of RFC 4251 section 5, with its own examples."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sshwire.errors import TruncatedError, WireError
from sshwire.wire import (
    MAX_MPINT_BYTES,
    Reader,
    encode_boolean,
    encode_byte,
    encode_mpint,
    encode_name_list,
    encode_string,
    encode_text,
    encode_uint32,
    encode_uint64,
)

RFC_MPINTS = [
    (0, "00000000"),
    (0x9A378F9B2E332A7, "0000000809a378f9b2e332a7"),
    (0x80, "000000020080"),
    (-0x1234, "00000002edcc"),
    (-0xDEADBEEF, "00000005ff21524111"),
]


@pytest.mark.parametrize(("value", "encoded"), RFC_MPINTS)
def test_mpint_examples_of_the_rfc_hold_both_ways(value: int, encoded: str) -> None:
    assert encode_mpint(value).hex() == encoded
    assert Reader(bytes.fromhex(encoded)).mpint() == value


@pytest.mark.parametrize("data", ["00", "0001", "007f", "ffff", "ff80", "0000", "ff"])
def test_mpint_longer_than_needed_is_refused(data: str) -> None:
    raw = bytes.fromhex(data)
    if data == "ff":
        assert Reader(encode_string(raw)).mpint() == -1
        return
    with pytest.raises(WireError, match="shortest"):
        Reader(encode_string(raw)).mpint()


def test_mpint_over_the_limit_is_refused_before_it_is_read() -> None:
    header = encode_uint32(MAX_MPINT_BYTES + 1)
    with pytest.raises(WireError, match="over the limit"):
        Reader(header).mpint()


@pytest.mark.parametrize(
    ("names", "encoded"),
    [
        ((), "00000000"),
        (("zlib",), "000000047a6c6962"),
        (("zlib", "none"), "000000097a6c69622c6e6f6e65"),
    ],
)
def test_name_list_examples_of_the_rfc_hold_both_ways(names: tuple[str, ...], encoded: str) -> None:
    assert encode_name_list(names).hex() == encoded
    assert Reader(bytes.fromhex(encoded)).name_list() == names


@pytest.mark.parametrize("names", [("",), ("a,b",), ("é",)])
def test_name_list_refuses_what_is_not_a_name(names: tuple[str, ...]) -> None:
    with pytest.raises(WireError):
        encode_name_list(names)


@pytest.mark.parametrize("raw", [b",", b"a,,b", b"a,", b"\xc3\xa9"])
def test_name_list_refuses_empty_and_foreign_names(raw: bytes) -> None:
    with pytest.raises(WireError):
        Reader(encode_string(raw)).name_list()


FIELDS: list[tuple[bytes, Callable[[Reader], object], object]] = [
    (encode_byte(255), Reader.byte, 255),
    (encode_boolean(True), Reader.boolean, True),
    (b"\x02", Reader.boolean, True),
    (encode_uint32(0xDEADBEEF), Reader.uint32, 0xDEADBEEF),
    (encode_uint64(2**64 - 1), Reader.uint64, 2**64 - 1),
    (encode_string(b"testing"), Reader.string, b"testing"),
    (encode_string(memoryview(b"testing")), Reader.string_view, b"testing"),
    (encode_text("grüße"), Reader.text, "grüße"),
    (encode_mpint(-(2**300)), Reader.mpint, -(2**300)),
    (encode_name_list(("a", "b")), Reader.name_list, ("a", "b")),
]


@pytest.mark.parametrize(("data", "read", "value"), FIELDS)
def test_field_is_read_whole_truncated_and_with_trailing_data(
    data: bytes, read: Callable[[Reader], object], value: object
) -> None:
    reader = Reader(data)
    assert read(reader) == value
    reader.finish()
    for size in range(len(data)):
        with pytest.raises(TruncatedError):
            read(Reader(data[:size]))
    trailing = Reader(data + b"\x00")
    assert read(trailing) == value
    with pytest.raises(WireError, match="1 trailing bytes"):
        trailing.finish()


@pytest.mark.parametrize(
    ("encode", "value"),
    [
        (encode_byte, -1),
        (encode_byte, 256),
        (encode_uint32, -1),
        (encode_uint32, 2**32),
        (encode_uint64, -1),
        (encode_uint64, 2**64),
    ],
)
def test_number_out_of_range_is_refused(encode: Callable[[int], bytes], value: int) -> None:
    with pytest.raises(WireError, match="out of range"):
        encode(value)


def test_text_is_utf8_both_ways() -> None:
    with pytest.raises(WireError, match="UTF-8"):
        Reader(encode_string(b"\xff")).text()
    with pytest.raises(WireError, match="surrogate"):
        encode_text("\ud800")


def test_length_over_what_is_there_allocates_nothing() -> None:
    reader = Reader(encode_uint32(0xFFFFFFFF))
    with pytest.raises(WireError):
        reader.string()
    with pytest.raises(TruncatedError):
        Reader(b"").take(-1)


def test_nested_reader_ends_where_its_string_ends() -> None:
    reader = Reader(encode_string(encode_uint32(7)) + encode_uint32(8))
    nested = reader.nested()
    assert nested.uint32() == 7
    nested.finish()
    assert reader.uint32() == 8


def test_since_gives_what_was_read_from_a_mark() -> None:
    reader = Reader(b"abcdef")
    reader.take(1)
    mark = reader.offset
    reader.take(3)
    assert (mark, reader.since(mark), reader.remaining, reader.rest()) == (1, b"bcd", 2, b"ef")


def test_views_share_the_memory_of_the_buffer() -> None:
    buffer = bytearray(encode_string(b"secret"))
    view = Reader(buffer).string_view()
    buffer[:] = bytes(len(buffer))
    assert bytes(view) == bytes(6)
