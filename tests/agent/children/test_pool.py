import asyncio
import os
import signal

import pytest

from penstock_agent.children.child import Child, ChildGone, ChildStartError
from penstock_agent.children.pool import Children, CrashLooping, TooManyChildren
from tests.agent.children.kit import Spec, dead_within, descriptors, until


class Clock:
    """Time as the test sets it, in seconds."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def crash(children: Children, spec: Spec) -> None:
    child = await children.start(spec("die"))
    with pytest.raises(ChildGone):
        await child.receive()


async def test_children_are_counted_per_server_and_leave_by_ending(spec: Spec) -> None:
    async with Children() as children:
        first = await children.start(spec("silent", name="a"))
        await children.start(spec("silent", name="a"))
        await children.start(spec("silent", name="b"))
        assert {name: counts.running for name, counts in children.counts().items()} == {"a": 2, "b": 1}
        assert len(children) == 3
        await first.stop()
        assert {name: counts.running for name, counts in children.counts().items()} == {"a": 1, "b": 1}
    assert len(children) == 0


async def test_one_child_too_many_is_refused_by_name_and_setting(spec: Spec) -> None:
    async with Children(max_children=2) as children:
        first = await children.start(spec("silent"))
        await children.start(spec("silent"))
        with pytest.raises(
            TooManyChildren, match=r"2 children are running.*raise max_children in agent\.toml"
        ):
            await children.start(spec("silent"))
        await first.stop()
        await children.start(spec("silent"))
        assert len(children) == 2


async def test_children_that_are_being_started_count(spec: Spec) -> None:
    async with Children(max_children=3) as children:
        started = await asyncio.gather(
            *(children.start(spec("silent")) for _ in range(8)), return_exceptions=True
        )
        assert sum(isinstance(child, Child) for child in started) == 3
        assert sum(isinstance(child, TooManyChildren) for child in started) == 5


async def test_a_start_that_fails_takes_no_place_and_is_no_crash(spec: Spec) -> None:
    async with Children(max_children=1) as children:
        for _ in range(10):
            with pytest.raises(ChildStartError, match="command not found"):
                await children.start(spec(command=("no-such-tool",)))
        assert children.counts()["evil"].crashes_in_a_row == 0
        await children.start(spec("silent"))


def test_a_bound_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Children(max_children=0)


async def test_a_server_that_keeps_crashing_is_refused_for_a_minute_and_no_other_is(
    spec: Spec, clock: Clock
) -> None:
    async with Children(clock=clock) as children:
        for _ in range(5):
            await crash(children, spec)
        with pytest.raises(CrashLooping, match=r"5 times in a row.*for 60 s") as refused:
            await children.start(spec("silent"))
        assert refused.value.retry_after_s == 60.0
        assert children.counts()["evil"].refused_for_s == 60.0
        await children.start(spec("silent", name="other"))


async def test_after_the_minute_one_trial_is_let_through(spec: Spec, clock: Clock) -> None:
    async with Children(clock=clock) as children:
        for _ in range(5):
            await crash(children, spec)
        clock.now += 60
        trial = await children.start(spec("silent"))
        with pytest.raises(CrashLooping):
            await children.start(spec("silent"))
        await trial.stop()
        await crash(children, spec)
        with pytest.raises(CrashLooping, match="for 60 s"):
            await children.start(spec("silent"))


async def test_a_trial_that_answers_lets_the_others_start(spec: Spec, clock: Clock) -> None:
    async with Children(clock=clock) as children:
        for _ in range(5):
            await crash(children, spec)
        clock.now += 60
        await children.start(spec("silent"))
        children.worked("evil")
        await children.start(spec("silent"))
        assert children.counts()["evil"].running == 2


async def test_an_older_child_that_is_stopped_makes_no_room_for_a_second_trial(
    spec: Spec, clock: Clock
) -> None:
    async with Children(clock=clock) as children:
        older = await children.start(spec("silent"))
        for _ in range(5):
            await crash(children, spec)
        clock.now += 60
        await children.start(spec("silent"))
        await older.stop()
        with pytest.raises(CrashLooping):
            await children.start(spec("silent"))


async def test_a_new_configuration_forgets_the_crashes(spec: Spec, clock: Clock) -> None:
    async with Children(clock=clock) as children:
        for _ in range(5):
            await crash(children, spec)
        children.forget("evil")
        await children.start(spec("silent"))


async def test_the_wait_before_a_restart_grows_with_the_crashes(spec: Spec, clock: Clock) -> None:
    async with Children(clock=clock, chance=lambda: 0.5) as children:
        assert children.restart_delay("evil") == 0.0
        waits = []
        for _ in range(4):
            await crash(children, spec)
            waits.append(children.restart_delay("evil"))
            clock.now += 30
        assert waits == [0.25, 0.5, 1.0, 2.0]
        long_lived = await children.start(spec("echo"))
        clock.now += 60
        os.kill(long_lived.pid, signal.SIGKILL)
        with pytest.raises(ChildGone, match="SIGKILL"):
            await long_lived.receive()
        assert children.restart_delay("evil") == 0.25


async def test_stopping_a_child_is_no_crash(spec: Spec, clock: Clock) -> None:
    async with Children(clock=clock) as children:
        for _ in range(6):
            child = await children.start(spec("stubborn"))
            await child.stop(grace_s=0.01)
        assert children.counts()["evil"].crashes_in_a_row == 0


async def test_closing_stops_all_at_the_same_time_and_leaves_nothing(spec: Spec) -> None:
    async with Children() as warm:
        await warm.start(spec("silent"))
    before = descriptors()
    children = Children()
    running = [await children.start(spec("stubborn")) for _ in range(8)]
    for child in running:
        assert await child.receive() == b"ready"
    begun = asyncio.get_running_loop().time()
    await children.close(grace_s=0.2)
    assert asyncio.get_running_loop().time() - begun < 8 * 0.4
    assert all(child.returncode == -signal.SIGKILL for child in running)
    assert descriptors() == before
    await children.close()
    with pytest.raises(ChildStartError, match="stopping"):
        await children.start(spec("silent"))


async def test_what_does_not_stop_in_time_is_killed(spec: Spec, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("penstock_agent.children.pool.CLOSE_WAIT_S", 0.05)
    children = Children()
    child = await children.start(spec("stubborn"))
    assert await child.receive() == b"ready"
    await children.close(grace_s=60)
    assert dead_within(child.pid, 20)
    await until(lambda: child.returncode is not None)


async def test_a_start_that_meets_the_closing_leaves_no_child(spec: Spec) -> None:
    children = Children()
    first = await children.start(spec("silent"))
    async with asyncio.TaskGroup() as tasks:
        late = tasks.create_task(failed_start(children, spec))
        await until(lambda: len(children) == 2)
        await children.close()
        assert "stopping" in await late
    assert first.returncode == 0
    await until(lambda: len(children) == 0)


async def failed_start(children: Children, spec: Spec) -> str:
    with pytest.raises(ChildStartError) as error:
        await children.start(spec("silent"))
    return str(error.value)


async def test_children_outlive_a_keeper_and_end_with_the_next(spec: Spec) -> None:
    async with Children() as children:
        child = await children.start(spec("echo"))
        keeper = children._keeper
        assert keeper is not None
        first = keeper.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await until(lambda: keeper.pid not in (first, None))
        await child.send(b"still here")
        assert await child.receive() == b"still here"
        await children.start(spec("echo"))
