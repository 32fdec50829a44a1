"""What people have used today of their budgets, on disk: a restart gives nobody a second day.

A file of its own, written a few seconds after a change. Adding it up from the ledger would need all of the
day's entries at each start, and those say what a call was allowed by, but not yet how large its answer is; a
write for each call would cost more than the call. So a machine that loses power loses ``EVERY_S`` seconds of
counts at most, and an agent that is stopped loses none.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, NoReturn

from penstock import log
from penstock_agent.files import write_atomic
from penstock_agent.gate.policy.books import Books
from penstock_agent.problem import Problem

FILE: Final = "spent.json"
EVERY_S: Final = 5.0
MAX_BYTES: Final = 32 << 20

_log = log.get(__name__)


def load(state_dir: Path) -> Books:
    """Raises Problem for a file that cannot be read: budgets must not begin anew by accident."""
    path, books = state_dir / FILE, Books()
    try:
        with path.open("rb") as file:
            books.load(file.read(MAX_BYTES))
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not what this agent writes"
        raise Problem(
            f"What was used today of the budgets cannot be read from {path}: {why}. Remove the file to begin "
            "the day anew."
        ) from None
    return books


def save(state_dir: Path, books: Books, now: Callable[[], float] = time.time) -> None:
    """If it has changed. A disk that takes nothing is told of in the log: what is in memory still counts."""
    if books.changed:
        _write(state_dir, books, books.dump(now()))


async def keep(state_dir: Path, books: Books, now: Callable[[], float] = time.time) -> NoReturn:
    """Save it every few seconds, until cancelled."""
    while True:
        await asyncio.sleep(EVERY_S)
        if books.changed:
            await asyncio.to_thread(_write, state_dir, books, books.dump(now()))


def _write(state_dir: Path, books: Books, data: bytes) -> None:
    try:
        write_atomic(state_dir / FILE, data, 0o600)
    except OSError as error:
        books.changed = True
        _log.warning("budgets_not_saved", why=error.strerror)
