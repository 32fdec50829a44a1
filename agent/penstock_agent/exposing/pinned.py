"""What a command does to pins that has just read what a server offers. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from penstock_agent.catalogue.offer import Catalogue
from penstock_agent.gate import pins
from penstock_agent.gate.expose import Expose
from penstock_agent.gate.pins import Broken, Pinned


def exposed(
    before: Pinned | Broken | None, catalogue: Catalogue, entries: Sequence[str], now: float, by_uid: int
) -> Pinned | Broken:
    """Somebody was shown the catalogue and exposes ``entries`` of it. Everything is approved where nothing
    was; else what is new and exposed. What has changed waits for a review.
    """
    if isinstance(before, Broken):
        return before
    found = catalogue.definitions
    if before is None:
        return pins.first(found, catalogue.instructions, now, by_uid)
    after = pins.compared(before, found, catalogue.instructions, now)
    expose = Expose.parse(entries)
    new: dict[str, str] = {}
    for key, waiting in after.waiting.items():
        named = pins.item_of(key)
        if named is not None and key not in after.approved.items and expose.shows(*named):
            new[key] = waiting.digest
    new = {key: digest for key, digest in new.items() if pins.readable(digest)}
    if not new:
        return after if after.waiting.keys() != before.waiting.keys() else before
    return pins.approve(after, new, now, by_uid)


def states(kept: Pinned | Broken | None, catalogue: Catalogue) -> dict[str, str]:
    """What is withheld of it, by the keys of pins, and why: ``changed``, ``new``, ``unreadable``."""
    if kept is None:
        return {}
    found = catalogue.definitions
    if isinstance(kept, Broken):
        return dict.fromkeys(found, "unreadable")
    items = kept.approved.items
    waiting = pins.compared(kept, found, catalogue.instructions, 0.0).waiting
    return {key: "changed" if key in items or key == pins.INSTRUCTIONS else "new" for key in waiting}
