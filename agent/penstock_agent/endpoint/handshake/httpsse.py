"""HTTP+SSE of 2024-11-05: a session is one event stream, and the messages that are posted beside it.

Everything for the client goes out on the stream, in the order in which it came up: answers, what the server
says by itself, and our own refusals. A message is told no more than that it was accepted. The session ends
with its stream, whatever ended that, and its child with the session.
"""

from __future__ import annotations

import asyncio
import secrets
from contextlib import suppress
from typing import Final

from penstock.envelope import EnvelopeError, Kind, Message, notification, parse_caller, text_member
from penstock.http import Headers, check_messages, check_stream, every
from penstock.names import AgentId
from penstock.outcome import INVALID_REQUEST, rpc_error
from penstock_agent.callers.trust import NotProven
from penstock_agent.endpoint import failures, inbound, versions
from penstock_agent.endpoint.answers import SESSION_ID, Answer, fail, refuse, reply
from penstock_agent.endpoint.failures import Ending, Failure, denied, not_executed
from penstock_agent.endpoint.handshake.channel import CallPart, Channel
from penstock_agent.endpoint.lifeline import NotRunning
from penstock_agent.endpoint.ports import Callers
from penstock_agent.endpoint.session.session import Session
from penstock_agent.endpoint.session.sessions import Sessions, TooManySessions
from penstock_agent.endpoint.shared import Shared
from penstock_agent.endpoint.streams import Item
from penstock_agent.endpoint.watch import Watch
from penstock_agent.exchange import Exchange, ExchangeGone, Purpose

_PLAIN: Final[Headers] = (("content-type", "text/plain; charset=utf-8"),)
_OPENING: Final = notification("", None)
"""What a stream that cannot be opened is an answer to: no request, so nothing that has an id."""
_FULL: Final = not_executed(
    "Too many requests of this event stream are unanswered, or their answers have not been read. Read the "
    "stream, then try again."
)


class HttpSse:
    """One per endpoint."""

    def __init__(self, agent: AgentId, shared: Shared, sessions: Sessions) -> None:
        self._agent = agent
        self._shared = shared
        self._sessions = sessions
        self._channels: dict[str, Channel] = {}
        """By the key in their URL. It is not the session's id, which nobody is told: so neither transport can
        get at a session of the other."""
        self._calls = 0
        self.idle = asyncio.Event()
        """Set while no call waits for its answer."""
        self.idle.set()

    async def serve(self, exchange: Exchange, callers: Callers) -> None:
        """One half of HTTP+SSE. Raises :exc:`~penstock_agent.exchange.ExchangeGone` and Stopping."""
        opens = exchange.purpose is Purpose.SSE
        refusal = (check_stream if opens else check_messages)(exchange.method, exchange.headers)
        if refusal is not None:
            await refuse(exchange, refusal.status, refusal.text, headers=refusal.headers)
        elif opens:
            await self._open(exchange, callers)
        else:
            await self._message(exchange, callers)

    # The stream.

    async def _open(self, exchange: Exchange, callers: Callers) -> None:
        try:
            await callers.admit(exchange.server, exchange.principal)
        except NotProven as e:
            await refuse(exchange, 403, str(e))
            return
        spec = self._shared.servers.get(exchange.server)
        if spec is None:
            await refuse(exchange, 404, failures.no_server(exchange.server))
            return
        if not self._shared.running:
            await fail(exchange, _OPENING, failures.STOPPING)
            return

        def make(id: str) -> Session:
            return Session(id, exchange.server, exchange.principal, spec, self._shared, self._sessions.remove)

        try:
            session = self._sessions.add(exchange.server, exchange.principal, make)
        except TooManySessions as e:
            await fail(exchange, _OPENING, e.failure)
            return
        key = f"{self._agent.tag}.{secrets.token_urlsafe(32)}"
        channel = self._channels[key] = Channel(session, exchange.key, self._shared.limits, self._count)
        try:
            session.start()
            with session.in_use():
                await self._stream(channel, exchange, key)
        except asyncio.CancelledError:
            session.end()  # the agent stops: calls that are under way are told so
            await _rest(channel, exchange)
            raise
        finally:
            del self._channels[key]
            channel.close()
            session.end()
        await exchange.end()

    def _count(self, change: int) -> None:
        self._calls += change
        if self._calls:
            self.idle.clear()
        else:
            self.idle.set()

    async def _stream(self, channel: Channel, exchange: Exchange, key: str) -> None:
        """Until the session has ended; raises ExchangeGone when the caller goes first."""
        now = asyncio.get_running_loop().time
        watch = Watch(exchange, channel.queue, self._shared.spawn)
        try:
            response = Answer(exchange)
            await response.commit()
            path = f"/{self._agent.site}/{exchange.server}/messages?sessionId={key}"
            await exchange.write(b"event: endpoint\ndata: %b\n\n" % path.encode())
            while True:
                item = await channel.next(exchange.deadline)
                if item is not None:
                    await _send(channel, response, item)
                elif not channel.open or now() >= exchange.deadline:
                    return
                elif watch.reason is not None:
                    raise ExchangeGone(watch.reason)
        finally:
            watch.stop()

    # A message.

    async def _message(self, exchange: Exchange, callers: Callers) -> None:
        keys = every(exchange.headers, SESSION_ID)
        if len(keys) != 1:
            text = "Post to the URL that the event stream named in its first event: it holds sessionId, once."
            await refuse(exchange, 400, text)
            return
        try:
            message = parse_caller(exchange.body)
        except EnvelopeError as e:
            await reply(exchange, 400, rpc_error(e.id, e.code, str(e)))
            return
        channel = self._find(keys[0], exchange)
        if channel is None:
            await _gone(exchange, message)
            return
        session = channel.session
        session.principal = exchange.principal  # the same identity, but what it may use can have changed
        with session.in_use():
            failure = await self._judged(exchange, message, callers)
            if message.kind is not Kind.REQUEST:
                if failure is None:
                    await self._tell(channel, exchange, message)
                else:
                    await _accept(exchange)  # nobody waits for an answer that could say why it ended here
            elif channel.full:
                await _busy(exchange, message)
            elif failure is not None:
                await _answer(channel, exchange, message, failure.answer(message, exchange.key)[1])
            elif (unfit := _unfit(session, message)) is not None:
                await _answer(channel, exchange, message, unfit)
            else:
                await self._call(channel, exchange, message)

    def _find(self, key: str, exchange: Exchange) -> Channel | None:
        channel = self._channels.get(key)
        if channel is None or not channel.open:
            return None
        found = self._sessions.find(channel.session.id, exchange.server, exchange.principal)
        return None if found is None else channel

    async def _judged(self, exchange: Exchange, message: Message, callers: Callers) -> Ending | None:
        try:
            await callers.admit(exchange.server, exchange.principal)
        except NotProven as e:
            return denied(str(e))
        return await inbound.judge(self._shared, exchange, message)

    async def _call(self, channel: Channel, exchange: Exchange, request: Message) -> None:
        """Give a request to the child.

        It is accepted once the child has it, or after ``commit_after`` seconds: so who sends one message
        after the other can count on their order.
        """
        until = self._shared.until(exchange.deadline)
        soon = min(until, asyncio.get_running_loop().time() + self._shared.limits.commit_after)
        part = channel.call(exchange.key, exchange.principal, len(exchange.body))
        accepted = False
        failure = await _give(channel, part, request, soon, until)
        if failure is failures.STUCK and soon < until:
            accepted = True
            with suppress(ExchangeGone):  # the answer is wanted on the stream, and not here
                await _accept(exchange)
            failure = await _give(channel, part, request, until, until)
        told = True
        if failure is not None and part.open:
            part.close()
            told = channel.put(failure.answer(request, exchange.key)[1], of=exchange.key)
        if not accepted:
            await (_accept(exchange) if told else _gone(exchange, request))

    async def _tell(self, channel: Channel, exchange: Exchange, message: Message) -> None:
        """Give a notification, or an answer to the child, which need not wait for it any more."""
        session = channel.session
        if message.method == "notifications/cancelled":
            channel.cancel(message.params)
            await _accept(exchange)
            return
        try:
            async with asyncio.timeout(min(self._shared.limits.commit_after, self._shared.call_timeout)):
                if message.kind is Kind.NOTIFICATION:
                    await session.tell(message)
                else:
                    await session.answer(message)
        except TimeoutError:
            await fail(exchange, message, failures.STUCK)
        else:
            await _accept(exchange)


async def _send(channel: Channel, response: Answer, item: Item) -> None:
    try:
        await response.send(item)
    finally:
        channel.sent(item)


async def _rest(channel: Channel, exchange: Exchange) -> None:
    """What the session has left on its stream, behind an event that may have been cut."""
    await exchange.write(b"\n\n")
    response = Answer(exchange)
    response.committed = True
    while (item := await channel.next(0)) is not None:
        await _send(channel, response, item)


async def _give(
    channel: Channel, part: CallPart, request: Message, by: float, until: float
) -> Failure | None:
    """Why the child has not taken the request; STUCK when it has not done so at ``by`` (loop time).

    Once it has, its answer is due at ``until``.
    """
    session = channel.session
    try:
        async with asyncio.timeout_at(by):
            call = await session.give(request, part)
    except TimeoutError:
        return failures.STUCK
    except NotRunning as e:
        return e.failure
    late = failures.TIMED_OUT
    if request.method == "initialize":
        late = failures.NO_ANSWER_TO_INITIALIZE
    part.due(until, lambda: session.expire(call, late, b'"deadline"'))
    return None


def _unfit(session: Session, request: Message) -> bytes | None:
    """The answer to a request that this transport has no place for; None for one that may go on."""
    if request.method == "initialize" and session.version is not None:
        text = "This session is initialized already: open another event stream for a new one."
        return rpc_error(request.id, INVALID_REQUEST, text)
    if request.method == "server/discover":
        # A later era, which HTTP+SSE is no transport of; a child that knows it would speak nothing else now.
        asked = text_member(request.params or b"", "_meta", "io.modelcontextprotocol/protocolVersion")
        return failures.unsupported_version(request.id, versions.HANDSHAKE, asked or "")
    return None


async def _answer(channel: Channel, exchange: Exchange, request: Message, said: bytes) -> None:
    """An answer of our own, which goes where the server's would."""
    await (_accept(exchange) if channel.put(said, of=exchange.key) else _gone(exchange, request))


async def _accept(exchange: Exchange) -> None:
    await exchange.head(202, _PLAIN)
    await exchange.write(b"Accepted")
    await exchange.end()


async def _gone(exchange: Exchange, message: Message) -> None:
    """The same bytes for a session that never was, for one that has ended, and for somebody else's."""
    text = "There is no such session: open another event stream, at the path .../sse."
    await refuse(exchange, 404, text, id=message.id)


async def _busy(exchange: Exchange, request: Message) -> None:
    await reply(exchange, 503, rpc_error(request.id, _FULL.code, _FULL.text, exchange=exchange.key))
