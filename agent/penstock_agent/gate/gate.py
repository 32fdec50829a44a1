"""The one choke point of the agent: every message of a caller passes ``inbound``, every message of a child
``outbound``.

What is not exposed cannot be told from what does not exist: it is denied before the server hears of it, in
words that depend on nothing but the method.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Protocol

from penstock.allowance import Allowance
from penstock.envelope import Kind, Message, member, replaced, text_member
from penstock.names import WHOLE_SITE
from penstock.outcome import INTERNAL
from penstock.principal import Principal
from penstock_agent.gate import read
from penstock_agent.gate.expose import Expose, Item
from penstock_agent.gate.redaction.rules import Redactor


@dataclass(frozen=True, slots=True)
class Allowed:
    """The message may go on to the server."""

    rule: str = "expose"
    """What allows it, for the ledger."""


@dataclass(frozen=True, slots=True)
class Denied:
    """The message must not reach the server."""

    text: str
    """For the caller: cause and next step, without anything that the caller sent."""
    rule: str = "expose"
    """What denies it, for the ledger."""


ALLOWED: Final = Allowed()
_BY_METHOD: Final = Allowed("method")

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
LISTEN: Final = "subscriptions/listen"
UPDATED: Final = "notifications/resources/updated"
ACKNOWLEDGED: Final = "notifications/subscriptions/acknowledged"
#: Where a subscription, and the acknowledgement of one, name resources.
SUBSCRIBED: Final = ("notifications", "resourceSubscriptions")

#: What servers say beside their answers. It does not tell which server of a site it is of, so callers who may
#: use only some tools do not hear it: it may be of one that they may not use at all.
_ASIDE: Final = frozenset({"notifications/message", "notifications/elicitation/complete"})

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
_NOT_ALLOWED: Final[Mapping[Item, Denied]] = {
    Item.TOOL: Denied(
        "This application may use no tool of that name on this server: its user did not allow it, or the "
        "site does not expose it. Use a tool that tools/list shows, or ask the user to change what this "
        "application may use, on the relay's page of connected applications.",
        "grant",
    ),
    Item.METHOD: Denied(
        "This application may use only tools of this server, as its user chose. Ask the user to change that "
        "on the relay's page of connected applications.",
        "grant",
    ),
}
_NOTHING: Final = Expose()
_UNMARKED: Final[frozenset[str]] = frozenset()


class Exposed(Protocol):
    """What the site exposes of one server: an :class:`Expose`, or what follows from several."""

    def shows(self, item: Item, name: str, /) -> bool:
        """Whether callers may see the item of this name (resources: this URI or URI template)."""
        ...


@dataclass(frozen=True, slots=True)
class View:
    """What one caller sees of one server: what the site exposes, and of that what the user allowed."""

    exposed: Exposed
    allowance: Allowance | None
    marked: Collection[str]

    def shows(self, item: Item, name: str) -> bool:
        allowance = self.allowance
        if not self.exposed.shows(item, name):
            return False
        if allowance is None:
            return True
        return allowance.allows_tool(name, self.marked) if item is Item.TOOL else allowance.others

    @property
    def others(self) -> bool:
        """Whether the caller may use what is no tool."""
        return self.allowance is None or self.allowance.others

    def judge(self, item: Item, name: str | None) -> Allowed | Denied:
        if name is not None and self.shows(item, name):
            return ALLOWED
        if self.allowance is None or (item is not Item.TOOL and self.others):
            return _DENIED[item]
        # One text for what the site does not expose and for what the user did not allow: callers who may
        # not use all of a server need not learn what else there is.
        return _NOT_ALLOWED[Item.TOOL if item is Item.TOOL else Item.METHOD]


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


class Gate:
    """The policy of the site as it stands now; a changed policy is a new gate."""

    def __init__(
        self, exposed: Mapping[str, Exposed], redactors: Mapping[str, Redactor] = MappingProxyType({})
    ) -> None:
        self._exposed: dict[str, Exposed] = dict(exposed)
        self.redactors = redactors
        """By server, what is taken out of what it says; servers of which nothing is are not among them."""

    @classmethod
    def of(cls, entries: Mapping[str, tuple[str, ...]]) -> Gate:
        """From the ``expose`` lists of the servers. Raises :exc:`~penstock_agent.gate.expose.BadPattern`."""
        return cls({server: Expose.parse(expose) for server, expose in entries.items()})

    def differs(self, other: Gate, server: str) -> bool:
        """Whether they do not expose the same of this server."""
        return self._exposed.get(server) != other._exposed.get(server)

    def inbound(
        self, server: str, principal: Principal, message: Message, marked: Collection[str] = _UNMARKED
    ) -> Allowed | Denied:
        """Whether ``principal`` may send this message to ``server``.

        ``marked``: names of the server's tools that it marks as read-only, which a grant may be limited to.
        """
        if message.kind is not Kind.REQUEST or message.method is None:
            # Notifications ask for nothing, and answers are matched with what the child asked.
            return ALLOWED
        view = View(self._exposed.get(server, _NOTHING), principal.allowance, marked)
        method = message.method
        if (use := USES.get(method)) is not None:
            item, key = use
            return view.judge(item, _text(message.params, key))
        if method in LISTS or method in OPEN:
            return _BY_METHOD
        if method == COMPLETE:
            return self._completion(view, message.params)
        return view.judge(Item.METHOD, method)

    def outbound(
        self,
        server: str,
        principal: Principal,
        request: Message | None,
        message: Message,
        marked: Collection[str] = _UNMARKED,
    ) -> Message | None:
        """What of a child's ``message`` may leave towards ``principal``; None for nothing.

        ``request`` is the caller's request that a response answers, None for what the child sends by itself.
        """
        view = View(self._exposed.get(server, _NOTHING), principal.allowance, marked)
        if message.kind is Kind.RESPONSE:
            listed = LISTS.get(request.method) if request is not None and request.method is not None else None
            if listed is None:
                return message
            return self._filtered(view, listed, message)
        if message.kind is Kind.NOTIFICATION and message.method == UPDATED:
            uri = None if message.params is None else read.name_of(message.params, "uri")
            return message if uri is not None and view.shows(Item.RESOURCE, uri) else None
        if message.kind is Kind.NOTIFICATION and message.method == ACKNOWLEDGED:
            return self._narrowed(view, message)
        if server == WHOLE_SITE and message.method in _ASIDE and not view.others:
            return None
        return message

    def narrowed(
        self, server: str, principal: Principal, message: Message, marked: Collection[str] = _UNMARKED
    ) -> Message:
        """An allowed request of ``principal``, without the items in it that may not be used.

        That is a subscription: what is left of it, the server acknowledges, so its client can tell.
        """
        if message.method != LISTEN:
            return message
        return self._narrowed(View(self._exposed.get(server, _NOTHING), principal.allowance, marked), message)

    @staticmethod
    def _narrowed(view: View, message: Message) -> Message:
        params = message.params
        listed = None if params is None else member(params, *SUBSCRIBED)
        if params is None or listed is None:
            return message
        kept = read.texts(listed, lambda uri: view.shows(Item.RESOURCE, uri))
        return Message(
            message.kind, message.id, message.method, replaced(params, kept, *SUBSCRIBED), None, None
        )

    def exposes(self, server: str, item: Item, name: str) -> bool:
        """Whether the site exposes this item to those who may use all of it."""
        return self._exposed.get(server, _NOTHING).shows(item, name)

    @staticmethod
    def _completion(view: View, params: bytes | None) -> Allowed | Denied:
        reference = None if params is None else member(params, "ref")
        known = REFERENCES.get(_text(reference, "type") or "")
        if known is None:
            return view.judge(Item.METHOD, None)
        item, key = known
        return view.judge(item, _text(reference, key))

    @staticmethod
    def _filtered(view: View, listed: tuple[Item, str, str], message: Message) -> Message:
        item, items, key = listed

        def shown(raw: bytes) -> bool:
            name = read.name_of(raw, key)
            return name is not None and view.shows(item, name)

        result = None if message.result is None else read.filtered(message.result, items, shown)
        if result is None:
            text = (
                "The server's list is not of the form that MCP prescribes, or has more than "
                f"{read.MAX_ITEMS} items on one page, so nothing of it is shown."
            )
            return read.error(message, INTERNAL, text)
        return Message(Kind.RESPONSE, message.id, None, None, result, None)


def _text(raw: bytes | None, key: str) -> str | None:
    return None if raw is None else text_member(raw, key)
