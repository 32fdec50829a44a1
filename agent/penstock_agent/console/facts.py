"""What there is to see at one moment: from the control socket, and from the end of the ledger."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

import msgspec

from penstock_agent import control, pausing
from penstock_agent.config import Settings
from penstock_agent.control import Approval, Call, Status
from penstock_agent.gate.pause import Entry
from penstock_agent.ledger.reading import Record, Tail
from penstock_agent.ledger.segments import FOLDER
from penstock_agent.problem import Problem

LAST: Final = 50
"""Decisions that are shown."""
ARGUMENTS: Final = 2000
"""Characters of the arguments of a call that waits."""


class Decided(msgspec.Struct, frozen=True):
    """One decision, as the ledger has it."""

    n: int
    at: str
    """RFC 3339 in UTC."""
    person: str
    client: str
    server: str
    item: str
    verdict: str
    rule: str


class Facts(msgspec.Struct, frozen=True):
    """``at`` is in seconds since 1970. The decisions are the newest, newest first."""

    at: float
    problem: str = ""
    """Why the agent says nothing; empty when it does."""
    status: Status | None = None
    calls: list[Call] = []
    more_calls: int = 0
    approvals: list[Approval] = []
    decisions: list[Decided] = []
    ledger_problem: str = ""
    """Why the ledger cannot be read."""
    paused: list[Entry] = []
    """Of the agent, or without one what the next will find."""


class Source:
    """Where the facts of one agent come from."""

    def __init__(
        self, settings: Settings, clock: Callable[[], float] = time.time, mistake: Problem | None = None
    ) -> None:
        """``mistake``: why the settings are no more than where the agent is."""
        self.settings = settings
        self.mistake = mistake
        self.path = control.socket_to_ask(settings)
        self._clock = clock
        self._tail = Tail(settings.state_dir / FOLDER, LAST, {"decision"})
        self._reading = asyncio.Lock()

    async def look(self) -> Facts:
        """Says in words what cannot be had."""
        async with self._reading:  # a browser has several tabs
            decisions, ledger_problem = await asyncio.to_thread(self._decisions)
        now = self._clock()
        try:
            status = await control.status(self.path)
            calls = await control.calls(self.path)
            waiting = (await control.approvals(self.path)).requests
        except control.ControlError as error:
            paused = self._paused() if isinstance(error, control.NotRunning) else []
            return Facts(now, str(error), paused=paused, decisions=decisions, ledger_problem=ledger_problem)
        return Facts(
            now,
            "",
            status,
            calls.calls,
            calls.more,
            [_short(one) for one in waiting],
            decisions,
            ledger_problem,
            status.paused,
        )

    def _paused(self) -> list[Entry]:
        """Nothing where it cannot be read: whoever presses a button is told why."""
        if self.mistake is not None:
            return []
        try:
            return list(pausing.load(self.settings.state_dir).entries)
        except Problem:
            return []

    def _decisions(self) -> tuple[list[Decided], str]:
        try:
            return [_decided(each) for each in reversed(self._tail.look())], ""
        except Problem as problem:
            return [], str(problem)


def _decided(each: Record) -> Decided:
    return Decided(
        each.n,
        each.at,
        each.who.person,
        each.who.client,
        each.text("of") or each.text("server"),
        each.text("item") or each.text("method"),
        each.text("verdict"),
        each.text("rule"),
    )


def _short(one: Approval) -> Approval:
    if len(one.arguments) <= ARGUMENTS:
        return one
    return msgspec.structs.replace(one, arguments=one.arguments[:ARGUMENTS], cut=True)
