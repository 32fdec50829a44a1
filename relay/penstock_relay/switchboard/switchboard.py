"""The origin of every call of this replica: the way it takes, its exchange, its attempts."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from typing import Final

from penstock import http, log
from penstock.link import now
from penstock.names import tag_of
from penstock.tunnel.errors import LocalError
from penstock.tunnel.frames import EndReason
from penstock.tunnel.limits import DEADLINE_SLACK
from penstock.tunnel.origin import Origin
from penstock.tunnel.origin_exchange import (
    Answered,
    DataArrived,
    HeadArrived,
    NotStarted,
    OutcomeUnknown,
)
from penstock_relay.switchboard.answer import LiveAnswer, NeverStarted
from penstock_relay.switchboard.calls import Answer, Call, NotExecuted, Offline
from penstock_relay.switchboard.links import Links
from penstock_relay.switchboard.registry import Entry, Registry
from penstock_relay.switchboard.request import request_of

ATTEMPTS: Final = 3
"""Keys of one call that agents may refuse before it is given up as not executed."""
LINKS: Final = 12
"""Keys of one call that may be lost with their links before it is given up: each waits for another link to
stand, as long as the caller does. Who unplugs a cable a few times shall lose nothing.
"""
SUSPENDED_AGAIN: Final = 60
"""Seconds after which a caller of a suspended site may ask again."""

_REFUSED: Final = {
    EndReason.BUSY: "The site's agent has as many requests under way as it can hold.",
    EndReason.DRAINING: "The site's agent is stopping.",
    EndReason.UNKNOWN_SERVER: "The site's agent no longer serves this server.",
    EndReason.TOO_LARGE: "The request is larger than the site's agent accepts.",
}
_LOST: Final = frozenset({EndReason.STALE, EndReason.WRONG_EPOCH, EndReason.UNKNOWN})
"""How keys end that were on their way when a link broke, if it had taken anything of them."""
_NOT_DELIVERED: Final = "The link to the site broke before the request was delivered."
_NOT_IN_TIME: Final = "The request could not be delivered to the site in time."
_UNFIT: Final = "A header of the request is too long for the link to the site. It was not executed."
_SUSPENDED: Final = (
    "The site '{site}' is suspended: the relay's operator lets no request go to it. This one was not "
    "executed. Ask the operator, who lets it go on with 'penstock-relay site resume {site}'."
)
_WITHDRAWN: Final = (
    "The site was suspended by the relay's operator while this request ran: it may or may not have run on "
    "site. Check what it changed, and ask the operator."
)
_STOPPING: Final = "The relay is stopping. The request was not executed; try again."

_log = log.get(__name__)


class Switchboard:
    """One object per life of a replica."""

    def __init__(self, replica: str) -> None:
        self._suspended: frozenset[str] = frozenset()
        self._origin = Origin(secrets.token_bytes(16))
        self._registry = Registry()
        self.links = Links(replica, self._origin, self._registry, self._dispatch, self._announce)
        self._changed: asyncio.Future[None] | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self.calls = 0
        """Calls under way, without those that only listen."""
        self.idle = asyncio.Event()
        """Set while there are none."""
        self.idle.set()

    # -- calls ----------------------------------------------------------------------------------------

    async def exchange(self, call: Call) -> Answer:
        """Carries `call` to its site. Returns at HEAD; raises Offline, NotExecuted, OutcomeUnknown.

        A call whose request provably never started is tried again, under a new key: while no more than
        ATTEMPTS are refused and LINKS lost with their links.
        """
        left = self._count(call)
        try:
            return await self._attempt(call, left)
        except BaseException:
            left()
            raise

    async def _attempt(self, call: Call, left: Callable[[], None]) -> Answer:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        deadline = begun + call.deadline_s
        silent = begun + call.no_byte_s
        why, refused, lost = _NOT_IN_TIME, 0, 0
        while refused < ATTEMPTS and lost < LINKS:
            entry = await self._route(call, min(deadline, silent))
            if loop.time() >= min(deadline, silent):
                why = _NOT_IN_TIME
                break
            answer = LiveAnswer(self._origin, deadline + DEADLINE_SLACK, left)
            try:
                request = request_of(call, deadline - loop.time())
                answer.opened(self._origin.open(request, entry.number, answer))
            except LocalError:
                raise NotExecuted(_UNFIT) from None
            except ValueError as error:
                raise NotExecuted(f"{error} The request was not executed.") from None
            try:
                await answer.begun(min(deadline + DEADLINE_SLACK, silent), call.ending)
            except NeverStarted as error:
                if error.reason is None or error.reason in _LOST:
                    why, lost = _NOT_DELIVERED, lost + 1
                else:
                    why, refused = _REFUSED.get(error.reason, _NOT_DELIVERED), refused + 1
                continue
            return answer
        raise NotExecuted(f"{why} It was not executed; try again.")

    def _count(self, call: Call) -> Callable[[], None]:
        """Counts a call that is not just listening, until what it returns is called."""
        if http.only_listens(call.method, call.headers):
            return _uncounted
        self.calls += 1
        self.idle.clear()

        def left() -> None:
            self.calls -= 1
            if not self.calls:
                self.idle.set()

        return left

    async def _route(self, call: Call, until: float) -> Entry:
        """The link for a call. Waits a little for an agent that was lost a moment ago.

        Raises Offline, NotExecuted.
        """
        loop = asyncio.get_running_loop()
        # Since 2026-07-28 there are no sessions, and what a client still sends as one is ignored.
        modern = http.is_modern(http.first(call.headers, http.VERSION))
        session = None if modern else http.first(call.headers, "mcp-session-id")
        tag = tag_of(session) if session else None
        while True:
            if call.site in self._suspended:
                raise NotExecuted(_SUSPENDED.format(site=call.site), SUSPENDED_AGAIN)
            entry = self._registry.pick(call.site, call.server, tag, call.principal.identity)
            if entry is not None and (tag is None or entry.agent.tag == tag):
                return entry
            if self.links.draining:
                raise NotExecuted(_STOPPING)
            wait = min(self._registry.expected(call.site, call.server, tag, now()), until - loop.time())
            if wait <= 0:
                if entry is not None:
                    return entry
                if self._registry.linked(call.site):
                    what = "serves this server" if call.server else "takes calls"
                    raise NotExecuted(f"No agent of the site {what} now. It was not executed.", 5)
                raise Offline(self._registry.offline_since(call.site))
            await self._change(wait)

    async def _change(self, wait: float) -> None:
        """Waits until the set of links changes, `wait` seconds at most."""
        if self._changed is None or self._changed.done():
            self._changed = asyncio.get_running_loop().create_future()
        await asyncio.wait((self._changed,), timeout=wait)

    def _announce(self) -> None:
        if self._changed is not None and not self._changed.done():
            self._changed.set_result(None)

    def suspend(self, sites: frozenset[str]) -> None:
        """No call goes to these sites from now on, and to all others calls do; what runs there ends.

        Their links stand: nothing but calls comes over them that the operator would not want.
        """
        begun, self._suspended = sites - self._suspended, sites
        if not begun:
            return
        for exchange in self._origin.exchanges():
            if exchange.request.site in begun and isinstance(exchange.owner, LiveAnswer):
                exchange.owner.withdraw(_WITHDRAWN)
        self._announce()  # some may wait for an agent there
        _log.warning("sites_suspended", sites=sorted(begun))

    def lacks(self, site: str, server: str) -> bool:
        """Whether agents of the site are linked and none, nor one lost a moment ago, offers `server`."""
        return self._registry.lacks(site, server, now())

    def servers(self, site: str) -> frozenset[str]:
        """What the site's agents offer now; nothing while it is offline."""
        return self._registry.servers(site)

    # -- events and time --------------------------------------------------------------------------------

    def _dispatch(self) -> None:
        for event in self._origin.events():
            answer = event.exchange.owner
            if not isinstance(answer, LiveAnswer):
                continue
            match event:
                case HeadArrived():
                    answer.head_arrived(event.status, event.headers)
                case DataArrived():
                    answer.data_arrived(event.data)
                case Answered():
                    answer.answered()
                case NotStarted():
                    answer.not_started(event)
                case OutcomeUnknown():
                    answer.unknown(event)
        self._arm()

    def _arm(self) -> None:
        due = self._origin.due
        if due is None or self._alarm is not None:
            return
        self._alarm = asyncio.get_running_loop().call_later(max(0.0, due - now()), self._wake)

    def _wake(self) -> None:
        self._alarm = None
        self._origin.tick(now())
        self._dispatch()


def _uncounted() -> None:
    """A stream that listens ends when the relay does."""
