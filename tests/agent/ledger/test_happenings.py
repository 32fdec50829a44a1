"""What is said of changes on site."""

from __future__ import annotations

from penstock_agent.ledger.entries import Event
from penstock_agent.ledger.happenings import MAX_LISTED, content, exposed, listed


def test_what_became_exposed_and_what_no_more_is_named() -> None:
    before = {"files": ["a", "b"], "old": ["x"], "same": ["*"]}
    after = {"files": ["b", "c"], "new": ["*"], "same": ["*"]}
    assert list(exposed(before, after, 1000)) == [
        Event("exposed", 1000, {"server": "files", "items": "c"}),
        Event("hidden", 1000, {"server": "files", "items": "a"}),
        Event("exposed", 1000, {"server": "new", "items": "*"}),
        Event("hidden", 1000, {"server": "old", "items": "x"}),
    ]


def test_a_long_list_is_cut_and_says_so() -> None:
    assert listed(["x" * MAX_LISTED, "y"]).endswith("x…")


def test_a_content_is_known_by_its_hash() -> None:
    assert content(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
