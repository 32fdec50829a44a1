"""The answer to the relay's own question, what a server exposes: for the page where a user grants it. Pure.

It lists, and does nothing else: no exchange of purpose *consent* reaches a child that serves anybody.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from penstock_agent.catalogue.offer import Catalogue, Effect, Offer
from penstock_agent.gate.expose import Item

MAX_BYTES: Final = 1 << 20
MAX_TITLE: Final = 100
DESCRIPTIONS: Final = (160, 80, 0)
"""Characters of each description: as many as let the whole fit."""
MAX_NAME: Final = 256
"""A tool with a longer name cannot be chosen; no client takes one."""


class Tool(msgspec.Struct, frozen=True, omit_defaults=True):
    name: str
    effect: Effect
    title: str = ""
    description: str = ""


class Shown(msgspec.Struct, frozen=True, omit_defaults=True):
    """See PROTOCOL.md, section 11."""

    tools: Sequence[Tool]
    prompts: int
    resources: int
    challenge: str | None = None


def answer(catalogue: Catalogue, exposed: Callable[[Item, str], bool], challenge: str | None = None) -> bytes:
    """As JSON, at most 1 MiB: descriptions are cut, and where that is not enough, the list is.

    ``challenge``: what the login that signs the grant has to name, where the site demands one.
    """
    offers = [offer for offer in catalogue.items if exposed(offer.kind, offer.name)]
    tools = [offer for offer in offers if offer.kind is Item.TOOL and len(offer.name) <= MAX_NAME]
    prompts = sum(offer.kind is Item.PROMPT for offer in offers)
    resources = sum(offer.kind is Item.RESOURCE for offer in offers)
    while True:
        for length in DESCRIPTIONS:
            found = Shown([_tool(offer, length) for offer in tools], prompts, resources, challenge)
            data = msgspec.json.encode(found)
            if len(data) <= MAX_BYTES:
                return data
        tools = tools[: len(tools) // 2]


def _tool(offer: Offer, length: int) -> Tool:
    title, description = " ".join(offer.title.split()), " ".join(offer.description.split())
    if len(description) > length:
        description = description[: max(0, length - 1)] + "…" if length else ""
    return Tool(offer.name, offer.effect or Effect.UNMARKED, title[:MAX_TITLE], description)
