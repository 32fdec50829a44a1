"""All children of the agent: how many may run, how often a crashing server is tried, and their end."""

import asyncio
import math
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from penstock import log
from penstock_agent.children import backoff, local
from penstock_agent.children.child import STOP_GRACE_S, ChildStartError
from penstock_agent.children.keeper import Keeper, KeeperError
from penstock_agent.children.local import LocalChild, LocalSpec
from penstock_agent.children.warm import SHARE, Warm

MAX_CHILDREN: Final = 64
"""Children running at once in one agent, unless ``max_children`` says otherwise."""

CLOSE_WAIT_S: Final = 8.0
"""How long ``close`` waits for all children together; what still runs then is killed by the keeper."""

_log = log.get("penstock_agent.children")


class TooManyChildren(Exception):
    """``max_children`` are running; the text says the bound and the setting."""


class CrashLooping(Exception):
    """The server's children keep crashing and it is not tried for a while."""

    def __init__(self, text: str, retry_after_s: float) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


@dataclass(frozen=True, slots=True)
class ServerCounts:
    """One server's children, for status."""

    running: int
    """Those that serve somebody, or are started for somebody."""
    warm: int
    """Those that wait for somebody."""
    crashes_in_a_row: int
    refused_for_s: float
    """More than 0: the circuit is open, and starts are refused for so long."""


class Children:
    """Starts and keeps track of every child of the agent. An async context manager: leaving it closes it.

    Between entering and leaving, processes of busy servers are started before somebody needs them, in tasks
    of its own (see ``warm``).
    """

    def __init__(
        self,
        max_children: int = MAX_CHILDREN,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """``clock``: seconds, never back; ``chance``: random in [0, 1), spreads restarts."""
        if max_children < 1:
            raise ValueError(f"max_children is {max_children}; it must be at least 1")
        self._max = max_children
        self._clock = clock
        self._chance = chance
        self._keeper: Keeper | None = None
        self._running: set[LocalChild] = set()
        self._unheard: dict[LocalChild, None] = {}
        """Those that have not answered yet, the oldest first."""
        self._starting: Counter[str] = Counter()
        self._none_starting = asyncio.Event()
        self._none_starting.set()
        self._history: dict[str, backoff.History] = {}
        self._closed = False
        self._tasks: asyncio.TaskGroup | None = None
        self._warm = Warm(
            self._start,
            lambda server: backoff.calm(self._past(server), self._clock()),
            lambda: self._max - len(self),
            clock,
        )

    async def __aenter__(self) -> Self:
        self._tasks = await asyncio.TaskGroup().__aenter__()
        self._warm.open(self._tasks, self._max // SHARE)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks, self._tasks = self._tasks, None
        try:
            await self.close()
        finally:
            if tasks is not None:
                # What ended the body is not the tasks' matter, and must come out of here as it is.
                await tasks.__aexit__(None, None, None)

    @property
    def max_children(self) -> int:
        return self._max

    def __len__(self) -> int:
        """Children that run or are being started, for somebody. Those that are only kept warm give way."""
        return len(self._running) + self._starting.total()

    async def start(self, spec: LocalSpec) -> LocalChild:
        """Start a child, or hand out one that waits for this; it leaves the pool by ending.

        Raises TooManyChildren, CrashLooping, and ChildStartError (also when the pool is closed).
        """
        if self._closed:
            raise ChildStartError(f"server {spec.name}: the agent is stopping")
        if len(self) >= self._max:
            raise TooManyChildren(
                f"server {spec.name} was not started: {self._max} children are running, which is all that "
                "this agent may run at once. End a session, or raise max_children in agent.toml."
            )
        now = self._clock()
        history = self._past(spec.name)
        if refused := backoff.refused_for(history, now):
            raise CrashLooping(
                f"server {spec.name} keeps crashing ({history.failures} times in a row) and is not started "
                f"again for {math.ceil(refused)} s. Its last words are in the agent's log.",
                refused,
            )
        self._history[spec.name] = history = backoff.started(history, now)
        trial = history.trial_at is not None
        self._starting[spec.name] += 1
        self._none_starting.clear()
        try:
            child = self._warm.take(spec)
            warm = child is not None
            if child is None:
                await self._warm.make_room()
                child = await self._start(spec)
        except BaseException:
            # No crash: what cannot be started fails fast by itself, and says each time what to correct.
            self._withdrawn(spec.name, trial)
            raise
        finally:
            self._starting -= Counter({spec.name: 1})
            if not self._starting:
                self._none_starting.set()
        _log.info("child_started", server=spec.name, pid=child.pid, warm=warm)
        begun = self._clock()
        self._running.add(child)
        self._unheard[child] = None
        child.when_gone(lambda gone: self._ended(gone, self._clock() - begun, trial))
        if self._closed:
            await child.stop()
            raise ChildStartError(f"server {spec.name}: the agent is stopping")
        return child

    def restart_delay(self, server: str) -> float:
        """Seconds to wait before starting the server again after a crash: full jitter, at most 60."""
        return backoff.delay(self._past(server).failures, self._chance())

    def worked(self, server: str) -> None:
        """A child of the server has answered a caller: as the trial of an open circuit, that closes it.

        How often that is says how many are kept warm. What a child answers that only the agent asks something
        (its era, its lists) does not count, nor what further sessions hear from a child that they share.
        """
        if server in self._history:
            self._history[server] = backoff.worked(self._history[server])
        child = next((child for child in self._unheard if child.spec.name == server), None)
        if child is not None:
            del self._unheard[child]
            self._warm.used(server)

    def forget(self, server: str) -> None:
        """It has another configuration, or none: past crashes say nothing any more. Those that wait end."""
        self._history.pop(server, None)
        self._warm.forget(server)

    def keep_warm(self, settings: Mapping[str, int]) -> None:
        """How many processes to keep warm, of servers whose configuration says it; of others, as many as
        their use suggests. Those that wait now are ended: what they have read may be old.
        """
        self._warm.keep(settings)

    def tend(self) -> None:
        """See what is worth being kept warm now. Happens by itself every ``warm.TEND_S`` seconds."""
        self._warm.tend()

    def counts(self) -> dict[str, ServerCounts]:
        """Per server that has children or has crashed."""
        now, warm = self._clock(), self._warm.counts()
        running = Counter(child.spec.name for child in self._running) + self._starting
        return {
            server: ServerCounts(
                running=running[server],
                warm=warm[server],
                crashes_in_a_row=self._past(server).failures,
                refused_for_s=backoff.refused_for(self._past(server), now),
            )
            for server in sorted({*running, *warm, *self._history})
        }

    async def close(self, grace_s: float = STOP_GRACE_S) -> None:
        """Stop every child, all at the same time, then the keeper, which kills what is left. Idempotent."""
        self._closed = True
        self._warm.close(grace_s)
        try:
            async with asyncio.timeout(CLOSE_WAIT_S):
                async with asyncio.TaskGroup() as stops:
                    for child in self._running:
                        stops.create_task(child.stop(grace_s))
                await self._none_starting.wait()
                await self._warm.until_none()
        except TimeoutError:
            _log.error("children_not_stopped", left=len(self) + len(self._warm), waited_s=CLOSE_WAIT_S)
        finally:
            if self._keeper is not None:
                await self._keeper.close()

    async def _start(self, spec: LocalSpec) -> LocalChild:
        try:
            if self._keeper is None:
                self._keeper = await Keeper.start()
        except KeeperError as error:
            raise ChildStartError(f"server {spec.name}: {error}") from None
        return await local.start(spec, self._keeper)

    def _ended(self, child: LocalChild, lived_s: float, trial: bool) -> None:
        self._running.discard(child)
        self._unheard.pop(child, None)
        _log.info(
            "child_ended",
            server=child.spec.name,
            pid=child.pid,
            status=child.returncode,
            stopped=child.stopping,
            **child.hint,
        )
        if child.stopping:
            self._withdrawn(child.spec.name, trial)
        else:
            self._crashed(child.spec.name, lived_s)

    def _crashed(self, server: str, lived_s: float) -> None:
        now = self._clock()
        self._history[server] = backoff.crashed(self._past(server), now, lived_s)
        if backoff.refused_for(self._history[server], now):
            # Those that wait may have the same flaw, and the trial is to show that a start works.
            self._warm.drop(server)

    def _withdrawn(self, server: str, trial: bool) -> None:
        if trial and server in self._history:
            self._history[server] = backoff.withdrawn(self._history[server])

    def _past(self, server: str) -> backoff.History:
        return self._history.get(server, backoff.History())
