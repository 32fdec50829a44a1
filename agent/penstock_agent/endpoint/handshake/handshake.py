"""The handshake era over Streamable HTTP: every request belongs to a session that ``initialize`` began."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from penstock.envelope import Kind, Message, notification
from penstock.http import first
from penstock_agent.endpoint import failures, inbound, recall, versions
from penstock_agent.endpoint.answers import LAST_EVENT_ID, empty, fail, refuse
from penstock_agent.endpoint.failures import STOPPING
from penstock_agent.endpoint.handshake import calls, listening
from penstock_agent.endpoint.handshake.batches import BatchServer
from penstock_agent.endpoint.session.resumption import Found, Lost
from penstock_agent.endpoint.session.session import Session
from penstock_agent.endpoint.session.sessions import Sessions, TooManySessions
from penstock_agent.endpoint.shared import Shared
from penstock_agent.exchange import Exchange

#: What an exchange is answered as that carries no message.
NOTHING: Final = notification("", None)


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
        if (
            id is None
            and self._shared.tolerance.sessionless
            and message.kind in (Kind.REQUEST, Kind.NOTIFICATION)
        ):
            await self._sessionless(exchange, message)
            return
        session = await self._session(exchange, header, id, message)
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
        session = await self._session(exchange, header, id, None, revive=False)
        if session is not None:
            session.for_good = True
            session.end()
            await empty(exchange, 204)

    async def _session(
        self,
        exchange: Exchange,
        header: str | None,
        id: str | None,
        message: Message | None,
        *,
        revive: bool = True,
    ) -> Session | None:
        """The session that the exchange names; None when it is refused, and has been."""
        request = None if message is None else message.id
        if id is None:
            await refuse(
                exchange,
                400,
                "Mcp-Session-Id is missing: start with initialize, then send the id that its answer carries.",
                id=request,
            )
            return None
        session = self._sessions.find(id, exchange.server, exchange.principal)
        if session is None and revive and self._can_revive(exchange, id):
            # It keeps the id, which the client would not exchange for another, and has a child of its own.
            session = await self._begin(exchange, message, id)
            if session is None:
                return None
            session.beginning.introduce(header)
        if session is None:
            # The same bytes for what never was, what has ended, and what belongs to somebody else.
            await refuse(
                exchange, 404, "There is no such session: start a new one with initialize.", id=request
            )
            return None
        # Any version of this era will do in the header. The specification refuses those that are not
        # supported; clients in the field send another one than they have agreed on.
        return session

    def _can_revive(self, exchange: Exchange, id: str) -> bool:
        shared, server = self._shared, exchange.server
        return (
            shared.tolerance.revive_sessions
            and shared.running
            and server in shared.servers
            and self._sessions.can_revive(id, server, exchange.principal)
        )

    async def _begin(
        self, exchange: Exchange, message: Message | None, id: str | None = None
    ) -> Session | None:
        """A session that has not been initialized; None when there can be none, which has been said."""
        server, spec = exchange.server, self._shared.servers.get(exchange.server)
        if spec is None:
            request = None if message is None else message.id
            await refuse(exchange, 404, failures.no_server(server), id=request)
            return None
        if not self._shared.running:
            await fail(exchange, message or NOTHING, STOPPING)
            return None

        def make(id: str) -> Session:
            return Session(id, server, exchange.principal, spec, self._shared, self._sessions.remove)

        try:
            session = self._sessions.add(server, exchange.principal, make, id)
        except TooManySessions as e:
            await fail(exchange, message or NOTHING, e.failure)
            return None
        session.start()
        return session

    async def _initialize(self, exchange: Exchange, request: Message) -> None:
        session = await self._begin(exchange, request)
        if session is None:
            return
        try:
            await self._in_session(session, exchange, request)
        finally:
            if session.version is None:
                session.end()

    async def _sessionless(self, exchange: Exchange, message: Message) -> None:
        """A client that does not say which session it means: one of the agent's making serves all that this
        caller asks in this way, and nobody else.
        """
        if message.kind is Kind.NOTIFICATION:
            # Which of the caller's clients it means cannot be known, and nothing depends on it.
            await empty(exchange, 202)
            return
        session = self._sessions.sessionless(exchange.server, exchange.principal)
        if session is None:
            session = await self._begin(exchange, message)
            if session is None:
                return
            self._sessions.keep_sessionless(session)
            session.beginning.introduce()
        await self._in_session(session, exchange, message)

    async def _in_session(self, session: Session, exchange: Exchange, message: Message) -> None:
        session.principal = exchange.principal  # the same identity, but what it may use can have changed
        with session.in_use():
            if (failure := await inbound.judge(self._shared, exchange, message)) is not None:
                await fail(exchange, message, failure)
                return
            until = self._shared.until(exchange.deadline)
            if message.kind is Kind.REQUEST:
                if await recall.serve(session, exchange, message, self._shared):
                    return
                await calls.CallServer(session, exchange, message, until, self._shared).serve()
                return
            # Their answer is due when that of a request would become a stream.
            until = min(until, asyncio.get_running_loop().time() + self._shared.limits.commit_after)
            if message.kind is Kind.NOTIFICATION:
                await calls.tell(session, exchange, message, until)
            elif not await calls.answer(session, exchange, message, until):
                await refuse(exchange, 400, calls.ANSWERS_NOTHING, id=message.id)
