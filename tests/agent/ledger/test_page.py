"""The report, for a terminal and as a page."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from penstock_agent.ledger.page import html, summary, words
from penstock_agent.ledger.report import Happening, Report, Row

EVIL = '<script>alert("x")</script>\x1b[2J\u202e'
REPORT = Report(
    rows=[Row(EVIL, EVIL, EVIL, calls=3, bytes=2048, denied=1, masked=2, approved_by=[0, 1000])],
    happenings=[Happening("2026-11-28T00:00:00Z", "paused", 0, EVIL)],
    more=4,
)


def name_of(uid: int) -> str:
    return f"user {uid}"


def test_it_begins_with_sentences() -> None:
    said = summary(REPORT, "then", "now", "Whole.")
    assert said == [
        "From then to now.",
        "1 person made 3 requests; 2.0 KiB left the site.",
        "Denied: 1. Sent back to wait for approval: 0. Masked in answers: 2.",
        "Whole.",
    ]
    assert summary(Report(), "then", "now", "Whole.") == [
        "From then to now.",
        "Nobody used anything.",
        "Whole.",
    ]


def test_nothing_in_it_is_obeyed_by_a_terminal() -> None:
    text = "\n".join(words(REPORT, ["One."], name_of))
    assert all(c.isprintable() or c == "\n" for c in text)
    assert "user 0, user 1000" in text
    assert "and 4 more" in text
    assert "paused, by user 0" in text


def test_nothing_in_it_is_obeyed_by_a_browser() -> None:
    text = html(REPORT, "What left", ["One.", EVIL], False, name_of)
    seen: list[str] = []

    class Parser(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            seen.append(tag)
            assert not any(name in ("src", "href") or name.startswith("on") for name, _ in attrs)

    Parser().feed(text)
    assert "script" not in seen
    assert "table" in seen
    assert "default-src 'none'" in text
    assert "<p class=bad>" in text
    assert re.search(r"https?://", text) is None


def test_an_empty_one_is_a_page_too() -> None:
    assert "<table>" not in html(Report(), "What left", ["Nothing."], True, name_of)
