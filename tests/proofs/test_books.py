"""The books by which other proofs judge, judged: what they compare, and what they do not let pass."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256

import pytest

from penstock.tunnel.fields import Key
from penstock.tunnel.frames import (
    Attach,
    Data,
    Done,
    DoneReason,
    EndReason,
    Frame,
    Head,
    Method,
    Open,
    Purpose,
)
from penstock.tunnel.frames import End as EndFrame
from penstock_agent.ledger.reading import NOBODY, Record
from tests.proofs.account import begun, cut_short
from tests.proofs.books import Uncovered, Undecided, Wire, covered, decided
from tests.proofs.tap import Capture

KEY = Key(b"b" * 16, 1)
NAME = str(KEY)
BODY = b"0123456789"
CALL = b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"echo"}}'
FORM = (("content-type", "application/json"),)


def opened(body: bytes = CALL) -> Open:
    return Open(
        KEY, 1, "plant", "files", Method.POST, Purpose.MCP, bytes(32), 1000, len(body), 0, (), body, end=True
    )


def record(kind: str, **said: object) -> Record:
    return Record(1, "", kind, {"exchange": NAME, **said}, NOBODY)


def sent(offset: int, data: bytes) -> Record:
    return record("sent", offset=offset, bytes=len(data), hash=sha256(data).hexdigest())


DECISION = record("decision", method="tools/call", id="7", verdict="allowed")
LEDGER = [DECISION, sent(0, BODY[:4]), sent(4, BODY[4:])]


def wire(*frames: Frame, told: tuple[Frame, ...] = ()) -> Wire:
    seen = Wire()
    seen.link(1, frames, (opened(), *told))
    return seen


WHOLE = (Head(KEY, 200, FORM, BODY[:2]), Data(KEY, 2, BODY[2:], end=True))


def test_what_left_is_covered_however_frames_and_records_divide_it() -> None:
    found = covered(wire(*WHOLE), LEDGER, ())
    assert (found.exchanges, found.bytes, found.records, found.surplus_records) == (1, 10, 2, 0)
    assert decided(wire(*WHOLE), LEDGER) == 1


def test_what_comes_again_after_a_cut_must_be_the_same() -> None:
    seen = wire(Head(KEY, 200, FORM, BODY[:6]))
    seen.link(2, (Head(KEY, 200, FORM), Data(KEY, 3, BODY[3:], end=True)), (Attach(KEY, 1, 1, 3, 99),))
    assert covered(seen, LEDGER, ()).bytes == 10
    assert seen.repeated == 3
    assert seen.broken_off({1: "cut", 2: "cut"}) == {}
    for late in (Data(KEY, 3, b"x" + BODY[4:]), Data(KEY, 11, b"x")):  # other bytes; a gap
        with pytest.raises(Uncovered):
            covered(wire(Head(KEY, 200, FORM, BODY), late), LEDGER, None)


MUTANTS: dict[str, list[Record]] = {
    "none": [],
    "one less, in front": [LEDGER[0], LEDGER[2]],
    "one less, at the end": LEDGER[:2],
    "one twice": [*LEDGER, LEDGER[2]],
    "in another order": [LEDGER[0], LEDGER[2], LEDGER[1]],
    "of another hash": [*LEDGER[:2], sent(4, b"other!")],
    "one byte shorter": [*LEDGER[:2], sent(4, BODY[4:9])],
    "one byte longer": [*LEDGER[:2], sent(4, BODY[4:] + b"!")],
    "overlapping": [*LEDGER[:2], sent(3, BODY[3:])],
    "one more": [*LEDGER, sent(10, b"more")],
    "taken back": [*LEDGER, record("unsent", offset=4)],
    "taken back what was not said": [*LEDGER, record("unsent", offset=5)],
}


@pytest.mark.parametrize("what", MUTANTS)
@pytest.mark.parametrize("cut", [(), (NAME,), None])
def test_records_that_differ_from_what_left_do_not_cover_it(what: str, cut: tuple[str, ...] | None) -> None:
    """Though it may be known that the exchange was cut: the whole answer was seen."""
    with pytest.raises(Uncovered):
        covered(wire(*WHOLE), MUTANTS[what], cut)


@pytest.mark.parametrize("place", range(len(BODY)))
def test_each_byte_that_left_as_another_is_noticed(place: int) -> None:
    other = bytearray(BODY)
    other[place] ^= 1
    with pytest.raises(Uncovered):
        covered(wire(Head(KEY, 200, FORM, bytes(other), end=True)), LEDGER, None)


def test_records_of_more_than_was_seen_need_a_reason() -> None:
    half = (Head(KEY, 200, FORM, BODY[:6]),)
    with pytest.raises(Uncovered, match="nothing was cut"):
        covered(wire(*half), LEDGER, wire(*half).broken_off({}))
    for seen, links, why in (
        (wire(*half), {1: "its link was cut"}, "its link was cut"),
        (wire(*half, told=(Done(KEY, DoneReason.CLIENT_GONE),)), {}, "its caller gave up"),
        (wire(*half, EndFrame(KEY, 6, EndReason.FAILED)), {}, "its agent said FAILED"),
    ):
        cut = seen.broken_off(links)
        assert cut == {NAME: why}
        found = covered(seen, LEDGER, cut)
        assert (found.surplus_records, found.surplus_bytes, found.unproven) == (1, 4, 2)


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (CALL, LEDGER[1:]),
        (CALL, [DECISION, *LEDGER]),
        (CALL, [LEDGER[1], DECISION, LEDGER[2]]),
        (CALL, [record("decision", method="tools/list", id="7"), *LEDGER[1:]]),
        (CALL, [record("decision", method="tools/call", id='"7"'), *LEDGER[1:]]),
        (CALL, [*LEDGER, record("decision", exchange="another", method="tools/call", id="7")]),
        (b'{"jsonrpc":"2.0","method":"notifications/x"}', LEDGER),
    ],
    ids=["none", "two", "too late", "other method", "other id", "nobody asked", "no request"],
)
def test_each_request_that_was_answered_needs_one_decision_about_it(body: bytes, found: list[Record]) -> None:
    seen = Wire()
    seen.link(1, WHOLE, (opened(body),))
    with pytest.raises(Undecided):
        decided(seen, found)


# -- links that were cut anywhere ------------------------------------------------------------------


def message(payload: bytes) -> bytes:
    """A websocket message of a client."""
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2)
    return b"\x82" + length + b"mask" + bytes(b ^ b"mask"[i % 4] for i, b in enumerate(payload))


@pytest.mark.parametrize("size", [10, 300])
def test_each_byte_counts_that_was_seen_before_a_link_was_cut(size: int) -> None:
    data = json.dumps("x" * size).encode()
    first, second = Head(KEY, 200, FORM, b"01"), Data(KEY, 2, data, end=True)
    sent = b"GET /link HTTP/1.1\r\n\r\n" + message(first.encode()) + message(second.encode())
    most = 0
    for stop in range(len(sent) + 1):
        seen = Wire()
        seen.link(1, *cut_short(Capture(1, up=bytearray(sent[:stop]))))
        body = bytes(seen.bodies.get(NAME, b""))
        assert (b"01" + data).startswith(body)
        assert len(body) - most in (0, 1)
        most = len(body)
        assert (NAME in seen.ended) is (stop == len(sent))
    assert most == 2 + len(data)


@pytest.mark.parametrize("frame", [EndFrame(KEY, 1), Head(KEY, 200, FORM), Data(KEY, 5, b"")])
def test_half_a_frame_without_payload_is_nothing(frame: Frame) -> None:
    encode: Callable[[], bytes] = frame.encode
    for stop in range(len(encode())):
        assert begun(encode()[:stop]) is None
