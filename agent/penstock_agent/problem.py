"""What an operator is told when something cannot be done: one exception, one sentence, one exit status."""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit statuses of every command (a contract: scripts read them)."""

    DONE = 0
    FAILED = 1
    USAGE = 2  # usage or configuration
    REFUSED = 3  # refused for good by the other side: trying again changes nothing
    INTERRUPTED = 130


class Problem(Exception):
    """A failure that is explained to the operator: ``str()`` names the cause and the next step.

    ``status`` is what the command exits with.
    """

    status: Exit = Exit.FAILED

    def __init__(self, text: str, status: Exit | None = None) -> None:
        super().__init__(text)
        if status is not None:
            self.status = status


def printable(text: str, limit: int = 300) -> str:
    """``text`` of another program, on its way to a terminal: cut, and without control characters."""
    shown = "".join(c if c.isprintable() else "?" for c in text[:limit])
    return shown if len(text) <= limit else shown + "…"
