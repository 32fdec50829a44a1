"""What a user chooses on a page of tools: from what a site offers to lines, from ticks to an allowance. Pure.

The page brings back, sealed, which lines stood on it. So what was not chosen is known as well, and a tool
that the site adds between page and answer is not among them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from penstock.allowance import MAX_NAMES, Allowance, Later
from penstock.names import WHOLE_SITE
from penstock_relay.oauth.offers import Effect, Offer

MAX_SHOWN: Final = 24 * 1024
"""Bytes of the names on one page: they travel twice, once percent-encoded."""
MAX_SERVERS: Final = 8
"""Servers on one page."""

_BEGINNINGS: Final = (re.compile(r"[^_./:-]*[_./:-]|.", re.DOTALL), re.compile(".", re.DOTALL))
"""What names are gathered by when there are too many: up to the first separator; else one character."""
_OF_SERVERS: Final = re.compile("[a-z0-9-]+__")
"""Before that, at a whole site: the name of the server. A name without one stays by itself."""

_ORDER: Final = tuple(Effect)


class Line(msgspec.Struct, frozen=True, array_like=True):
    """One tool, or all whose names begin alike (`prefix`)."""

    name: str
    effect: Effect
    prefix: bool = False


@dataclass(frozen=True, slots=True)
class Shown:
    """One line as the page shows it. `field` is the name of its check box."""

    field: str
    name: str
    title: str
    description: str
    prefix: bool
    ticked: bool


@dataclass(frozen=True, slots=True)
class Group:
    """Lines with one effect."""

    effect: Effect
    lines: tuple[Shown, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """One server on the page, or the `WHOLE_SITE`; `offer` None: its site is silent."""

    server: str
    offer: Offer | None
    lines: tuple[Line, ...]

    @property
    def whole(self) -> bool:
        """Whether each tool stands by itself, so that those not chosen can be named as well."""
        return not any(line.prefix for line in self.lines)

    @property
    def others(self) -> str:
        """Prompts and resources in words; empty without any."""
        offer = self.offer or Offer()
        counts = ((offer.prompts, "prompt"), (offer.resources, "resource"))
        return " and ".join(f"{count} {word}{'s' * (count != 1)}" for count, word in counts if count)


def block(server: str, offer: Offer | None) -> Block:
    """The lines for what a server offers: one per tool, or per beginning where they are too many."""
    tools = () if offer is None else offer.tools
    lines = tuple(Line(tool.name, tool.effect) for tool in tools)
    for beginning in (_OF_SERVERS, *_BEGINNINGS) if server == WHOLE_SITE else _BEGINNINGS:
        if not _fit(lines):
            lines = _gathered(lines, beginning)
    return Block(server, offer, lines if _fit(lines) else lines[: MAX_NAMES // 2])


def shown(blocks: Sequence[Block]) -> str:
    """Which lines stand on the page, for the form to bring back. Give it what `fitting` says."""
    return msgspec.json.encode({each.server: each.lines for each in blocks}).decode()


def fitting(blocks: Sequence[Block]) -> list[Block]:
    """The first of `blocks`, and of the others as many as one page takes."""
    kept = list(blocks[:1])
    for each in blocks[1:MAX_SERVERS]:
        if sum(len(b.lines) for b in (*kept, each)) <= MAX_NAMES and len(shown((*kept, each))) <= MAX_SHOWN:
            kept.append(each)
    return kept


def parse_shown(text: str) -> dict[str, tuple[Line, ...]]:
    """What `shown` made. Raises ValueError."""
    try:
        return _decoder.decode(text)
    except (msgspec.DecodeError, RecursionError):
        raise ValueError("the page cannot be read") from None


def groups(index: int, found: Block, chosen: Allowance | None) -> tuple[Group, ...]:
    """The check boxes of the block at `index`, ticked as `chosen` says; None: what only reads."""
    marked = {line.name for line in found.lines if line.effect is Effect.READ}
    tools = {} if found.offer is None else {tool.name: tool for tool in found.offer.tools}

    def one(number: int, line: Line) -> Shown:
        if chosen is None:
            ticked = line.effect is Effect.READ
        elif line.prefix:
            ticked = line.name in chosen.prefixes or chosen.later is Later.ALL
        else:
            ticked = chosen.allows_tool(line.name, marked)
        tool = tools.get(line.name)
        title, text = ("", "") if tool is None or line.prefix else (tool.title, tool.description)
        return Shown(field(index, number), line.name, title, text, line.prefix, ticked)

    every = [(line.effect, one(number, line)) for number, line in enumerate(found.lines)]
    return tuple(
        Group(effect, lines)
        for effect in _ORDER
        if (lines := tuple(line for its, line in every if its is effect))
    )


def field(index: int, number: int) -> str:
    return f"t{index}.{number}"


def chosen(
    form: Mapping[str, str], shown: Mapping[str, Sequence[Line]], *, later: bool
) -> dict[str, Allowance]:
    """What the form allows of each server that stood on the page. `later`: whether later tools may be."""
    if "silent" in form:
        read_only = later and form["silent"] == "read_only"
        allowed = Allowance(later=Later.READ_ONLY, others=True) if read_only else Allowance()
        return dict.fromkeys(shown, allowed)
    which = _later(form.get("later", "")) if later else Later.NONE
    return {server: _ticked(form, index, lines, which) for index, (server, lines) in enumerate(shown.items())}


def _ticked(form: Mapping[str, str], index: int, lines: Sequence[Line], later: Later) -> Allowance:
    ticked = [field(index, number) in form for number in range(len(lines))]
    names = tuple(line.name for line, on in zip(lines, ticked, strict=True) if on and not line.prefix)
    prefixes = tuple(line.name for line, on in zip(lines, ticked, strict=True) if on and line.prefix)
    if any(line.prefix for line in lines):
        later = Later.NONE  # what was not chosen could not be told from what comes later
    denied: tuple[str, ...] = ()
    if later is not Later.NONE:
        denied = tuple(line.name for line, on in zip(lines, ticked, strict=True) if not on)
    return Allowance(names, prefixes, denied, later, f"o{index}" in form)


def ticked_by(button: str) -> Allowance | None:
    """The ticks that a button of the page sets for its user; see `groups`."""
    if button == "all":
        return Allowance(later=Later.ALL, others=True)
    if button == "none":
        return Allowance()
    return None


def in_words(allowance: Allowance | None) -> str:
    """For the list of what was granted."""
    if allowance is None:
        return "everything that the site exposes, now and later"
    number = len(allowance.tools)
    parts = []
    if number:
        parts.append(f"{number} tool{'s' * (number != 1)}")
    if allowance.prefixes:
        parts.append("tools whose names begin with " + ", ".join(allowance.prefixes[:5]))
    if allowance.later is Later.READ_ONLY:
        parts.append("every tool that only reads, also those added later")
    elif allowance.later is Later.ALL:
        parts.append("every tool added later")
    if allowance.others:
        parts.append("prompts and resources")
    return "; ".join(parts) or "nothing yet"


def _later(text: str) -> Later:
    try:
        return Later(text)
    except ValueError:
        return Later.NONE


def _fit(lines: Sequence[Line]) -> bool:
    return len(lines) <= MAX_NAMES and len(msgspec.json.encode(lines)) <= MAX_SHOWN


def _gathered(lines: Sequence[Line], beginning: re.Pattern[str]) -> tuple[Line, ...]:
    """With the least harmless effect of all that begin so; what `beginning` does not fit stays as it is."""
    found: dict[str, Effect] = {}
    alone: list[Line] = []
    for line in lines:
        match = beginning.match(line.name)
        if match is None:
            alone.append(line)
        else:
            found.setdefault(match[0], line.effect)
    # A beginning may begin another one, and then covers what that does.
    lengths = {len(name) for name in found}
    for line in lines:
        for name in {line.name[:length] for length in lengths} & found.keys():
            found[name] = max(found[name], line.effect, key=_ORDER.index)
    return (*(Line(name, effect, prefix=True) for name, effect in found.items()), *alone)


_decoder = msgspec.json.Decoder(dict[str, tuple[Line, ...]])
