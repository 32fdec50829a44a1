import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_agent.callers.challenge import Challenges

MINE = Challenges(b"k" * 32, "plant")


def test_it_says_when_it_was_made_and_for_which_server() -> None:
    made = MINE.make("files", 1_000_000.7)
    assert MINE.made_at(made, "files") == 1_000_000.0
    assert MINE.made_at(made, "git") is None
    assert Challenges(b"k" * 32, "oslo").made_at(made, "files") is None
    assert Challenges(b"l" * 32, "plant").made_at(made, "files") is None


def test_no_two_are_alike() -> None:
    assert MINE.make("files", 1.0) != MINE.make("files", 1.0)


@given(st.integers(0, 52), st.integers(0, 63))
def test_one_that_was_altered_is_none(place: int, letter: int) -> None:
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    made = MINE.make("files", 1_000_000.0)
    altered = made[:place] + letters[letter] + made[place + 1 :]
    assert (MINE.made_at(altered, "files") is None) == (altered != made)


@given(st.text())
def test_any_text_is_one_or_none(text: str) -> None:
    assert MINE.made_at(text, "files") is None


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Challenges(b"k" * 31, "plant")
