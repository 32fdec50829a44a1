"""Both event loops, one keeper per test, and the evil child."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest
import pytest_asyncio
import uvloop

from penstock_agent.children.child import Child, ProcessSpec
from penstock_agent.children.environment import clean_environment
from penstock_agent.children.keeper import Keeper
from tests.agent.children.kit import EVIL, Spec


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
def spec(tmp_path: Path) -> Spec:
    """A spec that runs one mode of the evil child, or any command."""

    def make(*mode: str, name: str = "evil", command: tuple[str, ...] = ()) -> ProcessSpec:
        env = clean_environment(tmp_path, {}, {"PATH": os.environ["PATH"]})
        return ProcessSpec(name, command or (sys.executable, "-I", "-S", EVIL, *mode), env, tmp_path)

    return make


@pytest_asyncio.fixture
async def keeper() -> AsyncIterator[Keeper]:
    keeper = await Keeper.start()
    yield keeper
    await keeper.close()


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines of children's standard errors that reach the log."""
    lines: list[str] = []

    def keep(child: Child, line: str) -> None:
        lines.append(line)

    monkeypatch.setattr(Child, "_log_stderr", keep)
    return lines
