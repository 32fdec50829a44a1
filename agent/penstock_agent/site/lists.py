"""Pages of several servers' lists as one page. Pure.

Items keep their bytes but for the name; everything else that a server's page says ends here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from penstock.envelope import member, members, replaced, text_member
from penstock_agent.gate import read
from penstock_agent.gate.expose import Expose, Item
from penstock_agent.gate.gate import Shown
from penstock_agent.gate.methods import LISTS
from penstock_agent.site import cursors
from penstock_agent.site.names import STATUS, Names, Target

_encode = msgspec.json.Encoder().encode

STATUS_TOOL = _encode(
    {
        "name": STATUS,
        "title": "Status of the site",
        "description": "Which servers of this site are up, and how many of their items the site withholds.",
        "inputSchema": {"type": "object", "additionalProperties": False},
        "annotations": {"readOnlyHint": True, "openWorldHint": False},
    }
)


@dataclass(frozen=True, slots=True)
class Listed:
    """One item: by the server's name for it and by the site's, and what callers see of it."""

    plain: str
    outer: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class Page:
    """What of a server's page may be seen. ``cursor``: for its next page."""

    items: Sequence[Listed]
    withheld: int
    cursor: str | None = None


def page(
    method: str, server: str, expose: Expose, names: Names, result: bytes, shown: Shown | None = None
) -> Page | None:
    """The page in a server's answer to the list ``method``; None when it is not one, or has
    more than ``read.MAX_ITEMS``. ``shown`` is asked about every item that has a name.
    """
    item, key, name_key = LISTS[method]
    if result.count(b",") > read.MAX_COMMAS:
        return None
    array = member(result, key)
    listed = [] if array is None else read.items(array)
    if listed is None or (array is None and members(result) is None):
        return None
    found: dict[str, Listed] = {}
    withheld = 0
    for one in listed:
        plain = read.name_of(one, name_key)
        raw = one if shown is None or plain is None else shown(item, plain, one)
        if plain is None or raw is None or not expose.shows(item, plain):
            withheld += 1
        elif item is Item.RESOURCE:
            found.setdefault(plain, Listed(plain, plain, raw))
        else:
            outer = names.outer(item, Target(server, plain))
            # The first of a name counts, as it does where the name is looked up.
            if outer not in found:
                found[outer] = Listed(plain, outer, replaced(raw, _encode(outer), name_key))
    cursor = text_member(result, "nextCursor")
    return Page(list(found.values()), withheld, cursor if cursor and cursors.usable(cursor) else None)


def joined(method: str, pages: Iterable[tuple[str, Page]], first: Iterable[bytes] = ()) -> bytes:
    """The raw result of the list ``method``. ``pages`` by server, in the order in which they count."""
    _, key, _ = LISTS[method]
    found: dict[str, bytes] = {}
    left: dict[str, str] = {}
    for server, one in pages:
        for listed in one.items:
            found.setdefault(listed.outer, listed.raw)
        if one.cursor is not None:
            left[server] = one.cursor
    result: dict[str, object] = {key: [msgspec.Raw(raw) for raw in (*first, *found.values())]}
    cursor = cursors.joined(method, left)
    if cursor is not None:
        result["nextCursor"] = cursor
    return _encode(result)


def params(raw: bytes | None, cursor: str | None) -> bytes | None:
    """The params of a list for one server: its own cursor in the place of the caller's."""
    if cursor is not None:
        return replaced(raw or b"{}", _encode(cursor), "cursor")
    if raw is None or member(raw, "cursor") is None:
        return raw
    kept = members(raw) or {}
    return _encode({name: value for name, value in kept.items() if name != "cursor"})
