"""The way over the bridge: one exchange of a caller of 2026-07-28, for a server of the handshake era."""

from __future__ import annotations

import asyncio
from math import inf
from typing import Final

from penstock.envelope import Kind, Message, dump, parse_child
from penstock.outcome import INTERNAL, INVALID_PARAMS, METHOD_NOT_FOUND, rpc_error
from penstock_agent.endpoint import failures, inbound, recall, versions
from penstock_agent.endpoint.answers import Answer, fail, reply
from penstock_agent.endpoint.bridge.down import translate
from penstock_agent.endpoint.bridge.down.listens import Listens
from penstock_agent.endpoint.bridge.down.pending import Pending, TooManyWaiting, Waiting
from penstock_agent.endpoint.bridge.down.rooms import Lease, Room, Rooms
from penstock_agent.endpoint.bridge.down.state import BadState
from penstock_agent.endpoint.bridge.down.translate import Said, Wanted
from penstock_agent.endpoint.keeping import Collected
from penstock_agent.endpoint.lifeline import NotRunning
from penstock_agent.endpoint.meta import ASKING
from penstock_agent.endpoint.session.correlate import Call
from penstock_agent.endpoint.session.sessions import Sessions
from penstock_agent.endpoint.shared import Shared
from penstock_agent.endpoint.streams import Item, Stream
from penstock_agent.endpoint.watch import Watch
from penstock_agent.exchange import Exchange, ExchangeGone
from penstock_agent.gate import methods

#: Seconds for which a server that asks one thing may ask for others, to be answered in the same round.
TOGETHER: Final = 0.05

LOGGED: Final = "notifications/message"
PROGRESS: Final = "notifications/progress"

GONE: Final = failures.outcome_unknown("The caller went away, and the server was told to stop.")
NOBODY_ANSWERED: Final = failures.outcome_unknown("Nobody answered what the server asked.")
OVER: Final = (
    "This requestState continues nothing: it was used, is too old, or belongs to another request. Send the "
    "request again without it."
)

_ANSWERED_HERE: Final = frozenset({"server/discover", "subscriptions/listen"})
"""Methods that servers of the handshake era do not have."""


class Bridge:
    """One per endpoint. ``post`` may raise :exc:`~penstock_agent.exchange.ExchangeGone` and Stopping."""

    def __init__(self, shared: Shared, sessions: Sessions) -> None:
        self._shared = shared
        self._listens = Listens(shared)
        self._pending = Pending(_give_up)
        self._rooms = Rooms(shared, sessions, self._listens.closed, self._pending.give_up_oldest)

    def close(self) -> None:
        """The endpoint is ending."""
        self._pending.close()

    async def post(self, exchange: Exchange, message: Message) -> None:
        """A request whose envelope is good, for a server that is known to be of the handshake era."""
        said = translate.said(message)
        until = self._shared.until(exchange.deadline)
        # All others are judged as what the server is asked for them.
        judged = message.method in _ANSWERED_HERE
        if judged and (failure := await inbound.judge(self._shared, exchange, message)) is not None:
            await fail(exchange, message, failure)
            return
        try:
            if message.method == "server/discover":
                await self._discover(exchange, message, said, until)
            elif message.method == "subscriptions/listen":
                async with self._rooms.shared(exchange.server, exchange.principal, said, until) as room:
                    await self._listens.serve(exchange, message, room, until)
            else:
                await self._request(exchange, message, said, until)
        except NotRunning as e:
            await fail(exchange, message, e.failure)
        except TimeoutError:
            await fail(exchange, message, failures.NO_ANSWER_TO_INITIALIZE)

    async def _discover(self, exchange: Exchange, message: Message, said: Said, until: float) -> None:
        async with self._rooms.shared(exchange.server, exchange.principal, said, until) as room:
            initialized = await room.discovered(until)
            try:
                found = translate.discovered(initialized, versions.SERVED)
            except ValueError:
                text = "The server on site answered initialize in a form that MCP does not know."
                await reply(exchange, 200, rpc_error(message.id, INTERNAL, text))
                return
        await reply(exchange, 200, dump(Message(Kind.RESPONSE, message.id, None, None, found, None)))

    async def _request(self, exchange: Exchange, message: Message, said: Said, until: float) -> None:
        caller, server = exchange.principal, exchange.server
        try:
            state, responses = translate.brought(message)
            asked = translate.for_server(message)
        except ValueError as e:
            await reply(exchange, 400, rpc_error(message.id, INVALID_PARAMS, str(e)))
            return
        if (failure := await inbound.judge(self._shared, exchange, asked)) is not None:
            if isinstance(failure, Collected):
                said_before = parse_child(failure.answer(asked, exchange.key)[1])
                found = translate.answered(message.method or "", said_before, message.id, b"{}")
                assert not isinstance(found, Wanted)  # noqa: S101 - only results are kept
                await reply(exchange, found[0], dump(found[1]))
            elif methods.knows(message.method):
                await fail(exchange, message, failure)
            else:  # what a site does not expose looks like what its server does not have
                await reply(exchange, 404, rpc_error(message.id, METHOD_NOT_FOUND, failure.text))
            return
        if message.method not in ASKING:
            async with self._rooms.shared(server, caller, said, until) as room:
                if (told := await recall.answer(room.session, asked, self._shared)) is not None:
                    run = _Run(self, exchange, message, said, room, until)
                    await run.last(Item(told, last=True), parse_child(told))
                    return
                stream = room.session.stream(exchange.key, caller)
                call = await self._give(room, asked, stream, until)
                await _Run(self, exchange, message, said, room, until).relay(call, stream, None)
            return
        if state is not None:
            try:
                waiting = self._pending.take(state, server, caller, translate.essence(message))
            except BadState:
                await reply(exchange, 400, rpc_error(message.id, INVALID_PARAMS, OVER))
                return
            if any(key not in responses for key in waiting.wanted.requests):
                await self._ask(exchange, message, waiting)
                return
            if waiting.running is not None:
                await self._continue(exchange, message, said, waiting, responses, until)
                return
        lease = await self._rooms.lease(server, caller, said, until)
        try:
            if said.level is not None:
                await lease.room.log_everything(until)
            await self._listens.everywhere(lease.room, until)
            stream = lease.room.speaking = lease.room.session.stream(exchange.key, caller)
            call = await self._give(lease.room, asked, stream, until)
        except BaseException:
            lease.release()
            raise
        await _Run(self, exchange, message, said, lease.room, until).relay(call, stream, lease)

    async def _continue(
        self,
        exchange: Exchange,
        message: Message,
        said: Said,
        waiting: Waiting,
        responses: dict[str, bytes],
        until: float,
    ) -> None:
        assert waiting.running is not None  # noqa: S101 - whose call goes on
        lease, call, stream = waiting.running
        stream.key, stream.caller = exchange.key, exchange.principal
        try:
            for key, id in waiting.ids.items():
                # False where the server has taken its question back: it goes on without the answer.
                await lease.room.session.answer(Message(Kind.RESPONSE, id, None, None, responses[key], None))
        except BaseException:
            lease.room.session.expire(call, GONE, b'"the caller is gone"')
            lease.release()
            raise
        await _Run(self, exchange, message, said, lease.room, until).relay(call, stream, lease)

    async def _give(self, room: Room, asked: Message, stream: Stream, until: float) -> Call[Stream]:
        try:
            async with asyncio.timeout_at(until):
                return await room.session.give(asked, stream)
        except TimeoutError:
            raise NotRunning(failures.STUCK) from None

    async def _ask(
        self, exchange: Exchange, message: Message, waiting: Waiting, answer: Answer | None = None
    ) -> None:
        """``input_required``. The waiting call is kept; ended, where too many are kept."""
        room = b"{}" if waiting.running is None else waiting.running[0].room.initialized
        try:
            state = self._pending.keep(waiting, exchange.server, translate.essence(message))
        except TooManyWaiting:
            _give_up(waiting)
            text = "Too many of your calls wait for an answer. Answer some of them, then try again."
            await (answer or Answer(exchange)).send(Item(rpc_error(message.id, INTERNAL, text), last=True))
            return
        data = dump(Message(Kind.RESPONSE, message.id, None, None, waiting.wanted.result(state, room), None))
        try:
            await (answer or Answer(exchange)).send(Item(data, last=True))
        except BaseException:
            self._pending.drop(waiting)
            _give_up(waiting)
            raise


class _Run:
    """One exchange of a call that the server has."""

    def __init__(
        self, bridge: Bridge, exchange: Exchange, message: Message, said: Said, room: Room, until: float
    ) -> None:
        self._bridge = bridge
        self._exchange = exchange
        self._message = message
        self._said = said
        self._room = room
        self._until = until
        self._shared = bridge._shared
        self._answer = Answer(exchange)
        self._progress = translate.token(message)

    async def relay(self, call: Call[Stream], stream: Stream, lease: Lease | None) -> None:
        """Until the answer, or until the caller is asked something or goes. Releases the lease unless the
        call goes on without this exchange.
        """
        watch = Watch(self._exchange, stream, self._shared.spawn)
        kept = False
        try:
            kept = await self._relay(call, stream, lease, watch)
        finally:
            watch.stop()
            if not kept:
                # In this era a caller that goes away cancels.
                self._room.session.expire(call, GONE, b'"the caller is gone"')
                stream.drain()
                if lease is not None:
                    lease.release()

    async def _relay(self, call: Call[Stream], stream: Stream, lease: Lease | None, watch: Watch) -> bool:
        now = asyncio.get_running_loop().time
        commit_at = now() + self._shared.limits.commit_after
        asked: dict[str, Message] = {}
        ask_at = inf
        while True:
            due = min(ask_at, self._until if self._answer.committed else min(self._until, commit_at))
            item = await stream.next(due)
            if item is not None:
                stream.sent(item)
                said = parse_child(item.data)
                if item.last:
                    return await self.last(item, said)
                if lease is None and (said.kind is Kind.REQUEST or said.method == LOGGED):
                    # The server does not say to which call this belongs: not to one that only lists.
                    self._room.overhear(item.data)
                elif said.kind is Kind.REQUEST:
                    if await self._may_ask(said):
                        asked[str(len(asked) + 1)] = said
                        ask_at = now() + TOGETHER
                elif self._for_caller(said):
                    await self._answer.send(item)
                else:
                    self._bridge._listens.overheard(self._room, said)
            elif watch.reason is not None:
                raise ExchangeGone(watch.reason)
            elif now() >= self._until:
                self._room.session.expire(call, failures.TIMED_OUT, b'"deadline"')
            elif lease is not None and now() >= ask_at:
                await self._ask(asked, (lease, call, stream))
                return True
            elif now() >= commit_at:
                await self._answer.commit()

    async def last(self, item: Item, said: Message) -> bool:
        """The server's answer, or what the agent says in its place. False: the call is over."""
        assert self._message.method is not None  # noqa: S101 - a request has one
        try:
            found = translate.answered(self._message.method, said, self._message.id, self._room.initialized)
        except ValueError:
            text = "The server's result is not an object, so nothing of it is shown."
            found = 200, parse_child(rpc_error(self._message.id, INTERNAL, text))
        if isinstance(found, Wanted):
            waiting = Waiting(self._exchange.principal, found, {}, None)
            await self._bridge._ask(self._exchange, self._message, waiting, self._answer)
            return False
        status, message = found
        status = item.status if item.status != 200 else status
        await self._answer.send(Item(dump(message), last=True, status=status))
        return False

    async def _may_ask(self, asked: Message) -> bool:
        """Whether the caller can be asked this; the server is told if not."""
        if asked.method is not None and self._said.may(asked.method):
            return True
        error = b'{"code":-32601,"message":"The client does not offer this."}'
        await self._room.session.answer(Message(Kind.ERROR, asked.id, None, None, None, error))
        return False

    async def _ask(self, asked: dict[str, Message], running: tuple[Lease, Call[Stream], Stream]) -> None:
        """The call waits for the caller from now on."""
        wanted = Wanted({key: (each.method or "", each.params or b"{}") for key, each in asked.items()})
        ids = {key: each.id for key, each in asked.items() if each.id is not None}
        if (permit := running[1].permit) is not None:
            permit.rests()
        waiting = Waiting(self._exchange.principal, wanted, ids, running)
        await self._bridge._ask(self._exchange, self._message, waiting, self._answer)

    def _for_caller(self, said: Message) -> bool:
        if said.method == PROGRESS:
            return self._progress
        if said.method == LOGGED:
            return self._said.level is not None and translate.loud_enough(said.params, self._said.level)
        return False


def _give_up(waiting: Waiting) -> None:
    if waiting.running is not None:
        lease, call, stream = waiting.running
        lease.room.session.expire(call, NOBODY_ANSWERED, b'"nobody answered"')
        stream.drain()
        lease.release()
