"""What happens on site, and who is told of it: the ledger, the site's own program, the unit's status."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from penstock import log
from penstock.names import AgentId
from penstock_agent.hooks import Hooks
from penstock_agent.ledger.entries import CannotRecord, Event
from penstock_agent.ledger.writer import Writer

_log = log.get(__name__)


class News:
    """One per agent. Whoever owns it gives ``status`` what it is for."""

    def __init__(self, ledger: Writer, hooks: Hooks, agent: AgentId) -> None:
        self.status: Callable[[], None] = lambda: None
        """What the unit's status says may have changed."""
        self._ledger = ledger
        self._hooks = hooks
        self._agent = agent

    def note(self, event: Event) -> None:
        """What happens on site happens also when it cannot be recorded: the stop button most of all."""
        try:
            self._ledger.record(event)
        except CannotRecord:
            _log.error("event_not_recorded", what=event.what, by_uid=event.by_uid)

    def tell(self, what: str, about: Mapping[str, object]) -> None:
        """To the site's own program, with the site and the agent that it is about."""
        agent = self._agent
        self._hooks.tell(what, {"site": agent.site, "agent": agent.agent, "at": time.time(), **about})

    def announce(self, what: str, about: Mapping[str, object]) -> None:
        """The same, and in the unit's status."""
        self.tell(what, about)
        self.status()

    def of_ledger(self, problem: str) -> None:
        """Why it cannot be written; empty when it can be again."""
        self.announce("ledger_failing" if problem else "ledger_recovered", {"why": problem})

    def of_capture(self, problem: str) -> None:
        """It stops nothing: what left is in the ledger by its hash, and so is that it is not captured."""
        what = "capture_failing" if problem else "capture_recovered"
        self.note(Event(what, about={"why": problem} if problem else {}))
        self.announce(what, {"why": problem})
