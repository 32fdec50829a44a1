"""A keep-alive comment stands only between events, and only after silence."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.http import KEEP_ALIVE
from penstock_relay.edge.sse import KeepAlive, says_when_to_return

EVENT = b'event: message\nid: 1\ndata: {"a":"b"}\n\n'


def after(*chunks: bytes) -> KeepAlive:
    keep_alive = KeepAlive(0.0, 15.0)
    for chunk in chunks:
        keep_alive.forwarded(chunk, 0.0)
    return keep_alive


@pytest.mark.parametrize(
    "chunks",
    [
        (),
        (EVENT,),
        (EVENT[:-1], b"\n"),
        (EVENT[:5], EVENT[5:]),
        (b"data: x\r\n\r\n",),
        (b"data: x\r\n", b"\r\n"),
        (b"data: x\r\n\r", b"\n"),
        (b"data: x\r", b"\n", b"\r", b"\n"),
        (b"data: x\n\r\n",),
        (b"data: x\r\r",),
        (KEEP_ALIVE,),
        (EVENT, b""),
    ],
)
def test_a_comment_is_due_where_the_bytes_so_far_end_an_event(chunks: tuple[bytes, ...]) -> None:
    assert after(*chunks).due(15.0)


@pytest.mark.parametrize(
    "chunks",
    [
        (EVENT[:-1],),
        (EVENT[:-2],),
        (EVENT, b"d"),
        (EVENT, b"event: message\n"),
        (b"data: x\r\n",),
        (b"data: x\r\n\r",),
        (b"data: x\r",),
    ],
)
def test_no_comment_is_due_inside_an_event(chunks: tuple[bytes, ...]) -> None:
    assert not after(*chunks).due(1e9)


def test_a_comment_is_due_only_after_silence_and_at_most_once_per_interval() -> None:
    keep_alive = KeepAlive(100.0, 15.0)
    assert not keep_alive.due(114.9)
    assert keep_alive.due(115.0)
    keep_alive.commented(115.0)
    assert not keep_alive.due(129.9)
    keep_alive.forwarded(EVENT, 129.9)
    assert not keep_alive.due(130.0)
    assert keep_alive.at == pytest.approx(144.9)
    assert keep_alive.due(144.9)


@given(st.lists(st.integers(1, len(EVENT * 3) - 1), unique=True))
def test_how_events_are_split_into_chunks_does_not_matter(cuts: list[int]) -> None:
    data = EVENT * 3
    ends = {len(EVENT), 2 * len(EVENT), 3 * len(EVENT)}
    keep_alive = KeepAlive(0.0, 15.0)
    places = [0, *sorted(cuts), len(data)]
    for start, end in pairwise(places):
        keep_alive.forwarded(data[start:end], 0.0)
        assert keep_alive.between_events == (end in ends)


@pytest.mark.parametrize(
    ("first", "says"),
    [
        (b"event: message\nid: a.b\nretry: 3000\ndata: \n\n", True),
        (b"event: message\nid: a.b\nretry: 3000\ndata: \n\nevent: message\n", True),
        (EVENT, False),
        (EVENT + b"event: message\nid: a.b\nretry: 500\ndata: \n\n", False),
        (b'event: message\ndata: "retry: 1"\n\n', False),
        (b"", False),
    ],
)
def test_a_stream_says_in_its_first_event_that_its_client_comes_back(first: bytes, says: bool) -> None:
    assert says_when_to_return(first) is says
