"""Tasks that may fail without ending the others."""

from __future__ import annotations

import asyncio

import pytest

from penstock_agent import alone


async def test_a_task_that_fails_leaves_the_others_be() -> None:
    async def fails() -> None:
        raise ValueError("it says what somebody sent")

    async def works() -> None:
        await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        failing, working = alone.start(group, fails()), alone.start(group, works())
        await asyncio.wait((failing, working))
    assert failing.exception() is None
    assert working.exception() is None


async def test_a_task_that_is_cancelled_before_it_begins_leaves_nothing_unawaited() -> None:
    async def never() -> None:
        pytest.fail("it was cancelled before")

    async with asyncio.TaskGroup() as group:
        task = alone.start(group, never())
        task.cancel()
    assert task.cancelled()


async def test_a_task_that_is_cancelled_is_over() -> None:
    async def waits() -> None:
        await asyncio.Event().wait()

    async with asyncio.TaskGroup() as group:
        task = alone.start(group, waits())
        await asyncio.sleep(0)
        task.cancel()
    assert task.cancelled()
