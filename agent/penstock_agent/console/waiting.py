"""What the page of approvals shows of one request, and whether that is all that is decided about."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from penstock.lookalike import exact
from penstock_agent.control import Approval

LISTED: Final = 2000
"""Characters of its arguments in the list of all."""


@dataclass(frozen=True, slots=True)
class Waiting:
    one: Approval
    arguments: str
    answer: str
    """What is kept of the answer, on the page of this one request."""
    all_shown: bool
    """Nobody approves what they have not been shown."""


def waiting(one: Approval, whole: bool) -> Waiting:
    """``whole``: for the page of this one, else for the list."""
    arguments = one.arguments if whole else one.arguments[:LISTED]
    answered = not one.answer_bytes or (whole and len(one.answer.encode()) >= one.answer_bytes)
    return Waiting(
        one,
        exact(arguments),
        exact(one.answer) if whole else "",
        not one.cut and len(arguments) == len(one.arguments) and answered,
    )
