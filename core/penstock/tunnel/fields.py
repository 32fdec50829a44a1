"""Fields of frame bodies: checked reading, bounded writing. Nothing here knows a frame."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import NamedTuple, TypeVar

from penstock.tunnel.errors import CloseCode, LocalError, RemoteError
from penstock.tunnel.limits import MAX_DATA, MAX_METADATA

E = TypeVar("E", bound=IntEnum)

_U16 = struct.Struct("!H")
_U32 = struct.Struct("!I")
_U64 = struct.Struct("!Q")


class Key(NamedTuple):
    """Names an exchange: the life of its origin (16 random bytes), and a counter of that life."""

    boot: bytes
    seq: int

    def __str__(self) -> str:
        return f"{self.boot.hex()[:8]}.{self.seq}"


def _malformed(text: str) -> RemoteError:
    return RemoteError(CloseCode.MALFORMED, text)


class Reader:
    """Reads fields in order; RemoteError(MALFORMED) when the body does not hold them."""

    __slots__ = ("_at", "_body")

    def __init__(self, body: bytes) -> None:
        self._body = body
        self._at = 0

    def fixed(self, n: int) -> bytes:
        at = self._at
        self._at = stop = at + n
        if stop > len(self._body):
            raise _malformed("the frame is shorter than its fields")
        return self._body[at:stop]

    def u8(self) -> int:
        return self.fixed(1)[0]

    def u16(self) -> int:
        return int.from_bytes(self.fixed(2), "big")

    def u32(self) -> int:
        return int.from_bytes(self.fixed(4), "big")

    def u64(self) -> int:
        return int.from_bytes(self.fixed(8), "big")

    def enum8(self, kind: type[E]) -> E:
        value = self.u8()
        try:
            return kind(value)
        except ValueError:
            raise _malformed(f"{value} is no {kind.__name__}") from None

    def text8(self) -> str:
        return self._text(self.u8())

    def text16(self) -> str:
        return self._text(self.u16())

    def _text(self, n: int) -> str:
        try:
            return self.fixed(n).decode()
        except UnicodeDecodeError:
            raise _malformed("a text field is not UTF-8") from None

    def bytes16(self) -> bytes:
        return self.fixed(self.u16())

    def key(self) -> Key:
        return Key(self.fixed(16), self.u64())

    def names(self) -> tuple[str, ...]:
        return tuple(self.text8() for _ in range(self.u16()))

    def headers(self) -> tuple[tuple[str, str], ...]:
        return tuple((self.text8(), self.text16()) for _ in range(self.u16()))

    def rest(self) -> bytes:
        return self.fixed(len(self._body) - self._at)

    def data(self) -> bytes:
        """The payload at the end of the body; also checks the size of the metadata before it."""
        if self._at > MAX_METADATA:
            raise _malformed("the metadata of a frame has at most 64 KiB")
        data = self.rest()
        if len(data) > MAX_DATA:
            raise _malformed("a frame carries at most 16 KiB of payload")
        return data

    def finish(self) -> None:
        if self._at != len(self._body):
            raise _malformed("the frame is longer than its fields")


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

    def u8(self, value: int) -> Writer:
        self._parts.append(bytes((value,)))
        return self

    def u16(self, value: int) -> Writer:
        self._parts.append(_U16.pack(value))
        return self

    def u32(self, value: int) -> Writer:
        self._parts.append(_U32.pack(value))
        return self

    def u64(self, value: int) -> Writer:
        self._parts.append(_U64.pack(value))
        return self

    def text8(self, value: str) -> Writer:
        data = value.encode()
        if len(data) > 0xFF:
            raise LocalError("a text of over 255 bytes")
        self._parts += (bytes((len(data),)), data)
        return self

    def text16(self, value: str) -> Writer:
        return self.bytes16(value.encode())

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
        for name, value in pairs:
            self.text8(name).text16(value)
        return self

    def done(self) -> bytes:
        body = b"".join(self._parts)
        if len(body) > MAX_METADATA:
            raise LocalError("the metadata of a frame has at most 64 KiB")
        return body
