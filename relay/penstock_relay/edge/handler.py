"""One public request, top to bottom: judged, read, exchanged, answered."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import Final

from aiohttp import web

from penstock import http
from penstock.http import Refusal
from penstock.tunnel.frames import Purpose
from penstock_relay.access import AccessUnavailable
from penstock_relay.edge import body, deadlines, failure, order, stream
from penstock_relay.edge.connection import Connection
from penstock_relay.edge.failure import Said
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
    ) -> None:
        """`pages` answers what `place.oauth` lets through."""
        self._switchboard = switchboard
        self._access = access
        self._place = place
        self._limits = limits
        self._pages = pages
        self._stats = stats
        self._budget = body.Budget(limits.bodies, stats)
        self._running: set[asyncio.Task[object]] = set()
        self._stop = stream.Stop()

    def stop(self) -> None:
        """Ends every request that is being handled, each with the last word that its caller can use."""
        self._stop.is_set = True
        for task in self._running:
            task.cancel()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """The handler that aiohttp calls for every request that it could parse."""
        asked = Asked(
            request.version,
            request.method,
            request.raw_path,
            tuple([(name.lower(), value) for name, value in request.headers.items()]),
        )
        admitted = order.admit(asked, self._place)
        if isinstance(admitted, Refusal):
            return self._refuse(admitted)
        if isinstance(admitted, Own):
            return await self._own(request, admitted, asked)
        try:
            grant = await self._access.principal(admitted.token)
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
        self._running.add(task)
        self._stats.in_flight += 1
        try:
            return await self._admitted(request, admitted, grant)
        finally:
            self._stats.in_flight -= 1
            self._running.discard(task)

    async def _admitted(
        self, request: web.BaseRequest, admitted: Admitted, grant: Grant
    ) -> web.StreamResponse:
        values = admitted.values
        with body.Share(self._budget) as share:
            try:
                data = await self._read(request, admitted.length, share, self._limits, "expect" in values)
            except body.Refused as error:
                return self._refuse(error.refusal)
            except asyncio.CancelledError as error:
                stream.survive(error, self._stop)
                return self._refuse(_STOPPING)
            due = deadlines.of(
                admitted.method, values.get("user-agent", ""), values.get("mcp-protocol-version")
            )
            call = Call(
                site=admitted.site,
                server=admitted.server,
                method=admitted.method,
                headers=admitted.headers,
                body=data,
                principal=grant.principal,
                purpose=Purpose.MCP,
                deadline_s=due.deadline_s,
                no_byte_s=due.no_byte_s,
            )
            return await self._exchange(request, call)

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
            reply = await self._pages.handle(Page(own.method, own.path, own.query, asked.headers, data))
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

    async def _exchange(self, request: web.BaseRequest, call: Call) -> web.StreamResponse:
        method, data = call.method, call.body
        try:
            answer = await self._switchboard.exchange(call)
        except Offline as error:
            return self._say(failure.offline(method, data, call.site, error.since, time.time()))
        except NotExecuted as error:
            return self._say(failure.not_executed(method, data, str(error), error.retry_after_s))
        except OutcomeUnknown as error:
            return self._say(failure.outcome_unknown(method, data, str(error)))
        except asyncio.CancelledError as error:
            stream.survive(error, self._stop)
            return self._say(failure.outcome_unknown(method, data, _STOPPED))

        def last_event(error: BaseException) -> bytes | None:
            return failure.last_event(method, data, self._why(error), answer.key)

        try:
            return await stream.forward(request, answer, self._limits, self._stats, last_event, self._stop)
        except AnswerBroken as error:
            text = self._why(error)
        except stream.Unusable:
            text = _UNUSABLE
        return self._say(failure.outcome_unknown(method, data, text, answer.key))

    def _why(self, error: BaseException) -> str:
        return _STOPPED if self._stop.is_set else str(error) or _BROKEN

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
