"""One child after another for one session: started when somebody needs it, read until it ends.

A child that dies is not replaced until the next message for it comes: a session that nobody uses costs
nothing, and a server that crashes on its own does not crash in a loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Final, Protocol

from penstock.log import get
from penstock_agent.children.child import ChildGone, ChildSpec, ChildStartError
from penstock_agent.children.lines import Oversize
from penstock_agent.children.pool import CrashLooping, TooManyChildren
from penstock_agent.endpoint import failures
from penstock_agent.endpoint.bridge.up.face import Face
from penstock_agent.endpoint.failures import ENDED_AT_START, Failure
from penstock_agent.endpoint.held import Share
from penstock_agent.endpoint.ports import Child, Children

#: Lines of one child that are taken in before others get their turn.
LINES_A_TURN: Final = 64

_log = get(__name__)


class NotRunning(Exception):
    """There is no child to give a message to; nothing of it was executed."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.text)
        self.failure = failure


class SessionOver(NotRunning):
    """There will be no child for this session again."""


class Owner(Protocol):
    """The session, as its lifeline sees it."""

    def take(self, line: bytes | Oversize) -> Coroutine[object, object, None] | None:
        """A line of the child. What is left to do before the next one, where that takes a while."""

    async def greet(self, child: Child) -> None:
        """Bring a new child to where its predecessor was, receiving its lines meanwhile.

        Raises :exc:`NotRunning` when that cannot be done, and ChildGone.
        """

    def lost(self) -> None:
        """The child is gone, with everything that it owed."""


class _Attempt:
    """One try to have a child, as those see it who wait for it."""

    __slots__ = ("failure", "over")

    def __init__(self) -> None:
        self.over = asyncio.Event()
        self.failure: NotRunning | None = None


class Lifeline:
    """Owned by the task that runs ``run``; ``child`` may be awaited from any other."""

    def __init__(self, spec: ChildSpec, children: Children, owner: Owner, held: Share) -> None:
        self.spec = spec
        self._children = children
        self._owner = owner
        self._held = held
        self._current: Child | None = None
        self._alive: Child | None = None
        self._greeting = False
        self._wanted = asyncio.Event()
        self._attempt = _Attempt()
        self._closed: NotRunning | None = None
        self._not_before = 0.0
        self.started = 0
        """How many children there have been."""

    @property
    def current(self) -> Child | None:
        """The child that takes messages now."""
        return self._current

    @property
    def alive(self) -> Child | None:
        """The child whose lines are taken now, ready or not."""
        return self._alive

    async def child(self) -> Child:
        """The running child, started if there is none. Raises :exc:`NotRunning`."""
        while (child := self._current) is None:
            if self._closed is not None:
                raise self._closed
            self._wanted.set()
            attempt = self._attempt
            await attempt.over.wait()
            if attempt.failure is not None:
                raise attempt.failure
        return child

    def close(self, why: NotRunning) -> None:
        """There will be no child any more; whoever waits for one is told ``why``."""
        self._closed = why
        self._current = None
        self._tell(why)

    def discard(self, child: Child) -> None:
        """``child`` is of no more use: the next who needs one gets another. The caller stops it."""
        if self._current is child:
            self._current = None

    async def run(self) -> None:
        """Until cancelled, or until the session can have no child any more. Leaves none behind."""
        while True:
            await self._wanted.wait()
            try:
                await self._wait_out_backoff()
                child = await self._start()
            except NotRunning as e:
                self._tell(e)
                continue
            try:
                await self._live(child)
            except SessionOver as e:
                self._tell(e)
                return
            except NotRunning as e:
                self._tell(e)
            except ChildGone as e:
                if self._current is not None or self._greeting:  # not discarded, so by itself
                    _log.warning("child_gone", server=self.spec.name, returncode=e.returncode)
                if self._current is None and self._greeting:
                    self._tell(NotRunning(ENDED_AT_START))
            finally:
                self._alive = self._current = None
                self._owner.lost()
                await child.stop()
            self._not_before = _now() + self._children.restart_delay(self.spec.name)

    async def _wait_out_backoff(self) -> None:
        wait = self._not_before - _now()
        if wait > 0:
            await asyncio.sleep(wait)

    async def _start(self) -> Child:
        name = self.spec.name
        try:
            child = await self._children.start(self.spec)
        except TooManyChildren:
            _log.warning("too_many_children", server=name)
            raise NotRunning(failures.TOO_MANY_CHILDREN) from None
        except CrashLooping as e:
            raise NotRunning(failures.crash_looping(name, e.retry_after_s)) from None
        except ChildStartError as e:
            # Its text may name paths of the site, so it stays there.
            _log.error("child_not_started", server=name, why=str(e))
            raise NotRunning(
                failures.not_executed(e.told) if e.told else failures.not_started(name)
            ) from None
        self.started += 1
        return child

    async def _live(self, child: Child) -> None:
        self._alive, self._greeting = child, True
        await self._owner.greet(child)
        self._greeting = False
        self._current = child
        self._tell(None)
        await self._read(child)

    async def _read(self, child: Child) -> None:
        lines, face = 0, child if isinstance(child, Face) else None
        while True:
            if not self._held.room:
                await self._held.wait()
            if (more := self._owner.take(await child.receive())) is not None:
                await more
            if face is not None and face.bare is not None:
                # Nothing stands between any more: two calls less for each message.
                if self._current is face:
                    self._current = face.bare
                child, face = face.bare, None
                self._alive = child
            lines += 1
            if lines % LINES_A_TURN == 0:
                await asyncio.sleep(0)

    def _tell(self, failure: NotRunning | None) -> None:
        """Those who wait now are told; whoever comes later makes another attempt."""
        self._wanted.clear()
        attempt, self._attempt = self._attempt, _Attempt()
        attempt.failure = failure
        attempt.over.set()


def _now() -> float:
    return asyncio.get_running_loop().time()
