"""What was captured, compared with what the ledger says of it."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import pytest

from penstock import canonical
from penstock_agent.capture.capture import Capture, files
from penstock_agent.capture.opened import Found, Ledgered
from penstock_agent.capture.sealed import Piece, generate, private
from penstock_agent.ledger.reading import NOBODY, Record

ARGUMENTS = b'{"b":1,"a":2}'


def record(kind: str, **said: object) -> Record:
    return Record(1, "", kind, said, NOBODY)


LEDGER = Ledgered(
    [
        record("decision", exchange="k", arguments=canonical.digest(ARGUMENTS)),
        record("sent", exchange="k", offset=3, hash=sha256(b"x").hexdigest()),
        record("sent", exchange="other", offset=0, hash=sha256(b"y").hexdigest()),
        record("event", what="started"),
    ],
    frozenset({"k", "unknown"}),
)


def body(arguments: bytes) -> bytes:
    return b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"arguments":' + arguments + b"}}"


@pytest.mark.parametrize(
    ("piece", "data", "fits"),
    [
        (Piece(0.0, "k", "in"), body(ARGUMENTS), True),
        (Piece(0.0, "k", "in"), body(b'{ "a": 2, "b": 1 }'), True),
        (Piece(0.0, "k", "in"), body(b'{"b":1,"a":3}'), False),
        (Piece(0.0, "k", "in"), body(b'{"a":1e999}'), None),
        (Piece(0.0, "k", "in"), b"[" + body(ARGUMENTS) + b"]", None),
        (Piece(0.0, "k", "in"), b"no JSON", None),
        (Piece(0.0, "unknown", "in"), body(ARGUMENTS), None),
        (Piece(0.0, "k", "out", 3), b"x", True),
        (Piece(0.0, "k", "out", 3), b"y", False),
        (Piece(0.0, "k", "out", 0), b"x", False),
        (Piece(0.0, "unknown", "out", 3), b"x", False),
    ],
)
def test_a_piece_fits_if_the_ledger_has_its_hash(piece: Piece, data: bytes, fits: bool | None) -> None:
    assert LEDGER.fits(piece, data) is fits


def test_what_is_added_or_removed_after_the_first_look_is_passed_over(tmp_path: Path) -> None:
    key, recipient = generate()
    now = 1_795_867_200.0
    capture = Capture(tmp_path, recipient, 1, 1 << 30, clock=lambda: now)
    capture.keep("k-1", "out", 0, b"first")
    now += 7200  # which begins another file
    capture.keep("k-2", "out", 0, b"second")
    found = Found(tmp_path)

    def seen() -> list[bytes]:
        return [one.data for one in found.read(private(key))]

    capture.keep("k-2", "out", 6, b"third")
    assert seen() == [b"first", b"second"]
    assert [one.data for one in Found(tmp_path).read(private(key))] == [b"first", b"second", b"third"]
    files(tmp_path)[0].unlink()
    assert seen() == [b"second"]
    capture.close()
