"""What can be found by its looks, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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


#: In the order in which names are chosen for what several of them find.
DETECTORS: Final[Mapping[str, Detector]] = {
    one.name: one
    for one in (
        Detector(Find.PRIVATE_KEY.value, "private key", keys.find),
        Detector(Find.TOKEN.value, "token", tokens.find),
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
