"""What was approved of a server's definitions, and what of them waits for that. Values; pure.

A pin is the digest of the canonical form of a whole definition as the server sends it, unknown members
included: what a model reads may stand anywhere in it. Order of members, blanks and escapes are no change.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

import msgspec

from penstock import canonical
from penstock_agent.gate.expose import Item

INSTRUCTIONS: Final = "instructions"
"""The key of the server's instructions among those of its items."""
TEMPLATE: Final = "template"
MOST_WAITING: Final = 1000
"""Definitions of one server that are kept for a review; more are withheld all the same."""
_UNREADABLE: Final = "unreadable"
_CACHED_BYTES: Final = 16 << 20
"""Of definitions whose digest is remembered."""


class Pin(msgspec.Struct, frozen=True, omit_defaults=True):
    """One approved definition."""

    digest: str
    definition: str
    """As the server sent it, raw JSON: what a change of it is compared with."""
    changed: float = 0.0
    """When another definition was approved in the place of an earlier one; 0 for never."""


class Approved(msgspec.Struct, frozen=True, omit_defaults=True):
    """A server's whole catalogue as it was approved, exposed or not."""

    at: float
    """When anything of it was approved last, in seconds since 1970."""
    items: dict[str, Pin]
    by_uid: int = -1
    """Who did it on this machine; -1 for the agent, which takes what it finds first."""
    instructions: str = ""

    @property
    def version(self) -> str:
        """Short, and the same for the same definitions."""
        lines = sorted(f"{key} {pin.digest}" for key, pin in self.items.items())
        lines.append(f"{INSTRUCTIONS} {digest(said(self.instructions))}")
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:12]


class Waiting(msgspec.Struct, frozen=True):
    """A definition that was seen and is not the approved one."""

    digest: str
    definition: str
    since: float


class Pinned(msgspec.Struct, frozen=True, omit_defaults=True):
    """All that is kept of one server."""

    approved: Approved
    waiting: dict[str, Waiting] = {}


class Broken(msgspec.Struct, frozen=True):
    """What is kept of a server cannot be read: nothing of it may be used, and nothing taken for approved."""

    why: str


class Outdated(Exception):
    """What is to be approved is not what waits now."""


def key(item: Item, name: str) -> str:
    """``tool:NAME``, ``prompt:NAME``, ``template:URI_TEMPLATE``."""
    return f"{TEMPLATE if item is Item.RESOURCE else item.value}:{name}"


def item_of(key: str) -> tuple[Item, str] | None:
    """The item of a key; None for the instructions."""
    word, colon, name = key.partition(":")
    if not colon:
        return None
    return (Item.RESOURCE if word == TEMPLATE else Item(word)), name


def digest(raw: bytes) -> str:
    """Of a definition; one that two parsers could read differently has none that equals another."""
    try:
        return canonical.digest(raw)
    except ValueError:
        return f"{_UNREADABLE}:{hashlib.sha256(raw).hexdigest()}"


def readable(digest: str) -> bool:
    """Whether it is the digest of a definition that everybody reads as the same."""
    return not digest.startswith(_UNREADABLE)


def said(text: str) -> bytes:
    """Instructions as a definition."""
    return msgspec.json.encode(text)


class Digests:
    """Each distinct definition is looked at once, as long as there is room."""

    def __init__(self) -> None:
        self._known: dict[bytes, str] = {}
        self._bytes = 0

    def of(self, raw: bytes) -> str:
        found = self._known.get(raw)
        if found is None:
            if self._bytes + len(raw) > _CACHED_BYTES:
                self._known.clear()
                self._bytes = 0
            found = self._known[raw] = digest(raw)
            self._bytes += len(raw)
        return found


def first(found: Mapping[str, bytes], instructions: str, now: float, by_uid: int = -1) -> Pinned:
    """Everything that there is, approved."""
    items = {key: Pin(one, raw.decode()) for key, raw in found.items() if readable(one := digest(raw))}
    return Pinned(Approved(now, items, by_uid, instructions))


def compared(pinned: Pinned, found: Mapping[str, bytes], instructions: str, now: float) -> Pinned:
    """What waits, where this is all that the server offers now."""
    approved = pinned.approved
    seen = {key: (digest(raw), raw) for key, raw in found.items()}
    waiting = {
        key: _seen(pinned.waiting.get(key), one, raw, now)
        for key, (one, raw) in seen.items()
        if key not in approved.items or approved.items[key].digest != one
    }
    if instructions != approved.instructions:
        raw = said(instructions)
        waiting[INSTRUCTIONS] = _seen(pinned.waiting.get(INSTRUCTIONS), digest(raw), raw, now)
    return Pinned(approved, dict(list(waiting.items())[:MOST_WAITING]))


def approve(pinned: Pinned, wanted: Mapping[str, str], now: float, by_uid: int) -> Pinned:
    """These definitions, by their digests, are approved. Raises Outdated."""
    items, waiting = dict(pinned.approved.items), dict(pinned.waiting)
    instructions = pinned.approved.instructions
    for name, one in wanted.items():
        found = waiting.pop(name, None)
        if found is None or found.digest != one or not readable(one):
            raise Outdated(name)
        if name == INSTRUCTIONS:
            instructions = msgspec.json.decode(found.definition, type=str)
        else:
            items[name] = Pin(one, found.definition, now if name in items else 0.0)
    return Pinned(Approved(now, items, by_uid, instructions), waiting)


def _seen(before: Waiting | None, digest: str, raw: bytes, now: float) -> Waiting:
    return Waiting(digest, raw.decode(), now if before is None else before.since)
