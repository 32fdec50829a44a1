"""Who may call a server whose trust level is *caller*: once judged, a grant is believed until it ends."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from typing import Final

from penstock.jwks import KeysUnavailable
from penstock.jwt import BadToken
from penstock.log import get
from penstock.principal import Principal
from penstock_agent.callers import proof
from penstock_agent.callers.challenge import Challenges
from penstock_agent.callers.pinned import Keys
from penstock_agent.callers.proof import Provider
from penstock_agent.callers.trust import NotProven

MAX_BELIEVED: Final = 4096
"""Grants that are remembered; above it the oldest are judged again when they come."""

_log = get(__name__)


class Callers:
    """One per configuration. ``servers`` are those that believe the provider only."""

    def __init__(
        self,
        site: str,
        servers: Collection[str],
        challenges: Challenges,
        provider: Provider,
        keys: Keys,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._site = site
        self._servers = frozenset(servers)
        self._challenges = challenges
        self._provider = provider
        self._keys = keys
        self._clock = clock
        self._believed: dict[tuple[str, Principal], float] = {}

    async def run(self) -> None:
        """What the keys need. A TaskGroup owns it."""
        await self._keys.run()

    def challenge(self, server: str) -> str | None:
        """What a consent page of this server has to have signed; None where the relay's word is enough."""
        return self._challenges.make(server, self._clock()) if server in self._servers else None

    async def admit(self, server: str, principal: Principal) -> None:
        """Returns when this caller may call this server. Raises NotProven."""
        if server not in self._servers:
            return
        now = self._clock()
        until = self._believed.get((server, principal))
        if until is not None and now < until:
            return
        try:
            until = await self._judged(server, principal, now)
        except NotProven as error:
            _log.warning("caller_not_believed", server=server, subject=principal.subject, why=str(error))
            raise
        while len(self._believed) >= MAX_BELIEVED:
            del self._believed[next(iter(self._believed))]
        self._believed[server, principal] = until
        _log.info("caller_believed", server=server, subject=principal.subject, client=principal.client)

    async def _judged(self, server: str, principal: Principal, now: float) -> float:
        voucher = proof.read(principal)
        # The challenge first: what did not come from here makes nobody fetch keys.
        until = proof.ends(voucher, server, self._challenges, self._provider, now)
        try:
            keys = await self._keys.of(voucher.id_token)
        except KeysUnavailable:
            raise NotProven(
                "The site cannot get the keys of your company's login at the moment. Try again in a minute."
            ) from None
        except BadToken as error:
            raise NotProven(f"The login of this grant cannot be read ({error.reason}).") from None
        proof.judge(voucher, principal, self._site, server, self._challenges, self._provider, keys)
        return until
