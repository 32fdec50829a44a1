"""One session: one client, one child at a time, and which message goes where between them.

Nothing here waits for a caller: what goes to callers is put on streams (``calls`` writes them out).
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, TypeVar

import msgspec

from penstock import __version__
from penstock.envelope import (
    EnvelopeError,
    Kind,
    Message,
    dump,
    notification,
    parse_child,
    request,
    text_member,
    with_id,
)
from penstock.log import get
from penstock.outcome import METHOD_NOT_FOUND, rpc_error
from penstock.principal import Principal
from penstock_agent.children.child import ChildGone, ChildSpec
from penstock_agent.children.lines import Oversize
from penstock_agent.endpoint import failures, versions
from penstock_agent.endpoint.correlate import Call, Correlator
from penstock_agent.endpoint.delivery import CANCELLED, Delivery
from penstock_agent.endpoint.failures import Failure
from penstock_agent.endpoint.held import Share
from penstock_agent.endpoint.lifeline import Lifeline, NotRunning, SessionOver
from penstock_agent.endpoint.manners import Manners
from penstock_agent.endpoint.memory import Witness
from penstock_agent.endpoint.ports import Child, Stopping
from penstock_agent.endpoint.replies import Replies
from penstock_agent.endpoint.resumption import Resumption
from penstock_agent.endpoint.shared import Shared
from penstock_agent.endpoint.standing import Standing
from penstock_agent.endpoint.streams import Stream

PROGRESS: Final = "notifications/progress"
TOOLS_CHANGED: Final = "notifications/tools/list_changed"
INITIALIZED: Final = "notifications/initialized"

S = TypeVar("S", bound=Stream)

_log = get(__name__)


class Session:
    """Bound to one principal and one server for its life."""

    def __init__(
        self,
        id: str,
        server: str,
        principal: Principal,
        spec: ChildSpec,
        shared: Shared,
        on_end: Callable[[Session], None],
    ) -> None:
        self.id = id
        self.server = server
        self.principal = principal
        """The caller of the newest exchange: one identity, whose rights may change."""
        self.version: str | None = None
        """The protocol version that client and server agreed on; None before that."""
        self.sessionless = False
        """Whether it serves callers that name no session: none of them can come back for anything."""
        self.ended = False
        self.for_good = False
        """Whether it must not be begun again once it has ended."""
        self.counts: Counter[str] = Counter()
        """What happened that nobody was told, by name."""
        self.exchanges = 0
        """Exchanges that are being served now."""
        self.used_at = _now()
        self._shared = shared
        self._limits = limits = shared.limits
        self._held = Share(shared.held, limits.session_held)
        self._spawn = shared.spawn
        self._on_end = on_end
        self._task: asyncio.Task[None] | None = None
        self.resumption = Resumption(id, shared.ids, shared.logs, limits)
        self.lifeline = Lifeline(spec, shared.faces, self, self._held)
        self._correlator: Correlator[Stream] = Correlator(lambda: os.urandom(16).hex())
        self._replies = Replies(self.lifeline, shared.spawn, limits.replies, self.counts)
        self._delivery = Delivery(self._correlator, limits, self._replies.send, self.counts)
        self._manners = Manners(shared.tolerance)
        self._standing = Standing()
        self._witness = Witness(shared.memory, server)
        self.greeting: bytes | None = None
        """What the newest child answered to the ``initialize`` that it was greeted with."""
        self._hello: Message | None = None
        self._initialized: Message | None = None
        self._unmet = False
        """Whether the version is only what the client says: no server has agreed to it yet."""
        self._worked = False
        self._stale = False

    # Life.

    def start(self) -> None:
        """Start the session's one long-lived task."""
        self._task = self._spawn(self._run())

    async def _run(self) -> None:
        """Until the session ends; leaves no child behind and no caller waiting."""
        try:
            await self.lifeline.run()
        except Stopping:
            return
        except Exception as e:  # one session's trouble must not be that of the others
            _log.error("session_failed", server=self.server, error=type(e).__name__)
        finally:
            self.end()

    def end(self) -> None:
        """Nothing is served any more; the task of ``run`` stops the child and ends. Idempotent."""
        if self.ended:
            return
        self.ended = True
        self.for_good = self.for_good or self._hello is None
        self._on_end(self)
        for call in self._correlator.restart():
            if call.sent:  # the others learn from their lifeline that they were not executed
                self._fail(call, failures.SESSION_ENDED)
        self._delivery.close()
        self.resumption.close()
        self.lifeline.close(NotRunning(failures.ENDED))
        if self._task is not None:
            self._task.cancel()

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """While an exchange is served."""
        self.exchanges += 1
        try:
            yield
        finally:
            self.exchanges -= 1
            self.used_at = _now()

    def idle_since(self) -> float | None:
        """Since when (loop time) nothing has happened here; None while something does."""
        return None if self.exchanges or self._correlator.calls else self.used_at

    @property
    def calls(self) -> int:
        return self._correlator.calls

    def renew(self, spec: ChildSpec) -> None:
        """The configuration of the server has changed: use it from the next child on, and make that soon."""
        self.lifeline.spec = spec
        self._stale = self.lifeline.current is not None
        self._replace_stale()

    def _replace_stale(self) -> None:
        child = self.lifeline.current
        if self._stale and child is not None and not self._correlator.calls:
            self._stale = False
            self._discard(child)

    def _discard(self, child: Child) -> None:
        self.lifeline.discard(child)
        self._spawn(child.stop())

    # From the caller.

    def stream(self, key: str, caller: Principal | None = None) -> Stream:
        """A stream for one response of this session; ``key`` is that of its exchange."""
        return self.make_stream(Stream, key, caller)

    def make_stream(self, kind: type[S], key: str, caller: Principal | None = None) -> S:
        """The same, of another kind."""
        return kind(self._held, self._limits.stream_events, key, caller or self.principal)

    async def give(self, request: Message, stream: Stream) -> Call[Stream]:
        """Give a request to the child; the answer comes on ``stream``. Raises :exc:`NotRunning`.

        Cancelled, or with an error, the child has nothing of it.
        """
        if self._correlator.calls >= self._limits.calls_per_session:
            raise NotRunning(failures.TOO_MANY_CALLS)
        while True:
            child = await self.lifeline.child()
            self._witness.given(request)
            call, message = self._correlator.open(request, stream)
            try:
                await child.send(dump(message))
            except ChildGone:
                # It died while nobody looked. The request was not given to it whole, so its successor may
                # have it.
                self._correlator.retire(call)
                self._discard(child)
                if not stream.open:
                    return call
                continue
            except BaseException:
                self._correlator.retire(call)
                raise
            call.sent = True
            if self._correlator.holds(call):
                self._delivery.flush(stream)
            else:
                self._stop(call, b'"cancelled"')
            return call

    async def tell(self, message: Message) -> None:
        """Give a notification to the child, if there is one; a lost one is no harm."""
        child = self.lifeline.current
        if message.method == INITIALIZED:
            self._initialized = message
        if child is not None:
            try:
                await child.send(dump(message))
            except ChildGone:
                self._discard(child)

    def cancel(self, params: bytes | None) -> None:
        """``notifications/cancelled`` of the caller: ends one of its own calls, if it is still in flight."""
        found = self._correlator.cancelled(params)
        if found is None:
            return
        call, renamed = found
        self._correlator.retire(call)
        call.stream.finish(rpc_error(call.request.id, failures.CANCELLED, "Cancelled, as requested."))
        if call.sent:
            self._replies.send(dump(notification(CANCELLED, renamed)))

    async def answer(self, message: Message) -> bool:
        """The caller's answer to a request of the child. False when this child never sent that request."""
        asked = self._correlator.replied(message.id) if message.id is not None else None
        if asked is None:
            return False
        await self.tell(with_id(message, asked.child_id))
        return True

    def expire(self, call: Call[Stream], failure: Failure, reason: bytes) -> None:
        """Give up on a call: the child is told to stop, its late answer will find nothing. ``reason`` is raw
        JSON.
        """
        if not self._correlator.holds(call):
            return
        self._correlator.retire(call)
        self._fail(call, failure)
        if call.request.method == "initialize":
            self.end()
        else:
            self._stop(call, reason)

    def give_up(self, stream: Stream, failure: Failure, reason: bytes) -> None:
        """The same for the call that is answered on this stream, if there is one still."""
        for call in self._correlator.in_flight():
            if call.stream is stream:
                self.expire(call, failure, reason)

    def back(self, stream: Stream) -> None:
        """The client has come back for the stream of a call."""
        self._delivery.flush(stream)

    def listen(self, stream: Stream) -> None:
        """``stream`` is the client's GET stream from now on."""
        self._delivery.listen(stream)

    def unlisten(self, stream: Stream) -> None:
        """The GET stream is gone."""
        self._delivery.unlisten(stream)

    # From the child.

    def take(self, line: bytes | Oversize) -> None:
        if isinstance(line, Oversize):
            self._count("oversize")
            self._fail_only_call(failures.TOO_LARGE)
            return
        try:
            message = parse_child(line)
        except EnvelopeError as e:
            self._count("junk")
            call = self._correlator.answered(e.id) if e.id is not None else None
            if call is not None:
                text = f"The answer of the server on site cannot be passed on. {e} The request has run."
                self._fail(call, failures.outcome_unknown(text))
            return
        del line
        if message.kind is Kind.NOTIFICATION:
            self._notified(message)
        elif message.kind is Kind.REQUEST:
            self._asked(message)
        else:
            self._answered(message)

    async def greet(self, child: Child) -> None:
        if self._hello is None:
            return
        stream = self.stream("")
        call, message = self._correlator.open(self._hello, stream)
        first = self.lifeline.started == 1
        try:
            async with asyncio.timeout(self._limits.first_start if first else self._limits.start_timeout):
                await child.send(dump(message))
                while stream.open:
                    self.take(await child.receive())
        except TimeoutError:
            raise NotRunning(failures.NOT_GREETED) from None
        finally:
            self._correlator.retire(call)
            answers = stream.drain()
        self.greeting = answers[-1] if answers else None
        version = text_member(answers[-1], "result", "protocolVersion") if answers else None
        if version is None:
            raise NotRunning(failures.NOT_GREETED)
        if self._unmet:
            self._unmet = False
            self._agreed(version)
        elif version != self.version:
            self.for_good = True
            _log.warning("session_over", server=self.server, why="the restarted child speaks another version")
            raise SessionOver(failures.OTHER_VERSION)
        if self._initialized is not None:
            await child.send(dump(self._initialized))
            for each in self._standing.again():
                await child.send(dump(each))

    def lost(self) -> None:
        for call in self._correlator.restart():
            if call.request.method == "initialize":
                self._fail(call, failures.ENDED_AT_START)
            elif call.sent:
                self._fail(call, failures.CRASHED)
        self._delivery.forget()
        self._witness.lost()
        self._worked = False
        if self._hello is None and self.lifeline.started:
            self.end()

    def _answered(self, message: Message) -> None:
        call = self._correlator.answered(message.id) if message.id is not None else None
        if call is None:
            if not self._standing.settles(message):
                self._count("unexpected_answer")
            return
        if not self._worked:
            self._worked = True
            self._shared.children.worked(self.server)
        request = call.request
        if message.kind is Kind.RESPONSE:
            self._standing.granted(request)
        if not self._stale:
            self._witness.heard(self.lifeline.spec, self.principal.identity, request, message, self._said)
        if request.method == "initialize" and message.kind is Kind.RESPONSE:
            self._manners.begun(request, message.result or b"")
            if self._hello is None:
                self._hello = request
                self._agreed(text_member(message.result or b"", "protocolVersion"))
        answer = self._let_out(call.stream.caller or self.principal, request, with_id(message, request.id))
        if answer is None:
            self._fail(call, failures.denied("The site does not let the answer to this request out."))
        elif isinstance(settled := self._manners.settle(request, answer), Failure):
            self._fail(call, settled)
        else:
            call.stream.finish(dump(settled))
        self._replace_stale()

    def introduce(self, version: str | None = None) -> None:
        """The agent begins the session instead of the client. ``version``: what the client says that it has
        agreed on before; the server has the last word again.
        """
        params = msgspec.json.encode(
            {
                "protocolVersion": version or versions.SUPPORTED[-1],
                "capabilities": {},
                "clientInfo": {"name": "penstock-agent", "version": __version__},
            }
        )
        self._hello = request(b'"penstock"', "initialize", params)
        self._initialized = notification(INITIALIZED, None)
        self._unmet = True
        if version is not None:
            self._agreed(version)

    @property
    def _said(self) -> bytes | None:
        """What children were told about the client."""
        return None if self._hello is None else self._hello.params

    def known(self, request: Message) -> bytes | None:
        """What an earlier child answered this client to the same question; see ``recall``."""
        return self._witness.known(self.lifeline.spec, self.principal.identity, request, self._said)

    def adopt(self, hello: Message) -> None:
        """The client begins with ``hello``: the agent gives it to the child, and tells the client itself."""
        self._hello, self._unmet = hello, True

    def promise(self, result: bytes) -> bytes:
        """The answer to ``initialize`` as the client is told it, made of that of an earlier child; one that
        speaks another version ends the session.
        """
        assert self._hello is not None  # noqa: S101 - adopted
        self._unmet = False
        self._manners.begun(self._hello, result)
        self._agreed(text_member(result, "protocolVersion"))
        return dump(Message(Kind.RESPONSE, self._hello.id, None, None, result, None))

    def retold(self, request: Message, result: bytes) -> bytes | None:
        """An earlier child's result as this client shall have it now; None for nothing."""
        answer = Message(Kind.RESPONSE, request.id, None, None, result, None)
        out = self._let_out(self.principal, request, answer)
        settled = None if out is None else self._manners.settle(request, out)
        return dump(settled) if isinstance(settled, Message) else None

    def _agreed(self, version: str | None) -> None:
        self.version = version
        if not self.sessionless:
            self.resumption.version = version

    def _notified(self, message: Message) -> None:
        if message.method == CANCELLED:
            self._delivery.withdraw(message.params)
            return
        self._witness.noted(message.method)
        if message.method == TOOLS_CHANGED:
            self._shared.catalogues.changed(self.server)
        out = self._let_out(self.principal, None, message)
        if out is None:
            self.counts["hidden_notification"] += 1
        elif message.method == PROGRESS:
            self._delivery.progress(message.params, dump(out))
        else:
            self._delivery.note(dump(out))

    def _asked(self, request: Message) -> None:
        if request.method == "ping":
            # The endpoint is the child's peer and is here; the client need not be.
            self._replies.send(b'{"jsonrpc":"2.0","id":%b,"result":{}}' % (request.id or b"null"))
            return
        out = self._let_out(self.principal, None, request)
        if out is None:
            self._replies.send(
                rpc_error(request.id, METHOD_NOT_FOUND, "The site does not let this request out.")
            )
        else:
            self._delivery.ask(out)

    def _let_out(self, caller: Principal, request: Message | None, message: Message) -> Message | None:
        return self._shared.let_out(self.server, caller, request, message)

    # Towards the child, and failures.

    def _stop(self, call: Call[Stream], reason: bytes) -> None:
        """Tell the child that nobody waits for this call any more. ``reason`` is raw JSON."""
        params = b'{"requestId":%b,"reason":%b}' % (call.child_id, reason)
        self._replies.send(dump(notification(CANCELLED, params)))

    def _fail(self, call: Call[Stream], failure: Failure) -> None:
        status, data = failure.answer(call.request, call.stream.key)
        call.stream.finish(data, status)

    def _fail_only_call(self, failure: Failure) -> None:
        """The id of an answer is not known: if only one can be meant, its caller need not wait for the
        deadline.
        """
        calls = self._correlator.in_flight()
        if len(calls) == 1:
            self._correlator.retire(calls[0])
            self._fail(calls[0], failure)

    def _count(self, what: str) -> None:
        """Count something wrong with the child; log the 1st, 2nd, 4th, 8th …, so that a flood cannot fill
        the log.
        """
        self.counts[what] += 1
        count = self.counts[what]
        if count & (count - 1) == 0:
            _log.warning(f"child_{what}", server=self.server, times=count)


def _now() -> float:
    return asyncio.get_running_loop().time()
