"""What takes more than one question: lists of all servers, and finding out whose an item is."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from penstock.envelope import Kind, Message, member, request, text_member
from penstock.outcome import INVALID_PARAMS, METHOD_NOT_FOUND
from penstock_agent.endpoint import failures
from penstock_agent.endpoint.failures import Failure
from penstock_agent.gate.definitions import PINNED
from penstock_agent.gate.expose import Item
from penstock_agent.gate.methods import LISTS
from penstock_agent.site import cursors, lists
from penstock_agent.site.client import Client
from penstock_agent.site.lists import Page
from penstock_agent.site.names import Names, Shortened, Target
from penstock_agent.site.resources import Known

LIST_S: Final = 10.0
"""So long one page of one server is waited for; the list goes out without it then."""
WALK_S: Final = 15.0
"""The same for a whole list that the agent reads for itself: others wait for what it finds."""
FIND_S: Final = 20.0
"""The same for a resource, where another server may have it."""
MAX_PAGES: Final = 100
"""Pages of a list that the agent reads for itself, to find an item."""
MAX_SHORTENED: Final = 4096
"""Shortened names that are remembered; the oldest are looked up again."""
#: The capability that goes with each kind of items.
CAPABILITY: Final[Mapping[Item, str]] = {
    Item.TOOL: "tools",
    Item.PROMPT: "prompts",
    Item.RESOURCE: "resources",
}
NONE_LISTED: Final = failures.not_executed(
    "None of the site's servers could say what it offers. The agent's log on site says why; try again in a "
    "minute."
)

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Walk:
    """All pages of one list of one server, as far as they were to be had."""

    shown: int = 0
    withheld: int = 0


class Asking:
    """Of one aggregate. ``clients`` in the order of the configuration."""

    def __init__(self, clients: Sequence[Client], names: Names, *, status: bool) -> None:
        self._clients = clients
        self._names = names
        self._status = status
        self._ids = itertools.count(1)
        self._long: dict[tuple[Item, str], str] = {}
        self.known = Known()

    # Lists.

    async def page(self, asked: Message) -> bytes | Failure:
        """One page of a list: of every server on the first one, of those that have more on the others. The
        raw result, or a whole error.
        """
        method = asked.method or ""
        item, _, _ = LISTS[method]
        left: dict[str, str] | None = None
        raw = None if asked.params is None else member(asked.params, "cursor")
        if raw not in (None, b"null"):
            try:
                left = cursors.parse(method, text_member(asked.params or b"", "cursor") or "")
                if not left.keys() <= {client.name for client in self._clients}:
                    raise cursors.BadCursor
            except cursors.BadCursor:
                text = "This cursor is of no list of this site: begin the list anew, without a cursor."
                return Failure(INVALID_PARAMS, text)
        able = [client for client in self._offering(item) if left is None or client.name in left]
        here = [client for client in able if client.up]
        for client in able:
            client.missed |= not client.up

        async def one(client: Client) -> Page | Message | Failure:
            cursor = None if left is None else left.get(client.name)
            own = request(asked.id or self._id(), method, lists.params(asked.params, cursor))
            return await self._page(client, own)

        answers = await _all(here, one)
        pages = [
            (client.name, page) for client, page in zip(here, answers, strict=True) if isinstance(page, Page)
        ]
        own = [lists.STATUS_TOOL] if self._status and item is Item.TOOL and left is None else []
        if able and not pages and not own:
            error = next((answer for answer in answers if isinstance(answer, Failure)), None)
            return error or NONE_LISTED
        return lists.joined(method, pages, own)

    async def walk(self, client: Client, method: str, until: Callable[[Page], bool] | None = None) -> Walk:
        """Read a whole list of one server, or up to the page that is looked for."""
        shown = withheld = 0
        cursor: str | None = None
        seen: set[str] = set()
        until_s = _now() + WALK_S
        for _ in range(MAX_PAGES):
            own = request(self._id(), method, lists.params(None, cursor))
            found = await self._page(client, own, min(LIST_S, until_s - _now()))
            if not isinstance(found, Page):
                break
            shown += len(found.items)
            withheld += found.withheld
            if (until is not None and until(found)) or found.cursor is None or found.cursor in seen:
                break
            cursor = found.cursor
            seen.add(cursor)
        return Walk(shown, withheld)

    async def _page(self, client: Client, asked: Message, wait_s: float = LIST_S) -> Page | Failure:
        """Learns from it. A server without such a list has an empty one."""
        method = asked.method or ""
        item, _, _ = LISTS[method]
        answer = await client.ask(asked, wait_s)
        if isinstance(answer, Failure):
            client.missed = True
            return answer
        if answer.kind is Kind.ERROR or answer.result is None:
            if member(answer.error or b"{}", "code") == b"%d" % METHOD_NOT_FOUND:
                return Page((), 0)
            return NONE_LISTED
        shown = client.approved.shown if method in PINNED else None
        found = lists.page(method, client.name, client.expose, self._names, answer.result, shown)
        if found is None:
            return NONE_LISTED
        client.approved.listed(asked, answer.result)
        if item is not Item.RESOURCE:
            for listed in found.items:
                if isinstance(self._names.inner(item, listed.outer), Shortened):
                    self._remember((item, listed.outer), listed.plain)
        elif method == "resources/list":
            self.known.learn(client.name, (listed.plain for listed in found.items))
        else:
            self.known.learn_templates(client.name, (listed.plain for listed in found.items))
        return found

    def _offering(self, item: Item) -> list[Client]:
        return [one for one in self._clients if one.exposes(item) and one.offers(CAPABILITY[item])]

    # Whose an item is.

    def meant(self, item: Item, name: str) -> Target | Shortened | None:
        """What is called so, as far as that is known without asking."""
        found = self._names.inner(item, name)
        if isinstance(found, Shortened) and (plain := self._long.get((item, name))) is not None:
            return Target(found.server, plain)
        return found

    async def lengthened(self, item: Item, short: Shortened, client: Client) -> Target | None:
        """What a shortened name stands for, by its server's list."""
        method = "tools/list" if item is Item.TOOL else "prompts/list"

        def shows(page: Page) -> bool:
            return any(listed.outer == short.outer for listed in page.items)

        await self.walk(client, method, shows)
        plain = self._long.get((item, short.outer))
        return None if plain is None else Target(short.server, plain)

    async def order(self, uri: str, able: Sequence[Client]) -> list[Client]:
        """In which order these servers are asked for a resource; reads the lists that could say more."""
        by_name = {client.name: client for client in able}
        if self.known.owner(uri, by_name) is None:
            unread = [by_name[name] for name in self.known.unread(by_name, _now()) if by_name[name].up]

            async def learn(client: Client) -> None:
                for method in ("resources/list", "resources/templates/list"):
                    await self.walk(client, method)
                self.known.read(client.name, _now())

            await _all(unread, learn)
        return [by_name[name] for name in self.known.order(uri, list(by_name))]

    async def resource(self, asked: Message, uri: str, able: Sequence[Client]) -> Message | Failure:
        """The answer of the first of these servers that has the resource; else the first one's."""
        first: Message | Failure | None = None
        order = await self.order(uri, able)
        for client in order:
            # One that does not answer must not keep the resource of the next one from its reader.
            answer = await client.ask(asked, None if client is order[-1] else FIND_S)
            if not isinstance(answer, Failure) and answer.kind is Kind.RESPONSE:
                self.known.learn(client.name, (uri,))
                return answer
            # Which error says "not found" differs from server to server, so any lets the next one try. What
            # a server itself said counts more than that one was not there.
            if first is None or isinstance(first, Failure):
                first = answer
        assert first is not None  # noqa: S101 - there is somebody to ask
        return first

    # All at once.

    async def level(self, asked: Message) -> bytes | Failure:
        """``logging/setLevel`` for all that log, now and after they were started again."""
        for client in self._clients:
            client.level(asked)
        able = [client for client in self._clients if client.up and client.offers("logging")]

        async def one(client: Client) -> Message | Failure:
            return await client.ask(request(self._id(), asked.method or "", asked.params), LIST_S)

        answers = await _all(able, one)
        granted = [answer for answer in answers if isinstance(answer, Message) and answer.result is not None]
        if granted or not answers:
            return b"{}"
        refused = answers[0]
        return (
            refused if isinstance(refused, Failure) else Failure(INVALID_PARAMS, "No server took this level.")
        )

    async def withheld(self) -> dict[str, int | None]:
        """How many items of each server callers do not see; None where it is not up."""

        async def one(client: Client) -> int | None:
            if not client.up:
                return None
            return sum(
                [
                    (await self.walk(client, method)).withheld
                    for method, (item, _, _) in LISTS.items()
                    if client.offers(CAPABILITY[item])
                ]
            )

        counts = await _all(self._clients, one)
        return {client.name: count for client, count in zip(self._clients, counts, strict=True)}

    def _remember(self, key: tuple[Item, str], plain: str) -> None:
        self._long.setdefault(key, plain)  # the first of a name counts
        while len(self._long) > MAX_SHORTENED:
            del self._long[next(iter(self._long))]

    def _id(self) -> bytes:
        return b'"site-%d"' % next(self._ids)


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _all(these: Iterable[T], work: Callable[[T], Awaitable[R]]) -> list[R]:
    """What ``work`` gives for each, all at the same time; cancelled together."""

    async def one(each: T) -> R:
        return await work(each)

    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(one(each)) for each in these]
    return [task.result() for task in running]
