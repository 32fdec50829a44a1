"""Fields of frame bodies: checked reading, bounded writing. Nothing here knows a frame."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Any, NamedTuple, TypeVar

from penstock.tunnel.errors import CloseCode, LocalError, RemoteError
from penstock.tunnel.limits import MAX_DATA, MAX_METADATA

E = TypeVar("E", bound=IntEnum)

_U8 = struct.Struct("!B")
_U16 = struct.Struct("!H")
_U32 = struct.Struct("!I")
_U64 = struct.Struct("!Q")
_KEY = struct.Struct("!16sQ")


class Key(NamedTuple):
    """Names an exchange: the life of its origin (16 random bytes), and a counter of that life."""

    boot: bytes
    seq: int

    def __str__(self) -> str:
        return f"{self.boot.hex()[:8]}.{self.seq}"


def _malformed(text: str) -> RemoteError:
    return RemoteError(CloseCode.MALFORMED, text)


def member(kind: type[E], value: int) -> E:
    """The member of an enum that came as a number; RemoteError(MALFORMED) when there is none."""
    try:
        return kind(value)
    except ValueError:
        raise _malformed(f"{value} is no {kind.__name__}") from None


class Reader:
    """Reads fields in order; RemoteError(MALFORMED) when the body does not hold them.

    The body is `data` from `start` to `stop`: payload is copied once, out of the message it came in.
    """

    __slots__ = ("_at", "_data", "_start", "_stop")

    def __init__(self, data: bytes, start: int = 0, stop: int | None = None) -> None:
        self._data = data
        self._start = self._at = start
        self._stop = len(data) if stop is None else stop

    def _skip(self, n: int) -> int:
        """Where the next `n` bytes begin."""
        at = self._at
        self._at = at + n
        if self._at > self._stop:
            raise _malformed("the frame is shorter than its fields")
        return at

    def unpack(self, layout: struct.Struct) -> tuple[Any, ...]:
        """Several fields of fixed size in one go."""
        return layout.unpack_from(self._data, self._skip(layout.size))

    def fixed(self, n: int) -> bytes:
        at = self._skip(n)
        return self._data[at : at + n]

    def u8(self) -> int:
        return self._data[self._skip(1)]

    def u16(self) -> int:
        at = self._skip(2)
        return self._data[at] << 8 | self._data[at + 1]

    def u32(self) -> int:
        return int.from_bytes(self.fixed(4), "big")

    def u64(self) -> int:
        return int.from_bytes(self.fixed(8), "big")

    def enum8(self, kind: type[E]) -> E:
        return member(kind, self.u8())

    def text8(self) -> str:
        return self._text(self.u8())

    def text16(self) -> str:
        return self._text(self.u16())

    def _text(self, n: int) -> str:
        at = self._skip(n)
        try:
            return self._data[at : at + n].decode()
        except UnicodeDecodeError:
            raise _malformed("a text field is not UTF-8") from None

    def bytes16(self) -> bytes:
        return self.fixed(self.u16())

    def key(self) -> Key:
        return Key(*self.unpack(_KEY))

    def names(self) -> tuple[str, ...]:
        return tuple(self.text8() for _ in range(self.u16()))

    def headers(self) -> tuple[tuple[str, str], ...]:
        """A count, and as many pairs of text8 and text16. Without a call per field: half of a small frame."""
        pairs = []
        count, data, stop, at = self.u16(), self._data, self._stop, self._at
        try:
            for _ in range(count):
                end = at + 1 + data[at]
                name = data[at + 1 : end].decode()
                at = end + 2
                end = at + (data[end] << 8 | data[end + 1])
                value = data[at:end].decode()
                if end > stop:
                    raise IndexError
                pairs.append((name, value))
                at = end
        except IndexError:
            raise _malformed("the frame is shorter than its fields") from None
        except UnicodeDecodeError:
            raise _malformed("a header is not UTF-8") from None
        self._at = at
        return tuple(pairs)

    def rest(self) -> bytes:
        return self.fixed(self._stop - self._at)

    def data(self) -> bytes:
        """The payload at the end of the body; also checks the size of the metadata before it."""
        if self._at - self._start > MAX_METADATA:
            raise _malformed("the metadata of a frame has at most 64 KiB")
        data = self.rest()
        if len(data) > MAX_DATA:
            raise _malformed("a frame carries at most 16 KiB of payload")
        return data

    def finish(self) -> None:
        if self._at != self._stop:
            raise _malformed("the frame is longer than its fields")


def _utf8(value: str) -> bytes:
    try:
        return value.encode()
    except UnicodeEncodeError:
        raise LocalError("a text with a lone surrogate") from None


class Writer:
    """Writes fields in order; LocalError when a value does not fit its field."""

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def fixed(self, value: bytes, n: int) -> Writer:
        if len(value) != n:
            raise LocalError(f"a field of {n} bytes got {len(value)}")
        self._parts.append(value)
        return self

    def pack(self, layout: struct.Struct, *values: int | bytes) -> Writer:
        """Several fields of fixed size in one go. Bytes among them must have their size: it is padded."""
        try:
            self._parts.append(layout.pack(*values))
        except struct.error:
            raise LocalError(f"a number that does not fit into its field ({layout.format})") from None
        return self

    def u8(self, value: int) -> Writer:
        return self.pack(_U8, value)

    def u16(self, value: int) -> Writer:
        return self.pack(_U16, value)

    def u32(self, value: int) -> Writer:
        return self.pack(_U32, value)

    def u64(self, value: int) -> Writer:
        return self.pack(_U64, value)

    def text8(self, value: str) -> Writer:
        data = _utf8(value)
        if len(data) > 0xFF:
            raise LocalError("a text of over 255 bytes")
        self._parts += (bytes((len(data),)), data)
        return self

    def text16(self, value: str) -> Writer:
        return self.bytes16(_utf8(value))

    def bytes16(self, value: bytes) -> Writer:
        if len(value) > 0xFFFF:
            raise LocalError("a field of over 64 KiB")
        self._parts += (_U16.pack(len(value)), value)
        return self

    def names(self, names: tuple[str, ...]) -> Writer:
        self.u16(len(names))
        for name in names:
            self.text8(name)
        return self

    def headers(self, pairs: tuple[tuple[str, str], ...]) -> Writer:
        self.u16(len(pairs))
        parts = self._parts
        for name, value in pairs:
            first, second = _utf8(name), _utf8(value)
            if len(first) > 0xFF or len(second) > 0xFFFF:
                raise LocalError("a header of over 64 KiB, or with a name of over 255 bytes")
            parts += (bytes((len(first),)), first, _U16.pack(len(second)), second)
        return self

    def done(self) -> bytes:
        body = b"".join(self._parts)
        if len(body) > MAX_METADATA:
            raise LocalError("the metadata of a frame has at most 64 KiB")
        return body
