"""The handshake era over Streamable HTTP: every request belongs to a session that ``initialize`` began."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from penstock.envelope import Kind, Message
from penstock.http import first
from penstock_agent.endpoint import calls, listening, versions
from penstock_agent.endpoint.answers import LAST_EVENT_ID, empty, fail, refuse
from penstock_agent.endpoint.batches import BatchServer
from penstock_agent.endpoint.failures import STOPPING
from penstock_agent.endpoint.resumption import Found, Lost
from penstock_agent.endpoint.session import Session
from penstock_agent.endpoint.sessions import Sessions, TooManySessions
from penstock_agent.endpoint.shared import Shared
from penstock_agent.exchange import Exchange


class Handshake:
    """``header`` is MCP-Protocol-Version and ``id`` Mcp-Session-Id, where the exchange has them. Every
    method may raise :exc:`~penstock_agent.exchange.ExchangeGone` and Stopping.
    """

    def __init__(self, shared: Shared, sessions: Sessions) -> None:
        self._shared = shared
        self._sessions = sessions

    async def post(self, exchange: Exchange, message: Message, header: str | None, id: str | None) -> None:
        """One message of the caller."""
        if message.kind is Kind.REQUEST and message.method == "initialize" and id is None:
            await self._initialize(exchange, message)
            return
        session = await self._session(exchange, header, id, message.id)
        if session is None:
            return
        if message.kind is Kind.REQUEST and message.method == "initialize":
            text = (
                "This session is initialized already: send initialize without Mcp-Session-Id for a new one."
            )
            await refuse(exchange, 400, text, id=message.id)
            return
        await self._in_session(session, exchange, message)

    async def post_batch(
        self, exchange: Exchange, batch: Sequence[Message], header: str | None, id: str | None
    ) -> None:
        """Several messages of the caller in one array."""
        session = await self._session(exchange, header, id, None)
        if session is None:
            return
        if session.version != versions.BATCHES:
            await refuse(exchange, 400, "Only sessions of MCP 2025-03-26 take arrays: send one message.")
            return
        if any(message.method == "initialize" for message in batch):
            await refuse(exchange, 400, "initialize must come alone, not in an array.")
            return
        session.principal = exchange.principal
        with session.in_use():
            until = self._shared.until(exchange.deadline)
            await BatchServer(session, exchange, batch, until, self._shared).serve()

    async def get(self, exchange: Exchange, header: str | None, id: str | None) -> None:
        """The stream for what the server says by itself, or one that the caller lost."""
        last = first(exchange.headers, LAST_EVENT_ID)
        if last is not None and (request := self._shared.ids.of_another_life(last)) is not None:
            # Its session ended with that life. The answer depends on nothing but what the caller sent.
            await listening.lost(exchange, Lost(request))
            return
        session = await self._session(exchange, header, id, None)
        if session is None:
            return
        session.principal = exchange.principal
        listener = listening.Listening(session, exchange, self._shared)
        with session.in_use():
            found = None if last is None else session.resumption.find(last)
            if isinstance(found, Found):
                await listener.resume(found)
            elif isinstance(found, Lost) and found.request is not None:
                await listening.lost(exchange, found)
            elif last is not None and found is None and session.resumption.possible:
                await refuse(exchange, 400, "Last-Event-ID is not the id of an event of this session.")
            else:
                await listener.listen()

    async def delete(self, exchange: Exchange, header: str | None, id: str | None) -> None:
        """The caller ends the session."""
        session = await self._session(exchange, header, id, None)
        if session is not None:
            session.end()
            await empty(exchange, 204)

    async def _session(
        self, exchange: Exchange, header: str | None, id: str | None, request: bytes | None
    ) -> Session | None:
        """The session that the exchange names; None when it is refused, and has been."""
        if id is None:
            await refuse(
                exchange,
                400,
                "Mcp-Session-Id is missing: start with initialize, then send the id that its answer carries.",
                id=request,
            )
            return None
        session = self._sessions.find(id, exchange.server, exchange.principal)
        if session is None:
            # The same bytes for what never was, what has ended, and what belongs to somebody else.
            await refuse(
                exchange, 404, "There is no such session: start a new one with initialize.", id=request
            )
            return None
        if (objection := versions.objection(header, session.version)) is not None:
            await refuse(exchange, 400, objection, id=request)
            return None
        return session

    async def _initialize(self, exchange: Exchange, request: Message) -> None:
        spec = self._shared.servers.get(exchange.server)
        if spec is None:
            await refuse(exchange, 404, "There is no such server on this site.", id=request.id)
            return
        if not self._shared.running:
            await fail(exchange, request, STOPPING)
            return

        def make(id: str) -> Session:
            return Session(id, exchange.server, exchange.principal, spec, self._shared, self._sessions.remove)

        try:
            session = self._sessions.add(exchange.principal, make)
        except TooManySessions as e:
            await fail(exchange, request, e.failure)
            return
        session.start()
        try:
            await self._in_session(session, exchange, request)
        finally:
            if session.version is None:
                session.end()

    async def _in_session(self, session: Session, exchange: Exchange, message: Message) -> None:
        session.principal = exchange.principal  # the same identity, but what it may use can have changed
        with session.in_use():
            if (failure := await self._shared.judge(session.server, exchange.principal, message)) is not None:
                await fail(exchange, message, failure)
                return
            until = self._shared.until(exchange.deadline)
            if message.kind is Kind.REQUEST:
                await calls.CallServer(session, exchange, message, until, self._shared).serve()
                return
            # Their answer is due when that of a request would become a stream.
            until = min(until, asyncio.get_running_loop().time() + self._shared.limits.commit_after)
            if message.kind is Kind.NOTIFICATION:
                await calls.tell(session, exchange, message, until)
            elif not await calls.answer(session, exchange, message, until):
                await refuse(exchange, 400, calls.ANSWERS_NOTHING, id=message.id)
