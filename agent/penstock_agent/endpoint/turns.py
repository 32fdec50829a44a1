"""Long work on the event loop, a slice at a time: all else that the agent does has its turn in between."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from penstock_agent.gate.redaction.steps import Steps, TooMuch

SLICE_S: Final = 0.01
"""So long nothing else is done, give or take a step."""
PAUSE_S: Final = 0.002
"""So long at least all else has its turn then: what is passed on in the meantime needs more than one."""
MOST_S: Final = 10.0
"""Seconds of the processor that one message may take."""
AT_ONCE: Final = 4
"""Messages that are worked on at a time, as each takes memory. The others wait, in order."""

T = TypeVar("T")


def _pause() -> Awaitable[None]:
    return asyncio.sleep(PAUSE_S)


class Turns:
    """One per agent. ``clock``: seconds that pass; ``work``: seconds of the processor."""

    def __init__(
        self,
        clock: Callable[[], float] = time.perf_counter,
        work: Callable[[], float] = time.thread_time,
        pause: Callable[[], Awaitable[None]] = _pause,
    ) -> None:
        self._clock = clock
        self._work = work
        self._pause = pause
        self._places = asyncio.Semaphore(AT_ONCE)
        self._turn = asyncio.Lock()

    async def run(self, steps: Steps[T]) -> T:
        """What the steps are for. After too much work, they are thrown
        :exc:`~penstock_agent.gate.redaction.steps.TooMuch` once, and end in their way.
        """
        spent, thrown = 0.0, False
        try:
            async with self._places:
                while True:
                    async with self._turn:
                        begun, until = self._work(), self._clock() + SLICE_S
                        try:
                            if spent > MOST_S and not thrown:
                                thrown = True
                                steps.throw(TooMuch())
                            while self._clock() < until:
                                next(steps)
                        except StopIteration as end:
                            result: T = end.value
                            return result
                        spent += self._work() - begun
                        await self._pause()
        finally:
            steps.close()
