"""What is shown of a request, and that nobody approves what was not shown."""

from __future__ import annotations

import msgspec
import pytest

from penstock_agent.console.waiting import LISTED, waiting
from penstock_agent.control import Approval

ASKED = Approval("r1", "waiting", "Bob", "", "bob", "c", "files", "tool:w", '{"a":1}', "d", "r", 1.0, 2.0)


def asked(**other: object) -> Approval:
    return msgspec.structs.replace(ASKED, **other)


@pytest.mark.parametrize(
    ("one", "listed", "whole"),
    [
        (ASKED, True, True),
        (asked(arguments="x" * (LISTED + 1)), False, True),
        (asked(arguments="x" * LISTED), True, True),
        (asked(cut=True), False, False),
        (asked(answer_bytes=2, answer="\u00fc"), False, True),
        (asked(answer_bytes=3, answer="\u00fc"), False, False),
    ],
)
def test_all_is_shown_or_it_says_not(one: Approval, listed: bool, whole: bool) -> None:
    assert waiting(one, whole=False).all_shown is listed
    assert waiting(one, whole=True).all_shown is whole


def test_the_list_is_short_and_holds_no_answers() -> None:
    found = waiting(asked(arguments="x" * 9000, answer_bytes=1, answer="y"), whole=False)
    assert (len(found.arguments), found.answer) == (LISTED, "")
