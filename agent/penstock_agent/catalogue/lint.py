"""What assistants, and the people in front of them, will make of what servers offer. Pure.

Limits and habits of the products are those that they document, or that were seen; docs/agent.md names them.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Final

import msgspec

from penstock.lookalike import mixes_scripts, skeleton, unseen
from penstock_agent.catalogue.offer import Catalogue, Effect, Offer
from penstock_agent.gate.expose import Item

NAME_MAX: Final = 64
"""Characters of a tool's name that Claude takes."""
READ_FIRST: Final = 512
"""Characters of a server's instructions that ChatGPT reads."""
SHOWN: Final = 5
"""Characters that do not show, in one finding."""


_USUAL: Final = frozenset("\n\r\t\u00a0\ufe0f")
"""Ends of lines, a space where no line ends, and what makes a sign an emoji."""
_JOINS: Final = "\u200d"
"""Between two emoji it makes one of them."""


class Weight(StrEnum):
    """How much it matters."""

    SUSPECT = "suspect"
    """Somebody may want to deceive: look at it before it is exposed."""
    TROUBLE = "trouble"
    """Some assistant will not use it as it is meant."""
    ADVICE = "advice"


class Finding(msgspec.Struct, frozen=True):
    """One thing about one item, or (with an empty name) about the server."""

    server: str
    weight: Weight
    kind: str
    name: str
    text: str


def lint(catalogues: Sequence[Catalogue]) -> list[Finding]:
    """What there is to say, the suspect first."""
    found = [finding for catalogue in catalogues for finding in _server(catalogue)]
    found += _alike(catalogues)
    return sorted(found, key=lambda each: list(Weight).index(each.weight))


def _server(catalogue: Catalogue) -> Iterable[Finding]:
    def say(weight: Weight, item: Offer | None, text: str) -> Finding:
        kind, name = ("server", "") if item is None else (item.kind.value, item.name)
        return Finding(catalogue.server, weight, kind, name, text)

    if hidden := _hidden(catalogue.instructions):
        yield say(Weight.SUSPECT, None, f"Its instructions hold characters that do not show: {hidden}.")
    if len(catalogue.instructions) > READ_FIRST:
        text = (
            f"Its instructions have {len(catalogue.instructions)} characters; ChatGPT reads the first "
            f"{READ_FIRST}."
        )
        yield say(Weight.ADVICE, None, text)
    for item in catalogue.items:
        for part, text in (("name", item.name), ("title", item.title), ("description", item.description)):
            if hidden := _hidden(text):
                yield say(
                    Weight.SUSPECT, item, f"Its {part} holds characters that do not show: {hidden}. "
                    "A model reads them, and a person does not.",
                )  # fmt: skip
        if mixes_scripts(item.name):
            yield say(Weight.SUSPECT, item, "Its name mixes letters of several scripts that look alike.")
        if item.kind is Item.TOOL:
            yield from (say(weight, item, text) for weight, text in _tool(item))


def _tool(tool: Offer) -> Iterable[tuple[Weight, str]]:
    if len(tool.name) > NAME_MAX:
        yield Weight.TROUBLE, f"Its name has {len(tool.name)} characters; Claude takes {NAME_MAX}."
    if not tool.description.strip():
        yield Weight.TROUBLE, "It has no description: a model cannot know what it is for."
    if tool.effect is Effect.UNMARKED:
        text = (
            "It says neither readOnlyHint nor destructiveHint: ChatGPT takes it for one that writes and asks "
            "its user each time, and Claude's directory refuses it."
        )
        yield Weight.TROUBLE, text
    if not tool.title:
        yield Weight.ADVICE, "It has no title: people see its name, and Claude's directory wants one."


def _alike(catalogues: Sequence[Catalogue]) -> Iterable[Finding]:
    """Tools that a person, or a model that has several servers, takes for one another."""
    same: defaultdict[str, list[tuple[str, Offer]]] = defaultdict(list)
    for catalogue in catalogues:
        for tool in catalogue.of(Item.TOOL):
            same[skeleton(tool.name)].append((catalogue.server, tool))
    for found in same.values():
        for server, tool in found if len(found) > 1 else ():
            inside = [other.name for where, other in found if where == server and other is not tool]
            outside = sorted({where for where, _ in found if where != server})
            if inside:
                text = f"Another tool of this server looks the same: {', '.join(inside[:SHOWN])}."
                yield Finding(server, Weight.SUSPECT, tool.kind.value, tool.name, text)
            if outside:
                text = (
                    f"A tool of {', '.join(outside[:SHOWN])} has this name or one that looks like it: an "
                    "assistant that has both may call the wrong one."
                )
                yield Finding(server, Weight.TROUBLE, tool.kind.value, tool.name, text)


def _hidden(text: str) -> str:
    """The characters that do not show, by their numbers; what is usual in prose and in emoji is no secret."""
    pairs = zip([" ", *text], text, strict=False)  # each with the one before it
    shown = list(dict.fromkeys(f"U+{ord(each):04X}" for last, each in pairs if _hides(last, each)))
    return ", ".join(shown[:SHOWN]) + (", ..." if len(shown) > SHOWN else "")


def _drawn(character: str) -> bool:
    return unicodedata.category(character) in ("So", "Sk")


def _hides(last: str, character: str) -> bool:
    if not unseen(character) or character in _USUAL:
        return False
    return character != _JOINS or not (last in _USUAL or _drawn(last))
