import pytest

from penstock_agent.children.stderr import StderrFilter, plain


@pytest.mark.parametrize(
    ("written", "logged"),
    [
        (b"plain text", "plain text"),
        (b"\x1b[31mred\x1b[0m and \x1b[1;4mbold", "red and bold"),
        (b"\x1b]0;a new window title\x07text", "text"),
        (b"\x1b]8;;http://evil.example\x1b\\link\x1b]8;;\x1b\\", "link"),
        (b"\x1bP1$r0m\x1b\\dcs", "dcs"),
        (b"\x1b(Bcharset\x1bc", "charset"),
        (b"\xc2\x9b31mred", "red"),
        (b"over\rwrite\x08\x00\x7f", "overwrite"),
        (b"a\tb", "a\tb"),
        ("admin\u202egnp.exe \u2066x\u2069".encode(), "admingnp.exe x"),
        (b"\xff\xfe bytes", "\ufffd\ufffd bytes"),
        ("Grüße, 世界".encode(), "Grüße, 世界"),
        (b"cut off\x1b[", "cut off"),
    ],
)
def test_what_reaches_the_log_is_plain_text(written: bytes, logged: str) -> None:
    assert plain(written) == logged


def test_lines_come_whole_however_they_are_read() -> None:
    lines = StderrFilter(0.0)
    assert lines.feed(b"one\ntw", 0.0) == ["one"]
    assert lines.feed(b"o\n\n\r\n", 0.0) == ["two"]
    assert lines.feed(b"three", 0.0) == []
    assert lines.finish() == ["three"]


def test_a_long_line_is_cut_and_the_rest_is_counted() -> None:
    lines = StderrFilter(0.0, line_max=10)
    assert lines.feed(b"0123456789abc", 0.0) == ["0123456789"]
    assert lines.feed(b"def\nnext\n", 0.0) == ["next"]
    assert lines.feed(b"", 1.0) == ["suppressed 6 bytes"]


def test_a_second_lets_through_its_rate_and_says_what_it_suppressed() -> None:
    lines = StderrFilter(0.0, rate=10)
    assert lines.feed(b"aaaa\nbbbb\ncccc\ndddd\n", 0.1) == ["aaaa", "bbbb"]
    assert lines.feed(b"eeee\n", 0.9) == []
    assert lines.suppressed == 15
    assert lines.feed(b"ffff\n", 1.0) == ["suppressed 15 bytes", "ffff"]
    assert lines.suppressed == 0


def test_after_a_suppressed_beginning_the_rest_of_the_line_is_suppressed_too() -> None:
    lines = StderrFilter(0.0, rate=4)
    assert lines.feed(b"aaaaSECRET", 0.0) == ["aaaa"]
    assert lines.feed(b"REST\nok\n", 1.0) == ["suppressed 6 bytes"]
    assert lines.feed(b"fine", 2.0) == ["suppressed 8 bytes"]


def test_what_was_suppressed_last_is_said_at_the_end() -> None:
    lines = StderrFilter(0.0, rate=3)
    assert lines.feed(b"aa\nbbbb", 0.0) == ["aa"]
    assert lines.finish() == ["suppressed 4 bytes"]


def test_a_flood_costs_no_more_than_its_rate() -> None:
    lines = StderrFilter(0.0)
    logged = 0
    for turn in range(1000):
        logged += sum(len(line) for line in lines.feed(b"the sky is falling\n" * 3000, turn / 100))
    assert logged <= 11 * 64 * 1024
