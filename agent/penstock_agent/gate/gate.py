"""The one choke point of the agent: every message of a caller passes ``inbound``, every message of a child
``outbound``.

What is not exposed cannot be told from what does not exist: it is denied before the server hears of it, in
words that depend on nothing but the method.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Protocol, TypeAlias

from penstock.allowance import Allowance
from penstock.envelope import Kind, Message, member, replaced, text_member
from penstock.names import WHOLE_SITE
from penstock.outcome import INTERNAL
from penstock.principal import Principal
from penstock_agent.gate import read
from penstock_agent.gate.expose import Expose, Item
from penstock_agent.gate.policy.books import Charge
from penstock_agent.gate.policy.policies import Known, Look, NothingKnown, Policies, Whole
from penstock_agent.gate.policy.rules import Policy
from penstock_agent.gate.redaction.rules import Redactor
from penstock_agent.ledger.entries import Verdict


@dataclass(frozen=True, slots=True)
class Allowed:
    """The message may go on to the server."""

    rule: str = "expose"
    """What allows it, for the ledger."""
    charges: tuple[Charge, ...] = ()
    """The budgets that it is counted for."""
    of: str = ""
    """The server that has the item, where it is used through the whole site."""
    approve: bool = False
    """Whether somebody on site has to approve it first."""


@dataclass(frozen=True, slots=True)
class Denied:
    """The message must not reach the server."""

    text: str
    """For the caller: cause and next step, without anything that the caller sent."""
    rule: str = "expose"
    """What denies it, for the ledger."""
    of: str = ""
    """The server that has the item, where it is used through the whole site."""


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

#: What servers say beside their answers. It does not tell which server of a site it is of, so callers who may
#: use only some tools do not hear it: it may be of one that they may not use at all.
_ASIDE: Final = frozenset({"notifications/message", "notifications/elicitation/complete"})
#: What says nothing but that a list has changed.
_CHANGES: Final = frozenset(
    f"notifications/{what}/list_changed" for what in ("tools", "prompts", "resources")
)

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
_UNKNOWN: Final = NothingKnown()
#: Uses that no budget is for: who may use something may also leave it.
_FREE: Final = frozenset({"resources/unsubscribe"})


class Exposed(Protocol):
    """What the site exposes of one server: an :class:`Expose`, or what follows from several."""

    def shows(self, item: Item, name: str, /) -> bool:
        """Whether callers may see the item of this name (resources: this URI or URI template)."""
        ...


#: What is shown of a listed item (kind, name, raw); None for nothing.
Shown: TypeAlias = Callable[[Item, str, bytes], bytes | None]


@dataclass(frozen=True, slots=True)
class View:
    """What one caller sees of one server: what the site exposes, of that what its rules allow the caller, and
    of that what the user allowed the application.
    """

    exposed: Exposed
    allowance: Allowance | None
    marked: Collection[str]
    look: Look | None = None
    """None where there are no rules."""

    def shows(self, item: Item, name: str) -> bool:
        if not self._grants(item, name):
            return False
        return self.look is None or self.look.hides(item, name) is None

    def _grants(self, item: Item, name: str) -> bool:
        """Whether the site exposes it and the user allowed it, whatever the rules say."""
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
        return ALLOWED if name is not None and self.shows(item, name) else self._denied(item)

    def _denied(self, item: Item) -> Denied:
        if self.allowance is None or (item is not Item.TOOL and self.others):
            return _DENIED[item]
        # One text for what the site does not expose and for what the user did not allow: callers who may
        # not use all of a server need not learn what else there is.
        return _NOT_ALLOWED[Item.TOOL if item is Item.TOOL else Item.METHOD]

    def use(self, item: Item, name: str | None, arguments: bytes | None, *, counts: bool) -> Allowed | Denied:
        """As ``judge``, and by the site's rules for this use of it."""
        look = self.look
        if look is None or name is None or not self._grants(item, name):
            return self.judge(item, name)
        ruled = look.rule(item, name, arguments, counts=counts)
        if ruled.verdict is not Verdict.DENIED:
            return Allowed(ruled.by, ruled.charges, ruled.of, ruled.verdict is Verdict.WAITING)
        return Denied(ruled.text or self._denied(item).text, ruled.by, ruled.of)


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


def not_exposed(item: Item) -> str:
    """What is said of an item that is not exposed, or not there."""
    return _DENIED[item].text


def knows(method: str | None) -> bool:
    """Whether it is judged by more than whether the site exposes it by name."""
    return method in USES or method in LISTS or method in OPEN or method == COMPLETE


class Gate:
    """The policy of the site as it stands now; a changed policy is a new gate."""

    def __init__(
        self,
        exposed: Mapping[str, Exposed],
        redactors: Mapping[str, Redactor] = MappingProxyType({}),
        policies: Mapping[str, Policy] = MappingProxyType({}),
        whole: Whole | None = None,
    ) -> None:
        """``policies``: the rules of those servers that have some. ``whole``: all servers as one."""
        self._exposed: dict[str, Exposed] = dict(exposed)
        self.redactors = redactors
        """By server, what is taken out of what it says; servers of which nothing is are not among them."""
        self._policies = Policies(policies, whole)
        self._whole = whole

    @classmethod
    def of(
        cls, entries: Mapping[str, tuple[str, ...]], policies: Mapping[str, Policy] = MappingProxyType({})
    ) -> Gate:
        """From the ``expose`` lists of the servers. Raises :exc:`~penstock_agent.gate.expose.BadPattern`."""
        return cls({server: Expose.parse(expose) for server, expose in entries.items()}, policies=policies)

    def differs(self, other: Gate, server: str) -> bool:
        """Whether they may not show everybody the same of this server."""
        if self._exposed.get(server) != other._exposed.get(server):
            return True
        return self._policies.shape(server) != other._policies.shape(server)

    def owner(self, server: str, use: Use, known: Known) -> tuple[str, Use] | None:
        """The server that has what is used, and the use by its own name for the item; None where that is not
        certain, which can only be where ``server`` is the whole site.
        """
        if server != WHOLE_SITE:
            return server, use
        owners = () if self._whole is None else self._whole.owners(use.item, use.name, known.offered)
        if len(owners) != 1 or owners[0][1] is None:
            return None
        ((owner, name),) = owners
        return owner, Use(use.item, name or "")

    def _view(self, server: str, principal: Principal, marked: Collection[str], known: Known) -> View:
        look = self._policies.look(server, principal, known)
        return View(self._exposed.get(server, _NOTHING), principal.allowance, marked, look)

    def to_ask(
        self, server: str, principal: Principal, message: Message, known: Known
    ) -> tuple[Collection[str], Collection[str]]:
        """The servers that have to say what they offer before the rules can be applied to this request, and
        those without whose word a list would not be whole.
        """
        look, method = self._policies.look(server, principal, known), message.method
        if look is None or not look.asks:
            return (), ()
        if method is not None and (listed := LISTS.get(method)) is not None:
            asked = look.to_list(listed[0])
            return ((), asked) if server == WHOLE_SITE else (asked, ())
        use = used(message)
        return ((), ()) if use is None else (look.to_ask(use.item, use.name), ())

    def to_offer(self, server: str, principal: Principal, known: Known) -> Collection[str]:
        """The servers without whose word it is not known what this caller may use."""
        look = self._policies.look(server, principal, known)
        return () if look is None else {*look.to_list(Item.TOOL), *look.to_list(Item.PROMPT)}

    def inbound(
        self,
        server: str,
        principal: Principal,
        message: Message,
        marked: Collection[str] = _UNMARKED,
        known: Known = _UNKNOWN,
    ) -> Allowed | Denied:
        """Whether ``principal`` may send this message to ``server``.

        ``marked``: names of the server's tools that it marks as read-only, which a grant may be limited to.
        ``known``: what is known of all servers, by their own names for it, which rules may depend on.
        """
        if message.method is None:
            return ALLOWED  # answers are matched with what the child asked
        view = self._view(server, principal, marked, known)
        method, params = message.method, message.params
        if message.kind is not Kind.REQUEST:
            # Those of MCP ask for nothing. Of others that is not known; nor is a request one without its id.
            return ALLOWED if method in TOLD else view.use(Item.METHOD, method, None, counts=False)
        if (use := USES.get(method)) is not None:
            item, key = use
            name = _text(params, key)
            if view.look is None:
                return view.judge(item, name)
            arguments = None if params is None else member(params, "arguments")
            return view.use(item, name, arguments or b"{}", counts=method not in _FREE)
        if method in LISTS or method in OPEN:
            return _BY_METHOD
        if method == COMPLETE:
            return self._completion(view, message.params)
        return view.use(Item.METHOD, method, None, counts=True)

    def outbound(
        self,
        server: str,
        principal: Principal,
        request: Message | None,
        message: Message,
        marked: Collection[str] = _UNMARKED,
        known: Known = _UNKNOWN,
        shown: Shown | None = None,
    ) -> Message | None:
        """What of a child's ``message`` may leave towards ``principal``; None for nothing.

        ``request`` is the caller's request that a response answers, None for what the child sends by itself.
        ``shown`` is asked about every item of a list that has a name, also about those that are not exposed.
        """
        view = self._view(server, principal, marked, known)
        if message.kind is Kind.RESPONSE:
            listed = LISTS.get(request.method) if request is not None and request.method is not None else None
            if listed is None:
                return message
            return self._filtered(view, listed, message, shown)
        if message.kind is Kind.NOTIFICATION and message.method == UPDATED:
            uri = None if message.params is None else read.name_of(message.params, "uri")
            return message if uri is not None and view.shows(Item.RESOURCE, uri) else None
        if message.kind is Kind.NOTIFICATION and message.method == ACKNOWLEDGED:
            return self._narrowed(view, message)
        if view.look is not None and view.look.nothing and message.kind is not Kind.ERROR:
            # Where all servers are one, what is of another server than that is not known of the rest.
            barred = message.method in _ASIDE if server == WHOLE_SITE else message.method not in _CHANGES
            return None if barred else message
        if server == WHOLE_SITE and message.method in _ASIDE and not view.others:
            return None
        return message

    def narrowed(
        self,
        server: str,
        principal: Principal,
        message: Message,
        marked: Collection[str] = _UNMARKED,
        known: Known = _UNKNOWN,
    ) -> Message:
        """An allowed request of ``principal``, without the items in it that may not be used.

        That is a subscription: what is left of it, the server acknowledges, so its client can tell.
        """
        if message.method != LISTEN:
            return message
        return self._narrowed(self._view(server, principal, marked, known), message)

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

    def exposes(
        self, server: str, principal: Principal, item: Item, name: str, known: Known = _UNKNOWN
    ) -> bool:
        """Whether the site lets this person use the item, whatever is granted to the application."""
        look = self._policies.look(server, principal, known)
        return View(self._exposed.get(server, _NOTHING), None, (), look).shows(item, name)

    @staticmethod
    def _completion(view: View, params: bytes | None) -> Allowed | Denied:
        reference = None if params is None else member(params, "ref")
        known = REFERENCES.get(_text(reference, "type") or "")
        if known is None:
            return view.judge(Item.METHOD, None)
        item, key = known
        return view.use(item, _text(reference, key), None, counts=True)

    @staticmethod
    def _filtered(
        view: View, listed: tuple[Item, str, str], message: Message, shown: Shown | None
    ) -> Message:
        item, items, key = listed

        def out(raw: bytes) -> bytes | None:
            name = read.name_of(raw, key)
            if name is None:
                return None
            found = raw if shown is None else shown(item, name, raw)
            return found if view.shows(item, name) else None

        result = None if message.result is None else read.filtered(message.result, items, out)
        if result is None:
            text = (
                "The server's list is not of the form that MCP prescribes, or has more than "
                f"{read.MAX_ITEMS} items on one page, so nothing of it is shown."
            )
            return read.error(message, INTERNAL, text)
        return Message(Kind.RESPONSE, message.id, None, None, result, None)


def _text(raw: bytes | None, key: str) -> str | None:
    return None if raw is None else text_member(raw, key)
