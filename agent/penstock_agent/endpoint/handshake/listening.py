"""Serving a GET: the stream for what the server says by itself, or one that its client has come back to."""

from __future__ import annotations

import asyncio
from math import inf

from penstock.outcome import OUTCOME_UNKNOWN, rpc_error
from penstock_agent.endpoint import failures
from penstock_agent.endpoint.answers import Answer
from penstock_agent.endpoint.session.resumption import Found, Lost
from penstock_agent.endpoint.session.session import Session
from penstock_agent.endpoint.shared import Shared
from penstock_agent.endpoint.streams import Item, Stream
from penstock_agent.endpoint.watch import Watch
from penstock_agent.exchange import DoneReason, Exchange, ExchangeGone


class Listening:
    """One GET of a session. Every method may raise :exc:`~penstock_agent.exchange.ExchangeGone`."""

    def __init__(self, session: Session, exchange: Exchange, shared: Shared) -> None:
        self._session = session
        self._exchange = exchange
        self._shared = shared
        self._answer = Answer(exchange)

    async def listen(self) -> None:
        """A new stream for what the server says by itself. The session's older one ends."""
        stream = self._session.stream(self._exchange.key, self._exchange.principal)
        self._answer.mark = self._session.resumption.keep(stream, None)
        await self._listen(stream, stream.reader, 0)

    async def resume(self, found: Found) -> None:
        """Go on after the event that the client named, with what it missed and what is still to come."""
        mark, stream = found.mark, found.mark.record.owner
        self._answer = Answer(self._exchange, stream.of)
        self._answer.mark = mark
        stream.key, stream.caller = self._exchange.key, self._exchange.principal
        if mark.record.request is None:
            self._session.resumption.back(mark)
            await self._listen(stream, stream.reopen(found.missed), found.number)
            return
        reader = stream.attach(found.missed)
        self._session.back(stream)
        close_at = asyncio.get_running_loop().time() + self._shared.close_after if mark.primes else inf
        try:
            await self._pour(stream, reader, found.number, close_at)
        except ExchangeGone as e:
            if e.reason is DoneReason.REVOKED:
                self._session.give_up(stream, failures.REVOKED, b'"the caller is gone"')
            raise
        finally:
            stream.detach(reader)

    async def _listen(self, stream: Stream, reader: int, number: int) -> None:
        self._session.listen(stream)
        try:
            await self._pour(stream, reader, number, inf)
        finally:
            if stream.reader == reader:
                self._session.unlisten(stream)
                if self._answer.mark is not None:
                    self._session.resumption.left(self._answer.mark)

    async def _pour(self, stream: Stream, reader: int, number: int, close_at: float) -> None:
        answer, until = self._answer, min(self._exchange.deadline, close_at)
        watch = Watch(self._exchange, stream, self._shared.spawn)
        try:
            await answer.commit(number)
            while True:
                item = await stream.next(until, reader)
                if item is not None:
                    try:
                        await answer.send(item)
                    finally:
                        stream.sent(item)
                    if item.last:
                        return
                elif stream.reader != reader or not stream.open:
                    break
                elif watch.reason is not None:
                    raise ExchangeGone(watch.reason)
                elif asyncio.get_running_loop().time() >= until:
                    await answer.interrupt(self._shared.limits.poll_ms)
                    return
        finally:
            watch.stop()
        await self._exchange.end()


async def lost(exchange: Exchange, what: Lost) -> None:
    """The last event of a stream of which something is missing: its request may have run.

    Raises :exc:`~penstock_agent.exchange.ExchangeGone`.
    """
    answer = Answer(exchange)
    await answer.commit()
    data = rpc_error(what.request, OUTCOME_UNKNOWN, failures.FORGOTTEN.text, exchange=exchange.key)
    await answer.send(Item(data, last=True))
