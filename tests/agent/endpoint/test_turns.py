"""Long work in slices: how long nothing else is done, how much one message may take, and who waits."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from penstock_agent.endpoint import turns
from penstock_agent.endpoint.turns import AT_ONCE, MOST_S, SLICE_S, Turns
from penstock_agent.gate.redaction.steps import Steps, TooMuch


class Clock:
    """Each step takes ``step`` seconds."""

    def __init__(self, step: float) -> None:
        self.now = 0.0
        self.step = step
        self.slices: list[float] = []
        self._begun = 0.0

    def __call__(self) -> float:
        return self.now

    async def pause(self) -> None:
        self.slices.append(self.now - self._begun)
        await asyncio.sleep(0)
        self._begun = self.now

    def steps(self, number: int, done: str = "done") -> Steps[str]:
        try:
            for _ in range(number):
                self.now += self.step
                yield
        except TooMuch:
            self.now += self.step
            yield
            return "too much"
        return done

    @property
    def turns(self) -> Turns:
        return Turns(self, self, self.pause)


async def test_after_each_slice_all_else_has_its_turn() -> None:
    clock = Clock(SLICE_S / 4)
    assert await clock.turns.run(clock.steps(40)) == "done"
    assert len(clock.slices) in (9, 10)
    assert max(clock.slices) < SLICE_S * 1.26


async def test_short_work_does_not_wait() -> None:
    clock = Clock(SLICE_S / 4)
    work = clock.turns.run(clock.steps(2))
    with pytest.raises(StopIteration) as ended:
        work.send(None)
    assert ended.value.value == "done"


async def test_what_takes_too_much_of_the_processor_ends_as_such() -> None:
    clock = Clock(MOST_S / 10)
    assert await clock.turns.run(clock.steps(1000)) == "too much"
    assert clock.now <= MOST_S * 1.3


async def test_several_take_turns_and_no_slice_follows_another_without_a_pause() -> None:
    clock = Clock(SLICE_S)
    shared, order = clock.turns, list[str]()

    def steps(name: str, number: int) -> Steps[str]:
        for _ in range(number):
            clock.now += clock.step
            order.append(name)
            yield
        return name

    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(shared.run(steps(name, 3))) for name in "ab"]
    assert [one.result() for one in running] == ["a", "b"]
    assert order == list("ababab")
    assert max(clock.slices) < SLICE_S * 1.01


async def test_more_than_a_few_wait_for_a_place_without_having_begun() -> None:
    clock, begun = Clock(SLICE_S), set[int]()
    go = asyncio.Event()

    async def pause() -> None:
        await go.wait()

    def steps(number: int) -> Iterator[None]:
        begun.add(number)
        yield

    def work(number: int) -> Steps[int]:
        yield from steps(number)
        clock.now += SLICE_S
        yield
        return number

    shared = Turns(clock, clock, pause)
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(shared.run(work(number))) for number in range(AT_ONCE + 2)]
        for _ in range(20):
            await asyncio.sleep(0)
        assert shared._places.locked()
        assert len(begun) <= AT_ONCE
        go.set()
    assert [one.result() for one in running] == list(range(AT_ONCE + 2))


async def test_cancelled_it_ends_and_gives_its_place_and_turn_back() -> None:
    clock, ended = Clock(SLICE_S), list[bool]()

    def endless() -> Steps[None]:
        try:
            while True:
                clock.now += SLICE_S
                yield
        finally:
            ended.append(True)

    shared = clock.turns
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(shared.run(endless()))
        for _ in range(5):
            await asyncio.sleep(0)
        running.cancel()
    assert ended == [True]
    assert await shared.run(clock.steps(3)) == "done"


def test_the_bounds_are_what_the_documentation_promises() -> None:
    assert turns.SLICE_S + turns.PAUSE_S < 0.05
