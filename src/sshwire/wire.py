"""The data types of RFC 4251 section 5: `encode_*` makes bytes, `Reader` takes them apart.

Rule for editors: a length field never sizes an allocation; a `Reader` only slices what it was given.
"""

from __future__ import annotations

from typing import Self

from sshwire.errors import TruncatedError, WireError

MAX_STRING_BYTES = 256 * 1024
"""Longest string we take: OpenSSH's AGENT_MAX_LEN, which also covers keys and certificates."""

MAX_MPINT_BYTES = 16384 // 8 + 1
"""Longest integer, in bytes: OpenSSH's SSHBUF_MAX_BIGNUM, 16384 bits and a sign byte."""

_UINT32_MAX = 0xFFFFFFFF
_UINT64_MAX = 0xFFFFFFFFFFFFFFFF


def encode_byte(value: int) -> bytes:
    """One byte, 0 to 255."""
    if not 0 <= value <= 0xFF:
        raise WireError("byte out of range")
    return bytes((value,))


def encode_boolean(value: bool) -> bytes:  # noqa: FBT001 - the type is the RFC's
    """One byte, 0 or 1."""
    return b"\x01" if value else b"\x00"


def encode_uint32(value: int) -> bytes:
    """Four bytes, most significant first."""
    if not 0 <= value <= _UINT32_MAX:
        raise WireError("uint32 out of range")
    return value.to_bytes(4, "big")


def encode_uint64(value: int) -> bytes:
    """Eight bytes, most significant first."""
    if not 0 <= value <= _UINT64_MAX:
        raise WireError("uint64 out of range")
    return value.to_bytes(8, "big")


def encode_string(value: bytes | bytearray | memoryview) -> bytes:
    """A uint32 length, then that many bytes."""
    return len(value).to_bytes(4, "big") + bytes(value)


def encode_text(value: str) -> bytes:
    """A string that holds UTF-8."""
    try:
        return encode_string(value.encode())
    except UnicodeEncodeError as error:
        raise WireError("text holds half a surrogate pair") from error


def encode_mpint(value: int) -> bytes:
    """A two's complement integer in its shortest form; zero is the empty string."""
    if value == 0:
        return encode_string(b"")
    length = (value if value >= 0 else ~value).bit_length() // 8 + 1
    return encode_string(value.to_bytes(length, "big", signed=True))


def encode_name_list(names: tuple[str, ...]) -> bytes:
    """A string of US-ASCII names parted by commas; the empty list is the empty string."""
    for name in names:
        if not name or "," in name or not name.isascii():
            raise WireError(f"not a name for a name-list: {name!r}")
    return encode_string(",".join(names).encode())


class Reader:
    """Takes fields off the front of some bytes; every method raises `WireError` on bad input."""

    __slots__ = ("_data", "_offset")

    def __init__(self, data: bytes | bytearray | memoryview) -> None:
        self._data = memoryview(data)
        self._offset = 0

    @property
    def remaining(self) -> int:
        """Bytes not read yet."""
        return len(self._data) - self._offset

    @property
    def offset(self) -> int:
        """Bytes read so far."""
        return self._offset

    def since(self, offset: int) -> bytes:
        """A copy of what was read since the reader stood at `offset`."""
        return bytes(self._data[offset : self._offset])

    def take_view(self, size: int) -> memoryview:
        """Exactly `size` raw bytes, not copied: for secrets, whose copies could not be overwritten."""
        if size < 0 or size > self.remaining:
            raise TruncatedError(f"{size} bytes wanted, {self.remaining} left")
        start = self._offset
        self._offset = start + size
        return self._data[start : self._offset]

    def take(self, size: int) -> bytes:
        """Exactly `size` raw bytes."""
        return bytes(self.take_view(size))

    def byte(self) -> int:
        """One byte as a number."""
        return self.take(1)[0]

    def boolean(self) -> bool:
        """One byte; every value but 0 is true."""
        return self.byte() != 0

    def uint32(self) -> int:
        """Four bytes as a number."""
        return int.from_bytes(self.take(4), "big")

    def uint64(self) -> int:
        """Eight bytes as a number."""
        return int.from_bytes(self.take(8), "big")

    def string_view(self, max_bytes: int = MAX_STRING_BYTES) -> memoryview:
        """A length-prefixed string of at most `max_bytes`, not copied."""
        size = self.uint32()
        if size > max_bytes:
            raise WireError(f"string of {size} bytes is over the limit of {max_bytes}")
        return self.take_view(size)

    def string(self, max_bytes: int = MAX_STRING_BYTES) -> bytes:
        """A length-prefixed string of at most `max_bytes`."""
        return bytes(self.string_view(max_bytes))

    def text(self, max_bytes: int = MAX_STRING_BYTES) -> str:
        """A string that must be UTF-8."""
        try:
            return self.string(max_bytes).decode()
        except UnicodeDecodeError as error:
            raise WireError("string is not UTF-8") from error

    def mpint(self) -> int:
        """An integer; a form longer than needed is refused, as OpenSSH refuses it."""
        data = self.string_view(MAX_MPINT_BYTES)
        if len(data) > 1 and (
            (data[0] == 0 and data[1] < 0x80) or (data[0] == 0xFF and data[1] >= 0x80)
        ):
            raise WireError("mpint is not in its shortest form")
        if len(data) == 1 and data[0] == 0:
            raise WireError("mpint is not in its shortest form")
        return int.from_bytes(data, "big", signed=True)

    def name_list(self) -> tuple[str, ...]:
        """Names parted by commas."""
        data = self.string()
        if not data:
            return ()
        try:
            names = tuple(data.decode("ascii").split(","))
        except UnicodeDecodeError as error:
            raise WireError("name-list is not US-ASCII") from error
        if not all(names):
            raise WireError("name-list has an empty name")
        return names

    def nested(self, max_bytes: int = MAX_STRING_BYTES) -> Self:
        """A string to be read as fields of its own."""
        return type(self)(self.string(max_bytes))

    def rest(self) -> bytes:
        """Everything not read yet."""
        return self.take(self.remaining)

    def finish(self) -> None:
        """Refuse trailing bytes."""
        if self.remaining:
            raise WireError(f"{self.remaining} trailing bytes")
