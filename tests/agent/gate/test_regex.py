"""Regular expressions of the operator, and texts of callers."""

from __future__ import annotations

import re
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock_agent.gate.regex import MAX_PATTERN, MAX_TEXT, BadRegex, Expression


@pytest.mark.parametrize(
    ("source", "fits", "does_not"),
    [
        ("INV-[0-9]{4}", ["INV-2026"], ["INV-202", "INV-20261", "xINV-2026", "INV-2026\n"]),
        ("^abc$", ["abc"], ["abcd", "abc\n", "^abc$"]),
        ("a|bc*", ["a", "b", "bccc"], ["ac", ""]),
        (r"\w+@example\.com", ["a_1@example.com"], ["a@exampleXcom", "\u00e9@example.com"]),
        (".*", ["", "x y"], ["a\nb"]),
        ("", [""], ["a"]),
        ("[^/]+", ["\u00e4\u20ac\U0001d11e", "a\0b"], ["", "a/b", "\ud800"]),
    ],
)
def test_all_of_a_text_has_to_match(source: str, fits: list[str], does_not: list[str]) -> None:
    expression = Expression(source)
    assert [text for text in fits if not expression.matches(text)] == []
    assert [text for text in does_not if expression.matches(text)] == []


@pytest.mark.parametrize("source", ["(", "[z-a]", r"(a)\1", "(?=a)", "a{2000}", "((((a{20}){20}){20}){20})"])
def test_what_cannot_be_decided_in_linear_time_is_refused_in_words(source: str) -> None:
    with pytest.raises(BadRegex, match="is no regular expression of RE2"):
        Expression(source)


def test_an_expression_and_a_text_have_a_greatest_length() -> None:
    with pytest.raises(BadRegex, match="longer than"):
        Expression("a" * (MAX_PATTERN + 1))
    assert Expression("a*").matches("a" * MAX_TEXT)
    assert not Expression("a*").matches("a" * (MAX_TEXT + 1))


def test_without_the_engine_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "re2", None)
    with pytest.raises(BadRegex, match=r"pip install 'penstock\[patterns\]'"):
        Expression("x")


@pytest.mark.parametrize(
    "source", ["(a*)*b", "(a|a)*b", "(a|aa)+c", "(.*.*.*)*x", "(a?){50}a{50}", "(x+x+)+y", "(a|b)*a(a|b){60}"]
)
def test_what_ruins_other_engines_is_over_soon(source: str) -> None:
    expression = Expression(source)
    begun = time.process_time()
    for text in ("a" * MAX_TEXT, "x" * (MAX_TEXT - 1) + "!", "ab" * (MAX_TEXT // 2)):
        expression.matches(text)
    assert time.process_time() - begun < 3


def test_two_of_one_source_are_equal() -> None:
    assert Expression("a+") == Expression("a+") != Expression("a*")


atoms = st.sampled_from(["a", "b", ".", "[ab]", "[^a]", r"\d", r"\w", r"\.", "[a-c1]"])
expressions = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map(lambda two: f"({two[0]}|{two[1]})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{0,2}", "{2}", "{1,}"])).map(
            lambda two: f"({two[0]}){two[1]}"
        ),
    ),
    max_leaves=6,
)


@given(expressions, st.text("ab1.c\n", max_size=8))
@settings(max_examples=300)
def test_it_says_what_the_library_says(source: str, text: str) -> None:
    assert Expression(source).matches(text) == (re.fullmatch(source, text, re.ASCII) is not None)
