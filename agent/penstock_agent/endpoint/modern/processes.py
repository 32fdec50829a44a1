"""All processes for modern requests: whose each is, how many there may be, and when they end."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from penstock.principal import Principal
from penstock_agent.endpoint import failures
from penstock_agent.endpoint.lifeline import NotRunning
from penstock_agent.endpoint.limits import Limits
from penstock_agent.endpoint.modern.process import Process

Key = tuple[str, tuple[str, str, str] | None]
"""Server and identity; None where all callers of a server share."""


class Processes:
    """The table. A process leaves it by ending, or by being replaced."""

    def __init__(self, limits: Limits, shared_by_all: Collection[str]) -> None:
        self.shared_by_all = shared_by_all
        """Servers that have one process for all their callers."""
        self._limits = limits
        self._by_key: dict[Key, Process] = {}
        self._retired: set[Process] = set()
        """Replaced, and still finishing what they have."""

    def __iter__(self) -> Iterator[Process]:
        return iter([*self._by_key.values(), *self._retired])

    def of(
        self, server: str, principal: Principal, make: Callable[[Callable[[Process], None]], Process]
    ) -> Process:
        """The process for a caller; ``make`` makes one, given what to call at its end.

        Raises :exc:`~penstock_agent.endpoint.lifeline.NotRunning` when there may be no more.
        """
        key: Key = (server, None if server in self.shared_by_all else principal.identity)
        found = self._by_key.get(key)
        if found is None:
            if len(self._by_key) >= self._limits.processes:
                idle = self.longest_idle()
                if idle is None:
                    raise NotRunning(failures.TOO_MANY_PROCESSES)
                idle.end()
            found = self._by_key[key] = make(lambda process: self._ended(key, process))
            found.start()
        return found

    def retire(self, server: str) -> None:
        """The server has another configuration: its processes finish what they have."""
        for key in [key for key in self._by_key if key[0] == server]:
            process = self._by_key.pop(key)
            self._retired.add(process)
            process.retire()

    def reap(self, now: float) -> int:
        """End those that nobody has used for too long. Returns how many."""
        idle = [
            process
            for process in self._by_key.values()
            if (since := process.idle_since()) is not None and now - since >= self._limits.idle_timeout
        ]
        for process in idle:
            process.end()
        return len(idle)

    def longest_idle(self) -> Process | None:
        """The process that nobody has used for the longest time; None when all are in use."""
        idle = [(since, p) for p in self._by_key.values() if (since := p.idle_since()) is not None]
        return min(idle, key=lambda pair: pair[0])[1] if idle else None

    def _ended(self, key: Key, process: Process) -> None:
        self._retired.discard(process)
        if self._by_key.get(key) is process:
            del self._by_key[key]
