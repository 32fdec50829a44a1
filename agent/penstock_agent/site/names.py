"""What tools and prompts are called where several servers are one. Pure.

``server__tool``: servers' names have no underscore, so the first two of them end the server's name, whatever
the tool is called. Clients take 64 characters. A longer name keeps its beginning and gets a hash of the
tool's whole name, which is the same in every run; which tool that is, only the server's list can say. An
alias is the only name of its tool: with two, a grant that denies one would not deny the other.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final

from penstock_agent.gate.expose import Item

SEPARATOR: Final = "__"
MAX_LENGTH: Final = 64
"""Characters of a name; Claude and ChatGPT take no more."""
STATUS: Final = "penstock_status"
"""The tool of the agent's own."""

_HASH: Final = 10
_SHORTENED: Final = re.compile(rf"_[a-z2-7]{{{_HASH}}}\Z")
_ALIAS: Final = re.compile(rf"[A-Za-z0-9_.-]{{1,{MAX_LENGTH}}}")


class BadAlias(ValueError):
    """An alias that cannot be had; the text says why, for the operator."""


@dataclass(frozen=True, slots=True)
class Target:
    """One tool or prompt of one server, by the name that the server has for it."""

    server: str
    name: str


@dataclass(frozen=True, slots=True)
class Shortened:
    """A name that stands for a longer one of this server."""

    server: str
    outer: str


@dataclass(frozen=True, slots=True)
class Names:
    """``alias``: plain names of tools, for the whole site."""

    alias: Mapping[str, Target] = field(default_factory=dict)
    _aliased: Mapping[Target, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        aliased = {target: alias for alias, target in self.alias.items()}
        if len(aliased) != len(self.alias):
            raise BadAlias("two aliases name one tool; keep one of them")
        object.__setattr__(self, "_aliased", aliased)

    def outer(self, item: Item, target: Target) -> str:
        """What callers call it."""
        alias = self._aliased.get(target) if item is Item.TOOL else None
        return joined(target) if alias is None else alias

    def inner(self, item: Item, name: str) -> Target | Shortened | None:
        """What callers mean by it; None for a name that nothing here can have."""
        if item is Item.TOOL and (target := self.alias.get(name)) is not None:
            return target
        server, separator, rest = name.partition(SEPARATOR)
        if not separator or not server or not rest or len(name) > MAX_LENGTH:
            return None
        if _looks_shortened(name):
            return Shortened(server, name)
        target = Target(server, rest)
        return None if item is Item.TOOL and target in self._aliased else target


def parse_alias(alias: str, meant: str) -> Target:
    """The tool that ``alias = "server.tool"`` means. Raises :exc:`BadAlias`."""
    if _ALIAS.fullmatch(alias) is None:
        raise BadAlias(
            f"clients take names of 1 to {MAX_LENGTH} of the characters A-Z, a-z, 0-9, '_', '-' and '.'"
        )
    if SEPARATOR in alias:
        raise BadAlias(f"{SEPARATOR} stands between a server and its tool; take an alias without it")
    if alias == STATUS:
        raise BadAlias("the agent's own tool is called so; take another alias")
    server, dot, tool = meant.partition(".")
    if not dot or not server or not tool:
        raise BadAlias('names no tool; write NAME = "server.tool"')
    return Target(server, tool)


@lru_cache(maxsize=4096)
def joined(target: Target) -> str:
    """The name with its server's in front, within MAX_LENGTH characters."""
    whole = f"{target.server}{SEPARATOR}{target.name}"
    # A name that looks shortened is shortened, so that each of those stands for a hash and nothing else.
    if len(whole) <= MAX_LENGTH and not _looks_shortened(whole):
        return whole
    digest = hashlib.sha256(target.name.encode("utf-8", "surrogatepass")).digest()
    tail = base64.b32encode(digest).decode().lower()[:_HASH]
    kept = whole[: MAX_LENGTH - _HASH - 1]
    return f"{kept}_{tail}"


def _looks_shortened(name: str) -> bool:
    return len(name) == MAX_LENGTH and _SHORTENED.search(name) is not None
