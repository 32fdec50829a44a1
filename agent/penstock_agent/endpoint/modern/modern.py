"""The modern era over Streamable HTTP (2026-07-28): requests are whole in themselves; no sessions."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection
from typing import Final

from penstock.envelope import Kind, Message, member, text_member
from penstock.http import LISTEN, Headers
from penstock.log import get
from penstock.outcome import METHOD_NOT_FOUND
from penstock_agent.catalogue.mirrored import PREFIX, objection
from penstock_agent.children.child import ChildSpec, ChildStartError
from penstock_agent.children.eras import MODERN_VERSIONS, Era, Eras, EraUnknown
from penstock_agent.children.pool import CrashLooping, TooManyChildren
from penstock_agent.endpoint import failures, inbound, recall, versions
from penstock_agent.endpoint.answers import empty, fail, refuse, reply
from penstock_agent.endpoint.bridge.down.bridge import Bridge
from penstock_agent.endpoint.failures import Failure
from penstock_agent.endpoint.lifeline import NotRunning
from penstock_agent.endpoint.modern import ladder
from penstock_agent.endpoint.modern.calls import Serving
from penstock_agent.endpoint.modern.ladder import Rejection
from penstock_agent.endpoint.modern.process import Process
from penstock_agent.endpoint.modern.processes import Processes
from penstock_agent.endpoint.modern.tasks import Tasks
from penstock_agent.endpoint.session.sessions import Sessions
from penstock_agent.endpoint.shared import Shared
from penstock_agent.exchange import Exchange
from penstock_agent.gate import methods

LAST_WORDS: Final = 1.0
"""Seconds for what is said to those who listen when the agent stops."""

_log = get(__name__)

_NO_SUCH_METHOD: Final = Rejection(
    METHOD_NOT_FOUND, "This server has no such method in 2026-07-28: server/discover says what it has."
)


class Modern:
    """Every method may raise :exc:`~penstock_agent.exchange.ExchangeGone` and Stopping."""

    def __init__(self, shared: Shared, sessions: Sessions, shared_by_all: Collection[str] = ()) -> None:
        """``shared_by_all``: servers that have one process for all their callers."""
        self._shared = shared
        self.bridge = Bridge(shared, sessions)
        """To servers of the handshake era."""
        self.processes = Processes(shared.limits, shared_by_all)
        self.eras = Eras(shared.children, shared.spawn)
        self._listening: set[asyncio.Task[object]] = set()
        self._tasks = Tasks(lambda: os.urandom(16).hex())

    async def post(self, exchange: Exchange, message: Message, header: str, headers: Headers) -> None:
        """One message of the caller. ``header`` is MCP-Protocol-Version; ``headers`` are all of them."""
        if message.kind is Kind.NOTIFICATION:
            await self._notified(exchange, header)
            return
        if message.kind is not Kind.REQUEST:
            text = "Since 2026-07-28 servers ask nothing by themselves: send requests, and no answers."
            await refuse(exchange, 400, text, id=message.id)
            return
        if (rejection := ladder.check(message, headers)) is not None:
            await _reject(exchange, message, rejection)
            return
        spec = self._shared.servers.get(exchange.server)
        if spec is None:
            await refuse(exchange, 404, failures.no_server(exchange.server), id=message.id)
            return
        if not self._shared.running:
            await fail(exchange, message, failures.STOPPING)
            return
        if header not in MODERN_VERSIONS:
            body = failures.unsupported_version(message.id, versions.SERVED, header)
            await reply(exchange, 400, body)
            return
        era = await self._era(spec)
        if isinstance(era, Failure):
            await fail(exchange, message, era)
            return
        if message.method in ladder.REMOVED:
            await _reject(exchange, message, _NO_SUCH_METHOD)
        elif era.modern:
            await self._request(exchange, message, headers, spec)
        else:
            await self.bridge.post(exchange, message)

    async def drain(self) -> None:
        """End every subscription in the way that is no accident; returns when that has been written."""
        for process in self.processes:
            process.finish_all_listening()
        if self._listening:
            await asyncio.wait(self._listening, timeout=LAST_WORDS)

    async def _notified(self, exchange: Exchange, header: str) -> None:
        """A notification of the caller. None means anything in this era: who gives up, goes."""
        if header in MODERN_VERSIONS:
            await empty(exchange, 202)
            return
        await reply(exchange, 400, failures.unsupported_version(None, versions.SERVED, header))

    async def _era(self, spec: ChildSpec) -> Era | Failure:
        if (known := self.eras.known(spec)) is not None:
            return known
        lately = self.eras.lately(spec) if self._shared.tolerance.answer_while_starting else None
        wait = self._shared.limits.commit_after if lately is None else recall.PATIENCE_S
        try:
            async with asyncio.timeout(wait):
                return await self.eras.of(spec)
        except TimeoutError:
            return lately or failures.STILL_STARTING
        except EraUnknown as e:
            _log.warning("era_not_found", server=spec.name, why=str(e))
            return failures.ENDED_AT_START
        except TooManyChildren:
            return failures.TOO_MANY_CHILDREN
        except CrashLooping as e:
            return failures.crash_looping(spec.name, e.retry_after_s)
        except ChildStartError as e:
            _log.error("child_not_started", server=spec.name, why=str(e))
            return failures.not_executed(e.told) if e.told else failures.not_started(spec.name)

    async def _request(self, exchange: Exchange, message: Message, headers: Headers, spec: ChildSpec) -> None:
        server, caller = exchange.server, exchange.principal
        if (failure := await inbound.judge(self._shared, exchange, message)) is not None:
            if methods.knows(message.method):
                await fail(exchange, message, failure)
            else:  # what a site does not expose looks like what its server does not have
                await _reject(exchange, message, Rejection(METHOD_NOT_FOUND, failure.text))
            return
        try:
            process = self.processes.of(server, caller, self._maker(server, spec))
        except NotRunning as e:
            await fail(exchange, message, e.failure)
            return
        if (text := self._objection(process, message, headers)) is not None:
            await _reject(exchange, message, Rejection(ladder.HEADER_MISMATCH, text))
            return
        request = self._shared.narrowed(server, caller, message)
        request = self._tasks.own(server, caller.identity, request)
        listens = message.method == LISTEN
        until = exchange.deadline if listens else self._shared.until(exchange.deadline)
        serving = Serving(process, exchange, request, until, self._shared)
        task = asyncio.current_task() if listens else None
        with process.in_use():
            if task is not None:
                self._listening.add(task)
            try:
                if not await recall.serve_modern(process, exchange, request, self._shared):
                    await serving.serve()
            finally:
                if task is not None:
                    self._listening.discard(task)

    def _maker(self, server: str, spec: ChildSpec) -> Callable[[Callable[[Process], None]], Process]:
        return lambda on_end: Process(
            server, spec, self._shared, self._shared.children, self._tasks, on_end, self.eras.forget
        )

    def _objection(self, process: Process, message: Message, headers: Headers) -> str | None:
        """What is wrong with the headers that repeat arguments, as far as the tool is known."""
        if message.method != "tools/call" or message.params is None:
            return None
        tool = text_member(message.params, "name")
        if tool is None:
            return None
        if process.schemas.heard:
            wanted = process.schemas.of(tool)
        else:
            wanted = self._shared.catalogues.mirrored(process.server, tool)
        if not wanted:
            return None
        params = tuple(pair for pair in headers if pair[0].startswith(PREFIX))
        return objection(wanted, member(message.params, "arguments"), params)


async def _reject(exchange: Exchange, message: Message, rejection: Rejection) -> None:
    await reply(exchange, rejection.status, rejection.answer(message.id))
