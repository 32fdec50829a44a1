"""What the page of approvals shows of one request, and whether that is all that is decided about."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from penstock.lookalike import visible
from penstock_agent.control import Approval

LISTED: Final = 2000
"""Characters of its arguments in the list of all."""
_EMPTY: Final = re.compile(r"\n(?: *\n){2,}")


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


def exact(text: str) -> str:
    """Each character can be seen, and no emptiness leads away from what comes after it."""
    return _EMPTY.sub(
        lambda found: f"\n<{found[0].count(chr(10)) - 1} empty lines>\n", visible(text, but="\n")
    )
