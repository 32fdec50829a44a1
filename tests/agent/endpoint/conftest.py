"""Tests of the endpoint run on a loop whose clock jumps: when nothing can happen now, it is later at once."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

import pytest

T = TypeVar("T")


class _Jumping(selectors.SelectSelector):
    now = 0.0
    threads = 0
    """How many work for the loop: no time passes until they are done."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(30 if self.threads and timeout != 0 else 0)
        if ready or timeout == 0:
            return ready
        assert timeout is not None, "everybody waits and nothing is scheduled: the conversation is stuck"
        self.now += timeout
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        self._jumping.threads += 1
        await super().shutdown_default_executor()

    def run_in_executor(
        self, executor: Executor | None, func: Callable[..., T], *args: object
    ) -> asyncio.Future[T]:
        self._jumping.threads += 1
        future = super().run_in_executor(executor, func, *args)
        future.add_done_callback(self._worked)
        return future

    def _worked(self, _: object) -> None:
        self._jumping.threads -= 1


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    if item.path.name == "test_real_children.py":
        return {"real": asyncio.new_event_loop}
    return {"virtual": VirtualLoop}
