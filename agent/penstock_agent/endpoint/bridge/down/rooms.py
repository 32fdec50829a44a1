"""Sessions with a server of the handshake era, begun in the name of a caller who has none.

A server of that era does not say to which call belongs what it asks or logs. So a caller gets a room to
itself for each call that may ask or log: its first one if that is free, because there is where the others of
its requests go, also while a call runs there, and where its subscriptions listen. So what a call changes in
the server is seen by the lists after it, and heard by who listens, unless calls run at the same time.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Final

from penstock.envelope import Kind, Message, member, notification, parse_child, request
from penstock.principal import Principal
from penstock_agent.endpoint import failures, recall
from penstock_agent.endpoint.bridge.down.translate import Said, hello
from penstock_agent.endpoint.lifeline import NotRunning
from penstock_agent.endpoint.session.beginning import INITIALIZED
from penstock_agent.endpoint.session.session import Session
from penstock_agent.endpoint.session.sessions import Sessions, TooManySessions
from penstock_agent.endpoint.shared import Shared
from penstock_agent.endpoint.streams import Stream

#: Rooms of one caller with one server; whoever needs one more waits.
MAX_ROOMS: Final = 4

REFUSED: Final = failures.not_executed(
    "The server on site was started but refused initialize. Its output is in the log of the agent on site; "
    "ask the site's administrator."
)
BUSY: Final = failures.not_executed(
    "As many of your calls run at this server as may run at a time. Wait for one of them, then try again."
)

Key = tuple[str, tuple[str, str, str], bytes]


class Room:
    """One session, and what the server said of itself when it began."""

    def __init__(self, session: Session, initialized: bytes) -> None:
        self.session = session
        self.leased = False
        self.speaking: Stream | None = None
        """The stream of the call that has the room to itself."""
        self._talkative = False
        self._initialized = initialized
        self._greeting = session.greeting
        self._spec = session.lifeline.spec

    @property
    def initialized(self) -> bytes:
        """The raw result of ``initialize``, from the newest child that has answered it."""
        if (greeting := self.session.greeting) is not self._greeting:
            self._greeting = greeting
            result = None if greeting is None else parse_child(greeting).result
            self._initialized = result or self._initialized
        return self._initialized

    async def discovered(self, until: float) -> bytes:
        """The same; after a change of the configuration that of a child which knows it. Raises NotRunning
        and TimeoutError.
        """
        if (spec := self.session.lifeline.spec) is not self._spec:
            async with asyncio.timeout_at(until):
                await self.session.lifeline.child()
            self._spec = spec
        return self.initialized

    def offers(self, *path: str) -> bool:
        """Whether the server has this capability."""
        return member(self.initialized, "capabilities", *path) not in (None, b"false", b"null")

    async def ask(self, method: str, params: bytes, until: float) -> bool:
        """A request of the bridge itself; whether the server granted it. Raises NotRunning."""
        stream = self.session.stream("")
        call = await self.session.give(request(b'"bridge"', method, params), stream)
        try:
            while (item := await stream.next(until)) is not None:
                stream.sent(item)
                if item.last:
                    return parse_child(item.data).kind is Kind.RESPONSE
            return False
        finally:  # also where whoever asks for it is cancelled
            self.session.expire(call, failures.TIMED_OUT, b'"deadline"')
            stream.drain()

    async def quietly(self, method: str, params: bytes, until: float) -> None:
        """The same where it does not matter whether it is granted."""
        try:
            await self.ask(method, params, until)
        except NotRunning:
            return

    def overhear(self, data: bytes) -> None:
        """What the server says to whoever listens belongs to the call that has the room to itself."""
        if self.speaking is not None:
            self.speaking.put(data)

    async def log_everything(self, until: float) -> None:
        """The level of a server is one for all: the bridge chooses what each caller sees of it."""
        if not self._talkative and self.offers("logging"):
            self._talkative = True
            await self.ask("logging/setLevel", b'{"level":"debug"}', until)


@dataclass(slots=True, eq=False)
class Lease:
    """A room for one call. ``release`` once, by whoever holds it last."""

    room: Room
    _ends: ExitStack

    def release(self) -> None:
        self._ends.close()


@dataclass(slots=True, eq=False)
class _Suite:
    """The rooms of one caller with one server, the oldest first."""

    rooms: list[Room]
    opening: int
    first: asyncio.Lock
    changed: asyncio.Event


class Rooms:
    """``closed`` is called with every room that ends. ``make_room`` gives up the call that has waited for its
    caller for the longest time in one of these rooms, and says whether there was one.
    """

    def __init__(
        self,
        shared: Shared,
        sessions: Sessions,
        closed: Callable[[Room], None],
        make_room: Callable[[Collection[Room]], bool],
    ) -> None:
        self._shared = shared
        self._make_room = make_room
        self._sessions = sessions
        self._closed = closed
        self._suites: dict[Key, _Suite] = {}
        self._uses: Counter[Key] = Counter()

    @asynccontextmanager
    async def shared(self, server: str, caller: Principal, said: Said, until: float) -> AsyncIterator[Room]:
        """The caller's first room. Raises NotRunning and TimeoutError."""
        with self._suite(server, caller, said) as (suite, key):
            async with asyncio.timeout_at(until), suite.first:
                room = suite.rooms[0] if suite.rooms else await self._open(suite, key, caller, said, until)
            with _used(room, caller):
                yield room

    async def lease(self, server: str, caller: Principal, said: Said, until: float) -> Lease:
        """A room for one call alone. Raises NotRunning, also when none is free in time."""
        ends = ExitStack()
        try:
            suite, key = ends.enter_context(self._suite(server, caller, said))
            room = await self._free(suite, key, caller, said, until)
            room.leased = True
            ends.callback(self._give_back, suite, room)
            ends.enter_context(_used(room, caller))
        except BaseException:
            ends.close()
            raise
        return Lease(room, ends)

    async def _free(self, suite: _Suite, key: Key, caller: Principal, said: Said, until: float) -> Room:
        while True:
            for room in suite.rooms:
                if not room.leased:
                    return room
            if len(suite.rooms) + suite.opening < MAX_ROOMS:
                try:
                    async with asyncio.timeout_at(until):
                        return await self._open(suite, key, caller, said, until)
                except TimeoutError:
                    raise NotRunning(failures.NO_ANSWER_TO_INITIALIZE) from None
            if self._make_room(suite.rooms):
                continue
            suite.changed.clear()
            try:
                async with asyncio.timeout_at(until):
                    await suite.changed.wait()
            except TimeoutError:
                raise NotRunning(BUSY) from None

    def _give_back(self, suite: _Suite, room: Room) -> None:
        room.leased, room.speaking = False, None
        suite.changed.set()

    @contextmanager
    def _suite(self, server: str, caller: Principal, said: Said) -> Iterator[tuple[_Suite, Key]]:
        """Kept while somebody uses it, and while it has rooms."""
        who = said.capabilities + b"\0" + (said.client or b"")
        key = (server, caller.identity, hashlib.sha256(who).digest())
        self._uses[key] += 1
        suite = self._suites.get(key)
        if suite is None:
            suite = self._suites[key] = _Suite([], 0, asyncio.Lock(), asyncio.Event())
        try:
            yield suite, key
        finally:
            self._uses[key] -= 1
            self._forget(key)

    async def _open(self, suite: _Suite, key: Key, caller: Principal, said: Said, until: float) -> Room:
        spec = self._shared.servers[key[0]]
        made: list[Room] = []

        def ended(session: Session) -> None:
            self._sessions.remove(session)
            for room in made:
                if room in suite.rooms:
                    suite.rooms.remove(room)
                self._closed(room)
            suite.changed.set()
            self._forget(key)

        def make(id: str) -> Session:
            return Session(id, key[0], caller, spec, self._shared, ended)

        suite.opening += 1
        try:
            session = self._sessions.add(key[0], caller, make)
            session.start()
            try:
                room = Room(session, await _begin(session, said, until, self._shared))
            except BaseException:
                session.end()
                raise
            made.append(room)
            suite.rooms.append(room)
            return room
        except TooManySessions as e:
            raise NotRunning(e.failure) from None
        finally:
            suite.opening -= 1
            suite.changed.set()

    def _forget(self, key: Key) -> None:
        suite = self._suites.get(key)
        if suite is not None and not suite.rooms and not self._uses[key]:
            del self._suites[key]
            del self._uses[key]


@contextmanager
def _used(room: Room, caller: Principal) -> Iterator[None]:
    """While an exchange is served in a room; who asks now is whose rights count."""
    room.session.principal = caller
    with room.session.in_use():
        yield


async def _begin(session: Session, said: Said, until: float, shared: Shared) -> bytes:
    asked = hello(said)
    told = await recall.begin(session, asked, shared)
    answer = parse_child(await _ask(session, asked, until) if told is None else told)
    if answer.result is None:
        raise NotRunning(REFUSED)
    await session.tell(notification(INITIALIZED, None))
    return answer.result


async def _ask(session: Session, asked: Message, until: float) -> bytes:
    stream = session.stream("")
    try:
        call = await session.give(asked, stream)
        item = await stream.next(until)
        if item is None:
            session.expire(call, failures.NO_ANSWER_TO_INITIALIZE, b'"deadline"')
            raise NotRunning(failures.NO_ANSWER_TO_INITIALIZE)
        stream.sent(item)
        return item.data
    finally:  # also where whoever asks for it is cancelled: its answer is nobody's
        stream.drain()
