from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.tunnel.codec import Decoder, decode
from penstock.tunnel.errors import CloseCode, RemoteError
from penstock.tunnel.frames import HEADER, Frame, FrameType, Ping
from tests.core.tunnel.strategies import frames


def read(chunks: list[bytes]) -> tuple[list[tuple[int, Frame]], CloseCode | None]:
    """Frames, and the code that ended it."""
    decoder = Decoder()
    got: list[tuple[int, Frame]] = []
    try:
        for chunk in chunks:
            for item in decoder.feed(chunk):
                got.append(item)
    except RemoteError as error:
        return got, error.code
    return got, None


def cut(data: bytes, at: list[int]) -> list[bytes]:
    places = [0, *sorted(n % (len(data) + 1) for n in at), len(data)]
    return [data[a:b] for a, b in pairwise(places)]


@given(st.lists(frames, max_size=5), st.lists(st.integers(0, 10**6), max_size=8))
def test_frames_come_out_however_their_bytes_are_cut(sent: list[Frame], at: list[int]) -> None:
    data = b"".join(frame.encode() for frame in sent)
    assert read(cut(data, at)) == ([(0, frame) for frame in sent], None)


@given(st.lists(frames, max_size=3), st.binary(max_size=80))
def test_garbage_is_frames_or_malformed_and_the_same_whole_and_byte_by_byte(
    before: list[Frame], garbage: bytes
) -> None:
    data = b"".join(frame.encode() for frame in before if len(frame.encode()) < 1000) + garbage
    whole = read([data])
    assert whole[1] in (None, CloseCode.MALFORMED)
    assert read([data[i : i + 1] for i in range(len(data))]) == whole


@given(st.sampled_from(FrameType), st.integers(0, 3), st.binary(max_size=200))
def test_any_body_is_a_frame_or_malformed(kind: FrameType, flags: int, body: bytes) -> None:
    got, code = read([HEADER.pack(len(body), kind, flags, 0) + body])
    assert (len(got), code) in ((1, None), (0, CloseCode.MALFORMED))
    for _, frame in got:
        assert frame == decode(kind, flags, body)
        if kind not in (FrameType.HELLO, FrameType.WELCOME):
            assert frame.encode()[10:] == body


@given(frames, st.integers(0, 10**6), st.integers(1, 255))
def test_a_frame_with_one_byte_changed_is_a_frame_or_malformed(frame: Frame, at: int, by: int) -> None:
    data = bytearray(frame.encode())
    data[at % len(data)] ^= by
    assert read([bytes(data)])[1] in (None, CloseCode.MALFORMED)


def test_what_stands_before_a_bad_frame_in_one_message_counts() -> None:
    got, code = read([Ping(1).encode() + Ping(2).encode() + b"\0\0\0\0\xff\0\0\0\0\0" + Ping(3).encode()])
    assert got == [(0, Ping(1)), (0, Ping(2))]
    assert code is CloseCode.MALFORMED


@pytest.mark.parametrize("kind", FrameType)
def test_a_length_that_no_frame_has_is_refused_at_its_header(kind: FrameType) -> None:
    most = 80 * 1024 if kind in (FrameType.OPEN, FrameType.HEAD, FrameType.DATA) else 64 * 1024
    assert read([HEADER.pack(most, kind, 0, 0)]) == ([], None)
    assert read([HEADER.pack(most + 1, kind, 0, 0)]) == ([], CloseCode.MALFORMED)
