"""One session: its name, its life, and whether anybody uses it. What is said in it: ``dialogue``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from penstock.log import get
from penstock.principal import Principal
from penstock_agent.children.child import ChildSpec
from penstock_agent.endpoint import failures
from penstock_agent.endpoint.failures import Failure
from penstock_agent.endpoint.lifeline import NotRunning
from penstock_agent.endpoint.ports import Stopping
from penstock_agent.endpoint.session.dialogue import Dialogue
from penstock_agent.endpoint.session.resumption import Resumption
from penstock_agent.endpoint.shared import Shared

_log = get(__name__)


class Session(Dialogue):
    """Bound to one principal and one server for its life."""

    def __init__(
        self,
        id: str,
        server: str,
        principal: Principal,
        spec: ChildSpec,
        shared: Shared,
        on_end: Callable[[Session], None],
    ) -> None:
        super().__init__(server, principal, spec, shared)
        self.id = id
        self.sessionless = False
        """Whether it serves callers that name no session: none of them can come back for anything."""
        self.ended = False
        self.exchanges = 0
        """Exchanges that are being served now."""
        self.used_at = _now()
        self.resumption = Resumption(id, shared.ids, shared.logs, shared.limits, self._resumable)
        self._on_end = on_end
        self._task: asyncio.Task[None] | None = None

    def _resumable(self) -> str | None:
        return None if self.sessionless else self.version

    # Life.

    def start(self) -> None:
        """Start the session's one long-lived task."""
        self._task = self._spawn(self._run())

    async def _run(self) -> None:
        """Until the session ends; leaves no child behind and no caller waiting."""
        try:
            await self.lifeline.run()
        except Stopping:
            return
        except Exception as e:  # one session's trouble must not be that of the others
            _log.error("session_failed", server=self.server, error=type(e).__name__)
        finally:
            self.end()

    def end(self, why: Failure = failures.SESSION_ENDED) -> None:
        """Nothing is served any more; the task of ``run`` stops the child and ends. Idempotent. ``why``: what
        those are told whose calls run.
        """
        if self.ended:
            return
        self.ended = True
        self.for_good = self.for_good or self.beginning.hello is None
        self._on_end(self)
        for call in self._correlator.restart():
            if call.sent:  # the others learn from their lifeline that they were not executed
                self._fail(call, why)
        self._delivery.close()
        self.resumption.close()
        self.lifeline.close(NotRunning(failures.ENDED))
        if self._task is not None:
            self._task.cancel()

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """While an exchange is served."""
        self.exchanges += 1
        try:
            yield
        finally:
            self.exchanges -= 1
            self.used_at = _now()

    @property
    def holds_process(self) -> bool:
        """Whether something of it takes a place among the agent's processes now."""
        return self.lifeline.spec.is_process and self.lifeline.current is not None

    async def rest(self) -> None:
        """Its process ends; the next message starts another one, which is greeted as this one was."""
        child = self.lifeline.current
        if child is not None:
            self.lifeline.discard(child)
            await child.stop()

    def idle_since(self) -> float | None:
        """Since when (loop time) nothing has happened here; None while something does."""
        return None if self.exchanges or self._correlator.calls else self.used_at


def _now() -> float:
    return asyncio.get_running_loop().time()
