"""What is said to a process without waiting for it: it may be waiting for us to read."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Final

from penstock_agent.children.child import ChildGone
from penstock_agent.endpoint.lifeline import Lifeline
from penstock_agent.endpoint.ports import Child, Stopping
from penstock_agent.endpoint.shared import Shared

#: How long the process is given to take in such a message.
SEND_WAIT: Final = 5.0


class Replies:
    """At most ``limits.replies`` wait; what is dropped is counted as ``dropped_reply``."""

    def __init__(self, lifeline: Lifeline, shared: Shared, counts: Counter[str]) -> None:
        self._lifeline = lifeline
        self._shared = shared
        self._counts = counts
        self._waiting = 0

    def send(self, line: bytes) -> None:
        """To the process whose lines are taken now, if there is one."""
        child = self._lifeline.alive
        if child is None:
            return
        if self._waiting >= self._shared.limits.replies:
            self._counts["dropped_reply"] += 1
            return
        try:
            self._shared.spawn(self._send(child, line))
        except Stopping:
            return
        self._waiting += 1

    async def _send(self, child: Child, line: bytes) -> None:
        try:
            async with asyncio.timeout(SEND_WAIT):
                await child.send(line)
        except (ChildGone, TimeoutError):
            self._counts["dropped_reply"] += 1
        finally:
            self._waiting -= 1
