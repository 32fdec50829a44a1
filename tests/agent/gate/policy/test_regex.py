from __future__ import annotations

import random
import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock_agent.gate.policy.regex import MAX_EXPRESSION, MAX_TEXT, BadExpression, Expression


@pytest.mark.parametrize(
    ("source", "fits", "does_not"),
    [
        ("INV-[0-9]{4}", ["INV-2026"], ["INV-202", "INV-20261", "xINV-2026", "INV-2026\n"]),
        ("^abc$", ["abc"], ["abcd", "^abc$"]),
        ("a|bc*", ["a", "b", "bccc"], ["ac", ""]),
        ("(ab){2,3}x?", ["abab", "ababab", "ababx"], ["ab", "abababab"]),
        (r"\w+@example\.com", ["a_1@example.com"], ["a@exampleXcom", "é@example.com"]),
        ("[^/]+", ["a b", "a\nb"], ["", "a/b"]),
        (".*", ["", "x y"], ["a\nb"]),
        ("[]a-]", ["]", "a", "-"], ["b", ""]),
        (r"[\d\-.]{2,}", ["1-", "..", "9.9"], ["1", "a1"]),
        (r"\D\S\W", ["a!?", "xy "], ["1!?"]),
        ("[a-c][^a-c]", ["ad"], ["aa", "dd"]),
        ("(?:a|b)?c{0}", ["", "a"], ["c"]),
        ("", [""], ["a"]),
        (r"\\\$\{", ["\\${"], ["$"]),
    ],
)
def test_all_of_a_text_has_to_match(source: str, fits: list[str], does_not: list[str]) -> None:
    expression = Expression(source)
    assert [text for text in fits if not expression.matches(text)] == []
    assert [text for text in does_not if expression.matches(text)] == []


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("(", "without its )"), (")", "without its ("), ("[a", "without its ]"), ("*a", "repeats nothing"),
        ("a**", "two repetitions"), ("a*?", "two repetitions"), ("a++", "two repetitions"),
        ("a{x}", "no repetition"), ("a{3,2}", "less than its m"), (r"(a)\1", "not to be had"),
        ("(?=a)", "not to be had"), ("(?i)a", "not to be had"), (r"\bx", "not to be had"), ("a^b", "inside"),
        ("a$b", "inside"), ("[z-a]", "before its beginning"), ("[[:alpha:]]", "a name"), ("a\\", "not to be"),
        ("a{2000}", "too large"), ("((((a{20}){20}){20}){20})", "too large"), ("(" * 40 + ")" * 40, "groups"),
        ("a" * (MAX_EXPRESSION + 1), "longer than"),
    ],
)  # fmt: skip
def test_what_no_automaton_can_decide_is_refused_in_words(source: str, words: str) -> None:
    with pytest.raises(BadExpression, match=re.escape(words)):
        Expression(source)


@pytest.mark.parametrize(
    "source", ["(a*)*b", "(a|a)*b", "(a|aa)+c", "(.*.*.*)*x", "(a?){50}a{50}", "(x+x+)+y"]
)
def test_what_ruins_others_takes_a_step_for_each_character(source: str) -> None:
    expression = Expression(source)
    assert not expression.matches("a" * MAX_TEXT)
    assert not expression.matches("x" * (MAX_TEXT - 1) + "!")


def test_a_text_has_a_greatest_length() -> None:
    assert Expression("a*").matches("a" * MAX_TEXT)
    assert not Expression("a*").matches("a" * (MAX_TEXT + 1))


def test_steps_that_are_remembered_are_bounded() -> None:
    expression = Expression("[^b]*")
    for n in range(12_000):
        assert expression.matches(chr(0x4E00 + n))
    assert expression._known <= 10_000


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


def test_the_worst_text_for_the_worst_expression_is_over_soon() -> None:
    """Where nearly every character leads to a set of states that was not met before."""
    choice = random.Random(5)
    expression = Expression("(a|b)*a(a|b){60}")
    begun = time.process_time()
    for _ in range(3):
        expression.matches("".join(choice.choice("ab") for _ in range(MAX_TEXT)))
    assert time.process_time() - begun < 6
