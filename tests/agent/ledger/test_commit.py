"""Group commit."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator

import pytest

from penstock_agent.ledger.commit import Commit
from penstock_agent.ledger.entries import CannotRecord

BOTH_LOOPS = True


class Slow:
    """A disk that is done when the test says so."""

    def __init__(self) -> None:
        self.begun = 0
        self.go = threading.Semaphore(0)
        self.error: OSError | None = None
        self.done: list[int] = []
        self.failed: list[OSError] = []
        self.started = asyncio.Event()

    def work(self) -> Callable[[], None]:
        self.begun += 1
        self.started.set()
        return self._sync

    def _sync(self) -> None:
        self.go.acquire()
        if self.error is not None:
            raise self.error


@pytest.fixture
def slow() -> Slow:
    return Slow()


@pytest.fixture
def commit(slow: Slow) -> Iterator[Commit]:
    made = Commit(slow.work, slow.done.append, slow.failed.append)
    yield made
    slow.go.release(100)
    slow.error = None
    made.close()


async def test_the_first_record_starts_one_sync_for_all_that_come_before_it_begins(
    commit: Commit, slow: Slow
) -> None:
    for n in range(1, 6):
        commit.wrote(n)
    await slow.started.wait()
    slow.go.release()
    await commit.until(5)
    assert (slow.begun, slow.done, commit.synced) == (1, [5], 5)


async def test_all_who_wait_share_one_sync_and_nobody_is_told_too_soon(commit: Commit, slow: Slow) -> None:
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        commit.wrote(1)
        first = tasks.create_task(commit.until(1))
        await slow.started.wait()
        commit.wrote(2)
        commit.wrote(3)
        later = [tasks.create_task(commit.until(n)) for n in (2, 3)]
        slow.go.release()
        await first
        assert not any(task.done() for task in later)  # the sync that ended had begun before them
        slow.go.release()
    assert (slow.begun, slow.done) == (2, [1, 3])


async def test_what_is_written_meanwhile_is_synced_after_without_being_asked(
    commit: Commit, slow: Slow
) -> None:
    commit.wrote(1)
    await slow.started.wait()
    slow.started.clear()
    commit.wrote(2)
    slow.go.release(2)
    async with asyncio.timeout(30):
        await slow.started.wait()
    await commit.until(2)
    assert slow.done == [1, 2]


async def test_a_sync_that_fails_is_told_to_all_who_wait(commit: Commit, slow: Slow) -> None:
    slow.error = OSError(5, "Input/output error")
    commit.wrote(1)
    slow.go.release()
    with pytest.raises(CannotRecord):
        await commit.until(1)
    assert slow.failed == [slow.error]
    assert commit.synced == 0


async def test_one_who_gives_up_waiting_stops_nothing(commit: Commit, slow: Slow) -> None:
    async with asyncio.TaskGroup() as tasks:
        commit.wrote(1)
        task = tasks.create_task(commit.until(1))
        await slow.started.wait()
        task.cancel()
    slow.go.release()
    await commit.until(1)
    assert slow.done == [1]
