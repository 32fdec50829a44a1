"""``on_event``: a program of the site that is told what happens here: one JSON object on its standard input.

It runs without a shell, in an environment of its own, for a bounded time; what it prints is dropped, and what
it says on its standard error is in the agent's log. How it ends changes nothing here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NoReturn

import msgspec

from penstock.log import get
from penstock_agent.children.child import Child, ChildGone, ChildStartError, ProcessSpec
from penstock_agent.children.environment import DEFAULT_LANG, DEFAULT_PATH
from penstock_agent.children.keeper import Keeper

AT_ONCE: Final = 4
"""Programs that run at the same time."""
MOST_WAITING: Final = 256
"""Events that wait for one of them; the next are dropped."""
PATIENCE_S: Final = 30.0
"""After so long a program is told to end, and after as long once more it is killed, with what it started."""
MAX_BYTES: Final = 64 * 1024
"""Of one event."""

_log = get(__name__)


class Hooks:
    """One per agent. ``tell`` never waits; ``run`` is a task of the agent."""

    def __init__(self, command: Sequence[str], patience_s: float = PATIENCE_S) -> None:
        """``command``: the program and its arguments; empty for none. It may be replaced."""
        self.command = tuple(command)
        self._patience_s = patience_s
        self._begun = asyncio.Event()
        self._events: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue(MOST_WAITING)

    def tell(self, event: str, about: Mapping[str, object]) -> None:
        """Something has happened: ``{"event": EVENT, ...}``."""
        if not self.command:
            return
        data = msgspec.json.encode({"event": event, **about})
        try:
            if len(data) > MAX_BYTES:
                raise asyncio.QueueFull
            self._events.put_nowait((event, data))
            self._begun.set()
        except asyncio.QueueFull:
            _log.error("event_not_told", about=event, why="too many wait, or it is too large")

    async def run(self) -> NoReturn:
        """Until cancelled; what runs then is killed."""
        await self._begun.wait()  # most sites have no such program
        keeper = await Keeper.start()
        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(AT_ONCE):
                    tasks.create_task(self._work(keeper))
        finally:
            await keeper.close()
        raise AssertionError("works until it is cancelled")

    async def _work(self, keeper: Keeper) -> NoReturn:
        while True:
            event, data = await self._events.get()
            if self.command and (why := await self._one(keeper, data)):
                _log.error("event_not_told", about=event, program=self.command[0], why=why)

    async def _one(self, keeper: Keeper, data: bytes) -> str:
        """Run the program once. What went wrong; empty for nothing."""
        env = {"PATH": DEFAULT_PATH, "LANG": DEFAULT_LANG}
        try:
            child = await Child.start(ProcessSpec("on_event", self.command, env, Path("/")), keeper)
        except ChildStartError as error:
            return str(error)
        try:
            await child.send(data)
        except ChildGone as error:
            return str(error)
        finally:
            try:
                await child.stop(self._patience_s)
            except asyncio.CancelledError:
                await child.stop()  # it is killed; this waits until it is gone
                raise
        return f"it ended with status {child.returncode}" if child.returncode else ""
