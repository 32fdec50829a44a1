"""What ``expose`` approves, and what ``tools list`` shows of it."""

from __future__ import annotations

from penstock_agent.catalogue.offer import Catalogue, Offer
from penstock_agent.exposing import pinned
from penstock_agent.gate.expose import Item
from penstock_agent.gate.pins import Broken, Pinned


def catalogue(**tools: str) -> Catalogue:
    items = [Offer(Item.TOOL, name, definition=text.encode()) for name, text in tools.items()]
    return Catalogue("files", [*items, Offer(Item.RESOURCE, "file:///r")], "be nice")


def exposed(before: Pinned | Broken | None, offered: Catalogue, *entries: str) -> Pinned:
    found = pinned.exposed(before, offered, entries, 5.0, 7)
    assert isinstance(found, Pinned)
    return found


def test_the_first_time_everything_is_approved() -> None:
    first = exposed(None, catalogue(a='{"v":1}', b='{"v":1}'), "a")
    assert sorted(first.approved.items) == ["tool:a", "tool:b"]
    assert (first.approved.by_uid, first.approved.instructions) == (7, "be nice")
    assert pinned.states(first, catalogue(a='{"v":1}')) == {}


def test_later_what_is_new_and_exposed_is_approved_and_what_has_changed_is_not() -> None:
    first = exposed(None, catalogue(a='{"v":1}'), "a")
    now = catalogue(a='{"v":2}', b='{"v":1}', c='{"v":1}')
    assert pinned.states(first, now) == {"tool:a": "changed", "tool:b": "new", "tool:c": "new"}
    after = exposed(first, now, "a", "b")
    assert pinned.states(after, now) == {"tool:a": "changed", "tool:c": "new"}
    assert sorted(after.waiting) == ["tool:a", "tool:c"]
    assert exposed(after, now, "a", "b") == after


def test_what_cannot_be_read_is_left_as_it_is() -> None:
    broken = Broken("it is broken")
    assert pinned.exposed(broken, catalogue(a="{}"), ["a"], 5.0, 7) is broken
    assert pinned.states(broken, catalogue(a="{}")) == {"tool:a": "unreadable"}
    assert pinned.states(None, catalogue(a="{}")) == {}
