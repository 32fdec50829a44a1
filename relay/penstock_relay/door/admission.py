"""Which certificates open a link, which links must end, and which sites get no calls: as the store says."""

from __future__ import annotations

import asyncio
import time
from typing import Final, NoReturn

from sqlalchemy.exc import SQLAlchemyError

from penstock import log
from penstock.ledgerhead import LedgerHead
from penstock.names import AgentId
from penstock.refusal import Refusal
from penstock.tunnel.errors import CloseCode
from penstock_relay.ca import CertificateAuthority
from penstock_relay.standing import UNKNOWN, refused
from penstock_relay.store import Lineage, Standing, Store, lineage
from penstock_relay.switchboard.switchboard import Switchboard

POLL_S: Final = 1.0
"""How often the change sequence is read: a revoked agent's links end within this time."""
STORE_TIMEOUT_S: Final = 3.0
"""How long one look into the store may take."""

_ENDS: Final = {
    Standing.REVOKED: (CloseCode.REVOKED, "the certificate was revoked"),
    Standing.LOCKED: (CloseCode.DUPLICATE, "the agent is locked: its identity is used by two machines"),
}

_log = log.get(__name__)


class Admission:
    """One per replica. :meth:`watch` must be running, or revocations wait for the agent's next link."""

    def __init__(self, store: Store, ca: CertificateAuthority, switchboard: Switchboard) -> None:
        self._store = store
        self._ca = ca
        self._switchboard = switchboard
        self._checked: tuple[int, int] | None = None
        self._suspending = asyncio.Lock()
        self._suspended_known = False
        self._failing = False

    async def judge(self, agent: AgentId, serial: str) -> Refusal | None:
        """Why the agent with this certificate gets no link; None lets it in.

        TLS has shown that it holds the key. Raises SQLAlchemyError, TimeoutError: nobody is let in then.
        """
        async with asyncio.timeout(STORE_TIMEOUT_S):
            if not self._suspended_known:
                await self._suspend()  # without a link no call goes anywhere
            found = await self._store.certificates.lineage(serial)
            if found is None or found.agent != agent:
                return UNKNOWN
            standing = lineage.at_link(found, serial)
            if standing is Standing.FORKED or (standing is Standing.GOOD and not _seen(found, serial)):
                standing = await self._store.certificates.use(serial, time.time())
                found = await self._store.certificates.lineage(serial)
        if standing is Standing.GOOD:
            return None
        _log.warning("link_refused", site=agent.site, agent=agent.agent, why=standing.value)
        return refused(standing, found, serial, self._ca, time.time())

    async def head(self, agent: AgentId) -> LedgerHead | None:
        """What is stored of the agent's ledger. Raises SQLAlchemyError, TimeoutError."""
        async with asyncio.timeout(STORE_TIMEOUT_S):
            return await self._store.heads.current(agent)

    async def _suspend(self) -> None:
        """Tells the switchboard which sites are suspended. One at a time: what was read last must count."""
        async with self._suspending:
            self._switchboard.suspend(await self._store.sites.suspended())
            self._suspended_known = True

    async def watch(self) -> NoReturn:
        """Ends links of agents that were revoked or locked, retires those of old certificates, and tells
        the switchboard which sites are suspended, for ever.

        A TaskGroup owns it.
        """
        while True:
            await self.look()
            await asyncio.sleep(POLL_S)

    async def look(self) -> None:
        """Looks once. A store that fails is logged, and asked again: the links stand meanwhile."""
        try:
            async with asyncio.timeout(STORE_TIMEOUT_S):
                # Read before the links: one that comes while we look is looked at next time.
                state = (self._switchboard.links.opened, await self._store.change_sequence())
                if state == self._checked:
                    return
                await self._suspend()
                ended = await self._store.certificates.ended(self._switchboard.links.serials())
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            if not self._failing:
                _log.warning("revocations_unreadable", cause=type(error).__name__)
            self._failing = True
            return
        self._failing = False
        for serial, standing in ended.items():
            if standing is Standing.SUPERSEDED:
                self._switchboard.links.retire(serial)
            else:
                self._switchboard.links.cut(serial, *_ENDS[standing])
        self._checked = state


def _seen(found: Lineage, serial: str) -> bool:
    certificate = found.find(serial)
    return certificate is not None and certificate.seen_at is not None
