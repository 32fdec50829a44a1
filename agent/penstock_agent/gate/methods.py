"""What MCP's methods are for the gate: which use an item, which list some, which name none. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from penstock.envelope import Message, member, text_member
from penstock_agent.gate.expose import Item

#: Requests that use one item: the item's kind and the parameter that names it.
USES: Final[Mapping[str, tuple[Item, str]]] = {
    "tools/call": (Item.TOOL, "name"),
    "prompts/get": (Item.PROMPT, "name"),
    "resources/read": (Item.RESOURCE, "uri"),
    "resources/subscribe": (Item.RESOURCE, "uri"),
    "resources/unsubscribe": (Item.RESOURCE, "uri"),
}
#: Requests whose result is a list of items: their kind, the member that holds them, the member that names
#: each.
LISTS: Final[Mapping[str, tuple[Item, str, str]]] = {
    "tools/list": (Item.TOOL, "tools", "name"),
    "prompts/list": (Item.PROMPT, "prompts", "name"),
    "resources/list": (Item.RESOURCE, "resources", "uri"),
    "resources/templates/list": (Item.RESOURCE, "resourceTemplates", "uriTemplate"),
}
COMPLETE: Final = "completion/complete"
#: A completion names what it completes by a reference of one of these types.
REFERENCES: Final[Mapping[str, tuple[Item, str]]] = {
    "ref/prompt": (Item.PROMPT, "name"),
    "ref/resource": (Item.RESOURCE, "uri"),
}
#: Requests that name no item, or whose items are taken out one by one (``Gate.narrowed``). Tasks come only
#: from calls that were allowed, and whose they are is known elsewhere.
OPEN: Final = frozenset(
    {
        "initialize", "ping", "logging/setLevel", "server/discover", "subscriptions/listen",
        "tasks/get", "tasks/result", "tasks/list", "tasks/cancel", "tasks/update",
    }
)  # fmt: skip
#: What clients tell servers in MCP itself.
TOLD: Final = frozenset(
    {
        "notifications/initialized", "notifications/cancelled", "notifications/progress",
        "notifications/roots/list_changed", "notifications/tasks/status",
    }
)  # fmt: skip
LISTEN: Final = "subscriptions/listen"
UPDATED: Final = "notifications/resources/updated"
ACKNOWLEDGED: Final = "notifications/subscriptions/acknowledged"
#: Where a subscription, and the acknowledgement of one, name resources.
SUBSCRIBED: Final = ("notifications", "resourceSubscriptions")


@dataclass(frozen=True, slots=True)
class Use:
    """The item that a request uses."""

    item: Item
    name: str

    def __str__(self) -> str:
        return f"{self.item.value}:{self.name}"


def used(message: Message) -> Use | None:
    """What this request of a caller uses; None for one that names nothing."""
    method, params = message.method, message.params
    if method is None or params is None:
        return None
    if (use := USES.get(method)) is not None:
        item, key = use
    elif method == COMPLETE:
        reference = member(params, "ref")
        known = None if reference is None else REFERENCES.get(text_member(reference, "type") or "")
        if known is None:
            return None
        params, (item, key) = reference or b"", known
    else:
        return None
    name = text_member(params, key)
    return None if name is None else Use(item, name)


def knows(method: str | None) -> bool:
    """Whether it is judged by more than whether the site exposes it by name."""
    return method in USES or method in LISTS or method in OPEN or method == COMPLETE
