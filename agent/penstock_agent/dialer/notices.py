"""Tells the relay over a link how much waits for the site's administrator: counts, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from penstock.tunnel.frames import FrameType, Notice
from penstock.tunnel.limits import NOTICE_EVERY
from penstock.tunnel.link import Link
from penstock.tunnel.states import SINCE

MOST: Final = (1 << 32) - 1
"""The largest count that a notice can say."""


def notice_of(withheld: int, waiting: int, *, ledger_failing: bool, paused: bool) -> Notice:
    """What is said of these; a count that does not fit is the largest that does."""
    return Notice(min(withheld, MOST), min(waiting, MOST), ledger_failing, paused)


class Noticing:
    """What one link has said of it."""

    def __init__(self, link: Link, current: Callable[[], Notice] | None) -> None:
        """``current`` is asked every few seconds and must not wait for anything. None: nothing is said."""
        self._link = link
        self._current = current
        self._said: Notice | None = None
        self._timer: asyncio.Handle | None = None

    def begin(self) -> None:
        """The link is greeted."""
        if self._current is not None and self._link.version >= SINCE[FrameType.NOTICE]:
            self._say(self._current)

    def end(self) -> None:
        """The link is gone. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _say(self, current: Callable[[], Notice]) -> None:
        # Asked, not told: some of it changes with time alone, as when a call has waited too long.
        self._timer = asyncio.get_running_loop().call_later(NOTICE_EVERY, self._say, current)
        notice = current()
        if notice != self._said:
            self._said = notice
            self._link.control(notice)
