"""What sites say that a server exposes, for the page where a user grants it. Pure."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Protocol

import msgspec

from penstock.principal import Principal

MAX_BYTES: Final = 1 << 20
"""Of one answer (PROTOCOL.md, section 11)."""
MAX_TOOLS: Final = 10_000
MAX_TEXT: Final = 400
MAX_CHALLENGE: Final = 128


class Effect(StrEnum):
    """What a tool says that it does; mildest first."""

    READ = "read"
    WRITE = "write"
    UNMARKED = "unmarked"
    DESTRUCTIVE = "destructive"


class Tool(msgspec.Struct, frozen=True):
    name: str
    effect: Effect
    title: str = ""
    description: str = ""


class Offer(msgspec.Struct, frozen=True):
    """`prompts` and `resources` are numbers of them."""

    tools: tuple[Tool, ...] = ()
    prompts: int = 0
    resources: int = 0
    challenge: str = ""
    """The agent's word that the company's provider has to sign with the grant; "" where ours is enough."""


class Sites(Protocol):
    """Asks sites. Nothing is kept: what a site exposes is its own affair until somebody asks."""

    async def offer(self, caller: Principal, site: str, server: str) -> Offer | None:
        """What the server, or the `WHOLE_SITE`, exposes now.

        None when the site is silent for 5 s, offline, or cannot say.
        """
        ...

    def servers(self, site: str) -> frozenset[str]:
        """Names of the servers that the site's agents offer at the moment."""
        ...

    def lacks(self, site: str, server: str) -> bool:
        """Whether the site is linked, and has no such server."""
        ...


class NoSites:
    """Every site is silent."""

    async def offer(self, caller: Principal, site: str, server: str) -> Offer | None:
        return None

    def servers(self, site: str) -> frozenset[str]:
        return frozenset()

    def lacks(self, site: str, server: str) -> bool:
        return False


def parse(data: bytes) -> Offer:
    """Raises ValueError for what is not of the form, and above the bounds."""
    if len(data) > MAX_BYTES:
        raise ValueError("the answer is too long")
    try:
        offer = _decoder.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        raise ValueError("the answer is not of the form") from None
    names = {tool.name for tool in offer.tools}
    # A name that stands twice could be chosen as one tool and be used as the other.
    if len(names) != len(offer.tools) or len(names) > MAX_TOOLS or "" in names:
        raise ValueError("the answer does not name each tool once")
    longest = max((max(len(tool.title), len(tool.description)) for tool in offer.tools), default=0)
    if len(offer.challenge) > MAX_CHALLENGE or not offer.challenge.isascii():
        raise ValueError("the answer is not of the form")
    if longest > MAX_TEXT or min(offer.prompts, offer.resources) < 0:
        raise ValueError("the answer is not of the form")
    return offer


_decoder = msgspec.json.Decoder(Offer)
