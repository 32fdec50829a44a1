"""Whose a resource is."""

from __future__ import annotations

import time

import pytest

from penstock_agent.site.resources import AGAIN_S, MAX_URIS, Known, pattern

BOTH = ["a", "b"]


def test_who_has_listed_it_has_it_and_of_several_the_first() -> None:
    known = Known()
    assert known.order("x://1", BOTH) == BOTH
    known.learn("b", ["x://1"])
    assert known.order("x://1", BOTH) == ["b"]
    known.learn("a", ["x://1"])
    assert known.order("x://1", BOTH) == ["a"]
    assert known.order("x://1", ["b"]) == ["b"]


def test_whose_template_matches_is_asked_first() -> None:
    known = Known()
    known.learn_templates("b", ["x://{id}"])
    assert known.order("x://1", BOTH) == ["b", "a"]
    assert known.order("y://1", BOTH) == BOTH
    assert known.owner("x://{id}", BOTH) == "b"


def test_what_has_changed_is_read_again_and_else_not_for_a_while() -> None:
    known = Known()
    assert known.unread(BOTH, 0.0) == BOTH
    known.read("a", 0.0)
    assert known.unread(BOTH, 1.0) == ["b"]
    assert known.unread(BOTH, AGAIN_S) == BOTH
    known.read("a", 0.0)
    known.learn("a", ["x://1"])
    known.changed("a")
    assert known.unread(["a"], 1.0) == ["a"]
    assert known.owner("x://1", BOTH) is None


def test_what_is_remembered_has_a_bound() -> None:
    known = Known()
    known.learn("a", [f"x://{n}" for n in range(MAX_URIS + 1)])
    assert known.owner("x://0", BOTH) is None
    assert known.owner(f"x://{MAX_URIS}", BOTH) == "a"


@pytest.mark.parametrize(
    ("template", "uri", "matches"),
    [
        ("x://{a}/{b}", "x://1/2", True),
        ("x://{a}/{b}", "x://1/2/3", False),
        ("x://{+path}", "x://1/2/3", True),
        ("x://{a}.txt", "x://a.txt.txt", True),
        ("x://{a}{b}/c", "x://12/c", True),
        ("x://q{?a,b}", "x://q?a=1&b=2", True),
        ("x://plain", "x://plain", True),
        ("x://plain", "x://plain2", False),
        ("x://{unclosed", "x://{unclosed", True),
        ("{+all}", "anything", True),
    ],
)
def test_what_uris_of_a_template_look_like(template: str, uri: str, matches: bool) -> None:
    assert (pattern(template).match(uri) is not None) is matches


@pytest.mark.parametrize("template", ["{a}" * 160, "{a}x" * 120, "{+a}/" * 100, "{a}-{+b}" * 60])
def test_a_template_cannot_make_a_comparison_slow(template: str) -> None:
    begun = time.perf_counter()
    pattern(template).match("x/" * 1000 + "!")
    assert time.perf_counter() - begun < 1.0
