"""All children of the agent: how many may run, how often a crashing server is tried, and their end."""

import asyncio
import math
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from penstock import log
from penstock_agent.children import backoff
from penstock_agent.children.child import STOP_GRACE_S, Child, ChildStartError, ProcessSpec
from penstock_agent.children.keeper import Keeper, KeeperError

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
    crashes_in_a_row: int
    refused_for_s: float
    """More than 0: the circuit is open, and starts are refused for so long."""


class Children:
    """Starts and keeps track of every child of the agent. An async context manager: leaving it closes it."""

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
        self._running: set[Child] = set()
        self._starting: Counter[str] = Counter()
        self._none_starting = asyncio.Event()
        self._none_starting.set()
        self._history: dict[str, backoff.History] = {}
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def max_children(self) -> int:
        return self._max

    def __len__(self) -> int:
        """Children that run or are being started."""
        return len(self._running) + self._starting.total()

    async def start(self, spec: ProcessSpec) -> Child:
        """Start a child; it leaves the pool by ending.

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
            child = await self._start(spec)
        except BaseException:
            # No crash: what cannot be started fails fast by itself, and says each time what to correct.
            self._withdrawn(spec.name, trial)
            raise
        finally:
            self._starting -= Counter({spec.name: 1})
            if not self._starting:
                self._none_starting.set()
        _log.info("child_started", server=spec.name, pid=child.pid)
        begun = self._clock()
        self._running.add(child)
        child.when_gone(lambda gone: self._ended(gone, self._clock() - begun, trial))
        if self._closed:
            await child.stop()
            raise ChildStartError(f"server {spec.name}: the agent is stopping")
        return child

    def restart_delay(self, server: str) -> float:
        """Seconds to wait before starting the server again after a crash: full jitter, at most 60."""
        return backoff.delay(self._past(server).failures, self._chance())

    def worked(self, server: str) -> None:
        """A child of the server has answered: if it was the trial of an open circuit, that closes it."""
        if server in self._history:
            self._history[server] = backoff.worked(self._history[server])

    def forget(self, server: str) -> None:
        """Its configuration has changed: past crashes say nothing any more."""
        self._history.pop(server, None)

    def counts(self) -> dict[str, ServerCounts]:
        """Per server that has children or has crashed."""
        now = self._clock()
        running = Counter(child.spec.name for child in self._running) + self._starting
        return {
            server: ServerCounts(
                running=running[server],
                crashes_in_a_row=self._past(server).failures,
                refused_for_s=backoff.refused_for(self._past(server), now),
            )
            for server in sorted({*running, *self._history})
        }

    async def close(self, grace_s: float = STOP_GRACE_S) -> None:
        """Stop every child, all at the same time, then the keeper, which kills what is left. Idempotent."""
        self._closed = True
        try:
            async with asyncio.timeout(CLOSE_WAIT_S):
                async with asyncio.TaskGroup() as stops:
                    for child in self._running:
                        stops.create_task(child.stop(grace_s))
                await self._none_starting.wait()
        except TimeoutError:
            _log.error("children_not_stopped", left=len(self), waited_s=CLOSE_WAIT_S)
        finally:
            if self._keeper is not None:
                await self._keeper.close()

    async def _start(self, spec: ProcessSpec) -> Child:
        try:
            if self._keeper is None:
                self._keeper = await Keeper.start()
        except KeeperError as error:
            raise ChildStartError(f"server {spec.name}: {error}") from None
        return await Child.start(spec, self._keeper)

    def _ended(self, child: Child, lived_s: float, trial: bool) -> None:
        self._running.discard(child)
        _log.info(
            "child_ended",
            server=child.spec.name,
            pid=child.pid,
            status=child.returncode,
            stopped=child.stopping,
        )
        if child.stopping:
            self._withdrawn(child.spec.name, trial)
        else:
            self._crashed(child.spec.name, lived_s)

    def _crashed(self, server: str, lived_s: float) -> None:
        self._history[server] = backoff.crashed(self._past(server), self._clock(), lived_s)

    def _withdrawn(self, server: str, trial: bool) -> None:
        if trial and server in self._history:
            self._history[server] = backoff.withdrawn(self._history[server])

    def _past(self, server: str) -> backoff.History:
        return self._history.get(server, backoff.History())
