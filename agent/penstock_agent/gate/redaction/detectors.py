"""What can be found by its looks, by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from penstock_agent.gate.redaction import addresses, keys, numbers, tokens
from penstock_agent.gate.redaction.keys import Span


class Find(StrEnum):
    """What a rule can ask for by name."""

    PRIVATE_KEY = "private_key"
    TOKEN = "token"  # noqa: S105  a word
    CARD = "card"
    IBAN = "iban"
    EMAIL = "email"


FIELD: Final = "field"
"""What a value is counted as that a rule names by where it stands."""


@dataclass(frozen=True, slots=True)
class Detector:
    """``what``: what people call it. ``find`` takes a text in which ``\\0`` stands between values and ``\\1``
    between a key and its value; nothing that it finds holds either.
    """

    name: str
    what: str
    find: Callable[[str], list[Span]]
    reach: int = 1 << 10
    """Characters of one finding within which it shows what it is."""

    def find_in_steps(self, text: str) -> Iterator[list[Span]]:
        """The same, for texts of any length. What is found may overlap. What is longer than ``reach`` in a
        long text counts up to the end of its value.
        """
        size, step = len(text), max(_STEP, 3 * self.reach)
        if size <= step + step // 2:
            yield self.find(text)
            return
        for at in range(0, size, step):
            low, after, high = max(0, at - _BEFORE), at + step, min(size, at + step + self.reach)
            yield list(self._own(text, low, at, after, high))

    def _own(self, text: str, low: int, at: int, after: int, high: int) -> Iterator[Span]:
        """What begins from ``at`` on and before ``after``, or reaches into that; seen from ``low`` to
        ``high``.
        """
        for start, end in self.find(text[low:high]):
            start, end = start + low, end + low
            if start >= after or end <= at or (low and start < low + _EDGE):
                continue  # found before, or after; or nobody knows what stands before it
            if end == high < len(text):
                border = _BORDER.search(text, end)
                end = len(text) if border is None else border.start()
            yield start, end


_STEP: Final = 1 << 14
"""Characters of text that are looked through in one step, at least."""
_BEFORE: Final = 128
"""Characters before them that may say what they are."""
_EDGE: Final = 8
_BORDER: Final = re.compile(r"[\x00\x01]")


#: In the order in which names are chosen for what several of them find.
DETECTORS: Final[Mapping[str, Detector]] = {
    one.name: one
    for one in (
        Detector(Find.PRIVATE_KEY.value, "private key", keys.find, keys.MAX_KEY + 256),
        Detector(Find.TOKEN.value, "token", tokens.find, 1 << 14),
        Detector(Find.CARD.value, "card number", numbers.cards),
        Detector(Find.IBAN.value, "IBAN", numbers.ibans),
        Detector(Find.EMAIL.value, "e-mail address", addresses.find),
    )
}


def mask(name: str) -> str:
    """What stands in the place of something that was taken out. Needs no escape in JSON."""
    if name == FIELD:
        return "[removed on site]"
    known = DETECTORS.get(name)
    return f"[{name if known is None else known.what} removed on site]"
