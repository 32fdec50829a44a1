"""What of servers' definitions waits for approval, as somebody who decides wants to see it. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import msgspec

from penstock_agent.catalogue.conversation import offer
from penstock_agent.catalogue.lint import Finding, lint
from penstock_agent.catalogue.offer import Catalogue, CatalogueError
from penstock_agent.gate import pins
from penstock_agent.gate.expose import Item
from penstock_agent.gate.overrides import Overrides
from penstock_agent.gate.pins import INSTRUCTIONS, Pinned
from penstock_agent.problem import Exit, Problem

MOST_BYTES = 2 << 20
"""Of the definitions in one review; what is left comes once these are decided."""


class Change(msgspec.Struct, frozen=True):
    """One definition that waits."""

    key: str
    """``tool:NAME``, ``prompt:NAME``, ``template:URI_TEMPLATE``, or ``instructions``."""
    why: str
    """``changed`` or ``new``."""
    exposed: bool
    """Whether callers would see it."""
    digest: str
    since: float
    after: str
    before: str | None = None
    findings: list[str] = []
    """What looks like a trick in it, and what assistants will make of it."""


class Review(msgspec.Struct, frozen=True):
    """One server. ``problem``: why it could not be asked what it offers now; ``broken``: why what is approved
    cannot be read.
    """

    server: str
    version: str = ""
    approved_at: float = 0.0
    by_uid: int = -1
    problem: str = ""
    broken: str = ""
    changes: list[Change] = []
    more: int = 0
    """Changes that are not in here, because it would be too much."""


Exposed = Callable[[str, Item, str], bool]


def review(server: str, kept: Mapping[str, Pinned], exposed: Exposed, overrides: Overrides) -> Review:
    """What waits of ``server``. ``kept`` of all servers: an item may look like another server's."""
    pinned = kept[server]
    findings = lint([_catalogue(name, one, overrides) for name, one in kept.items()])
    found: list[Change] = []
    size = left = 0
    for key, waiting in pinned.waiting.items():
        before = _before(pinned, key)
        size += len(waiting.definition) + len(before or "")
        if found and size > MOST_BYTES:
            left += 1
            continue
        named = pins.item_of(key)
        found.append(
            Change(
                key,
                "new" if before is None else "changed",
                named is None or exposed(server, *named),
                waiting.digest,
                waiting.since,
                waiting.definition,
                before,
                [each.text for each in findings if each.server == server and _about(each, key)],
            )
        )
    found.sort(key=lambda one: not one.exposed)
    approved = pinned.approved
    return Review(server, approved.version, approved.at, approved.by_uid, changes=found, more=left)


def chosen(found: Review, items: list[str]) -> dict[str, str]:
    """The keys that ``items`` name (NAME is a tool), and their digests; all without one. Raises Problem."""
    waiting = {one.key: one.digest for one in found.changes}
    if not items:
        return waiting
    wanted = {}
    for text in items:
        key = text if text in waiting else f"tool:{text}"
        if key not in waiting:
            known = ", ".join(waiting) or "nothing"
            raise Problem(
                f"{text} of {found.server} does not wait for approval, so nothing was approved. "
                f"Waiting: {known}.",
                Exit.USAGE,
            )
        wanted[key] = waiting[key]
    return wanted


def _before(pinned: Pinned, key: str) -> str | None:
    if key == INSTRUCTIONS:
        return pins.said(pinned.approved.instructions).decode()
    pin = pinned.approved.items.get(key)
    return None if pin is None else pin.definition


def _catalogue(server: str, pinned: Pinned, overrides: Overrides) -> Catalogue:
    """As it would be if all were approved."""
    raws = {key: pin.definition for key, pin in pinned.approved.items.items()}
    raws |= {key: one.definition for key, one in pinned.waiting.items()}
    instructions = raws.pop(INSTRUCTIONS, None)
    text = pinned.approved.instructions
    if instructions is not None:
        text = msgspec.json.decode(instructions, type=str)
    items = []
    for key, raw in raws.items():
        named = pins.item_of(key)
        if named is None:
            continue
        item, name = named
        override = overrides.get(server, {}).get(name) if item is Item.TOOL else None
        try:
            items.append(offer(item, raw.encode(), override))
        except CatalogueError:
            continue  # what is no item of MCP; the difference shows it
    return Catalogue(server, items, text)


def _about(finding: Finding, key: str) -> bool:
    named = pins.item_of(key)
    if named is None:
        return finding.kind == "server"
    return (finding.kind, finding.name) == (named[0].value, named[1])
