"""What pages show of texts from outside, and the headers that they have."""

from __future__ import annotations

import pytest

from penstock_agent.console import pages


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain – ünï", "plain – ünï"),
        ("a\u202eb", "a<U+202E>b"),
        ("a\x1b[2Jb", "a<U+001B>[2Jb"),
        ("a\u200bb\ufe0f", "a<U+200B>b<U+FE0F>"),
        ("two\nlines", "two\nlines"),
        ("x" * 200, "x" * 120 + "… (200 characters)"),
    ],
)
def test_what_does_not_show_is_told_by_its_number(text: str, shown: str) -> None:
    assert pages.seen(text) == shown


def test_a_moment_is_told_to_the_second() -> None:
    assert pages.moment(0.0).count(":") == 2


def test_a_template_escapes() -> None:
    html = pages.page("problem", title="<b>", text="<script>", back="")
    assert "<script>" not in html
    assert "&lt;script&gt;" in html


def test_the_policy_allows_nothing_inline_and_nothing_from_elsewhere() -> None:
    policy = pages.ALWAYS["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert "http" not in policy
    assert policy.startswith("default-src 'none';")


@pytest.mark.parametrize("name", pages.STATIC)
def test_what_pages_need_is_in_the_package_and_asks_for_nothing_else(name: str) -> None:
    text = pages.static(name)
    assert text
    assert "http:" not in text
    assert "https:" not in text
    assert "@import" not in text
    assert "innerHTML =" not in text.replace("innerHTML ===", "")
