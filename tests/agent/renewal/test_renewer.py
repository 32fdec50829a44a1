"""The renewer's clockwork: when it asks, when again, and what it makes of a clock that is wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

import pytest
from cryptography import x509

from penstock import refusal
from penstock.names import AgentId
from penstock_agent.problem import Exit, Problem
from penstock_agent.renewal import renewer as renewer_module
from penstock_agent.renewal import schedule
from penstock_agent.renewal.renew import RenewalFailed, Renewed
from penstock_agent.renewal.renewer import DOUBTS, HASTE, Clock, Renewer
from penstock_agent.renewal.verdict import Revoked, TurnedAway
from penstock_agent.state import Joined
from tests.harness.link_pair import until

DAY = 86_400.0
LIFE = 7 * DAY


@dataclass
class Bench:
    """A renewer with clocks of the test's making, and a relay that answers as it is told."""

    wall: float = 0.0
    ticks: float = 1000.0
    chance: float = 0.0
    answer: Callable[[], Renewed] | Problem = field(default_factory=lambda: RenewalFailed("no relay"))
    asked: int = 0
    taken: list[Joined] = field(default_factory=list)

    def joined(self, begins: float, life: float = LIFE) -> Joined:
        """An identity whose certificate has these dates."""
        made = _Dated(
            datetime.fromtimestamp(begins, UTC), datetime.fromtimestamp(begins, UTC) + timedelta(seconds=life)
        )
        certificate = cast("x509.Certificate", made)  # its dates are all that counts
        where = Path("/nowhere")
        return Joined(where, "wss://relay:443", AgentId("plant", "a1"), "00", certificate, (), where, where)

    def renewed(self, begins: float, skew: float = 0.0, life: float = LIFE) -> Renewed:
        return Renewed(self.joined(begins, life), 2, skew)

    async def renew(self) -> Renewed:
        self.asked += 1
        if isinstance(self.answer, Problem):
            raise self.answer
        return self.answer()

    def renewer(self, begins: float = 0.0) -> Renewer:
        clock = Clock(lambda: self.wall, lambda: self.ticks, lambda: self.chance)
        return Renewer(self.joined(begins), self.renew, self.taken.append, clock)

    def passes(self, seconds: float) -> None:
        self.wall += seconds
        self.ticks += seconds


@dataclass(frozen=True)
class _Dated:
    not_valid_before_utc: datetime
    not_valid_after_utc: datetime


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_a_young_certificate_is_left_alone_until_a_third_of_its_life(bench: Bench) -> None:
    renewer = bench.renewer()
    assert renewer.left() == LIFE / 3
    assert renewer.next_at == LIFE / 3
    bench.passes(LIFE / 3 - 1)
    assert renewer.left() == 1
    bench.passes(1)
    assert renewer.left() <= 0


async def test_each_new_certificate_is_told_and_starts_the_time_anew(bench: Bench) -> None:
    renewer = bench.renewer()
    bench.passes(LIFE / 3)
    bench.answer = lambda: bench.renewed(bench.wall)
    done = await renewer.now()
    assert bench.taken == [done.joined]
    assert renewer.left() == LIFE / 3
    assert renewer.problem == ""


async def test_failures_are_tried_again_ever_less_often_and_oftener_near_the_end(bench: Bench) -> None:
    renewer, waits = bench.renewer(), []
    bench.passes(LIFE / 3)
    bench.chance = 1.0
    while bench.wall < LIFE:
        with pytest.raises(RenewalFailed):
            await renewer.now()
        assert renewer.problem == "no relay"
        waits.append(renewer.left())
        assert 0 < waits[-1] <= schedule.MOST_PAUSE
        bench.passes(waits[-1])
    assert waits[:3] == [30, 60, 120]
    assert max(waits) == schedule.MOST_PAUSE
    assert waits[-1] == schedule.LEAST_PAUSE
    # Over, and as often as before: it can be renewed for 90 days.
    with pytest.raises(RenewalFailed):
        await renewer.now()
    assert renewer.left() == schedule.LEAST_PAUSE


@pytest.mark.parametrize("reason", sorted(refusal.REASONS - {refusal.WAITING}))
async def test_a_no_is_asked_again_every_5_to_15_minutes(bench: Bench, reason: str) -> None:
    renewer = bench.renewer()
    bench.passes(LIFE / 3)
    bench.answer = TurnedAway("No.", reason)
    for chance, wait in ((0.0, 300.0), (1.0, 900.0)):
        bench.chance = chance
        for _ in range(20):
            with pytest.raises(TurnedAway):
                await renewer.now()
            assert renewer.left() == wait


async def test_who_waits_for_approval_asks_oftener(bench: Bench) -> None:
    renewer = bench.renewer(-LIFE)  # it has expired meanwhile
    bench.answer = TurnedAway("Wait.", refusal.WAITING)
    with pytest.raises(TurnedAway):
        await renewer.now()
    assert renewer.left() == schedule.WAITING[0]


async def test_a_renewal_that_was_asked_for_early_and_failed_waits_for_its_time(bench: Bench) -> None:
    renewer = bench.renewer()
    with pytest.raises(RenewalFailed):
        await renewer.now()
    assert renewer.left() == LIFE / 3


async def test_one_that_is_over_is_renewed_at_once(bench: Bench) -> None:
    assert bench.renewer(-LIFE).left() <= 0
    assert bench.renewer(-LIFE + 1).left() > -LIFE, "due since long"
    assert bench.renewer(-LIFE + 1).left() <= 0


# -- clocks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", [-30 * DAY, -10 * DAY, 10 * DAY, 400 * DAY])
async def test_a_clock_that_is_wrong_by_days_costs_one_renewal_and_is_named(
    bench: Bench, wrong: float, caplog: pytest.LogCaptureFixture
) -> None:
    true = 500 * DAY
    bench.wall = true + wrong
    renewer = bench.renewer(true - DAY)  # by the relay's clock it is a day old
    assert renewer.left() <= 0
    bench.answer = lambda: bench.renewed(true, skew=-wrong)
    await renewer.now()
    assert renewer.left() == pytest.approx(LIFE / 3)
    assert renewer.next_at == pytest.approx(bench.wall + LIFE / 3), "as this machine's clock will show it"
    assert f"'by_s': {round(-wrong)}" in caplog.text


async def test_a_clock_that_is_set_while_it_runs_is_noticed(bench: Bench) -> None:
    renewer = bench.renewer()
    bench.wall += LIFE
    assert renewer.left() <= 0
    bench.wall -= 2 * LIFE
    assert renewer.left() <= 0
    bench.wall += LIFE
    assert renewer.left() == LIFE / 3


async def test_a_clock_that_jumps_does_not_shorten_a_pause(bench: Bench) -> None:
    renewer = bench.renewer()
    bench.passes(LIFE / 3)
    bench.answer = TurnedAway("No.", refusal.LOCKED)
    with pytest.raises(TurnedAway):
        await renewer.now()
    bench.wall += LIFE
    assert renewer.left() == 300


async def test_a_relay_that_gives_what_is_over_already_is_not_asked_in_a_loop(bench: Bench) -> None:
    renewer = bench.renewer()
    bench.answer = lambda: bench.renewed(bench.wall - LIFE)
    await renewer.now()
    assert renewer.left() == HASTE


# -- doubts ---------------------------------------------------------------------------------------


async def test_a_doubt_renews_at_once_and_not_again_soon(bench: Bench) -> None:
    renewer = bench.renewer()
    renewer.doubt()
    assert renewer.left() <= 0
    bench.answer = lambda: bench.renewed(bench.wall)
    await renewer.now()
    renewer.doubt()
    assert renewer.left() == LIFE / 3
    bench.passes(DOUBTS)
    renewer.doubt()
    assert renewer.left() <= 0


async def test_a_doubt_does_not_shorten_the_pause_after_a_no(bench: Bench) -> None:
    renewer = bench.renewer()
    bench.answer = TurnedAway("No.", refusal.LOCKED)
    with pytest.raises(TurnedAway):
        await renewer.now()
    renewer.doubt()
    assert renewer.left() == 300


# -- running --------------------------------------------------------------------------------------


async def test_it_runs_by_itself(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    renewer = bench.renewer()
    bench.answer = lambda: bench.renewed(bench.wall)
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(renewer.run())
        await asyncio.sleep(0)
        assert bench.asked == 0
        bench.passes(LIFE / 3)
        renewer._wake.set()  # as a slice that is over
        await until(lambda: bench.asked == 1, "the renewal")
        bench.answer = RenewalFailed("no relay")
        bench.passes(LIFE / 3)
        renewer._wake.set()
        await until(lambda: bench.asked == 2, "the next, which fails")
        await asyncio.sleep(0)
        assert bench.asked == 2
        bench.passes(60)
        renewer.doubt()
        await until(lambda: bench.asked == 3, "another")
        task.cancel()
    assert renewer_module.SLICE <= 60, "or a machine that slept would be late"


async def test_a_revocation_ends_it_wherever_it_was_heard(bench: Bench) -> None:
    revoked = Revoked("It was revoked.")
    heard = bench.renewer()
    bench.answer = revoked
    with pytest.raises(Revoked):
        await heard.now()
    with pytest.raises(Revoked) as caught:
        await heard.run()
    assert caught.value.status == Exit.REFUSED
    told = bench.renewer()
    async with asyncio.TaskGroup() as tasks:
        ended = tasks.create_task(_end_of(told))
        await asyncio.sleep(0)
        told.end(revoked)
        assert await ended is revoked


async def _end_of(renewer: Renewer) -> Revoked:
    try:
        await renewer.run()
    except Revoked as revoked:
        return revoked


async def test_one_renewal_at_a_time(bench: Bench) -> None:
    at_once = most = 0

    async def slow() -> Renewed:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(0)
        at_once -= 1
        return bench.renewed(bench.wall)

    renewer = bench.renewer()
    renewer._renew = slow
    async with asyncio.TaskGroup() as tasks:
        for _ in range(3):
            tasks.create_task(renewer.now())
    assert most == 1
    assert len(bench.taken) == 3
