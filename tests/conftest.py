"""Modules that say `BOTH_LOOPS = True` run their asynchronous tests on asyncio's own loop and on uvloop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING

import pytest
import uvloop

from penstock import log
from tests.harness import warm

if TYPE_CHECKING:
    from tests.harness.town import Town


@pytest.hookimpl(trylast=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    if session.config.getoption("numprocesses", None):
        # Before there are several processes: each would write Hypothesis' table of characters, and one that
        # reads it half-written leaves the file open, which is an error here.
        from hypothesis import strategies

        strategies.characters(categories=["Lu"]).validate()


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    module = item.getparent(pytest.Module)
    factories = {"asyncio": asyncio.new_event_loop}
    if module is not None and getattr(module.obj, "BOTH_LOOPS", False):
        factories["uvloop"] = uvloop.new_event_loop
    return factories


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Programs set logging up for their process, which in tests is everybody's."""
    root = logging.getLogger()
    handlers = root.handlers[:]
    levels = {name: logging.getLogger(name).level for name in (None, *log.PACKAGES)}
    yield
    root.handlers[:] = handlers
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


@pytest.fixture(scope="session", autouse=True)
def warm_commands() -> Iterator[None]:
    """Commands of a stack need not load themselves each time."""
    with warm.commands():
        yield


@pytest.fixture(scope="session")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """One for all tests that want it: it takes seconds to build."""
    from tests.harness.town import Town  # what most tests need not load

    with Town(tmp_path_factory.mktemp("town")) as town:
        yield town
