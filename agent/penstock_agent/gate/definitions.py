"""Whether what servers show is what was approved: every list, every greeting, every use. Pure.

A server whose definitions were never approved has them taken as they are found first. From then on what
differs is withheld: left out of lists, refused when it is used, and kept for a review on site.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import msgspec

from penstock.envelope import Message, member, members, text_member
from penstock.lookalike import fold
from penstock.principal import Principal
from penstock_agent.gate import pins
from penstock_agent.gate.expose import Item
from penstock_agent.gate.methods import Use
from penstock_agent.gate.overrides import Overrides
from penstock_agent.gate.pins import INSTRUCTIONS, Broken, Pinned, Waiting
from penstock_agent.gate.view import not_exposed

#: Lists whose items are pinned. Resources come and go: what may be read of them is said by expose.
PINNED: Final[Mapping[str, Item]] = {
    "tools/list": Item.TOOL,
    "prompts/list": Item.PROMPT,
    "resources/templates/list": Item.RESOURCE,
}
#: The list that has to have been seen before something of it is used.
FIRST: Final[Mapping[str, str]] = {"tools/call": "tools/list", "prompts/get": "prompts/list"}
GREETINGS: Final = frozenset({"initialize", "server/discover"})
MOST_CALLERS: Final = 4096
"""Callers of whom it is known when they listed tools last."""
INVALID_PARAMS: Final = -32602

_WORDS: Final[Mapping[Item, str]] = {Item.TOOL: "tool", Item.PROMPT: "prompt", Item.RESOURCE: "resource"}
_NEXT: Final = "waits for approval there; ask the administrator: penstock-agent tools review"
BROKEN: Final = (
    "What this site has approved of this server cannot be read there, so nothing of it is used. Ask the "
    "administrator: penstock-agent status"
)
UNKNOWN: Final = (
    "The server on site did not say what it offers now, so what it offers could not be compared with what "
    "was approved there. Nothing was done; try again in a minute."
)


@dataclass(slots=True, eq=False)
class Sight:
    """What the lists of one process, and its greeting, have shown; a new process has a new one."""

    looked: set[str] = field(default_factory=set)
    """Lists that were seen whole since the process began, or said that they have changed."""
    differs: dict[str, str] = field(default_factory=dict)
    """Digests of what was not as approved."""
    collected: dict[str, bytes] = field(default_factory=dict)
    """What was seen while nothing was approved."""
    instructions: str = ""
    epoch: int = 0
    changes: int = 0
    """How often the process said that a list has changed."""

    def changed(self, method: str | None) -> None:
        """The process says that one of its lists has changed (``method``: of the notification)."""
        if method is not None and (found := _CHANGES.get(method)) is not None:
            self.looked.discard(found)
            self.changes += 1


_CHANGES: Final[Mapping[str, str]] = {
    "notifications/tools/list_changed": "tools/list",
    "notifications/prompts/list_changed": "prompts/list",
    "notifications/resources/list_changed": "resources/templates/list",
}


@dataclass(slots=True, eq=False)
class _Known:
    kept: Pinned | Broken | None
    epoch: int = 1
    """Counts approvals: what a process showed before one says nothing after it."""
    waiting: dict[str, Waiting] = field(default_factory=dict)


class Definitions:
    """Of one agent; a server that ``use`` does not name is not looked at."""

    def __init__(self, now: Callable[[], float], news: Callable[[str], None]) -> None:
        """``now``: seconds since 1970. ``news`` is told a server of which there is something to be kept."""
        self._now = now
        self._news = news
        self._known: dict[str, _Known] = {}
        self._digests = pins.Digests()
        self._listed: dict[tuple[str, tuple[str, str, str]], float] = {}
        self.overrides: Overrides = {}

    def use(self, kept: Mapping[str, Pinned | Broken | None], overrides: Overrides) -> None:
        """These servers from now on, and what is kept of each: None where nothing was approved yet."""
        known = self._known
        self._known = {}
        self.overrides = overrides
        for server, found in kept.items():
            before = known.get(server)
            if before is not None and _approved(before.kept) == _approved(found):
                self._known[server] = before
            else:
                self._known[server] = _Known(found, 1 if before is None else before.epoch + 1)
                if isinstance(found, Pinned):
                    self._known[server].waiting.update(found.waiting)

    def kept(self, server: str) -> Pinned | Broken | None:
        """What is to be kept of it."""
        known = self._known.get(server)
        if known is None or not isinstance(known.kept, Pinned):
            return None if known is None else known.kept
        return Pinned(known.kept.approved, dict(known.waiting))

    # What passes by.

    def sees(self, server: str, request: Message | None) -> bool:
        """Whether ``shown`` has to be asked about the items of its answer."""
        return request is not None and request.method in PINNED and server in self._known

    def shown(self, server: str, sight: Sight, item: Item, name: str, raw: bytes) -> bytes | None:
        """What callers see of an item in a list (one of PINNED); None while it is withheld."""
        known = self._known.get(server)
        if known is None:
            return raw
        if isinstance(known.kept, Broken):
            return None
        key = pins.key(item, name)
        if known.kept is None:
            sight.collected.setdefault(key, raw)
        else:
            digest = self._digests.of(raw)
            pin = known.kept.approved.items.get(key)
            if pin is None or pin.digest != digest:
                sight.differs[key] = digest
                self._wait(server, known, key, digest, raw)
                return None
            if key in known.waiting:
                return None
            sight.differs.pop(key, None)
        return self.dressed(server, item, name, raw)

    def dressed(self, server: str, item: Item, name: str, raw: bytes) -> bytes:
        """With what the site says in the place of the server."""
        override = self.overrides.get(server, {}).get(name) if item is Item.TOOL else None
        return raw if override is None else override.over(raw)

    def listed(self, server: str, sight: Sight, request: Message, result: bytes) -> None:
        """The items of this answer were ``shown`` one by one."""
        known = self._known.get(server)
        method = request.method
        if known is None or method is None or method not in PINNED:
            return
        self._fresh(known, sight)
        if _no(request.params, "cursor") and _no(result, "nextCursor"):
            sight.looked.add(method)

    def greeted(self, server: str, sight: Sight, result: bytes) -> bytes:
        """The answer to one of GREETINGS with the approved instructions, whatever the server says now."""
        known = self._known.get(server)
        found = None if known is None else members(result)
        if known is None or found is None:
            return result
        sight.instructions = text_member(result, INSTRUCTIONS) or ""
        if known.kept is None:
            return result
        right = known.kept.approved.instructions if isinstance(known.kept, Pinned) else ""
        if sight.instructions != right and isinstance(known.kept, Pinned):
            raw = pins.said(sight.instructions)
            self._wait(server, known, INSTRUCTIONS, pins.digest(raw), raw)
        # Always written anew, without look-alikes: no reader may find another text beside the approved one.
        clean = {key: value for key, value in found.items() if fold(key) != INSTRUCTIONS}
        if right:
            clean[INSTRUCTIONS] = msgspec.Raw(pins.said(right))
        return msgspec.json.encode(clean)

    def read(self, server: str, found: Mapping[str, bytes], instructions: str) -> None:
        """All that a process offers that was started to be asked, by the keys of pins."""
        known = self._known.get(server)
        if known is None or isinstance(known.kept, Broken):
            return
        if known.kept is None:
            known.kept = pins.first(found, instructions, self._now())
            known.epoch += 1
            self._news(server)
            return
        before = set(known.waiting)
        kept = Pinned(known.kept.approved, dict(known.waiting))
        known.waiting = dict(pins.compared(kept, found, instructions, self._now()).waiting)
        if before != set(known.waiting):
            self._news(server)

    # What is used.

    def unsettled(self, server: str, sight: Sight, request: Message) -> bool:
        """Whether the process has to be asked for its lists before this request is let through."""
        known = self._known.get(server)
        if known is None or isinstance(known.kept, Broken):
            return False
        method = request.method or ""
        wanted = FIRST.get(method)
        if known.kept is None:
            return wanted is not None or method in PINNED
        return wanted is not None and (sight.epoch != known.epoch or wanted not in sight.looked)

    def looked(self, server: str, sight: Sight, methods: Collection[str]) -> None:
        """The process has been asked for these lists, all pages of them, and they were ``shown``."""
        known = self._known.get(server)
        if known is None:
            return
        if known.kept is None:
            self.read(server, sight.collected, sight.instructions)
        self._fresh(known, sight)
        sight.looked.update(methods)
        sight.collected.clear()

    def approved(self, server: str) -> bool:
        """Whether anything was approved of it; True for one that is not looked at."""
        known = self._known.get(server)
        return known is None or known.kept is not None

    def refusal(self, server: str, use: Use | None, sight: Sight | None = None) -> str | None:
        """Why this may not be used now, in words for the caller; None when it may."""
        known = self._known.get(server)
        if known is None or known.kept is None or use is None:
            return None
        if isinstance(known.kept, Broken):
            return BROKEN
        key = pins.key(use.item, use.name)
        pin = known.kept.approved.items.get(key)
        if key not in known.waiting and pin is not None:
            seen = None if sight is None else sight.differs.get(key)
            if seen is None or seen == pin.digest or sight is None or sight.epoch != known.epoch:
                return None
        elif key not in known.waiting and use.item is Item.RESOURCE:
            return None  # a resource, which has no definition
        elif key not in known.waiting:
            return not_exposed(use.item)
        word = _WORDS[use.item]
        if pin is None:
            return f"This {word} is new on site and {_NEXT}"
        return f"The definition of this {word} has changed on site and {_NEXT}"

    def withheld(self, server: str, exposed: Callable[[Item, str], bool]) -> dict[str, str]:
        """What is withheld of what is exposed: keys, and whether it is changed or new."""
        known = self._known.get(server)
        if known is None or not isinstance(known.kept, Pinned):
            return {}
        found = {}
        for key in known.waiting:
            named = pins.item_of(key)
            if named is None or exposed(*named):
                old = named is None or key in known.kept.approved.items
                found[key] = "changed" if old else "new"
        return found

    def broken(self) -> dict[str, str]:
        """Servers of which what is kept cannot be read, and why."""
        return {name: one.kept.why for name, one in self._known.items() if isinstance(one.kept, Broken)}

    def version(self, server: str) -> str:
        """Of the approved catalogue; empty where there is none."""
        kept = self.kept(server)
        return kept.approved.version if isinstance(kept, Pinned) else ""

    def approve(self, server: str, wanted: Mapping[str, str], by_uid: int) -> None:
        """These definitions, by their digests, are approved. Raises :exc:`pins.Outdated`."""
        known, kept = self._known.get(server), self.kept(server)
        if known is None or not isinstance(kept, Pinned):
            raise pins.Outdated(server)
        known.kept = pins.approve(kept, wanted, self._now(), by_uid)
        known.waiting = dict(known.kept.waiting)
        known.epoch += 1
        self._news(server)

    def renew(self, server: str, found: Mapping[str, bytes], instructions: str, by_uid: int) -> None:
        """Everything that the server offers is approved, whatever was before."""
        known = self._known.get(server)
        if known is not None:
            known.kept = pins.first(found, instructions, self._now(), by_uid)
            known.waiting = {}
            known.epoch += 1
            self._news(server)

    # Callers that know an older definition.

    def told(self, server: str, caller: Principal) -> None:
        """This caller has listed the tools of ``server``, which may be the whole site."""
        at = (server, caller.identity)
        self._listed.pop(at, None)
        self._listed[at] = self._now()
        if len(self._listed) > MOST_CALLERS:
            del self._listed[next(iter(self._listed))]

    def outdated(self, server: str, use: Use | None, asked: str, caller: Principal) -> float:
        """When another definition of this tool was approved that the caller has not listed; 0 for never.

        ``asked``: the server that the caller asks, which may be the whole site.
        """
        known = self._known.get(server)
        if known is None or not isinstance(known.kept, Pinned) or use is None or use.item is not Item.TOOL:
            return 0.0
        pin = known.kept.approved.items.get(pins.key(use.item, use.name))
        if pin is None or not pin.changed:
            return 0.0
        return pin.changed if self._listed.get((asked, caller.identity), 0.0) < pin.changed else 0.0

    def misfit(self, server: str, use: Use, arguments: bytes | None) -> bool:
        """Whether arguments lack what the tool needs, or have what it does not know. No more is judged: the
        schema is the server's to apply.
        """
        kept = self.kept(server)
        pin = kept.approved.items.get(pins.key(use.item, use.name)) if isinstance(kept, Pinned) else None
        if pin is None:
            return False
        try:
            schema = msgspec.json.decode(pin.definition.encode(), type=_Tool).schema
            given = {} if arguments is None else msgspec.json.decode(arguments, type=dict[str, msgspec.Raw])
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return False
        if not set(schema.required) <= given.keys():
            return True
        closed = schema.additional in (msgspec.Raw(), msgspec.Raw(b"false")) and not schema.composed
        closed = closed and bool(schema.properties or bytes(schema.additional))
        return closed and not given.keys() <= schema.properties.keys()

    def _wait(self, server: str, known: _Known, key: str, digest: str, raw: bytes) -> None:
        before = known.waiting.get(key)
        if before is not None and before.digest == digest:
            return
        if before is None and len(known.waiting) >= pins.MOST_WAITING:
            return
        known.waiting[key] = Waiting(digest, raw.decode(), self._now() if before is None else before.since)
        if before is None:
            self._news(server)

    @staticmethod
    def _fresh(known: _Known, sight: Sight) -> None:
        if sight.epoch != known.epoch:
            sight.epoch = known.epoch
            sight.looked.clear()


def _approved(kept: Pinned | Broken | None) -> object:
    return kept.approved if isinstance(kept, Pinned) else kept


class _Schema(msgspec.Struct):
    properties: dict[str, msgspec.Raw] = {}
    required: list[str] = []
    additional: msgspec.Raw = msgspec.field(default=msgspec.Raw(), name="additionalProperties")
    patterns: msgspec.Raw = msgspec.field(default=msgspec.Raw(), name="patternProperties")
    all_of: msgspec.Raw = msgspec.field(default=msgspec.Raw(), name="allOf")
    any_of: msgspec.Raw = msgspec.field(default=msgspec.Raw(), name="anyOf")
    one_of: msgspec.Raw = msgspec.field(default=msgspec.Raw(), name="oneOf")
    ref: msgspec.Raw = msgspec.field(default=msgspec.Raw(), name="$ref")

    @property
    def composed(self) -> bool:
        """Whether arguments may be known by more than the properties."""
        return any(bytes(each) for each in (self.patterns, self.all_of, self.any_of, self.one_of, self.ref))


class _Tool(msgspec.Struct):
    schema: _Schema = msgspec.field(default_factory=_Schema, name="inputSchema")


def refresh(at: float) -> str:
    """What a caller is told that knows an older definition."""
    when = f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M} UTC"
    return (
        f"The definition of this tool has changed on site at {when}: refresh the connector, so that the "
        "assistant reads tools/list again."
    )


def _no(raw: bytes | None, name: str) -> bool:
    return raw is None or member(raw, name) in (None, b"null", b'""')
