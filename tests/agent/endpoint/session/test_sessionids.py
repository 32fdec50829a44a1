"""Which session ids an agent knows for its own, and whose."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from penstock.names import tag_of
from penstock_agent.endpoint.session.sessionids import RANDOM_BYTES, SessionIds

TAG = "abcdefgh"
IDS = SessionIds(TAG, b"k" * 32)
ALICE = ("https://idp.example", "alice", "assistant")
RANDOM = bytes(range(RANDOM_BYTES))
ID = IDS.make("files", ALICE, RANDOM)


def test_an_id_leads_to_its_agent_and_is_visible_ascii() -> None:
    assert tag_of(ID) == TAG
    assert len(ID) == 52


def test_a_later_run_with_the_same_key_knows_it() -> None:
    assert SessionIds(TAG, b"k" * 32).made(ID, "files", ALICE)
    assert not SessionIds(TAG, b"l" * 32).made(ID, "files", ALICE)
    assert not SessionIds("hgfedcba", b"k" * 32).made(ID, "files", ALICE)


def test_it_is_of_one_caller_on_one_server() -> None:
    assert not IDS.made(ID, "crm", ALICE)
    for at in range(3):
        other = tuple("x" if n == at else part for n, part in enumerate(ALICE))
        assert not IDS.made(ID, "files", (other[0], other[1], other[2]))
    # Where one part ends and the next begins is part of it.
    shifted = IDS.make("files", ("https://idp.examplea", "lice", "assistant"), RANDOM)
    assert not IDS.made(shifted, "files", ALICE)


def test_no_single_character_can_be_changed_not_even_to_another_spelling_of_the_same() -> None:
    for at, character in enumerate(ID):
        for other in "AB-_z":
            if other != character:
                assert not IDS.made(ID[:at] + other + ID[at + 1 :], "files", ALICE)
    assert not IDS.made(ID + "=", "files", ALICE)
    assert not IDS.made(ID[:-1], "files", ALICE)


@given(st.one_of(st.text(), st.from_regex(r"abcdefgh\.[A-Za-z0-9_-]{43}", fullmatch=True)))
def test_nothing_else_is_one(text: str) -> None:
    assert not IDS.made(text, "files", ALICE)
