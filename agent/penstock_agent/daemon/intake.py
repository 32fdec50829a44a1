"""The way of an exchange from the tunnel to the endpoint: what is written to it is recorded, and captured."""

from __future__ import annotations

import asyncio

from penstock_agent.capture.capture import Capture, Captured
from penstock_agent.dialer.served import Served
from penstock_agent.endpoint import Endpoint
from penstock_agent.ledger.recorded import Recorded
from penstock_agent.ledger.writer import Writer
from penstock_agent.livecalls import LiveCalls


class Intake:
    """One per agent. Whoever owns it gives ``tasks``, the group that exchanges run in."""

    def __init__(self, endpoint: Endpoint, ledger: Writer, live: LiveCalls, capture: Capture | None) -> None:
        self.tasks: asyncio.TaskGroup | None = None
        self.serving: set[asyncio.Task[None]] = set()
        """Exchanges that are under way."""
        self._endpoint = endpoint
        self._ledger = ledger
        self._live = live
        self._capture = capture

    def start(self, exchange: Served) -> None:
        inner = exchange if self._capture is None else Captured(exchange, self._capture)
        recorded = Recorded(inner, self._ledger)
        work = self._endpoint.serve(recorded)
        try:
            if self.tasks is None:
                raise RuntimeError
            task = self.tasks.create_task(work)
        except RuntimeError:  # a group that is being taken down takes nothing more
            work.close()
            exchange.fail("the agent is stopping")
            return
        self.serving.add(task)
        self._live.begin(recorded)

        def served(task: asyncio.Task[None]) -> None:
            self.serving.discard(task)
            self._live.end(recorded)
            exchange.fail("no answer was given")

        task.add_done_callback(served)  # also when it was cancelled before it began
