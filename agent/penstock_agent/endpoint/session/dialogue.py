"""What goes where between one client and one child at a time.

Nothing here waits for a caller: what goes to callers is put on streams (``calls`` writes them out).
"""

from __future__ import annotations

import asyncio
import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Coroutine
from functools import partial
from math import inf
from typing import Final, TypeVar

from penstock.envelope import (
    EnvelopeError,
    Kind,
    Message,
    dump,
    notification,
    parse_child,
    text_member,
    with_id,
)
from penstock.log import get
from penstock.names import WHOLE_SITE
from penstock.outcome import METHOD_NOT_FOUND, rpc_error
from penstock.principal import Principal
from penstock_agent.children.child import ChildGone, ChildSpec
from penstock_agent.children.lines import Oversize
from penstock_agent.endpoint import failures, inbound, outbound
from penstock_agent.endpoint.failures import Failure
from penstock_agent.endpoint.faults import Faults
from penstock_agent.endpoint.held import Share
from penstock_agent.endpoint.lifeline import Lifeline, NotRunning, SessionOver
from penstock_agent.endpoint.looking import Looking
from penstock_agent.endpoint.manners import Manners
from penstock_agent.endpoint.memory import Witness
from penstock_agent.endpoint.meta import TOOLS_CHANGED
from penstock_agent.endpoint.ports import Child
from penstock_agent.endpoint.replies import Replies
from penstock_agent.endpoint.session.beginning import INITIALIZED, Beginning
from penstock_agent.endpoint.session.correlate import Call, Correlator
from penstock_agent.endpoint.session.delivery import CANCELLED, Delivery
from penstock_agent.endpoint.shared import Shared
from penstock_agent.endpoint.streams import Stream
from penstock_agent.gate.definitions import Sight

PROGRESS: Final = "notifications/progress"
NOTIFICATIONS: Final = "notifications/"
"""What the names of all notifications begin with."""

S = TypeVar("S", bound=Stream)

_log = get(__name__)


class Dialogue(ABC):
    """Bound to one principal and one server. The owner of its lifeline."""

    def __init__(self, server: str, principal: Principal, spec: ChildSpec, shared: Shared) -> None:
        self.server = server
        self.principal = principal
        """The caller of the newest exchange: one identity, whose rights may change."""
        self.for_good = False
        """Whether it must not be begun again once it has ended."""
        self.counts: Counter[str] = Counter()
        """What happened that nobody was told, by name."""
        self.beginning = Beginning()
        self.greeting: bytes | None = None
        """What the newest child answered to the ``initialize`` that it was greeted with."""
        self._shared = shared
        self._limits = limits = shared.limits
        self._held = Share(shared.held, limits.session_held)
        self._spawn = shared.spawn
        self.lifeline = Lifeline(spec, shared.faces, self, self._held)
        self._faults = Faults(server, self.counts)
        self._correlator: Correlator[Stream] = Correlator(lambda: os.urandom(16).hex())
        self._replies = Replies(self.lifeline, shared.spawn, limits.replies, self.counts)
        self._delivery = Delivery(self._correlator, limits, self._replies.send, self.counts)
        self._manners = Manners(shared.tolerance)
        self._witness = Witness(shared.memory, server)
        self._looking = Looking(
            server, shared.definitions, shared.spawn, self._own, lambda: self._manners.offered
        )
        self._worked = False
        self._stale = False

    @abstractmethod
    def end(self) -> None:
        """Nothing is served any more. Idempotent."""

    @property
    def version(self) -> str | None:
        """The protocol version that client and server agreed on; None before that."""
        return self.beginning.version

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

    def lists_changed(self) -> None:
        """Other things are exposed: the client is told, as far as it can know such news."""
        for method in self._manners.tells:
            self._delivery.note(dump(notification(method, None)))

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
        return await self._give(request, stream)

    async def _own(self, asked: Message) -> Message | None:
        """The answer to a request of the agent itself."""
        stream = self.stream("")
        call = await self._give(asked, stream, own=True)
        try:
            while (item := await stream.next(inf)) is not None:
                stream.sent(item)
                if item.last:
                    return parse_child(item.data)
            return None
        finally:
            self.expire(call, failures.TIMED_OUT, b'"nobody waits for it"')
            stream.drain()

    async def _give(self, request: Message, stream: Stream, *, own: bool = False) -> Call[Stream]:
        while True:
            child = await self.lifeline.child()
            if (stopped := self._shared.stopped(self.server, stream.caller or self.principal)) is not None:
                raise NotRunning(stopped)
            if not own and (text := await self._looking.objection(request)) is not None:
                caller = stream.caller or self.principal
                why = inbound.withheld(self._shared, stream.key, self.server, caller, request, text)
                raise NotRunning(why)
            self._witness.given(request)
            call, message = self._correlator.open(request, stream, self._shared.permits.of(stream.key))
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
        """Give a notification to the child, if there is one; a lost one is no harm.

        What is none but for its missing id goes no further: a server that does not look for the id would do
        what it says. Nor does one that is not of MCP, where the site does not expose it.
        """
        if message.kind is Kind.NOTIFICATION and not (
            (message.method or "").startswith(NOTIFICATIONS)
            and inbound.tells(self._shared, self.server, self.principal, message)
        ):
            self.counts["withheld_notification"] += 1
            return
        child = self.lifeline.current
        if message.method == INITIALIZED:
            self.beginning.ready(message)
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

    def take(self, line: bytes | Oversize) -> Coroutine[object, object, None] | None:
        if isinstance(line, Oversize):
            self._faults.count("oversize")
            self._fail_only_call(failures.TOO_LARGE)
            return None
        try:
            message = parse_child(line)
        except EnvelopeError as e:
            self._faults.count("junk")
            call = self._correlator.answered(e.id) if e.id is not None else None
            if call is not None:
                text = f"The answer of the server on site cannot be passed on. {e} The request has run."
                self._fail(call, failures.outcome_unknown(text))
            return None
        del line
        if message.kind is Kind.NOTIFICATION:
            return self._notified(message)
        if message.kind is Kind.REQUEST:
            return self._asked(message)
        return self._answered(message)

    async def greet(self, child: Child) -> None:
        if self.beginning.hello is None:
            return
        stream = self.stream("")
        call, message = self._correlator.open(self.beginning.hello, stream)
        first = self.lifeline.started == 1
        try:
            async with asyncio.timeout(self._limits.first_start if first else self._limits.start_timeout):
                await child.send(dump(message))
                while stream.open:
                    if (more := self.take(await child.receive())) is not None:
                        await more
        except TimeoutError:
            raise NotRunning(failures.NOT_GREETED) from None
        finally:
            self._correlator.retire(call)
            answers = stream.drain()
        self.greeting = answers[-1] if answers else None
        version = text_member(answers[-1], "result", "protocolVersion") if answers else None
        if version is None:
            raise NotRunning(failures.NOT_GREETED)
        if not self.beginning.met(version):
            self.for_good = True
            _log.warning("session_over", server=self.server, why="the restarted child speaks another version")
            raise SessionOver(failures.OTHER_VERSION)
        for each in self.beginning.follows():
            await child.send(dump(each))

    def lost(self) -> None:
        for call in self._correlator.restart():
            if call.request.method == "initialize":
                self._fail(call, failures.ENDED_AT_START)
            elif call.sent:
                self._fail(call, failures.CRASHED)
        self._delivery.forget()
        self._witness.lost()
        self._looking.lost()
        self._worked = False
        if self.beginning.hello is None and self.lifeline.started:
            self.end()

    def _answered(self, message: Message) -> Coroutine[object, object, None] | None:
        call = self._correlator.calling(message.id) if message.id is not None else None
        if call is None:
            if not self.beginning.standing.settles(message):
                self._faults.count("unexpected_answer")
            return None
        if not self._worked:
            self._worked = True
            self._shared.children.worked(self.server)
        request = call.request
        beginning = self.beginning
        if message.kind is Kind.RESPONSE:
            beginning.standing.granted(request)
        if not self._stale:
            self._witness.heard(self.lifeline.spec, self.principal.identity, request, message, beginning.said)
        if request.method == "initialize" and message.kind is Kind.RESPONSE:
            self._manners.begun(request, message.result or b"")
            beginning.accepted(request, message.result or b"")
        own = with_id(message, request.id)
        # First: what its client does not take need not wait for anybody's approval.
        settled = self._manners.settle(request, own)
        if isinstance(settled, Failure):
            self._correlator.retire(call)
            self._fail(call, settled)
            self._replace_stale()
            return None
        caller = call.stream.caller or self.principal
        return self._passing(
            caller,
            request,
            settled,
            partial(self._let_go, call, caller),
            call.stream.key,
            self._looking.sight,
        )

    def _let_go(self, call: Call[Stream], caller: Principal, answer: Message | None) -> None:
        """A call is over, if that was not so before: ``answer`` is what may leave."""
        if not self._correlator.holds(call):
            return
        self._correlator.retire(call)
        if answer is None:
            self._fail(call, failures.denied("The site does not let the answer to this request out."))
        elif (much := self._measured(call, caller, answer)) is not None:
            self._fail(call, much)
        elif self.server == WHOLE_SITE:
            status, named = failures.of_exchange(answer, call.stream.key)
            call.stream.finish(dump(named), status)
        else:
            call.stream.finish(dump(answer))
        self._replace_stale()

    # What an earlier child said (``recall``).

    def known(self, request: Message) -> bytes | None:
        """What an earlier child answered this client to the same question."""
        return self._witness.known(self.lifeline.spec, self.principal.identity, request, self.beginning.said)

    def promise(self, hello: Message, result: bytes) -> bytes:
        """The answer to ``initialize`` as the client is told it, made of that of an earlier child; one that
        speaks another version ends the session.
        """
        self._manners.begun(hello, result)
        self.beginning.promised(result)
        answer = Message(Kind.RESPONSE, hello.id, None, None, result, None)
        return dump(self._let_out(self.principal, hello, answer) or answer)

    def retold(self, request: Message, result: bytes) -> bytes | None:
        """An earlier child's result as this client shall have it now; None for nothing."""
        answer = Message(Kind.RESPONSE, request.id, None, None, result, None)
        out = self._let_out(self.principal, request, answer)
        settled = None if out is None else self._manners.settle(request, out)
        return dump(settled) if isinstance(settled, Message) else None

    # What the child says by itself.

    def _notified(self, message: Message) -> Coroutine[object, object, None] | None:
        if message.method == CANCELLED:
            self._delivery.withdraw(message.params)
            return None
        self._witness.noted(message.method)
        self._looking.changed(message.method)
        if message.method == TOOLS_CHANGED:
            self._shared.catalogues.changed(self.server)
        return self._passing(self.principal, None, message, partial(self._tell_of, message))

    def _tell_of(self, message: Message, out: Message | None) -> None:
        if out is None:
            self.counts["hidden_notification"] += 1
        elif message.method == PROGRESS:
            self._delivery.progress(message.params, dump(out))
        else:
            self._delivery.note(dump(out))

    def _asked(self, request: Message) -> Coroutine[object, object, None] | None:
        if request.method == "ping":
            # The endpoint is the child's peer and is here; the client need not be.
            self._replies.send(b'{"jsonrpc":"2.0","id":%b,"result":{}}' % (request.id or b"null"))
            return None
        return self._passing(self.principal, None, request, partial(self._ask_client, request))

    def _ask_client(self, request: Message, out: Message | None) -> None:
        if out is None:
            self._replies.send(
                rpc_error(request.id, METHOD_NOT_FOUND, "The site does not let this request out.")
            )
        else:
            self._delivery.ask(out)

    def _passing(
        self,
        caller: Principal,
        request: Message | None,
        message: Message,
        then: Callable[[Message | None], None],
        key: str = "",
        sight: Sight | None = None,
    ) -> Coroutine[object, object, None] | None:
        shared, server = self._shared, self.server
        return outbound.passing(shared, server, caller, request, message, key, sight, self._held, then)

    def _let_out(self, caller: Principal, request: Message, message: Message) -> Message | None:
        """Of what describes the server."""
        return outbound.let_out(self._shared, self.server, caller, request, message, "")

    def _measured(self, call: Call[Stream], caller: Principal, answer: Message) -> Failure | None:
        return outbound.measured(self._shared, call.permit, self.server, caller, call.request, answer)

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
