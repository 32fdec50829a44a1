"""Heads of ledgers, as links bring them: judged at once, stored by a task, answered when that is durable."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import Final, NoReturn

from sqlalchemy.exc import SQLAlchemyError

from penstock import ledgerhead, log
from penstock.ledgerhead import LedgerHead
from penstock.names import AgentId
from penstock.tunnel.errors import CloseCode, RemoteError
from penstock.tunnel.frames import Ledger
from penstock.tunnel.limits import LEDGER_AGAIN, LEDGER_BURST
from penstock.tunnel.link import Link
from penstock.tunnel.states import LinkState
from penstock_relay import audit
from penstock_relay.audit import Kind
from penstock_relay.store import Brought, Kept, Store

BATCH: Final = 64
"""Heads that are stored in one transaction: others wait for the store meanwhile."""
STORE_TIMEOUT_S: Final = 10.0
"""How long one transaction may take."""
SAID: Final = 4096
"""Agents whose last conflict is remembered; above it the oldest are forgotten, and recorded again."""

_log = log.get(__name__)


@dataclass(frozen=True, slots=True)
class _Waiting:
    agent: AgentId
    link: Link
    head: LedgerHead


class Heads:
    """One per replica. :meth:`run` must be running, or nothing is stored."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: dict[int, _Waiting] = {}
        """By link: the last that it brought, so at most one for each link."""
        self._full_at: dict[int, float] = {}
        """By link: when it may bring a whole burst again."""
        self._awake = asyncio.Event()
        self._said: dict[AgentId, tuple[Brought, bytes, LedgerHead]] = {}
        self.counts: Counter[Brought] = Counter()
        """What heads were, since the start."""

    def arrived(self, agent: AgentId, link: Link, frame: Ledger, at: float) -> None:
        """RemoteError closes the link."""
        full_at = max(self._full_at.get(link.number, at), at) + LEDGER_AGAIN
        if full_at > at + LEDGER_BURST * LEDGER_AGAIN:
            raise RemoteError(CloseCode.TOO_MANY, "more ledger heads than a link may bring")
        self._full_at[link.number] = full_at
        head = ledgerhead.of_frame(frame)
        if not ledgerhead.verify(head):
            raise RemoteError(CloseCode.MALFORMED, "a ledger head that its ledger has not signed")
        self._waiting[link.number] = _Waiting(agent, link, head)
        self._awake.set()

    def gone(self, link: Link) -> None:
        """What it has brought is stored all the same: it may have been the agent's last word."""
        self._full_at.pop(link.number, None)

    async def run(self) -> NoReturn:
        """Stores what arrives, for ever, through failures of the store. A TaskGroup owns it."""
        while True:
            await self._awake.wait()
            self._awake.clear()
            while self._waiting:
                taken = list(self._waiting)[:BATCH]
                await self._keep([self._waiting.pop(number) for number in taken])

    async def _keep(self, batch: list[_Waiting]) -> None:
        try:
            async with asyncio.timeout(STORE_TIMEOUT_S):
                kept = await self._store.heads.keep([(each.agent, each.head) for each in batch])
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            # Unanswered, they are said again.
            _log.error("ledger_heads_not_stored", count=len(batch), cause=type(error).__name__)
            return
        for each, now in zip(batch, kept, strict=True):
            self.counts[now.brought] += 1
            if each.link.state in (LinkState.OPEN, LinkState.DRAINING):
                each.link.control(ledgerhead.to_frame(now.stored))
            if now.brought.conflict:
                await self._conflict(each, now)
            elif now.brought in (Brought.OPENED, Brought.NEWER):
                self._said.pop(each.agent, None)

    async def _conflict(self, each: _Waiting, now: Kept) -> None:
        """Said once, and again when it is another one: the agent goes on with its ledger, and says so."""
        agent = each.agent
        what = (now.brought, each.head.key, now.stored)
        if self._said.get(agent) == what:
            return
        _log.warning("ledger_conflict", site=agent.site, agent=agent.agent, why=now.brought.value)
        try:
            async with asyncio.timeout(STORE_TIMEOUT_S):
                await self._store.by(audit.agent(agent.site, agent.agent)).audit.happened(
                    Kind.LEDGER_CONFLICT,
                    site=agent.site,
                    agent=agent.agent,
                    ledger=ledgerhead.name_of(each.head.key),
                    n=each.head.n,
                    stored_n=now.stored.n,
                    reason=now.brought.value,
                )
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            _log.error("audit_not_written", cause=type(error).__name__)
            return
        self._said[agent] = what
        while len(self._said) > SAID:
            del self._said[next(iter(self._said))]
