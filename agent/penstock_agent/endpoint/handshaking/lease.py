"""A session's share of a process that serves requests of 2026-07-28.

Such a process is shared by all that one caller asks, or by all callers, where the site says so; a session of
the handshake era is no reason to start another one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from math import inf

from penstock.envelope import Kind, Message, member, parse_child
from penstock.principal import Principal
from penstock_agent.children.child import ChildGone
from penstock_agent.children.lines import Oversize
from penstock_agent.endpoint.lifeline import NotRunning
from penstock_agent.endpoint.modern.flights import Flight
from penstock_agent.endpoint.modern.process import Process
from penstock_agent.endpoint.ports import Spawn
from penstock_agent.endpoint.streams import Stream
from penstock_agent.remote.inbox import Inbox


class Lease:
    """A child, to who talks to it. ``stop`` ends what was asked here and leaves the process to others."""

    def __init__(self, process: Process, caller: Callable[[], Principal], spawn: Spawn) -> None:
        """``caller``: whose session it is; one identity, whose rights may change."""
        self._process = process
        self._caller = caller
        self._spawn = spawn
        self._inbox = Inbox()
        self._flights: dict[bytes, tuple[Flight[Stream], asyncio.Task[None]]] = {}
        self._use = ExitStack()
        self._use.enter_context(process.in_use())

    async def send(self, line: bytes) -> None:
        """Raises ChildGone."""
        if (gone := self._inbox.ended) is not None:
            raise gone
        message = parse_child(line)
        if message.kind is Kind.REQUEST:
            await self._ask(message)
        elif message.method == "notifications/cancelled":
            found = self._flights.pop(member(message.params or b"{}", "requestId") or b"", None)
            if found is not None:
                self._process.cancel(found[0], b'"cancelled"')
                found[1].cancel()

    async def receive(self) -> bytes | Oversize:
        """Raises ChildGone."""
        return await self._inbox.get()

    async def stop(self) -> None:
        """Idempotent."""
        self._end("was left by its session")

    async def _ask(self, message: Message) -> None:
        if message.method == "initialize":
            # It was taken for a modern one, and is none any more: a process of the session's own has to say.
            self._end("is not what it was taken for")
            raise self._inbox.ended or AssertionError
        caller = self._caller()
        stream = self._process.stream("", caller)
        try:
            flight = await self._process.give(message, caller, stream)
        except NotRunning as e:
            self._inbox.put_now(e.failure.answer(message, "")[1])
            return
        if self._inbox.ended is not None:
            self._process.cancel(flight, b'"the session has ended"')
            raise self._inbox.ended
        id = message.id or b"null"
        self._flights[id] = flight, self._spawn(self._pass_on(id, flight, stream))

    async def _pass_on(self, id: bytes, flight: Flight[Stream], stream: Stream) -> None:
        """What the process says about one request, up to its answer."""
        try:
            while True:
                item = await stream.next(inf)
                if item is not None:
                    await self._inbox.put(item.data)
                    stream.sent(item)
                    if item.last:
                        return
                elif not stream.open:  # the process is gone, and with it what it was to tell of
                    self._end("has ended")
                    return
        finally:
            stream.drain()
            self._flights.pop(id, None)

    def _end(self, how: str) -> None:
        self._inbox.end(ChildGone(f"The process of {self._process.server} {how}.", None))
        flights, self._flights = self._flights, {}
        current = asyncio.current_task()
        for flight, task in flights.values():
            self._process.cancel(flight, b'"the session has ended"')
            if task is not current:
                task.cancel()
        self._use.close()
