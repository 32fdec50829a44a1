"""The one choke point of the agent: every message of a caller passes ``inbound``, every message of a child
``outbound``.

What is not exposed cannot be told from what does not exist: it is denied before the server hears of it, in
words that depend on nothing but the method.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from types import MappingProxyType
from typing import Final, TypeAlias

from penstock.envelope import Kind, Message, member, replaced, text_member
from penstock.names import WHOLE_SITE
from penstock.outcome import INTERNAL
from penstock.principal import Principal
from penstock_agent.gate import read
from penstock_agent.gate.expose import Expose, Item
from penstock_agent.gate.methods import (
    ACKNOWLEDGED,
    COMPLETE,
    LISTEN,
    LISTS,
    OPEN,
    REFERENCES,
    SUBSCRIBED,
    TOLD,
    UPDATED,
    USES,
    Use,
    used,
)
from penstock_agent.gate.policy.policies import Known, NothingKnown, Policies, Whole
from penstock_agent.gate.policy.rules import Policy
from penstock_agent.gate.policy.taint import Taint
from penstock_agent.gate.redaction.rules import Redactor
from penstock_agent.gate.view import ALLOWED, Allowed, Denied, Exposed, View

_BY_METHOD: Final = Allowed("method")

#: What servers say beside their answers. It does not tell which server of a site it is of, so callers who may
#: use only some tools do not hear it: it may be of one that they may not use at all.
_ASIDE: Final = frozenset({"notifications/message", "notifications/elicitation/complete"})
#: What says nothing but that a list has changed.
_CHANGES: Final = frozenset(
    f"notifications/{what}/list_changed" for what in ("tools", "prompts", "resources")
)
_NOTHING: Final = Expose()
_UNMARKED: Final[frozenset[str]] = frozenset()
_UNKNOWN: Final = NothingKnown()
#: Uses that no budget is for: who may use something may also leave it.
_FREE: Final = frozenset({"resources/unsubscribe"})

#: What is shown of a listed item (kind, name, raw); None for nothing.
Shown: TypeAlias = Callable[[Item, str, bytes], bytes | None]


class Gate:
    """The policy of the site as it stands now; a changed policy is a new gate."""

    def __init__(
        self,
        exposed: Mapping[str, Exposed],
        redactors: Mapping[str, Redactor] = MappingProxyType({}),
        policies: Mapping[str, Policy] = MappingProxyType({}),
        whole: Whole | None = None,
        taint: Taint | None = None,
    ) -> None:
        """``policies``: the rules of those servers that have some. ``whole``: all servers as one. ``taint``:
        what is sensitive here; None where nothing is.
        """
        self._exposed: dict[str, Exposed] = dict(exposed)
        self.redactors = redactors
        """By server, what is taken out of what it says; servers of which nothing is are not among them."""
        self._policies = Policies(policies, whole)
        self._whole = whole
        self.taint = taint

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
        owners = self.owners(server, use, known)
        if len(owners) != 1 or owners[0][1] is None:
            return None
        ((owner, name),) = owners
        return owner, Use(use.item, name or "")

    def owners(self, server: str, use: Use | None, known: Known) -> Sequence[tuple[str, str | None]]:
        """The servers that may have what is used, and what each calls it; None where that is not known.
        All of them where it is not known what is used.
        """
        if server != WHOLE_SITE:
            return ((server, None if use is None else use.name),)
        if self._whole is None:
            return ()
        if use is None:
            return [(name, None) for name in self._whole.servers]
        return self._whole.owners(use.item, use.name, known.offered)

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
