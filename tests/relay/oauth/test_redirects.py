"""Where users may be sent back to: tests/data/oauth/redirects.json has the rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from penstock_relay.oauth.redirects import MAX_URI, matches, problem

ROWS: Final[dict[str, list[dict[str, Any]]]] = json.loads(
    (Path(__file__).parents[2] / "data" / "oauth" / "redirects.json").read_text(encoding="utf-8")
)
REGISTERING, COMPARING = ROWS["registering"], ROWS["comparing"]
GOOD: Final = [row["uri"] for row in REGISTERING if row["good"]]


def test_the_corpus_is_large_and_has_no_row_twice() -> None:
    uris = [row["uri"] for row in REGISTERING]
    pairs = [(tuple(row["registered"]), row["asked"]) for row in COMPARING]
    assert len(uris) >= 80
    assert len(set(uris)) == len(uris)
    assert len(set(pairs)) == len(pairs)


@pytest.mark.parametrize("row", REGISTERING, ids=lambda row: ascii(f"{row['what']}: {row['uri']}"))
def test_what_may_be_registered(row: dict[str, Any]) -> None:
    found = problem(row["uri"])
    assert (found is None) is row["good"], found
    assert found is None or found.endswith(".")


@pytest.mark.parametrize("row", COMPARING, ids=lambda row: ascii(f"{row['what']}: {row['asked']}"))
def test_what_is_the_same(row: dict[str, Any]) -> None:
    assert matches(row["registered"], row["asked"]) is row["same"]


def test_a_uri_may_be_as_long_as_the_limit_and_no_longer() -> None:
    uri = "https://app.example.com/".ljust(MAX_URI, "x")
    assert problem(uri) is None
    assert problem(uri + "x") is not None
    assert not matches([uri + "x"], uri + "x")


def test_what_is_wrong_with_a_uri_is_said_without_repeating_it() -> None:
    for row in REGISTERING:
        if not row["good"] and len(row["uri"]) > 8:
            assert row["uri"] not in (problem(row["uri"]) or "")


@given(st.text())
@example("https://" + "a-" * 1000)
@example("https://" + "a." * 1000)
def test_no_text_is_too_strange(text: str) -> None:
    assert problem(text) is None or not matches([text], text)


@given(st.sampled_from(GOOD), st.integers(0, 60), st.text(min_size=1, max_size=2))
def test_no_uri_with_something_inserted_is_the_same(uri: str, at: int, more: str) -> None:
    changed = uri[:at] + more + uri[at:]
    if uri.startswith("https:"):
        assert not matches([uri], changed)
    elif matches([uri], changed):  # on loopback nothing but the port may have changed
        assert ":" in changed.removeprefix("http:")
        assert more.strip("0123456789:") == ""
