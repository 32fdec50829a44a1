"""Bytes to frames. The other way is each frame's `encode`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import get_args

from penstock.tunnel.errors import CloseCode, RemoteError
from penstock.tunnel.fields import Reader
from penstock.tunnel.frames import HEADER, ExchangeFrame, Flag, Frame, FrameType, LinkFrame
from penstock.tunnel.limits import MAX_DATA, MAX_METADATA

_FLAGS: dict[int, int] = {
    FrameType.PING: Flag.ACK,
    FrameType.OPEN: Flag.END,
    FrameType.HEAD: Flag.END,
    FrameType.DATA: Flag.END,
}
_CARRIES_DATA: frozenset[int] = frozenset({FrameType.OPEN, FrameType.HEAD, FrameType.DATA})
_MAY_GROW: frozenset[int] = frozenset({FrameType.HELLO, FrameType.WELCOME})
_DECODERS: dict[int, Callable[[Reader, int], Frame]] = {
    cls.type: cls.decode for cls in (*get_args(LinkFrame), *get_args(ExchangeFrame))
}


def decode(kind: int, flags: int, body: bytes) -> Frame:
    """One frame from its header fields and body. RemoteError(MALFORMED) for anything else."""
    return _decode(kind, flags, Reader(body))


def _decode(kind: int, flags: int, reader: Reader) -> Frame:
    decoder = _DECODERS.get(kind)
    if decoder is None:
        raise RemoteError(CloseCode.MALFORMED, f"unknown frame type 0x{kind:02x}")
    if flags and flags & ~_FLAGS.get(kind, 0):
        raise RemoteError(CloseCode.MALFORMED, f"unknown flags 0x{flags:02x} on {FrameType(kind).name}")
    frame = decoder(reader, flags)
    if kind not in _MAY_GROW:
        reader.finish()
    return frame


class Decoder:
    """Frames out of the bytes of a link, however they were cut into messages.

    Holds at most one incomplete frame, so at most MAX_METADATA + MAX_DATA and a header.
    """

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[tuple[int, Frame]]:
        """(link field, frame) for each frame that is now whole; RemoteError(MALFORMED) as `decode`.

        What stands before a bad frame counts, also where one message holds both: they are yielded one by
        one, and the caller must take all of them before it feeds more.
        """
        if self._rest:
            data = self._rest + data
        at, end = 0, len(data)
        while end - at >= 10:
            length, kind, flags, link = HEADER.unpack_from(data, at)
            if length > (MAX_METADATA + MAX_DATA if kind in _CARRIES_DATA else MAX_METADATA):
                raise RemoteError(CloseCode.MALFORMED, f"a frame of {length} bytes is too long")
            start = at + 10
            if start + length > end:
                break
            at = start + length
            yield link, _decode(kind, flags, Reader(data, start, at))
        self._rest = data[at:]
