"""One server's process for modern requests: of one principal, or of all of a server where the site says so.

A request is whole in itself, so the process may end and be started again between any two. Nothing here waits
for a caller: what goes to callers is put on streams (``calls`` writes them out).
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import partial
from math import inf
from typing import Final

from penstock.envelope import (
    EnvelopeError,
    Kind,
    Message,
    dump,
    notification,
    parse_child,
)
from penstock.log import get
from penstock.outcome import METHOD_NOT_FOUND, rpc_error
from penstock.principal import Principal
from penstock_agent.children import eras
from penstock_agent.children.child import ChildGone, ChildSpec
from penstock_agent.children.lines import Oversize
from penstock_agent.endpoint import failures, inbound, outbound, versions
from penstock_agent.endpoint.failures import Failure
from penstock_agent.endpoint.faults import Faults
from penstock_agent.endpoint.held import Share
from penstock_agent.endpoint.lifeline import Lifeline, NotRunning
from penstock_agent.endpoint.looking import Looking
from penstock_agent.endpoint.manners import too_long
from penstock_agent.endpoint.memory import Witness
from penstock_agent.endpoint.meta import TOOLS_CHANGED
from penstock_agent.endpoint.modern import messages
from penstock_agent.endpoint.modern.flights import Flight, Flights
from penstock_agent.endpoint.modern.schemas import Schemas
from penstock_agent.endpoint.modern.tasks import Tasks
from penstock_agent.endpoint.ports import Child, Children, Stopping
from penstock_agent.endpoint.replies import Replies
from penstock_agent.endpoint.shared import Shared
from penstock_agent.endpoint.streams import Stream

PROGRESS: Final = "notifications/progress"
CANCELLED: Final = "notifications/cancelled"
LOGGED: Final = "notifications/message"
DISCOVER: Final = "server/discover"

_log = get(__name__)


class Process:
    """Its lifeline's owner: one process after another."""

    def __init__(
        self,
        server: str,
        spec: ChildSpec,
        shared: Shared,
        children: Children,
        tasks: Tasks,
        on_end: Callable[[Process], None],
        wrong_era: Callable[[str], None],
    ) -> None:
        """``on_end`` is told once; ``wrong_era`` whenever the process turns out not to be a modern one."""
        self.server = server
        self.ended = False
        self.exchanges = 0
        """Exchanges that are being served now."""
        self.used_at = _now()
        self.counts: Counter[str] = Counter()
        """What happened that nobody was told, by name."""
        self.schemas = Schemas()
        """What tool lists that went by say about headers."""
        self.witness = Witness(shared.memory, server)
        self._shared = shared
        self._limits = shared.limits
        self._held = Share(shared.held, shared.limits.session_held)
        self._tasks = tasks
        self._on_end = on_end
        self._wrong_era = wrong_era
        self._retired = False
        self._worked = False
        self._asker: Principal | None = None
        self._task: asyncio.Task[None] | None = None
        self._flights: Flights[Stream] = Flights(lambda: os.urandom(16).hex())
        self.lifeline = Lifeline(spec, children, self, self._held)
        self._faults = Faults(server, self.counts)
        self._replies = Replies(self.lifeline, shared.spawn, shared.limits.replies, self.counts)
        self._looking = Looking(server, shared.definitions, shared.spawn, self._own, modern=True)

    # Life.

    def start(self) -> None:
        """Start the one long-lived task."""
        self._task = self._shared.spawn(self._run())

    async def _run(self) -> None:
        try:
            await self.lifeline.run()
        except Stopping:
            return
        except Exception as e:  # the trouble of one must not be that of the others
            _log.error("process_failed", server=self.server, error=type(e).__name__)
        finally:
            self.end()

    def retire(self) -> None:
        """Nothing new comes: what listens is told so, the rest may finish, and then the process ends."""
        self._retired = True
        self.finish_all_listening()
        self._end_if_done()

    def stop(self, whose: Callable[[Principal], bool]) -> int:
        """The administrator stops these callers. Returns how many requests that ends."""
        found = [flight for flight in self._flights if whose(flight.caller)]
        for flight in found:
            if flight.listens:
                self.finish_listening(flight)
            else:
                self.expire(flight, failures.STOPPED)
        return len(found)

    def lists_changed(self) -> None:
        """Other things are exposed: those who listen for such news are told."""
        for flight in self._flights:
            if flight.listens:
                for line in messages.lists_changed(flight.request):
                    flight.stream.put(line, droppable=True)

    def finish_all_listening(self) -> None:
        """End every subscription."""
        for flight in self._flights:
            if flight.listens:
                self.finish_listening(flight)

    def end(self, why: Failure = failures.PROCESS_ENDED) -> None:
        """Nothing is served any more; the task stops the process and ends. Idempotent. ``why``: what those
        are told whose requests run.
        """
        if self.ended:
            return
        self.ended = True
        self._on_end(self)
        self.finish_all_listening()
        for flight in self._flights.clear():
            if flight.sent:
                self._fail(flight, why)
        self.lifeline.close(NotRunning(failures.STOPPING))
        if self._task is not None:
            self._task.cancel()

    def _end_if_done(self) -> None:
        if self._retired and not self.ended and not self.exchanges and not len(self._flights):
            self.end()

    async def until_ended(self) -> None:
        """Returns when nothing of it runs any more."""
        if self._task is not None:
            await asyncio.wait((self._task,))

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """While an exchange is served."""
        self.exchanges += 1
        try:
            yield
        finally:
            self.exchanges -= 1
            self.used_at = _now()
            self._end_if_done()

    def idle_since(self) -> float | None:
        """Since when (loop time) nothing has happened here; None while something does."""
        return None if self.exchanges or len(self._flights) else self.used_at

    @property
    def calls(self) -> int:
        return len(self._flights)

    # From callers.

    def stream(self, key: str, caller: Principal) -> Stream:
        """A stream for one response; ``key`` is that of its exchange."""
        return Stream(self._held, self._limits.stream_events, key, caller)

    async def give(self, request: Message, caller: Principal, stream: Stream) -> Flight[Stream]:
        """Give a request to the process; the answer comes on ``stream``. Raises :exc:`NotRunning`.

        Cancelled, or with an error, the process has nothing of it.
        """
        if self._flights.of(caller.identity) >= self._limits.calls_per_session:
            raise NotRunning(failures.TOO_MANY_REQUESTS)
        if len(self._flights) >= self._limits.calls_per_process:
            raise NotRunning(failures.PROCESS_BUSY)
        self._asker = caller
        return await self._give(request, caller, stream)

    async def _own(self, asked: Message) -> Message | None:
        """The answer to a request of the agent itself, in the name of whom it is asked for."""
        if self._asker is None:
            return None
        stream = self.stream("", self._asker)
        flight = await self._give(asked, self._asker, stream, own=True)
        try:
            while (item := await stream.next(inf)) is not None:
                stream.sent(item)
                if item.last:
                    return parse_child(item.data)
            return None
        finally:
            self.cancel(flight, b'"nobody waits for it"')
            stream.drain()

    async def _give(
        self, request: Message, caller: Principal, stream: Stream, *, own: bool = False
    ) -> Flight[Stream]:
        while True:
            child = await self.lifeline.child()
            if (stopped := self._shared.stopped(self.server, caller)) is not None:
                raise NotRunning(stopped)
            if not own and (text := await self._looking.objection(request)) is not None:
                why = inbound.withheld(self._shared, stream.key, self.server, caller, request, text)
                raise NotRunning(why)
            self.witness.given(request)
            permit = self._shared.permits.of(stream.key)
            flight, message = self._flights.open(request, caller, stream, permit)
            try:
                await child.send(dump(message))
            except ChildGone:
                # It died while nobody looked. The request was not given to it whole, so its successor may
                # have it.
                self._flights.retire(flight)
                self._discard(child)
                continue
            except BaseException:
                self._flights.retire(flight)
                raise
            flight.sent = True
            if not self._flights.holds(flight):  # it died just now
                self._fail(flight, failures.CRASHED)
            return flight

    def cancel(self, flight: Flight[Stream], reason: bytes) -> None:
        """Nobody waits for this any more. ``reason`` is raw JSON."""
        if self._flights.holds(flight):
            self._flights.retire(flight)
            self._stop(flight, reason)
            self._end_if_done()

    def expire(self, flight: Flight[Stream], failure: Failure) -> None:
        """Its time is over: the process is told to stop, its late answer will find nothing."""
        if self._flights.holds(flight):
            self._fail(flight, failure)
            self.cancel(flight, b'"deadline"')

    def finish_listening(self, flight: Flight[Stream]) -> None:
        """End a subscription from our side, in the way that is no accident."""
        if not self._flights.holds(flight):
            return
        self._flights.retire(flight)
        flight.stream.finish(messages.end_of_subscription(flight.request))
        self._stop(flight, b'"the subscription has ended"')

    # From the process.

    async def greet(self, child: Child) -> None:
        """A new process is asked whether it is what it was taken for."""
        self.schemas.forget()
        try:
            async with asyncio.timeout(self._limits.start_timeout):
                modern = await eras.is_modern(child)
        except TimeoutError:
            raise NotRunning(failures.NOT_DISCOVERED) from None
        if not modern:
            _log.warning("era_has_changed", server=self.server)
            self._wrong_era(self.server)
            raise NotRunning(failures.OTHER_ERA)

    def take(self, line: bytes | Oversize) -> Coroutine[object, object, None] | None:
        if isinstance(line, Oversize):
            self._faults.count("oversize")
            self._fail_only_one(failures.TOO_LARGE)
            return None
        try:
            message = parse_child(line)
        except EnvelopeError as e:
            self._faults.count("junk")
            text = f"The answer of the server on site cannot be passed on. {e} The request has run."
            broken = Message(Kind.ERROR, e.id, None, None, None, b"{}")
            found = self._flights.answered(broken) if e.id is not None else None
            if found is not None:
                self._fail(found[0], failures.outcome_unknown(text))
            return None
        del line
        if message.kind is Kind.NOTIFICATION:
            return self._notified(message)
        if message.kind is Kind.REQUEST:
            # There are none in this era: what a server needs to ask is in its results.
            self._faults.count("asked")
            self._replies.send(
                rpc_error(message.id, METHOD_NOT_FOUND, "Clients of 2026-07-28 take no requests.")
            )
            return None
        return self._answered(message)

    def lost(self) -> None:
        for flight in self._flights.clear():
            if not flight.sent:
                continue  # whoever gives it learns that, and gives it to the next
            if flight.listens:
                flight.stream.close()  # without a result: its client asks again
            else:
                self._fail(flight, failures.CRASHED)
        self._worked = False
        self.witness.lost()
        self._looking.lost()
        self._end_if_done()

    def _answered(self, message: Message) -> Coroutine[object, object, None] | None:
        found = self._flights.answering(message)
        if found is None:
            self._faults.count("unexpected_answer")
            return None
        if not self._worked:
            self._worked = True
            self._shared.children.worked(self.server)
        flight, answer = found
        request = flight.request
        if not self._retired:
            self.witness.heard(self.lifeline.spec, flight.caller.identity, request, answer)
        if answer.kind is Kind.RESPONSE:
            answer = self._looked_through(flight, answer)
            if self._shared.tolerance.limit_results and (failure := too_long(request, answer)) is not None:
                self._flights.retire(flight)
                self._fail(flight, failure)
                self._end_if_done()
                return None
        return self._passing(flight, request, answer, partial(self._let_go, flight))

    def _let_go(self, flight: Flight[Stream], out: Message | None) -> None:
        """A request is over, if that was not so before: ``out`` is what may leave."""
        if not self._flights.holds(flight):
            return
        self._flights.retire(flight)
        shared, caller, request = self._shared, flight.caller, flight.request
        if out is None:
            self._fail(flight, failures.denied("The site does not let the answer to this request out."))
        elif (
            much := outbound.measured(shared, flight.permit, self.server, caller, request, out)
        ) is not None:
            self._fail(flight, much)
        else:
            flight.stream.finish(dump(out), messages.status_of(out))
        self._end_if_done()

    def _passing(
        self,
        flight: Flight[Stream],
        request: Message | None,
        message: Message,
        then: Callable[[Message | None], None],
    ) -> Coroutine[object, object, None] | None:
        shared, server, caller, key = self._shared, self.server, flight.caller, flight.stream.key
        sight = None if request is None else self._looking.sight
        return outbound.passing(shared, server, caller, request, message, key, sight, self._held, then)

    def _looked_through(self, flight: Flight[Stream], answer: Message) -> Message:
        """A result, after what has to be learned from it; changed where only the endpoint can say."""
        result, method = answer.result, flight.request.method
        if result is None:
            return answer
        if method == "tools/list":
            self.schemas.listed(result)
        elif method == DISCOVER:
            return messages.with_supported(answer, versions.SERVED)
        else:
            self._tasks.began(self.server, flight.caller.identity, result)
        return answer

    def _notified(self, message: Message) -> Coroutine[object, object, None] | None:
        method, params = message.method or "", message.params
        if method == CANCELLED:
            flight = self._flights.cancelled(params)
            if flight is not None and flight.listens:
                self._flights.retire(flight)
                flight.stream.finish(messages.end_of_subscription(flight.request))
            return None
        if method == TOOLS_CHANGED:
            self.schemas.forget()
        self.witness.noted(method)
        self._looking.changed(method)
        found: tuple[Flight[Stream], bytes] | None
        if method == PROGRESS:
            found = self._flights.progress(params)
        elif method == LOGGED:
            one = self._flights.logged(params)
            found = None if one is None or params is None else (one, params)
        else:
            found = self._flights.notified(params)
        if found is None:
            self.counts["dropped_notification"] += 1
            return None
        flight, own = found
        note = notification(method, own)
        return self._passing(flight, None, note, partial(self._tell_of, flight))

    def _tell_of(self, flight: Flight[Stream], out: Message | None) -> None:
        if out is None:
            self.counts["hidden_notification"] += 1
        elif not flight.stream.put(dump(out), droppable=True):
            self.counts["dropped_notification"] += 1

    # Towards the process, and failures.

    def _discard(self, child: Child) -> None:
        self.lifeline.discard(child)
        self._shared.spawn(child.stop())

    def _stop(self, flight: Flight[Stream], reason: bytes) -> None:
        if flight.sent:
            params = b'{"requestId":%b,"reason":%b}' % (flight.child_id, reason)
            self._replies.send(dump(notification(CANCELLED, params)))

    def _fail(self, flight: Flight[Stream], failure: Failure) -> None:
        status, data = failure.answer(flight.request, flight.stream.key)
        flight.stream.finish(data, status)

    def _fail_only_one(self, failure: Failure) -> None:
        """The id of an answer is not known: if only one can be meant, its caller need not wait for the
        deadline.
        """
        waiting = [flight for flight in self._flights if not flight.listens]
        if len(waiting) == 1:
            self._flights.retire(waiting[0])
            self._fail(waiting[0], failure)


def _now() -> float:
    return asyncio.get_running_loop().time()
