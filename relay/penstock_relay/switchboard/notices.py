"""What agents say waits for their site's administrator: kept while they are linked, and stored for others.

It is a word to whoever runs the relay, and no more: nothing that is decided about a call knows it.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Final, NoReturn

from sqlalchemy.exc import SQLAlchemyError

from penstock import log
from penstock.names import AgentId
from penstock.tunnel.errors import CloseCode, RemoteError
from penstock.tunnel.frames import Notice
from penstock.tunnel.limits import NOTICE_AGAIN, NOTICE_BURST
from penstock.tunnel.link import Link
from penstock_relay.store import Store

BATCH: Final = 64
"""Agents whose notices are stored in one transaction: others wait for the store meanwhile."""
STORE_TIMEOUT_S: Final = 10.0
"""How long one transaction may take."""
STORE_AGAIN_S: Final = 5.0
"""After a failure of the store. An agent does not repeat what it has said, so nothing may be dropped."""

SAYING: Final[Mapping[str, Callable[[Notice], bool]]] = {
    "withheld": lambda notice: notice.withheld > 0,
    "waiting": lambda notice: notice.waiting > 0,
    "ledger_failing": lambda notice: notice.ledger_failing,
    "paused": lambda notice: notice.paused,
}
"""What agents are counted by."""

_log = log.get(__name__)


class Notices:
    """One per replica. :meth:`run` must be running, or nothing is stored."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._said: defaultdict[AgentId, dict[int, Notice]] = defaultdict(dict)
        """The last of each link, by its number; the newest is the last."""
        self._full_at: dict[int, float] = {}
        """By link: when it may bring a whole burst again."""
        self._changed: dict[AgentId, None] = {}
        """Those of whom something else is stored."""
        self._awake = asyncio.Event()
        self._begins = True
        """What another life of this relay has left is stored still."""

    def arrived(self, agent: AgentId, link: Link, notice: Notice, at: float) -> None:
        """RemoteError closes the link."""
        full_at = max(self._full_at.get(link.number, at), at) + NOTICE_AGAIN
        if full_at > at + NOTICE_BURST * NOTICE_AGAIN:
            raise RemoteError(CloseCode.TOO_MANY, "more notices than a link may bring")
        self._full_at[link.number] = full_at
        said = self._said[agent]
        said.pop(link.number, None)
        said[link.number] = notice
        self._store_later(agent)

    def gone(self, agent: AgentId, link: Link) -> None:
        """What it has said counts no more."""
        self._full_at.pop(link.number, None)
        said = self._said.get(agent)
        if said is None or said.pop(link.number, None) is None:
            return
        if not said:
            del self._said[agent]
        self._store_later(agent)

    def of(self, agent: AgentId) -> Notice | None:
        """What the agent said last, over a link that stands."""
        said = self._said.get(agent)
        return None if said is None else next(reversed(said.values()))

    def counts(self) -> dict[str, int]:
        """How many of the agents that are linked here say so."""
        notices = [next(reversed(said.values())) for said in self._said.values()]
        return {what: sum(map(says, notices)) for what, says in SAYING.items()}

    def _store_later(self, agent: AgentId) -> None:
        self._changed[agent] = None
        self._awake.set()

    async def run(self) -> NoReturn:
        """Stores what there is, for ever, through failures of the store. A TaskGroup owns it."""
        while True:
            while self._changed or self._begins:
                await self._keep(list(self._changed)[:BATCH])
            await self._awake.wait()
            self._awake.clear()

    async def _keep(self, agents: list[AgentId]) -> None:
        for agent in agents:
            del self._changed[agent]
        notices = [(agent, self.of(agent)) for agent in agents]
        try:
            async with asyncio.timeout(STORE_TIMEOUT_S):
                await self._store.notices.keep(notices, afresh=self._begins)
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            _log.error("notices_not_stored", count=len(agents), cause=type(error).__name__)
            self._changed.update(dict.fromkeys(agents))
            await asyncio.sleep(STORE_AGAIN_S)
        else:
            self._begins = False
