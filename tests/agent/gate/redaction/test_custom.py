"""Patterns of the operator's own."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_agent.gate.redaction import custom as custom_module
from penstock_agent.gate.redaction.custom import compile_pattern
from penstock_agent.gate.regex import MAX_PATTERN, BadRegex


def taken(pattern: str, text: str) -> list[str]:
    return [text[start:end] for start, end in compile_pattern("own", pattern).find(text)]


def test_a_pattern_is_found_in_any_script() -> None:
    assert taken(r"EMP-\d{3}", "EMP-123, €ü𝄞 EMP-456") == ["EMP-123", "EMP-456"]
    assert taken(r"(?i)geheim\w*", "Geheimnis ÄÖÜ geheim") == ["Geheimnis", "geheim"]


def test_where_there_is_a_group_only_that_counts() -> None:
    assert taken(r"password: (\S+)", "password: hunter2 password: é") == ["hunter2", "é"]
    assert taken(r"a(b)?c", "ac abc") == ["ac", "b"]


@pytest.mark.parametrize("pattern", ["(", "a(?=b)", r"(a)\1", "[z-a]", "x{2000}", "a*", "", "x?|y"])
def test_what_cannot_be_looked_for_is_refused_in_words(pattern: str) -> None:
    with pytest.raises(BadRegex, match=r"RE2|matches where nothing is"):
        compile_pattern("own", pattern)


def test_there_is_an_end_to_a_pattern() -> None:
    with pytest.raises(BadRegex, match="longer than"):
        compile_pattern("own", "x" * (MAX_PATTERN + 1))


def test_without_the_engine_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "re2", None)
    with pytest.raises(BadRegex, match=r"pip install 'penstock\[patterns\]'"):
        compile_pattern("own", "x")


@pytest.mark.parametrize(
    "pattern", [r"^ab+$", r"b$", r"^a", r"\bab\b", r"a[^x]b", r"a\sb", r"\Aab\z", r"(?i)AB", "ä"]
)
@given(texts=st.lists(st.text("ab x\n\0\u00e4", max_size=6), max_size=6))
def test_several_texts_are_read_as_each_of_them_alone(pattern: str, texts: list[str]) -> None:
    custom = compile_pattern("own", pattern)
    assert [(n, span) for n, spans in custom.find_each(texts) for span in spans] == [
        (n, span) for n, text in enumerate(texts) for span in custom.find(text)
    ]


@pytest.mark.parametrize(
    "pattern",
    [
        "EMP-[0-9]+",
        "(?i)emp-([0-9]+)",
        "^EMP-[0-9]+",
        "[0-9]+$",
        r"\bEMP",
        "ä+",
        "(?s)BEGIN.*END",
        "(?s)BEGIN.*",
    ],
)
@pytest.mark.parametrize("place", [0, 1, 4, 5, 9])
def test_a_long_text_is_read_in_steps_with_the_same_result(
    pattern: str, place: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(custom_module, "STEP", 64)
    monkeypatch.setattr(custom_module, "REACH", 32)
    own = compile_pattern("own", pattern)
    parts = (" " * (60 + place - n % 7) + f"EMP-{n} äää xEMP-9" for n in range(20))
    text = "EMP-1" + "".join(parts) + "BEGIN" + "x" * 20 + "END EMP-77"
    data = text.encode()
    group = min(1, own._regex.groups)
    spans = [match.span(group) for match in own._regex.finditer(data)]
    assert own.find(text) == [(len(data[:a].decode()), len(data[:b].decode())) for a, b in spans]
    assert len(list(own.find_in_steps(text))) > 10
