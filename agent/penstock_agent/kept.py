"""What an agent has counted or remembered about people, on disk: a restart forgets none of it.

A file of its own for each, written a few seconds after a change: a write for each call would cost more than
the call. So a machine that loses power loses ``EVERY_S`` seconds at most, and an agent that is stopped loses
none.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn, Protocol

from penstock import log
from penstock_agent.files import write_atomic
from penstock_agent.gate.policy.books import Books
from penstock_agent.gate.policy.taint import Marks
from penstock_agent.problem import Problem

EVERY_S: Final = 5.0
MAX_BYTES: Final = 32 << 20

_log = log.get(__name__)


class Memory(Protocol):
    """What is kept. ``changed``: whether it has something that ``dump`` has not said."""

    changed: bool

    def dump(self, now: float, /) -> bytes: ...

    def load(self, data: bytes, /) -> None:
        """Raises ValueError for what no ``dump`` wrote."""
        ...


@dataclass(frozen=True, slots=True)
class Kept:
    """One such file."""

    name: str
    what: str
    """It, in words: "What was used today …"."""
    instead: str
    """What follows when it is removed: "to begin the day anew"."""

    def load(self, state_dir: Path, memory: Memory) -> None:
        """Raises Problem for a file that cannot be read: nothing begins anew by accident."""
        path = state_dir / self.name
        try:
            with path.open("rb") as file:
                memory.load(file.read(MAX_BYTES))
        except FileNotFoundError:
            pass
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not what this agent writes"
            raise Problem(
                f"{self.what} cannot be read from {path}: {why}. Remove the file {self.instead}."
            ) from None

    def save(self, state_dir: Path, memory: Memory, now: Callable[[], float] = time.time) -> None:
        """If it has changed. A disk that takes nothing is told of in the log: memory still counts."""
        if memory.changed:
            self._write(state_dir, memory, memory.dump(now()))

    async def keep(self, state_dir: Path, memory: Memory, now: Callable[[], float] = time.time) -> NoReturn:
        """Save it every few seconds, until cancelled."""
        while True:
            await asyncio.sleep(EVERY_S)
            if memory.changed:
                await asyncio.to_thread(self._write, state_dir, memory, memory.dump(now()))

    def _write(self, state_dir: Path, memory: Memory, data: bytes) -> None:
        try:
            write_atomic(state_dir / self.name, data, 0o600)
        except OSError as error:
            memory.changed = True
            _log.warning("not_saved", file=self.name, why=error.strerror)


SPENT: Final = Kept("spent.json", "What was used today of the budgets", "to begin the day anew")
TAINTED: Final = Kept("tainted.json", "For whom something sensitive was read", "to forget it")


def spent(state_dir: Path) -> Books:
    """What people have used today of their budgets. Raises Problem.

    Adding it up from the ledger would need all of the day's entries at each start, and those say what a call
    was allowed by, but not yet how large its answer is.
    """
    books = Books()
    SPENT.load(state_dir, books)
    return books


def tainted(state_dir: Path) -> Marks:
    """For whom something sensitive was read lately. Raises Problem."""
    marks = Marks()
    TAINTED.load(state_dir, marks)
    return marks
