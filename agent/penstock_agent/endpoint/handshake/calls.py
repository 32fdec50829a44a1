"""Serving one exchange of a session: from the caller's message to the end of the HTTP response.

One task per exchange. It waits for at most one thing at a time: the child taking the request, or the next
message of its stream, or the next moment at which something is due.
"""

from __future__ import annotations

import asyncio
from math import inf
from typing import Final

from penstock.envelope import Message
from penstock.http import Headers
from penstock_agent.endpoint import failures
from penstock_agent.endpoint.answers import SESSION_ID, Answer, empty, reply
from penstock_agent.endpoint.failures import Failure
from penstock_agent.endpoint.lifeline import NotRunning
from penstock_agent.endpoint.session.correlate import Call
from penstock_agent.endpoint.session.delivery import CANCELLED
from penstock_agent.endpoint.session.session import Session
from penstock_agent.endpoint.shared import Shared
from penstock_agent.endpoint.streams import Item, Stream
from penstock_agent.endpoint.watch import Watch
from penstock_agent.exchange import DoneReason, Exchange, ExchangeGone

#: The caller's going means that it does not want the call any more. All else only means that nobody listens:
#: in the handshake era a broken connection is no cancellation.
STOPS_THE_CALL: Final = frozenset({DoneReason.REVOKED, DoneReason.DEADLINE})

ANSWERS_NOTHING: Final = "This answers no request that is open in this session: send each answer once."


class CallServer:
    """Serves one request that the gate has allowed. ``until`` is when its answer is due (loop time)."""

    def __init__(
        self,
        session: Session,
        exchange: Exchange,
        request: Message,
        until: float,
        shared: Shared,
    ) -> None:
        self._session = session
        self._exchange = exchange
        self._request = request
        self._until = until
        self._limits = shared.limits
        self._spawn = shared.spawn
        self._now = asyncio.get_running_loop().time
        self._begun = self._now()
        self._close_after = shared.close_after
        self._close_at = inf
        self._answer = Answer(exchange)
        self._stream = session.stream(exchange.key, exchange.principal)

    async def serve(self) -> None:
        call: Call[Stream] | None = None
        try:
            call = await self._give()
            if call is not None:
                await self._relay(call)
        except ExchangeGone as e:
            self._left(call, e.reason)
        except BaseException:
            self._left(call, DoneReason.ORIGIN_LOST)
            raise

    async def _give(self) -> Call[Stream] | None:
        """Give the request to the child; None when it cannot be, and the caller has been told why."""
        commit_at = self._commit_at()
        while True:
            due = self._until if self._answer.committed else min(self._until, commit_at)
            try:
                async with asyncio.timeout_at(due):
                    return await self._session.give(self._request, self._stream)
            except NotRunning as e:
                await self._refuse(e.failure)
                return None
            except TimeoutError:
                if self._now() >= self._until:
                    await self._refuse(failures.STUCK)
                    return None
                await self._commit()

    async def _relay(self, call: Call[Stream]) -> None:
        stream, answer = self._stream, self._answer
        commit_at = self._commit_at()
        watch_at = self._begun + self._limits.watch_after
        watch: Watch | None = None
        try:
            while True:
                due = self._until
                if watch is None:
                    due = min(due, watch_at)
                due = min(due, self._close_at if answer.committed else commit_at)
                item = await stream.next(due)
                if item is not None:
                    try:
                        if item.last:
                            answer.headers = self._headers()
                        elif not answer.committed:
                            await self._commit(item)
                        await answer.send(item)
                    finally:
                        stream.sent(item)
                    if item.last:
                        return
                    continue
                if stream.reader:  # the client has come back, and reads elsewhere
                    self._left(call, DoneReason.CLIENT_GONE)
                    await self._exchange.end()
                    return
                if watch is not None and watch.reason is not None:
                    raise ExchangeGone(watch.reason)
                now = self._now()
                if now >= self._until:
                    self._session.expire(call, self._late(), b'"deadline"')
                    continue
                if now >= self._close_at:
                    self._left(call, DoneReason.CLIENT_GONE)
                    await answer.interrupt(self._limits.poll_ms)
                    return
                if watch is None and now >= watch_at:
                    watch = Watch(self._exchange, stream, self._spawn)
                if now >= commit_at and not answer.committed:
                    await self._commit()
        finally:
            if watch is not None:
                watch.stop()

    def _commit_at(self) -> float:
        """When the answer becomes an event stream if it has not come."""
        primes = self._session.resumption.primes
        return self._begun + (self._limits.prime_after if primes else self._limits.commit_after)

    async def _commit(self, *taken: Item) -> None:
        """Make the answer an event stream; ``taken``: what is about to be sent on it."""
        self._answer.headers = self._headers(pending=True)
        mark = self._answer.mark = self._session.resumption.keep(self._stream, self._request.id, *taken)
        if mark is not None and mark.primes:
            self._close_at = self._now() + self._close_after
        await self._answer.commit()

    def _headers(self, *, pending: bool = False) -> Headers:
        """An answer to ``initialize`` names the session, unless there is none because the server refused."""
        if self._request.method == "initialize" and (pending or self._session.version is not None):
            return ((SESSION_ID, self._session.id),)
        return ()

    def _late(self) -> Failure:
        if self._request.method == "initialize":
            return failures.NO_ANSWER_TO_INITIALIZE
        return failures.TIMED_OUT

    async def _refuse(self, failure: Failure) -> None:
        status, data = failure.answer(self._request, self._exchange.key)
        self._stream.finish(data, status)
        item = await self._stream.next(self._until)
        if item is not None:
            self._stream.sent(item)
            await self._answer.send(item)

    def _left(self, call: Call[Stream] | None, reason: DoneReason) -> None:
        """Nobody listens any more. The call goes on in the child, up to its deadline, and who can comes back
        for its answer.
        """
        self._stream.detach(0)
        if call is None:
            if self._stream.kept:
                self._stream.finish(failures.LEFT_EARLY.answer(self._request, self._exchange.key)[1])
            return
        if reason in STOPS_THE_CALL:
            self._session.expire(call, failures.REVOKED, b'"the caller is gone"')
        else:
            loop = asyncio.get_running_loop()
            loop.call_at(self._until, self._session.expire, call, self._late(), b'"deadline"')


async def tell(session: Session, exchange: Exchange, message: Message, until: float) -> None:
    """Serve a notification. Raises :exc:`~penstock_agent.exchange.ExchangeGone`."""
    if message.method == CANCELLED:
        session.cancel(message.params)
    else:
        try:
            async with asyncio.timeout_at(until):
                await session.tell(message)
        except TimeoutError:
            await _stuck(exchange, message)
            return
    await empty(exchange, 202)


async def answer(session: Session, exchange: Exchange, message: Message, until: float) -> bool:
    """Serve the caller's answer to a request of the child. False, and nothing served, when there is no such
    request.

    Raises :exc:`~penstock_agent.exchange.ExchangeGone`.
    """
    try:
        async with asyncio.timeout_at(until):
            known = await session.answer(message)
    except TimeoutError:
        await _stuck(exchange, message)
        return True
    if known:
        await empty(exchange, 202)
    return known


async def _stuck(exchange: Exchange, message: Message) -> None:
    status, data = failures.STUCK.answer(message, exchange.key)
    await reply(exchange, status, data)
