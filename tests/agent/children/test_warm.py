"""Processes that wait for somebody: through the pool, with real processes."""

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from penstock_agent.children import demand
from penstock_agent.children.child import ChildGone, ChildStartError
from penstock_agent.children.pipes import OUTPUT_WAITING_MAX, PIPE_SIZE, READ_SIZE
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


@pytest.fixture
def logs() -> Iterator[list[EventDict]]:
    with capture_logs() as logs:
        yield logs


def warm(children: Children, server: str = "evil") -> int:
    counts = children.counts().get(server)
    return counts.warm if counts else 0


async def use(children: Children, spec: Spec, *mode: str, name: str = "evil", times: int = 1) -> None:
    """Callers who need a process, get an answer and go."""
    for _ in range(times):
        child = await children.start(spec(*(mode or ("echo",)), name=name))
        children.worked(name)
        await child.stop(grace_s=0.5)


async def busy(children: Children, spec: Spec, *mode: str, name: str = "evil", count: int = 1) -> None:
    """A server that keeps ``count`` processes warm."""
    children.keep_warm({"evil": count, name: count})
    await use(children, spec, *mode, name=name)
    await kept(children, count, name)


async def kept(children: Children, count: int, name: str = "evil") -> None:
    def there() -> bool:
        children.tend()
        return warm(children, name) == count

    await until(there)


async def quiet(children: Children) -> None:
    """Returns when nothing is being started or ended."""
    await until(lambda: not children._warm._starting and not children._warm._ending)


def only_warm(children: Children, name: str = "evil") -> int:
    """The process id of the one that waits."""
    [child] = [child for child in children._warm._ready if child.spec.name == name]
    return child.pid


async def test_the_second_use_starts_one_and_the_third_gets_it(spec: Spec, logs: list[EventDict]) -> None:
    async with Children() as children:
        await use(children, spec)
        await quiet(children)
        assert warm(children) == 0
        await use(children, spec)
        await until(lambda: warm(children) == 1)
        pid = only_warm(children)
        third = await children.start(spec("echo"))
        assert third.pid == pid
        await third.send(b"hello")
        assert await third.receive() == b"hello"
        assert len(children) == 1
        started = [(line["pid"], line["warm"]) for line in logs if line["event"] == "child_started"]
        assert started[-1] == (pid, True)
        assert [warm for _, warm in started[:-1]] == [False, False]
        assert [line["pid"] for line in logs if line["event"] == "child_warmed"] == [pid]


async def test_its_place_is_taken_by_another_when_it_answers(spec: Spec) -> None:
    async with Children() as children:
        await busy(children, spec)
        pid = only_warm(children)
        child = await children.start(spec("echo"))
        assert (child.pid, warm(children)) == (pid, 0)
        children.worked("evil")
        await until(lambda: warm(children) == 1)
        assert only_warm(children) != pid


async def test_processes_that_only_the_agent_asks_make_no_server_busy(spec: Spec) -> None:
    """Probes and catalogues start and stop them, and nobody says that they worked."""
    async with Children() as children:
        for _ in range(10):
            await (await children.start(spec("echo"))).stop()
        children.tend()
        await quiet(children)
        assert warm(children) == 0


async def test_sessions_that_share_a_process_make_no_server_busy(spec: Spec) -> None:
    async with Children() as children:
        await children.start(spec("echo"))
        for _ in range(10):
            children.worked("evil")
        await quiet(children)
        assert warm(children) == 0


async def test_what_it_says_before_anybody_speaks_is_for_whom_it_is_given_to(spec: Spec) -> None:
    async with Children() as children:
        await busy(children, spec, "many_lines", "1000")
        await until(lambda: next(iter(children._warm._ready))._stdout.waiting > 1000 * 3)
        child = await children.start(spec("many_lines", "1000"))
        await child.send(b"hello")
        assert [await child.receive() for _ in range(1000)] == [b"%d" % number for number in range(1000)]
        assert await child.receive() == b"hello"


async def test_what_it_says_is_held_within_the_bound_of_every_child(spec: Spec) -> None:
    async with Children() as children:
        await busy(children, spec, "many_lines", "2000000")
        [child] = children._warm._ready
        await until(lambda: child._stdout.paused)
        assert child._stdout.waiting <= OUTPUT_WAITING_MAX + (READ_SIZE + PIPE_SIZE) * 64
        assert warm(children) == 1


async def test_what_it_says_to_its_standard_error_is_logged(spec: Spec, logged: list[str]) -> None:
    async with Children() as children:
        children.keep_warm({"evil": 1})
        child = await children.start(spec("say", "loading\\n"))
        assert await child.receive() == b"said"
        children.worked("evil")
        await until(lambda: logged == ["loading", "loading"])


async def test_another_command_does_not_get_it_and_ends_it(spec: Spec) -> None:
    async with Children() as children:
        await busy(children, spec)
        pid = only_warm(children)
        child = await children.start(spec("rpc"))
        assert child.pid != pid
        await quiet(children)
        assert dead_within(pid, 20)


async def test_a_new_configuration_ends_it_at_once(spec: Spec) -> None:
    async with Children() as children:
        await busy(children, spec)
        pid = only_warm(children)
        children.forget("evil")
        assert warm(children) == 0
        await quiet(children)
        assert dead_within(pid, 20)
        children.tend()
        await quiet(children)
        assert warm(children) == 0


async def test_a_configuration_that_is_read_again_ends_all_that_wait(spec: Spec) -> None:
    async with Children() as children:
        await busy(children, spec)
        pid = only_warm(children)
        children.keep_warm({})
        assert warm(children) == 0
        await quiet(children)
        assert dead_within(pid, 20)


async def test_a_setting_of_0_starts_none(spec: Spec) -> None:
    async with Children() as children:
        children.keep_warm({"evil": 0})
        await use(children, spec, times=4)
        await quiet(children)
        assert warm(children) == 0


async def test_nobody_comes_any_more_and_none_is_left(spec: Spec, clock: Clock) -> None:
    async with Children(clock=clock) as children:
        await busy(children, spec, count=2)
        clock.now += demand.IDLE_S - 1
        children.tend()
        assert warm(children) == 2
        clock.now += 1
        children.tend()
        assert warm(children) == 0
        await quiet(children)
        assert len(children._warm) == 0


async def test_one_that_waits_too_long_is_replaced_because_it_may_know_old_things(
    spec: Spec, clock: Clock
) -> None:
    async with Children(clock=clock) as children:
        await busy(children, spec)
        first = only_warm(children)
        clock.now += demand.IDLE_S - 1
        children._warm.used("evil")
        assert only_warm(children) == first
        clock.now += 1
        await kept(children, 1)
        await quiet(children)
        assert only_warm(children) != first


async def test_it_is_looked_after_without_being_told(
    spec: Spec, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock_agent.children.warm.TEND_S", 0.01)
    async with Children(clock=clock) as children:
        children.keep_warm({"evil": 3})
        await use(children, spec)
        await until(lambda: warm(children) == 3)
        clock.now += demand.IDLE_S
        await until(lambda: len(children._warm) == 0)
        await until(lambda: children._warm._tending is None)
        await use(children, spec)
        await until(lambda: warm(children) == 3)


async def test_who_needs_a_place_gets_that_of_one_that_waits(spec: Spec) -> None:
    async with Children(max_children=8) as children:
        await busy(children, spec, count=2)
        others = [await children.start(spec("silent", name="other")) for _ in range(6)]
        assert (len(children), warm(children)) == (6, 2)
        others.append(await children.start(spec("silent", name="other")))
        assert (len(children), len(children._warm)) == (7, 1)
        others.append(await children.start(spec("silent", name="other")))
        assert (len(children), len(children._warm)) == (8, 0)
        with pytest.raises(TooManyChildren, match="8 children are running"):
            await children.start(spec("silent"))
        assert all(child.returncode is None for child in others)


async def test_many_who_need_places_at_once_get_them_and_no_more_than_there_are(spec: Spec) -> None:
    async with Children(max_children=8) as children:
        await busy(children, spec, "stubborn", count=2)
        got = await asyncio.gather(
            *(children.start(spec("silent", name="other")) for _ in range(10)), return_exceptions=True
        )
        assert sum(isinstance(one, TooManyChildren) for one in got) == 2
        assert (len(children), len(children._warm)) == (8, 0)


async def test_who_needs_a_place_and_goes_leaves_it_free(spec: Spec) -> None:
    async with Children(max_children=4) as children:
        await busy(children, spec, "stubborn")
        used = [await children.start(spec("silent", name="other")) for _ in range(3)]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await children.start(spec("silent", name="other"))
        assert len(children) == len(used)
        await quiet(children)
        await children.start(spec("silent", name="other"))


async def test_the_last_places_are_not_taken_by_those_that_wait(spec: Spec) -> None:
    async with Children(max_children=4) as children:
        for _ in range(3):
            await children.start(spec("silent", name="other"))
        children.keep_warm({"evil": 1})
        await use(children, spec)
        children.tend()
        await quiet(children)
        assert warm(children) == 0


async def test_they_are_one_in_four_at_most(spec: Spec) -> None:
    async with Children(max_children=8) as children:
        for name in ("a", "b", "c"):
            children.keep_warm({"a": 1, "b": 1, "c": 1})
            await use(children, spec, name=name)
        for _ in range(5):
            children.tend()
            await quiet(children)
        assert len(children._warm) == 2


async def test_the_end_of_one_that_waits_is_no_crash_and_it_is_replaced(spec: Spec) -> None:
    async with Children() as children:
        await busy(children, spec)
        pid = only_warm(children)
        os.kill(pid, signal.SIGKILL)
        await until(lambda: warm(children) == 0)
        assert children.counts()["evil"].crashes_in_a_row == 0
        await kept(children, 1)


async def test_a_server_that_does_not_bear_waiting_is_left_in_peace_for_a_while(
    spec: Spec, clock: Clock, logs: list[EventDict]
) -> None:
    async with Children(clock=clock) as children:
        for _ in range(2):
            await busy(children, spec)
            os.kill(only_warm(children), signal.SIGTERM)
            await until(lambda: warm(children) == 0)
        assert [line["server"] for line in logs if line["event"] == "not_kept_warm"] == ["evil"]
        await use(children, spec, times=3)
        await quiet(children)
        assert warm(children) == 0
        clock.now += demand.PAUSE_S
        await use(children, spec)
        await kept(children, 1)


async def test_one_that_cannot_be_started_is_tried_twice_and_troubles_nobody(
    spec: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Children() as children:
        await use(children, spec)
        child = await children.start(spec("echo"))
        tries = []

        async def fail(what: object) -> None:
            tries.append(what)
            raise (ChildStartError("no") if len(tries) == 1 else RuntimeError("worse"))

        monkeypatch.setattr(children._warm, "_start", fail)
        for _ in range(5):
            children._warm.used("evil")
            await quiet(children)
        assert len(tries) == 2
        await child.send(b"hello")
        assert await child.receive() == b"hello"


async def test_after_a_crash_none_is_started_for_a_minute(spec: Spec, clock: Clock) -> None:
    async with Children(clock=clock) as children:
        await use(children, spec, times=1)
        child = await children.start(spec("echo"))
        os.kill(child.pid, signal.SIGKILL)
        with pytest.raises(ChildGone):
            await child.receive()
        await use(children, spec, times=2)
        await quiet(children)
        assert warm(children) == 0
        clock.now += 60
        await kept(children, 2)


async def test_an_open_circuit_ends_those_that_wait_and_the_trial_is_a_users(
    spec: Spec, clock: Clock
) -> None:
    async with Children(clock=clock) as children:
        await busy(children, spec)
        for _ in range(5):
            child = await children.start(spec("echo"))
            os.kill(child.pid, signal.SIGKILL)
            with pytest.raises(ChildGone):
                await child.receive()
        assert warm(children) == 0
        with pytest.raises(CrashLooping):
            await children.start(spec("echo"))
        clock.now += 60
        children.tend()
        await quiet(children)
        assert warm(children) == 0
        await children.start(spec("echo"))
        with pytest.raises(CrashLooping):
            await children.start(spec("echo"))
        children.worked("evil")
        await until(lambda: warm(children) == 1)


async def test_its_crash_counts_once_it_serves_somebody(spec: Spec) -> None:
    async with Children() as children:
        await busy(children, spec)
        child = await children.start(spec("echo"))
        os.kill(child.pid, signal.SIGKILL)
        with pytest.raises(ChildGone):
            await child.receive()
        assert children.counts()["evil"].crashes_in_a_row == 1


async def test_closing_leaves_none_whether_it_waits_or_is_being_started(spec: Spec) -> None:
    async with Children() as children:
        await children.start(spec("silent"))
    before = descriptors()
    async with Children() as children:
        await busy(children, spec, "stubborn")
        pid = only_warm(children)
        children.keep_warm({"evil": 3})
        children._warm.used("evil")
        await children.close(grace_s=0.05)
        assert dead_within(pid, 20)
        assert len(children._warm) == 0
    assert descriptors() == before


async def test_outside_of_the_pools_life_none_is_started(spec: Spec) -> None:
    children = Children()
    await use(children, spec, times=3)
    assert warm(children) == 0
    await children.close()
