"""Large answers are looked through in a thread, before they are taken: meanwhile the loop serves everybody
else. The thread holds it for one detector and one text at a time, not for all of an answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, replace
from typing import Final, Protocol

from penstock.envelope import EnvelopeError, Kind, Message, parse_child, with_id
from penstock_agent.children.lines import Oversize
from penstock_agent.gate.redaction.outgoing import Outcome, redacted
from penstock_agent.gate.redaction.rules import Redactor

LARGE: Final = 64 << 10
"""Bytes of a line; smaller ones take less than handing them to a thread and back is worth."""


class Asked(Protocol):
    """The requests that are under way with one process."""

    def request(self, id: bytes | None) -> Message | None:
        """The request that an answer of this id belongs to; None for none."""
        ...


@dataclass(frozen=True, slots=True)
class _Found:
    redactor: Redactor
    request: Message | None
    message: Message
    outcome: Outcome | None


class Ahead:
    """One per endpoint; one answer at a time."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._found: _Found | None = None

    def look(self, redactor: Redactor | None, asked: Asked, line: bytes | Oversize) -> Awaitable[None] | None:
        """What to wait for before a line is taken; None where it need not be looked through first."""
        if redactor is None or isinstance(line, Oversize) or len(line) < LARGE:
            return None
        try:
            message = parse_child(line)
        except EnvelopeError:
            return None
        request = None
        if message.kind in (Kind.RESPONSE, Kind.ERROR) and (request := asked.request(message.id)) is None:
            return None
        return self._look(redactor, request, message)

    async def _look(self, redactor: Redactor, request: Message | None, message: Message) -> None:
        outcome = await self.found(redactor, request, message)
        # Whoever waits takes the line at once: nobody else comes between.
        self._found = _Found(redactor, request, message, outcome)

    async def found(self, redactor: Redactor, request: Message | None, message: Message) -> Outcome | None:
        """What these rules say to it, once it is its turn."""
        async with self._turn:
            return await asyncio.to_thread(redacted, redactor, request, message)

    def redacted(self, redactor: Redactor, request: Message | None, message: Message) -> Outcome | None:
        """As the function of this name: what was found ahead, where this is the message that was looked
        through, and the same is looked for.
        """
        found, self._found = self._found, None
        if (
            found is None
            or found.redactor is not redactor
            or found.request is not request
            or (found.message.result, found.message.error, found.message.params)
            != (message.result, message.error, message.params)
        ):
            return redacted(redactor, request, message)
        return None if found.outcome is None else _as(found.outcome, message.id)


def _as(outcome: Outcome, id: bytes | None) -> Outcome:
    """With the id that the caller knows."""
    if id is None:
        return outcome
    message, kept = (None if one is None else with_id(one, id) for one in (outcome.message, outcome.kept))
    return replace(outcome, message=message, kept=kept)
