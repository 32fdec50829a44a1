"""Findings that touch: what is left of several, and how they are counted."""

from __future__ import annotations

import pytest

from penstock_agent.gate.redaction import scan
from penstock_agent.gate.redaction.custom import compile_pattern
from penstock_agent.gate.redaction.detectors import DETECTORS
from penstock_agent.gate.redaction.document import read
from penstock_agent.gate.redaction.scan import REMOVED, Scan
from penstock_agent.gate.redaction.steps import TooMuch, finish


def scanned(raw: bytes, *patterns: str) -> tuple[bytes, dict[str, int]]:
    customs = [compile_pattern(f"p{n}", pattern) for n, pattern in enumerate(patterns)]
    looking = Scan(tuple(DETECTORS.values()), customs)
    doc = finish(read(raw, None, numbers=bool(customs)))
    finish(looking.look(doc))
    return finish(doc.written(REMOVED)), dict(looking.found)


@pytest.mark.parametrize(
    ("raw", "patterns", "left", "found"),
    [
        (b'["to bob@x.com now"]', [r"bob\S*"], b'["to [e-mail address removed on site] now"]', {"email": 1}),
        (b'["abcdef"]', ["bcd", "de"], b'["a[p0 removed on site]f"]', {"p0": 1}),
        (b'["abcdef"]', ["cd", "bcde"], b'["a[p0 removed on site]f"]', {"p0": 1}),
        (b'["abab"]', ["a", "b"], None, {"p0": 2, "p1": 2}),
        (b'{"a":"a"}', ["a"], b'{"[p0 removed on site]":"[p0 removed on site]"}', {"p0": 2}),
        (b'["removed"]', ["removed"], b'["[p0 removed on site]"]', {"p0": 1}),
        (b'["x"]', ["a"], b'["x"]', {}),
    ],
)
def test_findings(raw: bytes, patterns: list[str], left: bytes | None, found: dict[str, int]) -> None:
    text, counted = scanned(raw, *patterns)
    assert counted == found
    assert left is None or text == left


def test_names_that_become_the_same_are_numbered() -> None:
    text, _ = scanned(b'{"a@b.com":1,"c@d.com":2,"e@f.com":[{"g@h.com":3}]}')
    assert text == (
        b'{"[e-mail address removed on site]":1,"[e-mail address removed on site] (2)":2,'
        b'"[e-mail address removed on site] (3)":[{"[e-mail address removed on site] (4)":3}]}'
    )


def test_texts_that_are_read_twice_count_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan, "MAX_TEXT", 60)
    scanned(b'[{"text":"' + b"a " * 10 + b'"},{"text":"' + b"a " * 5 + b'"}]')
    with pytest.raises(TooMuch):
        scanned(b'[{"text":"' + b"a " * 20 + b'"},{"text":"' + b"a " * 10 + b'"}]')
