"""Keeps the certificate young while the agent runs, and knows when it is over for good."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NoReturn

from penstock import log, refusal
from penstock.link import now as ticks
from penstock_agent import state
from penstock_agent.problem import Problem
from penstock_agent.renewal import schedule
from penstock_agent.renewal.renew import Renewed
from penstock_agent.renewal.verdict import Revoked, TurnedAway

HASTE: Final = 600.0
"""Seconds after a renewal before the next one that nobody asked for."""
SLICE: Final = 60.0
"""Seconds between two looks at the clock, which may have been set."""
DOUBTS: Final = 600.0
"""Seconds between renewals that happen only because the relay seems not to take the certificate."""
WRONG_CLOCK: Final = 3600.0
"""Seconds by which this machine's clock may differ from the relay's before anybody is told."""

_log = log.get(__name__)


@dataclass(frozen=True, slots=True)
class Clock:
    """Time and chance, as arguments."""

    wall: Callable[[], float] = time.time
    ticks: Callable[[], float] = ticks
    chance: Callable[[], float] = random.random


class Renewer:
    """Renews at a third of life, again after failures, and when it is asked to."""

    def __init__(
        self,
        joined: state.Joined,
        renew: Callable[[], Awaitable[Renewed]],
        renewed: Callable[[state.Joined], None],
        clock: Clock | None = None,
    ) -> None:
        """`renew` does it once (raises Problem); `renewed` is told of each new certificate that is stored."""
        self._renew = renew
        self._renewed = renewed
        self._clock = clock or Clock()
        self._turn = asyncio.Lock()
        self._wake = asyncio.Event()
        self._over: Revoked | None = None
        self._skew = 0.0
        self._failures = 0
        self._not_before = self._clock.ticks()
        self._doubted: float | None = None
        self.problem = ""
        """Why the last renewal failed; empty after one that did not."""
        self._begins = self._ends = self._due = 0.0
        self._take(joined)

    @property
    def next_at(self) -> float:
        """When the certificate will be renewed, by this machine's clock."""
        return self._due - self._skew

    async def run(self) -> NoReturn:
        """Renews when it is due, until it is cancelled. Raises Revoked once the CA has said so."""
        while True:
            self._wake.clear()
            if self._over is not None:
                raise self._over
            left = self.left()
            if left > 0:
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(left, SLICE)):
                        await self._wake.wait()
                continue
            with suppress(Problem):  # it is in the log, and in `problem`
                await self.now()

    def left(self) -> float:
        """Seconds until the next attempt, by what the clocks say now; not above 0 when it is due."""
        wall = self._clock.wall() + self._skew
        # The clock may have been set, or the machine may have slept: the dates are looked at each time.
        due = self._due if self._begins - schedule.BACKDATED <= wall < self._ends else wall
        return max(due - wall, self._not_before - self._clock.ticks())

    async def now(self) -> Renewed:
        """Renews at once. Raises Problem: RenewalFailed, TurnedAway, Revoked, StateError."""
        async with self._turn:
            try:
                done = await self._renew()
            except Problem as problem:
                self._failed(problem)
                raise
            self._failures, self.problem = 0, ""
            # Whatever dates the new one has, the relay is not asked again and again.
            self._not_before = self._clock.ticks() + HASTE
            self._skew = done.skew
            self._take(done.joined)
            _log.info("certificate_renewed", generation=done.generation, until=_utc(done.joined.expires))
            if abs(done.skew) > WRONG_CLOCK:
                _log.warning("clock_differs_from_the_relays", by_s=round(done.skew))
            self._wake.set()
            self._renewed(done.joined)
            return done

    def doubt(self) -> None:
        """The relay seems not to take the certificate, whatever its dates say: the clock may be wrong."""
        at = self._clock.ticks()
        if self._doubted is not None and at - self._doubted < DOUBTS:
            return
        self._doubted = at
        self._due = min(self._due, self._clock.wall() + self._skew)
        self._wake.set()

    def end(self, revoked: Revoked) -> None:
        """`run` raises this."""
        self._over = revoked
        self._wake.set()

    def _take(self, joined: state.Joined) -> None:
        self._begins = joined.certificate.not_valid_before_utc.timestamp()
        self._ends = joined.certificate.not_valid_after_utc.timestamp()
        self._due = schedule.due(
            self._begins, self._ends, self._clock.wall() + self._skew, self._clock.chance()
        )

    def _failed(self, problem: Problem) -> None:
        self._failures += 1
        chance = self._clock.chance()
        wait = schedule.pause(self._failures, chance, self._ends - self._clock.wall() - self._skew)
        if isinstance(problem, TurnedAway):
            waiting = problem.reason == refusal.WAITING
            least, most = schedule.WAITING if waiting else schedule.REFUSED
            wait = least + chance * (most - least)
        self._not_before = self._clock.ticks() + wait
        self.problem = str(problem)
        if isinstance(problem, Revoked):
            self.end(problem)
            return
        _log.warning("certificate_not_renewed", why=str(problem), again_in_s=round(wait))


def _utc(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M} UTC"
