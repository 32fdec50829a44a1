"""Bytes to frames. The other way is each frame's `encode`."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

from penstock.tunnel.errors import CloseCode, RemoteError
from penstock.tunnel.fields import Reader
from penstock.tunnel.frames import HEADER, ExchangeFrame, Flag, Frame, FrameType, LinkFrame
from penstock.tunnel.limits import MAX_DATA, MAX_METADATA

_FLAGS = {
    FrameType.PING: Flag.ACK,
    FrameType.OPEN: Flag.END,
    FrameType.HEAD: Flag.END,
    FrameType.DATA: Flag.END,
}
_CARRIES_DATA = frozenset({FrameType.OPEN, FrameType.HEAD, FrameType.DATA})
_MAY_GROW = frozenset({FrameType.HELLO, FrameType.WELCOME})
_DECODERS: dict[int, Callable[[Reader, int], Frame]] = {
    cls.type: cls.decode for cls in (*get_args(LinkFrame), *get_args(ExchangeFrame))
}


def decode(kind: int, flags: int, body: bytes) -> Frame:
    """One frame from its header fields and body. RemoteError(MALFORMED) for anything else."""
    decoder = _DECODERS.get(kind)
    if decoder is None:
        raise RemoteError(CloseCode.MALFORMED, f"unknown frame type 0x{kind:02x}")
    frame_type = FrameType(kind)
    if flags & ~_FLAGS.get(frame_type, 0):
        raise RemoteError(CloseCode.MALFORMED, f"unknown flags 0x{flags:02x} on {frame_type.name}")
    reader = Reader(body)
    frame = decoder(reader, flags)
    if frame_type not in _MAY_GROW:
        reader.finish()
    return frame


class Decoder:
    """Frames out of the bytes of a link, however they were cut into messages.

    Holds at most one incomplete frame, so at most MAX_METADATA + MAX_DATA and a header.
    """

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[tuple[int, Frame]]:
        """(link field, frame) for each frame that is now whole; RemoteError(MALFORMED) as `decode`."""
        if self._rest:
            data = self._rest + data
        frames: list[tuple[int, Frame]] = []
        at, end = 0, len(data)
        while end - at >= 10:
            length, kind, flags, link = HEADER.unpack_from(data, at)
            if length > MAX_METADATA + (MAX_DATA if kind in _CARRIES_DATA else 0):
                raise RemoteError(CloseCode.MALFORMED, f"a frame of {length} bytes is too long")
            stop = at + 10 + length
            if stop > end:
                break
            frames.append((link, decode(kind, flags, data[at + 10 : stop])))
            at = stop
        self._rest = data[at:]
        return frames
