"""The one choke point of the agent: every message of a caller passes ``inbound``, every message of a child
``outbound``.

What is not exposed cannot be told from what does not exist: it is denied before the server hears of it, in
words that depend on nothing but the method.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from penstock.envelope import Kind, Message, member, text_member
from penstock.outcome import INTERNAL
from penstock.principal import Principal
from penstock_agent.gate import read
from penstock_agent.gate.expose import Expose, Item


@dataclass(frozen=True, slots=True)
class Allowed:
    """The message may go on to the server."""


@dataclass(frozen=True, slots=True)
class Denied:
    """The message must not reach the server."""

    text: str
    """For the caller: cause and next step, without anything that the caller sent."""


ALLOWED: Final = Allowed()

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
#: Requests that name no item. Tasks live in the child of their session and come only from calls that were
#: allowed.
OPEN: Final = frozenset(
    {"initialize", "ping", "logging/setLevel", "tasks/get", "tasks/result", "tasks/list", "tasks/cancel"}
)
UPDATED: Final = "notifications/resources/updated"

_DENIED: Final[Mapping[Item, Denied]] = {
    Item.TOOL: Denied(
        "This site exposes no tool of that name on this server. Use a tool that tools/list shows, "
        "or ask the site's administrator to expose it."
    ),
    Item.PROMPT: Denied(
        "This site exposes no prompt of that name on this server. Use a prompt that prompts/list shows, "
        "or ask the site's administrator to expose it."
    ),
    Item.RESOURCE: Denied(
        "This site exposes no resource of that URI on this server. Use a resource that resources/list shows, "
        "or ask the site's administrator to expose it."
    ),
    Item.METHOD: Denied(
        "This site does not expose that method on this server. Ask the site's administrator to expose it."
    ),
}
_NOTHING: Final = Expose()


class Gate:
    """The policy of the site as it stands now; a changed policy is a new gate."""

    def __init__(self, exposed: Mapping[str, Expose]) -> None:
        self._exposed = dict(exposed)

    @classmethod
    def of(cls, entries: Mapping[str, tuple[str, ...]]) -> Gate:
        """From the ``expose`` lists of the servers. Raises :exc:`~penstock_agent.gate.expose.BadPattern`."""
        return cls({server: Expose.parse(expose) for server, expose in entries.items()})

    def inbound(self, server: str, principal: Principal, message: Message) -> Allowed | Denied:
        """Whether ``principal`` may send this message to ``server``."""
        if message.kind is not Kind.REQUEST or message.method is None:
            # Notifications ask for nothing, and answers are matched with what the child asked.
            return ALLOWED
        expose = self._exposed.get(server, _NOTHING)
        method = message.method
        if (use := USES.get(method)) is not None:
            item, key = use
            return self._item(expose, item, _text(message.params, key))
        if method in LISTS or method in OPEN:
            return ALLOWED
        if method == COMPLETE:
            return self._completion(expose, message.params)
        return ALLOWED if expose.shows(Item.METHOD, method) else _DENIED[Item.METHOD]

    def outbound(
        self, server: str, principal: Principal, request: Message | None, message: Message
    ) -> Message | None:
        """What of a child's ``message`` may leave towards ``principal``; None for nothing.

        ``request`` is the caller's request that a response answers, None for what the child sends by itself.
        """
        if message.kind is Kind.RESPONSE:
            listed = LISTS.get(request.method) if request is not None and request.method is not None else None
            if listed is None:
                return message
            return self._filtered(self._exposed.get(server, _NOTHING), listed, message)
        if message.kind is Kind.NOTIFICATION and message.method == UPDATED:
            uri = None if message.params is None else read.name_of(message.params, "uri")
            expose = self._exposed.get(server, _NOTHING)
            return message if uri is not None and expose.shows(Item.RESOURCE, uri) else None
        return message

    @staticmethod
    def _item(expose: Expose, item: Item, name: str | None) -> Allowed | Denied:
        return ALLOWED if name is not None and expose.shows(item, name) else _DENIED[item]

    def _completion(self, expose: Expose, params: bytes | None) -> Allowed | Denied:
        reference = None if params is None else member(params, "ref")
        known = REFERENCES.get(_text(reference, "type") or "")
        if known is None:
            return _DENIED[Item.METHOD]
        item, key = known
        return self._item(expose, item, _text(reference, key))

    @staticmethod
    def _filtered(expose: Expose, listed: tuple[Item, str, str], message: Message) -> Message:
        item, items, key = listed

        def shown(raw: bytes) -> bool:
            name = read.name_of(raw, key)
            return name is not None and expose.shows(item, name)

        result = None if message.result is None else read.filtered(message.result, items, shown)
        if result is None:
            text = "The server's list is not of the form that MCP prescribes, so nothing of it is shown."
            return read.error(message, INTERNAL, text)
        return Message(Kind.RESPONSE, message.id, None, None, result, None)


def _text(raw: bytes | None, key: str) -> str | None:
    return None if raw is None else text_member(raw, key)
