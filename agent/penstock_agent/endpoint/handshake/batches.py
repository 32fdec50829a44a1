"""Serving several messages that came in one array (MCP 2025-03-26, basic/transports, Sending Messages).

Their answers come as one JSON array when they come soon and alone, else one by one on an event stream. Such a
stream cannot be resumed: the specification allows that, and no client that batches is known to resume.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from math import inf
from typing import Final

from penstock.envelope import Kind, Message
from penstock_agent.endpoint import failures, inbound
from penstock_agent.endpoint.answers import Answer, empty, refuse, reply
from penstock_agent.endpoint.failures import Ending
from penstock_agent.endpoint.handshake import calls
from penstock_agent.endpoint.lifeline import NotRunning
from penstock_agent.endpoint.session.correlate import Call
from penstock_agent.endpoint.session.delivery import CANCELLED
from penstock_agent.endpoint.session.session import Session
from penstock_agent.endpoint.shared import Shared
from penstock_agent.endpoint.streams import Item, Stream
from penstock_agent.endpoint.watch import Watch
from penstock_agent.exchange import DoneReason, Exchange, ExchangeGone

#: Above this size answers are not collected into an array any more.
COLLECTED: Final = 1 << 20


class _Whole(Stream):
    """What goes to the caller: all answers, and what the server says in between."""

    __slots__ = ("mixed", "unanswered")

    unanswered: int
    mixed: bool
    """Whether something else than an answer has been said."""

    def put(self, data: bytes, *, droppable: bool = False, of: str = "") -> bool:
        self.mixed = True
        return super().put(data, droppable=droppable, of=of)

    def answered(self, data: bytes) -> None:
        self.unanswered -= 1
        if self.unanswered == 0:
            self.finish(data)
        else:
            super().put(data)


class _Part(Stream):
    """Where the answer to one request of the batch goes."""

    __slots__ = ("whole",)

    whole: _Whole

    def put(self, data: bytes, *, droppable: bool = False, of: str = "") -> bool:
        return self.open and self.whole.put(data, droppable=droppable, of=of)

    def finish(self, data: bytes, status: int = 200) -> None:
        if self.open:
            self.open = False
            self.whole.answered(data)


class BatchServer:
    """One batch of a session. ``until`` is when its answers are due (loop time)."""

    def __init__(
        self, session: Session, exchange: Exchange, batch: Sequence[Message], until: float, shared: Shared
    ) -> None:
        self._session = session
        self._exchange = exchange
        self._batch = batch
        self._until = until
        self._shared = shared
        self._loop = asyncio.get_running_loop()
        self._commit_at = self._loop.time() + shared.limits.commit_after
        self._answer = Answer(exchange)
        self._calls: list[Call[Stream]] = []
        self._left = False
        self._whole = session.make_stream(_Whole, exchange.key, exchange.principal)
        self._whole.mixed = False
        self._whole.unanswered = sum(message.kind is Kind.REQUEST for message in batch)

    async def serve(self) -> None:
        """Raises :exc:`~penstock_agent.exchange.ExchangeGone`."""
        if not self._whole.unanswered:
            await self._told()
            return
        # A task of its own: the answer may have to begin before the child has taken everything.
        self._shared.spawn(self._give_all())
        watch = Watch(self._exchange, self._whole, self._shared.spawn)
        try:
            await self._collect(watch)
        except ExchangeGone as e:
            self._gone(e.reason)
            raise
        except BaseException:
            self._gone(DoneReason.ORIGIN_LOST)
            raise
        finally:
            watch.stop()

    async def _told(self) -> None:
        """Nothing of it asks for an answer."""
        known = True
        try:
            async with asyncio.timeout_at(min(self._until, self._commit_at)):
                for message in self._batch:
                    known = await self._tell(message) and known
        except TimeoutError:
            await reply(self._exchange, *failures.STUCK.answer(self._batch[0], self._exchange.key))
            return
        if known:
            await empty(self._exchange, 202)
        else:
            await refuse(self._exchange, 400, calls.ANSWERS_NOTHING)

    async def _tell(self, message: Message) -> bool:
        """Give the child what is no request. False for an answer to a request that it never sent."""
        if message.kind is not Kind.NOTIFICATION:
            return await self._session.answer(message)
        if message.method == CANCELLED:
            self._session.cancel(message.params)
        else:
            await self._session.tell(message)
        return True

    async def _give_all(self) -> None:
        for message in self._batch:
            part = self._session.make_stream(_Part, self._exchange.key, self._exchange.principal)
            part.whole = self._whole
            try:
                async with asyncio.timeout_at(self._until):
                    if message.kind is not Kind.REQUEST:
                        await self._tell(message)
                    elif (failure := await self._judge(message)) is not None:
                        self._fail(part, message, failure)
                    else:
                        self._given(await self._session.give(message, part))
            except NotRunning as e:
                self._fail(part, message, e.failure)
            except TimeoutError:
                self._fail(part, message, failures.STUCK)

    async def _judge(self, message: Message) -> Ending | None:
        if self._left:
            return failures.LEFT_EARLY
        return await inbound.judge(self._shared, self._exchange, message)

    def _given(self, call: Call[Stream]) -> None:
        self._calls.append(call)
        self._loop.call_at(self._until, self._session.expire, call, failures.TIMED_OUT, b'"deadline"')

    def _fail(self, part: Stream, message: Message, failure: Ending) -> None:
        if message.kind is Kind.REQUEST:
            part.finish(failure.answer(message, self._exchange.key)[1])

    async def _collect(self, watch: Watch) -> None:
        """Hold answers back for one array, as long as nothing speaks against it."""
        whole, held, size = self._whole, list[Item](), 0
        try:
            while not (whole.mixed or size > COLLECTED or self._loop.time() >= self._commit_at):
                item = await whole.next(self._commit_at)
                if item is not None:
                    held.append(item)
                    size += len(item.data)
                    if item.last and not whole.mixed:
                        await reply(self._exchange, 200, b"[%b]" % b",".join([each.data for each in held]))
                        return
                elif watch.reason is not None:
                    raise ExchangeGone(watch.reason)
            await self._answer.commit()
            for each in held:
                await self._answer.send(each)
        finally:
            for each in held:
                whole.sent(each)
        if not (held and held[-1].last):
            await self._stream(watch)

    async def _stream(self, watch: Watch) -> None:
        while True:
            item = await self._whole.next(inf)
            if item is not None:
                try:
                    await self._answer.send(item)
                finally:
                    self._whole.sent(item)
                if item.last:
                    return
            elif watch.reason is not None:
                raise ExchangeGone(watch.reason)

    def _gone(self, reason: DoneReason) -> None:
        """Nobody listens any more: what was given goes on in the child, up to its deadline."""
        self._left = True
        self._whole.detach(0)
        if reason in calls.STOPS_THE_CALL:
            for call in self._calls:
                self._session.expire(call, failures.REVOKED, b'"the caller is gone"')
