"""Parsing event streams: what the standard says, whatever the reads, and never more than the limit."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from penstock_agent.children.lines import Oversize
from penstock_agent.remote.sse import RETRY_MAX_S, Event, SseParser


def feed(data: bytes, cuts: list[int] | None = None, limit: int = 1000) -> list[Event | Oversize]:
    parser = SseParser(limit)
    out: list[Event | Oversize] = []
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts or []), len(data)]
    for begin, end in itertools.pairwise(edges):
        out += parser.feed(data[begin:end])
    return out


@pytest.mark.parametrize(
    ("data", "events"),
    [
        (b"data: one\n\n", [Event("message", b"one")]),
        (b"data:one\n\n", [Event("message", b"one")]),
        (b"data:  one\n\n", [Event("message", b" one")]),
        (b"data: one\r\n\r\n", [Event("message", b"one")]),
        (b"data: one\r\r", [Event("message", b"one")]),
        (b"data: {\ndata: }\n\n", [Event("message", b"{\n}")]),
        (b"event: endpoint\ndata: /p\n\n", [Event("endpoint", b"/p")]),
        (b"event: endpoint\n\ndata: x\n\n", [Event("message", b"x")]),
        (b": a comment\n\ndata: x\n\n", [Event("message", b"x")]),
        (b"\xef\xbb\xbfdata: x\n\n", [Event("message", b"x")]),
        (b"\xef\xbb\xbf\ndata: x\n\n", [Event("message", b"x")]),
        (b"data\n\n", []),
        (b"data:\n\n", []),
        (b"id: 1\ndata:\n\n", []),
        (b"unknown: x\ndata: x\n\n", [Event("message", b"x")]),
        (b"data: never ended\n", []),
        (b"data: a\n\n\n\ndata: b\n\n", [Event("message", b"a"), Event("message", b"b")]),
    ],
)
def test_events_are_what_the_standard_says(data: bytes, events: list[Event]) -> None:
    assert feed(data) == events
    assert feed(data, list(range(len(data)))) == events


def test_the_id_counts_once_its_event_is_whole() -> None:
    parser = SseParser()
    parser.feed(b"id: 7\ndata: x\n")
    assert parser.last_id is None
    parser.feed(b"\n")
    assert parser.last_id == "7"
    parser.feed(b"data: y\n\n")
    assert parser.last_id == "7"


def test_a_priming_event_has_an_id_and_nothing_to_deliver() -> None:
    parser = SseParser()
    assert parser.feed(b"id: first\nretry: 1500\ndata:\n\n") == []
    assert (parser.last_id, parser.retry_s) == ("first", 1.5)


@pytest.mark.parametrize("id", [b"", "grün".encode(), b"a\x01b", b"x" * 1025, b"a\tb"])
def test_an_id_that_no_header_can_carry_ends_what_could_be_resumed(id: bytes) -> None:
    parser = SseParser(5000)
    parser.feed(b"id: good\ndata: x\n\nid: " + id + b"\ndata: x\n\n")
    assert parser.last_id is None


def test_an_id_with_a_nul_is_none() -> None:
    parser = SseParser()
    parser.feed(b"id: good\ndata: x\n\nid: b\0d\ndata: x\n\n")
    assert parser.last_id == "good"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(b"3000", 3.0), (b"-1", None), (b"1.5", None), (b"x", None), (b"", None), (b"9" * 9, RETRY_MAX_S)],
)
def test_a_waiting_time_is_a_number_of_milliseconds_within_reason(
    value: bytes, seconds: float | None
) -> None:
    parser = SseParser()
    parser.feed(b"retry: " + value + b"\n\n")
    assert parser.retry_s == seconds


def test_an_event_above_the_limit_is_said_at_once_and_the_next_one_is_good() -> None:
    parser = SseParser(10)
    assert parser.feed(b"data: " + b"x" * 50) == [Oversize(10)]
    assert parser.partial == 0
    assert parser.feed(b"x" * 1000 + b"\ndata: more\n\ndata: good\n\n") == [Event("message", b"good")]


def test_many_short_lines_of_one_event_count_together() -> None:
    assert feed(b"data: 123\n" * 4 + b"\n", limit=10) == [Oversize(10)]


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=10))
@example(b"data: a\r\n\r\ndata: b\r\r", [9])
@example(b"\xef\xbb\xbf\r\n\n", [1, 2, 4])
def test_it_does_not_matter_how_the_stream_is_cut(data: bytes, cuts: list[int]) -> None:
    assert feed(data, cuts) == feed(data)


_FIELD = st.sampled_from([b"data", b"event", b"id", b"retry", b"", b"x", b"\xef\xbb\xbfdata", b"da\xffta"])
_LINE = st.builds(
    lambda field, colon, value, end: field + colon + value + end,
    _FIELD,
    st.sampled_from([b":", b": ", b""]),
    st.binary(max_size=30),
    st.sampled_from([b"\n", b"\r\n", b"\r", b"\n\n", b"\r\n\r\n"]),
)


@given(st.lists(_LINE, max_size=30), st.lists(st.integers(0, 2000), max_size=10), st.integers(1, 40))
def test_whatever_comes_what_is_held_and_given_is_bounded(
    lines: list[bytes], cuts: list[int], limit: int
) -> None:
    data = b"".join(lines)
    parser = SseParser(limit)
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for begin, end in itertools.pairwise(edges):
        for event in parser.feed(data[begin:end]):
            assert isinstance(event, Oversize) or 0 < len(event.data) <= limit
        assert parser.partial <= limit + 8
        assert parser.last_id is None or (parser.last_id.isascii() and parser.last_id.isprintable())


def test_a_parser_that_lets_nothing_through_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        SseParser(0)


def test_what_an_event_says_is_not_in_its_repr() -> None:
    assert repr(Event("message", b"secret")) == "<Event message data=6 bytes>"
