"""Stopping something and letting it go on, for the commands and the console, whether an agent runs or not."""

from __future__ import annotations

import os
import time

from penstock_agent import pausing
from penstock_agent.config import Settings
from penstock_agent.control import asking
from penstock_agent.control.answers import Pause
from penstock_agent.control.wire import NotRunning, socket_to_ask
from penstock_agent.gate.pause import TOO_MANY, Entry, Kind, TooMany
from penstock_agent.problem import Problem

NEXT_TIME = "No agent runs here; it will be so when it starts."
"""What is said when no agent has done it."""


async def change(
    settings: Settings, verb: str, kind: Kind, name: str, mistake: Problem | None = None
) -> tuple[Pause, bool]:
    """Pause or resume, as ``verb`` says; what came of it, and whether a running agent did it.

    Without one it is written for the next, unless a ``mistake`` is in the settings, which is raised then:
    they may not name the state folder of that agent. Raises Problem.
    """
    try:
        return await asking.pause(socket_to_ask(settings), verb, kind.value, name), True
    except NotRunning:
        if mistake is not None:
            raise mistake from None
    before = pausing.load(settings.state_dir)
    try:
        entry = Entry(kind, name, time.time(), os.getuid())
        after = before.with_(entry) if verb == "pause" else before.without(kind, name)
    except TooMany:
        raise Problem(TOO_MANY) from None
    if after != before:
        pausing.save(settings.state_dir, after)
    return Pause(after != before, 0, list(after.entries)), False
