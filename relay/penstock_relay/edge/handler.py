"""One public request, top to bottom: judged, read, exchanged, answered."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from typing import Final, NoReturn

from aiohttp import web

from penstock import http
from penstock.http import Refusal
from penstock.tunnel.frames import DoneReason, Purpose
from penstock_relay.access import AccessUnavailable
from penstock_relay.edge import body, deadlines, failure, order, stream
from penstock_relay.edge.connection import Connection
from penstock_relay.edge.failure import Said
from penstock_relay.edge.finder import Finder
from penstock_relay.edge.limits import RETRY_AFTER, Limits
from penstock_relay.edge.order import Admitted, Asked, Own, Place
from penstock_relay.edge.ports import Access, Exchanges, Grant, Pages
from penstock_relay.edge.stats import Stats
from penstock_relay.oauth.web import MAX_BODY
from penstock_relay.oauth.web import Asked as Page
from penstock_relay.switchboard import AnswerBroken, Call, NotExecuted, Offline, OutcomeUnknown

_CLOSING: Final = frozenset({400, 408, 413})
"""Refusals after which the connection is not used again: where the next request starts is not certain."""
_STOPPING: Final = Refusal(
    503,
    "The relay is stopping: this request was not executed. Try again.",
    (("retry-after", str(RETRY_AFTER)),),
)
_STOPPED: Final = (
    "The relay stopped before the site's answer was complete: the request may or may not have run on site. "
    "Check what it changed before you send it again."
)
_BROKEN: Final = (
    "The connection to the site was lost before its answer was complete: the request may or may not have run "
    "on site. Check what it changed before you send it again."
)
_UNUSABLE: Final = (
    "The site's answer was not one that MCP allows: the request may or may not have run on site. Ask the "
    "site's administrator to look into the agent's log."
)


_REVOKED: Final = (
    "The right to this request was withdrawn while it ran: it may or may not have run on site. Log in again, "
    "or ask the relay's operator for access."
)
RECHECK_S: Final = 1.0
"""Between two tries to look tokens up while that cannot be done."""
RECHECK_TIMEOUT_S: Final = 2.0
"""How long one look may take: the next change waits for it."""


@dataclass(frozen=True, slots=True)
class _Running:
    """A request that is being handled: by whose right, and the way to end it."""

    right: tuple[str, str, str]
    """Token, site and server."""
    stop: stream.Stop


def _why(error: BaseException, stop: stream.Stop) -> str:
    return stop.text or str(error) or _BROKEN


class Edge:
    """Handles requests for one place. One object per replica."""

    def __init__(
        self,
        switchboard: Exchanges,
        access: Access,
        place: Place,
        limits: Limits,
        stats: Stats,
        pages: Pages | None = None,
        find: Finder | None = None,
    ) -> None:
        """`pages` answers what `place.oauth` lets through, and is told whom `find` takes the caller for."""
        self._switchboard = switchboard
        self._access = access
        self._place = place
        self._limits = limits
        self._pages = pages
        self._find = find or Finder(None, proxied=False)
        self._stats = stats
        self._budget = body.Budget(limits.bodies, stats)
        self._running: dict[asyncio.Task[object], _Running] = {}
        self._stopping = False

    def stop(self) -> None:
        """Ends every request that is being handled, each with the last word that its caller can use."""
        self._stopping = True
        for task, running in self._running.items():
            running.stop.set(_STOPPED)
            task.cancel()

    async def watch(self) -> NoReturn:
        """Ends requests whose caller has lost the right to them, for ever. A TaskGroup owns it."""
        while True:
            await self._access.changed()
            try:
                await self._recheck()
            except AccessUnavailable:
                self._access.doubt()  # nobody can tell now: look again soon
                await asyncio.sleep(RECHECK_S)

    async def _recheck(self) -> None:
        """Looks every token up again that has something running. Raises AccessUnavailable.

        All at once: an issuer outside that does not answer must not keep the others' rights alive.
        """
        async with asyncio.TaskGroup() as tasks:
            rights = {running.right for running in self._running.values()}
            looked = [tasks.create_task(self._recheck_one(right)) for right in rights]
        for task in looked:
            if (unsure := task.result()) is not None:
                raise unsure

    async def _recheck_one(self, right: tuple[str, str, str]) -> AccessUnavailable | None:
        try:
            async with asyncio.timeout(RECHECK_TIMEOUT_S):
                grant = await self._access.principal(*right)
        except AccessUnavailable as error:
            return error
        except TimeoutError:
            return AccessUnavailable("The issuer of a token does not answer.")
        if grant is None or not grant.member:
            for task, running in self._running.items():
                if running.right == right and not running.stop.is_set:
                    running.stop.set(_REVOKED, DoneReason.REVOKED)
                    task.cancel()
        return None

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """The handler that aiohttp calls for every request that it could parse."""
        asked = Asked(
            request.version,
            request.method,
            request.raw_path,
            tuple([(name.lower(), value) for name, value in request.headers.items()]),
            None if self._place.callers is None else request.remote,
        )
        admitted = order.admit(asked, self._place)
        if isinstance(admitted, Refusal):
            return self._refuse(admitted)
        if isinstance(admitted, Own):
            return await self._own(request, admitted, asked)
        try:
            right = (admitted.token, admitted.site, admitted.server)
            grant = await self._access.principal(*right)
        except AccessUnavailable as error:
            return self._refuse(Refusal(503, str(error), (("retry-after", str(RETRY_AFTER)),)))
        # Nothing is looked up for a token that is not valid, nor for one of another site.
        own = grant is not None and grant.site == admitted.site
        unknown = own and self._switchboard.lacks(admitted.site, admitted.server)
        refusal = order.permit(admitted, grant, self._place, unknown=unknown, limit=self._limits.body)
        if refusal is not None:
            return self._refuse(refusal)
        assert grant is not None  # noqa: S101  permit refuses without one
        task = asyncio.current_task()
        assert task is not None  # noqa: S101  aiohttp runs each handler in a task
        stop = stream.Stop()
        if self._stopping:
            stop.set(_STOPPED)
        self._running[task] = _Running(right, stop)
        self._stats.in_flight += 1
        try:
            return await self._admitted(request, admitted, grant, stop)
        finally:
            self._stats.in_flight -= 1
            del self._running[task]

    async def _admitted(
        self, request: web.BaseRequest, admitted: Admitted, grant: Grant, stop: stream.Stop
    ) -> web.StreamResponse:
        values = admitted.values
        with body.Share(self._budget) as share:
            try:
                data = await self._read(request, admitted.length, share, self._limits, "expect" in values)
            except body.Refused as error:
                return self._refuse(error.refusal)
            except asyncio.CancelledError as error:
                stream.survive(error, stop)
                if stop.reason is DoneReason.REVOKED:
                    where = (admitted.site, admitted.server)
                    return self._refuse(
                        order.unauthorised(self._place, *where, presented=True, tail=admitted.tail)
                    )
                return self._refuse(_STOPPING)
            due = deadlines.of(
                admitted.method,
                values.get("user-agent", ""),
                values.get(http.VERSION),
                listens=http.only_listens(admitted.method, admitted.headers),
            )
            call = Call(
                site=admitted.site,
                server=admitted.server,
                method=admitted.method,
                headers=admitted.headers,
                body=data,
                principal=grant.principal,
                purpose=admitted.purpose,
                deadline_s=due.deadline_s,
                no_byte_s=due.no_byte_s,
                ending=lambda: stop.reason,
            )
            return await self._exchange(request, call, stop)

    async def _own(self, request: web.BaseRequest, own: Own, asked: Asked) -> web.StreamResponse:
        if self._pages is None:
            raise AssertionError("a place without pages admits none")
        if own.length is not None and own.length > MAX_BODY:
            return self._refuse(order.too_long(MAX_BODY))
        expected = http.first(asked.headers, "expect") is not None
        with body.Share(self._budget) as share:
            try:
                data = await self._read(
                    request, own.length, share, replace(self._limits, body=MAX_BODY), expected
                )
            except body.Refused as error:
                return self._refuse(error.refusal)
            who = self._find(request.remote, asked.headers)
            reply = await self._pages.handle(Page(own.method, own.path, own.query, asked.headers, data, who))
        self._stats.answered(reply.status)
        headers = [(name.title(), value) for name, value in reply.headers]
        return web.Response(status=reply.status, body=reply.body, headers=headers)

    async def _read(
        self,
        request: web.BaseRequest,
        length: int | None,
        share: body.Share,
        limits: Limits,
        expected: bool,
    ) -> bytes:
        content = request.content
        expected = expected and request.version >= (1, 1)
        if expected and not content.is_eof() and request.transport is not None:
            request.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        data = await body.read(content, length, share, limits)
        connection = request.protocol
        if length is None and isinstance(connection, Connection) and not connection.ended_plainly:
            raise body.Refused(body.DAMAGED)
        return data

    async def _exchange(self, request: web.BaseRequest, call: Call, stop: stream.Stop) -> web.StreamResponse:
        method, data = call.method, call.body
        in_words = call.purpose is not Purpose.MESSAGES

        def unknown(text: str, exchange: str = "") -> web.Response:
            return self._say(failure.outcome_unknown(method, data, text, exchange, in_words=in_words))

        try:
            answer = await self._switchboard.exchange(call)
        except Offline as error:
            said = failure.offline(method, data, call.site, error.since, time.time(), in_words=in_words)
            return self._say(said)
        except NotExecuted as error:
            again = error.retry_after_s
            return self._say(failure.not_executed(method, data, str(error), again, in_words=in_words))
        except OutcomeUnknown as error:
            return unknown(str(error))
        except asyncio.CancelledError as error:
            stream.survive(error, stop)
            return unknown(stop.text)

        def last_event(error: BaseException) -> bytes | None:
            return failure.last_event(method, data, _why(error, stop), answer.key)

        try:
            return await stream.forward(request, answer, self._limits, self._stats, last_event, stop)
        except AnswerBroken as error:
            text = _why(error, stop)
        except stream.Unusable:
            text = _UNUSABLE
        return unknown(text, answer.key)

    def _say(self, said: Said) -> web.Response:
        self._stats.answered(said.status)
        headers = {"Content-Type": http.JSON}
        if said.retry_after_s is not None:
            headers["Retry-After"] = str(said.retry_after_s)
        return web.Response(status=said.status, headers=headers, body=said.body)

    def _refuse(self, refusal: Refusal) -> web.Response:
        self._stats.answered(refusal.status)
        response = web.Response(
            status=refusal.status,
            text=refusal.text + "\n",
            headers={name.title(): value for name, value in refusal.headers},
        )
        if refusal.status in _CLOSING:
            response.force_close()
        return response
