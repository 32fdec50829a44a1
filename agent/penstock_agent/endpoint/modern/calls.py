"""Serving one modern request: from the caller's message to the end of the HTTP response.

One task per exchange, and after a second another that learns when the caller goes: in this era, that is how a
request is cancelled.
"""

from __future__ import annotations

import asyncio

from penstock.envelope import Message
from penstock_agent.endpoint import failures
from penstock_agent.endpoint.answers import Answer
from penstock_agent.endpoint.failures import Failure
from penstock_agent.endpoint.lifeline import NotRunning
from penstock_agent.endpoint.modern.flights import Flight
from penstock_agent.endpoint.modern.process import Process
from penstock_agent.endpoint.shared import Shared
from penstock_agent.endpoint.streams import Item, Stream
from penstock_agent.exchange import DoneReason, Exchange, ExchangeGone


class Serving:
    """``until``: when the answer is due (loop time)."""

    def __init__(
        self,
        process: Process,
        exchange: Exchange,
        request: Message,
        until: float,
        shared: Shared,
    ) -> None:
        self._process = process
        self._exchange = exchange
        self._request = request
        self._until = until
        self._shared = shared
        self._now = asyncio.get_running_loop().time
        begun = self._now()
        self._commit_at = begun + shared.limits.commit_after
        self._watch_at = begun + shared.limits.watch_after
        self._watch: asyncio.Task[None] | None = None
        self._gone: DoneReason | None = None
        self._giving: asyncio.Timeout | None = None
        self._answer = Answer(exchange)
        self._stream = process.stream(exchange.key, exchange.principal)

    async def serve(self) -> None:
        """Raises Stopping."""
        flight: Flight[Stream] | None = None
        try:
            flight = await self._give()
            if flight is not None:
                await self._pass_on(flight)
        except ExchangeGone as e:
            self._left(flight, e.reason)
        except BaseException:
            self._left(flight, DoneReason.ORIGIN_LOST)
            raise
        finally:
            if self._watch is not None:
                self._watch.cancel()

    async def _give(self) -> Flight[Stream] | None:
        """Give the request to the process; None when it cannot be, and the caller has been told why."""
        while True:
            try:
                async with asyncio.timeout_at(self._due()) as self._giving:
                    return await self._process.give(self._request, self._exchange.principal, self._stream)
            except NotRunning as e:
                await self._refuse(e.failure)
                return None
            except TimeoutError:
                if self._now() >= self._until:
                    await self._refuse(failures.STUCK)
                    return None
                await self._in_between()
            finally:
                self._giving = None

    async def _pass_on(self, flight: Flight[Stream]) -> None:
        stream = self._stream
        while True:
            item = await stream.next(self._due())
            if item is not None:
                try:
                    await self._answer.send(item)
                finally:
                    stream.sent(item)
                if item.last:
                    return
            elif not stream.open and self._gone is None:
                await self._break_off()
                return
            elif self._now() >= self._until:
                if flight.listens:
                    self._process.finish_listening(flight)
                else:
                    self._process.expire(flight, failures.TIMED_OUT)
            else:
                await self._in_between()

    def _due(self) -> float:
        due = self._until
        if self._watch is None:
            due = min(due, self._watch_at)
        if not self._answer.committed:
            due = min(due, self._commit_at)
        return due

    async def _in_between(self) -> None:
        """What is due before there is anything to send. Raises ExchangeGone."""
        if self._gone is not None:
            raise ExchangeGone(self._gone)
        now = self._now()
        if self._watch is None and now >= self._watch_at:
            self._watch = self._shared.spawn(self._watching())
        if now >= self._commit_at:
            await self._answer.commit()

    async def _watching(self) -> None:
        self._gone = await self._exchange.gone()
        self._stream.wake()
        if self._giving is not None:
            self._giving.reschedule(self._now())

    async def _break_off(self) -> None:
        """The process of a subscription is gone: it ends without a last word: its client asks again."""
        if self._answer.committed:
            await self._exchange.end()
        else:
            await self._refuse(failures.CRASHED)

    async def _refuse(self, failure: Failure) -> None:
        status, data = failure.answer(self._request, self._exchange.key)
        await self._answer.send(Item(data, last=True, status=status))

    def _left(self, flight: Flight[Stream] | None, reason: DoneReason) -> None:
        """Nobody listens any more, so the work stops."""
        self._stream.drain()
        if flight is not None:
            self._process.cancel(flight, b'"the caller is gone (%b)"' % reason.name.lower().encode())
