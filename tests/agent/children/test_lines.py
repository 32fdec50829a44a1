import random
from typing import SupportsIndex

import pytest

from penstock_agent.children.lines import LineFramer, Oversize

MIB = 1024 * 1024


def cut(data: bytes, size: int, limit: int = 100) -> list[bytes | Oversize]:
    framer = LineFramer(limit)
    out: list[bytes | Oversize] = []
    for start in range(0, len(data), size):
        out += framer.feed(data[start : start + size])
    return out


def test_a_read_may_hold_no_line_one_line_or_many() -> None:
    framer = LineFramer()
    assert framer.feed(b"a") == []
    assert framer.feed(b"b\n") == [b"ab"]
    assert framer.feed(b"c\nd\ne") == [b"c", b"d"]
    assert framer.feed(b"\n") == [b"e"]


def test_crlf_ends_a_line_also_when_a_read_ends_between_the_two() -> None:
    framer = LineFramer()
    assert framer.feed(b"one\r\ntwo\r") == [b"one"]
    assert framer.feed(b"\n") == [b"two"]


def test_only_one_cr_belongs_to_the_line_ending() -> None:
    assert LineFramer().feed(b"a\rb\r\r\n") == [b"a\rb\r"]


def test_blank_lines_are_dropped() -> None:
    assert LineFramer().feed(b"\n\r\n  \t\n \r\nx\n" + b"\n" * 100_000) == [b"x"]


def test_any_other_byte_is_the_line_s_own() -> None:
    line = bytes(set(range(256)) - {10, 13})
    assert LineFramer().feed(line + b"\n") == [line]


@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_a_line_of_exactly_the_limit_passes_and_one_byte_more_does_not(ending: bytes, size: int) -> None:
    assert cut(b"x" * 100 + ending, size) == [b"x" * 100]
    assert cut(b"x" * 101 + ending, size) == [Oversize(100)]


def test_an_endless_line_is_reported_once_and_at_once() -> None:
    framer = LineFramer(100)
    assert framer.feed(b"x" * 60) == []
    assert framer.feed(b"x" * 60) == [Oversize(100)]
    assert framer.feed(b"x" * 60) == []
    assert framer.feed(b"x" * 10_000) == []


def test_an_over_long_line_is_discarded_to_its_end_and_the_next_one_counts() -> None:
    framer = LineFramer(100)
    assert framer.feed(b"x" * 300) == [Oversize(100)]
    assert framer.feed(b"xx\nnext\n") == [b"next"]
    assert framer.feed(b"y" * 300 + b"\nagain\n") == [Oversize(100), b"again"]


def test_each_over_long_line_in_one_read_is_reported() -> None:
    long = b"x" * 101
    data = b"\n".join((b"a", long, b"b", long, long, b"c", b""))
    assert LineFramer(100).feed(data) == [b"a", Oversize(100), b"b", Oversize(100), Oversize(100), b"c"]


def test_how_the_bytes_are_cut_into_reads_changes_nothing() -> None:
    chance = random.Random(1)
    for _ in range(200):
        data = (
            bytes(chance.choice(b"ab\r\n\n  ") for _ in range(300))
            + b"x" * chance.randrange(250)
            + b"\nend\n"
        )
        assert cut(data, chance.randrange(1, 50)) == cut(data, len(data))


def test_what_is_held_never_passes_the_limit() -> None:
    framer = LineFramer(1000)
    for _ in range(500):
        framer.feed(b"z" * 7)
        assert framer.partial <= 1001
    assert framer.partial == 0


def test_a_limit_that_lets_nothing_through_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        LineFramer(0)


class Counted(bytes):
    """A read that counts how many of its bytes are searched."""

    searched = 0

    def find(self, sub: bytes, *span: SupportsIndex | None) -> int:  # type: ignore[override]  # bytes only, here
        at = super().find(sub, *span)
        Counted.searched += len(self) if at < 0 else at
        return at

    def rfind(self, sub: bytes, *span: SupportsIndex | None) -> int:  # type: ignore[override]  # bytes only, here
        at = super().rfind(sub, *span)
        Counted.searched += len(self) - max(at, 0)
        return at


class Buffer(bytearray):
    """Counts the bytes that are put in, taken out or searched."""

    work = 0

    def __iadd__(self, other: bytes) -> "Buffer":  # type: ignore[override,misc]  # bytes only, here
        self.work += len(other)
        super().__iadd__(other)
        return self

    def __add__(self, other: object) -> bytearray:
        self.work += len(self)
        return super().__add__(other)  # type: ignore[operator]  # passed on as it came

    def __bytes__(self) -> bytes:
        self.work += len(self)
        return bytes(memoryview(self))

    def find(self, *args: object) -> int:
        self.work += len(self)
        return super().find(*args)  # type: ignore[arg-type]  # passed on as it came

    def __contains__(self, key: object) -> bool:
        self.work += len(self)
        return super().__contains__(key)  # type: ignore[operator]  # passed on as it came


@pytest.mark.parametrize("mib", [1, 4, 64])
def test_a_line_costs_work_in_proportion_to_its_length(mib: int) -> None:
    """64 MiB in reads of 256 KiB: each byte searched once, put in once and taken out once."""
    framer = LineFramer()
    buffer = framer._partial = Buffer()
    Counted.searched = 0
    read = Counted(b"x" * (256 * 1024))
    for _ in range(mib * 4):
        assert framer.feed(read) == []
    (line,) = framer.feed(Counted(b"\n"))
    assert isinstance(line, bytes)
    assert len(line) == mib * MIB
    assert framer._partial is buffer
    assert 2 * mib * MIB <= buffer.work <= 2 * mib * MIB + 1024
    assert mib * MIB <= Counted.searched <= mib * MIB + 1024
