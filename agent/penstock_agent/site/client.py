"""One server of the site, and the client that the site is to it: greeted, kept running, asked.

Its ids and the caller's never meet: what it is asked, and what it asks, goes under ids that only count here.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from functools import partial
from typing import Final, Protocol

from penstock.envelope import (
    EnvelopeError,
    Kind,
    Message,
    dump,
    notification,
    parse_child,
    request,
    text_member,
)
from penstock.http import HANDSHAKE
from penstock.log import get
from penstock_agent.children import backoff
from penstock_agent.children.child import ChildGone
from penstock_agent.children.lines import Oversize
from penstock_agent.endpoint import failures
from penstock_agent.endpoint.failures import Failure
from penstock_agent.endpoint.faults import Faults
from penstock_agent.endpoint.held import Share
from penstock_agent.endpoint.lifeline import Lifeline, NotRunning
from penstock_agent.endpoint.ports import Child, Children, Spawn, Stopping
from penstock_agent.endpoint.replies import Replies
from penstock_agent.endpoint.session.correlate import MAX_ASKED, Call, Correlator
from penstock_agent.endpoint.session.standing import Standing
from penstock_agent.gate.definitions import Definitions
from penstock_agent.gate.expose import Item
from penstock_agent.site import merge
from penstock_agent.site.approved import Approved
from penstock_agent.site.questions import CANCELLED, PROGRESS, Questions
from penstock_agent.site.spec import GREET_S, Member

START_S: Final = 120.0
"""After so long a server that has not answered it is started again: a first start may download it."""
REPLIES: Final = 64
"""Messages to one server that nobody waits for; more are dropped."""
SET_LEVEL: Final = "logging/setLevel"
Answered = Callable[[Message | Failure], None]
"""Where the answer to a call goes, once."""

_log = get(__name__)


class Owner(Protocol):
    """The site, as its servers see it."""

    def said(self, client: Client, message: Message) -> None:
        """A request, under an id of ours, or a notification."""

    def settled(self, client: Client) -> None:
        """It is up, or could not be started."""


class Client:
    """``begin`` once, then ``end``."""

    def __init__(
        self,
        site_member: Member,
        children: Children,
        owner: Owner,
        held: Share,
        spawn: Spawn,
        chance: Callable[[], float] = random.random,
        asked: int = MAX_ASKED,
        definitions: Definitions | None = None,
    ) -> None:
        """``asked``: its requests to the caller that may be unanswered. ``definitions``: what was approved of
        what servers offer.
        """
        self.name = site_member.name
        self.expose = site_member.expose
        self.greeting: bytes | None = None
        """The raw result of its newest ``initialize``."""
        self._offered: Mapping[str, frozenset[str]] = {}
        self.tried = False
        """Whether it has been up, or could not be started."""
        self.missed = False
        """Whether something was answered without it, which callers shall ask again once it is up."""
        self.counts: Counter[str] = Counter()
        self._children = children
        self._owner = owner
        self._spawn = spawn
        self._chance = chance
        self._lifeline = Lifeline(site_member.spec, children, self, held)
        self._correlator: Correlator[Answered] = Correlator(lambda: os.urandom(16).hex())
        self._faults = Faults(self.name, self.counts)
        self._replies = Replies(self._lifeline, spawn, REPLIES, self.counts)
        self._questions = Questions(self._correlator, self._replies.send, asked)
        self._hello = request(b'"site"', "initialize", None)
        self._initialized: Message | None = None
        self._standing = Standing()
        self._lost = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._worked = False
        self.approved = Approved(self.name, definitions, spawn, self._ask_own, lambda: self._offered)

    # Life.

    def begin(self, hello: Message) -> None:
        """Start it, and again whenever it ends; ``hello`` is what it is greeted with. Raises Stopping."""
        self._hello = hello
        self._tasks = [self._spawn(self._run()), self._spawn(self._keep())]

    def end(self) -> list[asyncio.Task[None]]:
        """Stop it; when these tasks are over, nothing is left of it."""
        for task in self._tasks:
            task.cancel()
        self._lifeline.close(NotRunning(failures.ENDED))
        return self._tasks

    @property
    def up(self) -> bool:
        return self._lifeline.current is not None

    def exposes(self, item: Item) -> bool:
        """Whether callers may see anything of this kind."""
        expose = self.expose
        return bool({Item.TOOL: expose.tools, Item.PROMPT: expose.prompts}.get(item, expose.resources))

    def offers(self, capability: str, detail: str | None = None) -> bool:
        """Whether it has a capability; one that was never greeted may have any."""
        if self.greeting is None:
            return True
        found = self._offered.get(capability)
        return found is not None and (detail is None or detail in found)

    async def _run(self) -> None:
        try:
            await self._lifeline.run()
        except Exception as e:  # one server's trouble must not be that of the others
            _log.error("server_of_site_failed", server=self.name, error=type(e).__name__)

    async def _keep(self) -> None:
        failed = 0
        while True:
            try:
                await self._lifeline.child()
            except NotRunning:
                failed += 1
                self._settle()
                await asyncio.sleep(backoff.delay(failed, self._chance()))
                continue
            failed = 0
            self._settle()
            await self._lost.wait()

    def _settle(self) -> None:
        self.tried = True
        self._owner.settled(self)

    # What it is asked.

    async def give(self, asked: Message, answered: Answered) -> None:
        """Give it a request. Raises :exc:`NotRunning`. Cancelled, or with an error, it has nothing of it."""
        await self._give(asked, answered)

    async def _give(self, asked: Message, answered: Answered, *, own: bool = False) -> None:
        while True:
            child = self._lifeline.current or await self._wait()
            if not own and (text := await self.approved.objection(asked)) is not None:
                _log.warning("call_withheld", server=self.name, method=asked.method)
                raise NotRunning(failures.denied(text))
            call, message = self._correlator.open(asked, answered)
            try:
                await child.send(dump(message))
            except ChildGone:
                self._correlator.retire(call)
                self._discard(child)
                continue
            except BaseException:
                self._correlator.retire(call)
                raise
            call.sent = True
            if not self._correlator.holds(call):
                self._cancel(call, b'{"requestId":%b}' % call.child_id)
            return

    async def ask(self, asked: Message, wait_s: float | None = None) -> Message | Failure:
        """Its answer to a request; who is cancelled meanwhile cancels it. ``wait_s``: how long, None for
        however long it takes.
        """
        return await self._asked_for(asked, self.give, wait_s)

    async def _ask_own(self, asked: Message) -> Message | Failure:
        """The same for a request of the agent itself, past what was approved."""
        return await self._asked_for(asked, partial(self._give, own=True))

    async def _asked_for(
        self,
        asked: Message,
        give: Callable[[Message, Answered], Awaitable[None]],
        wait_s: float | None = None,
    ) -> Message | Failure:
        found: asyncio.Future[Message | Failure] = asyncio.get_running_loop().create_future()

        def answered(answer: Message | Failure) -> None:
            if not found.done():
                found.set_result(answer)

        try:
            async with asyncio.timeout(wait_s):
                await give(asked, answered)
                return await found
        except NotRunning as e:
            return e.failure
        except TimeoutError:
            return failures.TIMED_OUT
        finally:
            if not found.done():
                found.cancel()
            if found.cancelled():
                self.cancel(b'{"requestId":%b}' % (asked.id or b"null"))

    def cancel(self, params: bytes | None) -> bool:
        """``notifications/cancelled`` for a request that it was given; False when it has no such one."""
        found = self._correlator.cancelled(params)
        if found is None:
            return False
        call, renamed = found
        self._correlator.retire(call)
        if call.sent:
            self._cancel(call, renamed)
        return True

    async def tell(self, message: Message) -> None:
        """Give it a notification, if it runs; a lost one is no harm."""
        child = self._lifeline.current
        if child is not None:
            try:
                await child.send(dump(message))
            except ChildGone:
                self._discard(child)

    async def initialized(self, message: Message) -> None:
        """The caller has taken the answer to ``initialize``."""
        self._initialized = message
        await self.tell(message)

    def level(self, asked: Message) -> None:
        """The log level from now on, also where it is not up yet."""
        self._standing.granted(asked)

    async def answer(self, message: Message) -> bool:
        """The caller's answer to a request of the server; False when that was another server's."""
        out = self._questions.answered(message)
        if out is not None:
            await self.tell(out)
        return out is not None

    async def progress(self, token: bytes, params: bytes) -> None:
        """The caller's progress on a request of the server, by the token that it has up there."""
        out = self._questions.progress(token, params)
        if out is not None:
            await self.tell(out)

    async def _wait(self) -> Child:
        try:
            async with asyncio.timeout(GREET_S):
                return await self._lifeline.child()
        except TimeoutError:
            raise NotRunning(failures.still_starting(self.name)) from None

    def _discard(self, child: Child) -> None:
        self._lifeline.discard(child)
        with suppress(Stopping):  # it is stopped with the rest then
            self._spawn(child.stop())

    def _cancel(self, call: Call[Answered], params: bytes) -> None:
        if call.request.method != "initialize":
            self._replies.send(dump(notification(CANCELLED, params)))

    # What it says: the lifeline's owner.

    def take(self, line: bytes | Oversize) -> None:
        if isinstance(line, Oversize):
            self._faults.count("oversize")
            calls = self._correlator.in_flight()
            if len(calls) == 1:  # else nobody knows whose answer it was
                self._end(calls[0], failures.TOO_LARGE)
            return
        try:
            message = parse_child(line)
        except EnvelopeError as e:
            self._faults.count("junk")
            call = None if e.id is None else self._correlator.answered(e.id)
            if call is not None:
                text = f"The answer of the server on site cannot be passed on. {e} The request has run."
                call.stream(failures.outcome_unknown(text))
            return
        if message.kind is Kind.NOTIFICATION:
            self._notified(message)
        elif message.kind is Kind.REQUEST:
            self._asked(message)
        else:
            self._answered(message)

    async def greet(self, child: Child) -> None:
        self._lost.clear()
        answers: list[Message | Failure] = []
        call, message = self._correlator.open(self._hello, answers.append)
        try:
            async with asyncio.timeout(START_S):
                await child.send(dump(message))
                while not answers:
                    self.take(await child.receive())
        except TimeoutError:
            _log.warning("server_of_site_silent", server=self.name, waited_s=START_S)
            raise NotRunning(failures.still_starting(self.name)) from None
        finally:
            self._correlator.retire(call)
        answer = answers[0]
        result = None if isinstance(answer, Failure) else answer.result
        if result is None or text_member(result, "protocolVersion") not in HANDSHAKE:
            _log.warning("server_of_site_refused", server=self.name, why="no usable answer to initialize")
            raise NotRunning(failures.NOT_GREETED)
        result = self.approved.greeted(result)
        self.greeting, self._offered = result, merge.offers(result)
        if self._initialized is not None:
            await child.send(dump(self._initialized))
        for each in self._standing.again():
            if each.method != SET_LEVEL or self.offers("logging"):
                await child.send(dump(each))

    def lost(self) -> None:
        for withdrawn in self._questions.lost():
            self._owner.said(self, withdrawn)
        for call in self._correlator.restart():
            if call.request.method == "initialize":
                call.stream(failures.ENDED_AT_START)
            elif call.sent:
                call.stream(failures.CRASHED)
        self._worked = False
        self.approved.lost()
        self._lost.set()

    def _answered(self, message: Message) -> None:
        call = None if message.id is None else self._correlator.answered(message.id)
        if call is None:
            if not self._standing.settles(message):
                self._faults.count("unexpected_answer")
            return
        if message.kind is Kind.RESPONSE:
            self._standing.granted(call.request)
        if not self._worked:
            self._worked = True
            self._children.worked(self.name)
        call.stream(message)

    def _notified(self, message: Message) -> None:
        self.approved.changed(message.method)
        out: Message | None = message
        if message.method == CANCELLED:
            out = self._questions.withdrawn(message.params)
        elif message.method == PROGRESS and self._correlator.progress(message.params) is None:
            self.counts["dropped_notification"] += 1
            return
        if out is not None:
            self._owner.said(self, out)

    def _asked(self, message: Message) -> None:
        out = self._questions.asked(message)
        if out is not None:
            self._owner.said(self, out)

    def _end(self, call: Call[Answered], failure: Failure) -> None:
        self._correlator.retire(call)
        call.stream(failure)
