"""Modules that say `BOTH_LOOPS = True` run their asynchronous tests on asyncio's own loop and on uvloop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

import pytest
import uvloop


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    module = item.getparent(pytest.Module)
    factories = {"asyncio": asyncio.new_event_loop}
    if module is not None and getattr(module.obj, "BOTH_LOOPS", False):
        factories["uvloop"] = uvloop.new_event_loop
    return factories
