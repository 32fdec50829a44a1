"""Processes that have been started and wait for somebody to need them, so that nobody waits for their start.

Nobody has spoken to such a process: it serves whoever comes first. What it says meanwhile waits in its
reader, within the bounds of ``pipes``, for whom it is given to. It takes a place among ``max_children`` only
as long as nobody needs that.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from typing import Final

from penstock import log
from penstock_agent.children import demand
from penstock_agent.children.child import STOP_GRACE_S, ChildStartError
from penstock_agent.children.demand import Demand
from penstock_agent.children.local import LocalChild, LocalSpec

SHARE: Final = 4
"""Warm processes take one in so many places, and are started only while as many again are free."""

TEND_S: Final = 15.0
"""Pause between two looks at what is still wanted."""

YIELD_GRACE_S: Final = 0.5
"""As ``Child.stop`` of a process whose place is needed: nobody has given it anything to finish."""

Start = Callable[[LocalSpec], Coroutine[object, object, LocalChild]]

_log = log.get("penstock_agent.children")


class Warm:
    """Those of all servers. Starts and stops them in tasks of the group that it is given by ``open``."""

    def __init__(
        self, start: Start, calm: Callable[[str], bool], places: Callable[[], int], clock: Callable[[], float]
    ) -> None:
        """``start`` raises ChildStartError. ``calm``: whether a server has not crashed lately. ``places``:
        how many processes there may be besides those in use.
        """
        self._start = start
        self._calm = calm
        self._places = places
        self._clock = clock
        self._tasks: asyncio.TaskGroup | None = None
        self._settings: Mapping[str, int] = {}
        self._share = 0
        self._demand: dict[str, Demand] = {}
        self._specs: dict[str, LocalSpec] = {}
        self._ready: dict[LocalChild, float] = {}
        """Since when each waits, the oldest first."""
        self._starting: dict[asyncio.Task[None], LocalSpec] = {}
        self._ending: set[asyncio.Task[None]] = set()
        """Ends under way, and starts that are given up."""
        self._tending: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()

    def open(self, tasks: asyncio.TaskGroup, share: int) -> None:
        """From now on processes are kept, ``share`` at most."""
        self._tasks, self._share = tasks, share

    def __len__(self) -> int:
        """Processes that there are, whether they wait, are being started, or end."""
        return len(self._ready) + len(self._starting) + len(self._ending)

    def counts(self) -> Counter[str]:
        """Those that wait, by server."""
        return Counter(child.spec.name for child in self._ready)

    def keep(self, settings: Mapping[str, int]) -> None:
        """``warm`` of the servers that have it. Ends all that wait: what they read at their start (programs,
        files of the server) may have changed with the configuration.
        """
        self._settings = settings
        for name in {spec.name for spec in self._all()}:
            self.drop(name)

    # For somebody who needs one.

    def take(self, spec: LocalSpec) -> LocalChild | None:
        """The process that has waited longest, if there is one of just this spec; it is the caller's now."""
        known = self._specs.get(spec.name)
        if known != spec:
            if known is not None:
                self.drop(spec.name)
            self._specs[spec.name] = spec
        for child, since in self._ready.items():
            if child.spec == spec:
                del self._ready[child]
                waited = self._clock() - since
                self._demand[spec.name] = demand.taken(self._of(spec.name), waited)
                return child
        return None

    async def make_room(self) -> None:
        """Return once there are no more processes than may be: those that wait go, as many as it takes."""
        while len(self) > self._places():
            if len(self._ready) + len(self._starting) > self._places():
                self._give_way()
            changed = self._changed
            await changed.wait()

    def used(self, server: str) -> None:
        """A process of the server has answered a caller: now is the time to start the next one."""
        if server in self._specs:
            self._demand[server] = demand.used(self._of(server), self._clock(), self._settings.get(server))
            self._tend(server)

    # Ends.

    def drop(self, server: str) -> None:
        """End those of a server."""
        for task, spec in list(self._starting.items()):
            if spec.name == server:
                self._give_up(task)
        for child in [child for child in self._ready if child.spec.name == server]:
            self._end(child)

    def forget(self, server: str) -> None:
        """Its configuration has changed: end those of the old one, and what is known is worth nothing."""
        self.drop(server)
        self._specs.pop(server, None)
        self._demand.pop(server, None)

    def close(self, grace_s: float) -> None:
        """There will be none any more: end those that there are, all at the same time."""
        for task in list(self._starting):
            self._give_up(task)
        for child in list(self._ready):
            self._end(child, grace_s)
        if self._tending is not None:
            self._tending.cancel()
        self._tasks = None

    async def until_none(self) -> None:
        """Return once none is being started or ends."""
        while len(self):
            changed = self._changed
            await changed.wait()

    # Tending.

    def tend(self) -> None:
        """See what is wanted now: end what is too much or too old, start what is missing. At most one of each
        server is started at a time, so that those in use have the machine.
        """
        for server in list(self._specs):
            self._tend(server)

    def _tend(self, server: str) -> None:
        now, spec = self._clock(), self._specs[server]
        for child, since in [pair for pair in self._ready.items() if pair[0].spec.name == server]:
            if now - since >= demand.IDLE_S:
                self._demand[server] = demand.taken(self._of(server), now - since)
                self._end(child)
        want = min(self._share, demand.wanted(self._of(server), now, self._settings.get(server)))
        waiting = [child for child in self._ready if child.spec.name == server]
        for child in waiting[: max(0, len(waiting) - want)]:
            self._end(child)
        if want > len(waiting) and self._may_start(server):
            self._spawn_start(spec)
        if want and self._tending is None and self._tasks is not None:
            self._tending = self._tasks.create_task(self._run())

    def _may_start(self, server: str) -> bool:
        return (
            self._tasks is not None
            and all(spec.name != server for spec in self._starting.values())
            and self._calm(server)
            and len(self) < self._share
            # Not into the last places: the next caller would only have to wait for its end.
            and len(self) + self._share < self._places()
        )

    async def _run(self) -> None:
        """While there is something to tend."""
        try:
            while self._ready or self._starting or self._wanted():
                await asyncio.sleep(TEND_S)
                self.tend()
        finally:
            self._tending = None

    def _wanted(self) -> bool:
        now = self._clock()
        return any(now < one.busy_until for one in self._demand.values())

    def _spawn_start(self, spec: LocalSpec) -> None:
        if self._tasks is None:
            return
        task = self._tasks.create_task(self._warm_up(spec))
        self._starting[task] = spec
        task.add_done_callback(self._over)  # also when it was cancelled before it began

    def _over(self, task: asyncio.Task[None]) -> None:
        self._starting.pop(task, None)
        self._ending.discard(task)
        self._tell()

    async def _warm_up(self, spec: LocalSpec) -> None:
        try:
            child = await self._start(spec)
        except ChildStartError as error:
            _log.warning("child_not_warmed", server=spec.name, why=str(error))
            self._ended_early(spec)
            return
        except Exception as error:  # nobody asked for it, so nobody's call may fail with it
            _log.error("child_not_warmed", server=spec.name, error=type(error).__name__)
            self._ended_early(spec)
            return
        task = asyncio.current_task()
        if task is not None:
            self._starting.pop(task, None)
        self._ready[child] = self._clock()
        _log.info("child_warmed", server=spec.name, pid=child.pid)
        child.when_gone(self._gone)

    def _gone(self, child: LocalChild) -> None:
        """It has ended by itself, unless somebody took it, or we ended it."""
        if self._ready.pop(child, None) is not None:
            self._log_end(child)
            self._ended_early(child.spec)
            self._tell()

    def _ended_early(self, spec: LocalSpec) -> None:
        if self._specs.get(spec.name) == spec:
            before = self._of(spec.name)
            after = self._demand[spec.name] = demand.ended(before, self._clock())
            if after.none_before > before.none_before:
                _log.warning("not_kept_warm", server=spec.name, why="its processes end while nobody asks")

    def _give_way(self) -> None:
        """The place of one is needed: of the one that the fewest will miss."""
        if self._starting:
            self._give_up(next(reversed(self._starting)))
            return
        self._end(min(self._ready, key=lambda child: self._of(child.spec.name).busy_until), YIELD_GRACE_S)

    def _give_up(self, task: asyncio.Task[None]) -> None:
        del self._starting[task]
        self._ending.add(task)
        task.cancel()

    def _end(self, child: LocalChild, grace_s: float = STOP_GRACE_S) -> None:
        del self._ready[child]
        if self._tasks is not None:
            task = self._tasks.create_task(self._stop(child, grace_s))
            self._ending.add(task)
            task.add_done_callback(self._over)

    async def _stop(self, child: LocalChild, grace_s: float) -> None:
        await child.stop(grace_s)
        self._log_end(child)

    def _log_end(self, child: LocalChild) -> None:
        _log.info(
            "child_ended",
            server=child.spec.name,
            pid=child.pid,
            status=child.returncode,
            stopped=child.stopping,
            warm=True,
        )

    def _of(self, server: str) -> Demand:
        return self._demand.get(server, Demand())

    def _all(self) -> list[LocalSpec]:
        return [*(child.spec for child in self._ready), *self._starting.values()]

    def _tell(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
