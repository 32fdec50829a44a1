"""Tests of the endpoint run on a loop whose clock jumps: when nothing can happen now, it is later at once."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable

import pytest


class _Jumping(selectors.SelectSelector):
    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
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


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    if item.path.name == "test_real_children.py":
        return {"real": asyncio.new_event_loop}
    return {"virtual": VirtualLoop}
