"""Sealed files: read back with the key, and by nobody else; what was changed is noticed."""

from __future__ import annotations

from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock_agent.capture import sealed
from penstock_agent.capture.sealed import Piece, Sealer, Unreadable, private, public, unseal

PRIVATE, PUBLIC = sealed.generate()
OTHER, _ = sealed.generate()
PIECES = [
    (Piece(1.5, "k-1", "in"), b'{"a":1}'),
    (Piece(2.5, "k-1", "out", 7), b""),
    (Piece(3.0, "k-2", "in"), b"\n\n"),
]


def written(pieces: list[tuple[Piece, bytes]] = PIECES) -> bytes:
    sealer = Sealer(PUBLIC)
    return sealer.line + b"".join(sealer.seal(piece, data) for piece, data in pieces)


def read(data: bytes, key: str = PRIVATE) -> list[tuple[Piece, bytes]]:
    return list(unseal(BytesIO(data), private(key), len(data)))


def test_who_has_the_key_reads_all_of_it_and_nobody_else_any() -> None:
    data = written()
    assert read(data) == PIECES
    assert b"k-1" not in data
    with pytest.raises(Unreadable, match=f"sealed to another key, {PUBLIC}"):
        read(data, OTHER)
    assert written() != data


def test_a_last_piece_that_is_not_whole_is_passed_over() -> None:
    data = written()
    assert read(data[:-1]) == PIECES[:2]
    assert read(data[: data.index(b"\n") + 3]) == []


@settings(max_examples=60)
@given(st.data())
def test_a_bit_that_was_changed_is_noticed(draw: st.DataObject) -> None:
    data = bytearray(written())
    at = draw.draw(st.integers(0, len(data) - 1))
    data[at] ^= 1 << draw.draw(st.integers(0, 7))
    try:
        found = read(bytes(data))
    except Unreadable:
        return
    assert found == PIECES[: len(found)], "only an end can be missing"
    assert len(found) < 3


def test_a_piece_that_was_moved_or_is_of_another_file_is_noticed() -> None:
    sealer, other = Sealer(PUBLIC), Sealer(PUBLIC)
    first, second = (sealer.seal(piece, data) for piece, data in PIECES[:2])
    foreign = other.seal(*PIECES[0])
    for wrong in (second + first, second, foreign, first + first):
        with pytest.raises(Unreadable, match=r"piece \d was changed"):
            read(sealer.line + wrong)
    with pytest.raises(Unreadable, match="piece 1 was changed"):
        read(sealer.line + b"\xff\xff\xff\xff")


@pytest.mark.parametrize("line", [b"", b"x\n", b"{}\n", b'{"capture":1,"recipient":"","sealed":"\\u00e9"}\n'])
def test_what_is_no_such_file_is_said(line: bytes) -> None:
    with pytest.raises(Unreadable, match="no file of captured payload"):
        read(line)


def test_a_file_of_a_later_version_is_said() -> None:
    with pytest.raises(Unreadable, match="later version"):
        read(b'{"capture":2,"recipient":"","sealed":""}\n')


@pytest.mark.parametrize(
    "text",
    ["", "x", PUBLIC[:-1], PUBLIC + "AAAA", "penstock-capture:é", PUBLIC.upper()],
    ids=["nothing", "no prefix", "short", "long", "no base64", "another case"],
)
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no key of captured payload"):
        public(text)
    with pytest.raises(ValueError, match="is no key"):
        private(text)


def test_the_private_key_is_not_taken_for_the_public_one() -> None:
    with pytest.raises(ValueError, match="must not be on this machine"):
        public(PRIVATE)
