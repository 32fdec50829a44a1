"""Asks a site, over its link, what a server exposes: an exchange that lists and can do nothing else."""

from __future__ import annotations

import asyncio
from typing import Final, Protocol

from penstock.http import JSON
from penstock.log import get
from penstock.principal import Principal
from penstock.tunnel.frames import DoneReason, Purpose
from penstock_relay.oauth import offers
from penstock_relay.oauth.directory import TooMany, Turns
from penstock_relay.oauth.offers import Offer
from penstock_relay.switchboard import (
    Answer,
    AnswerBroken,
    Call,
    NotExecuted,
    Offline,
    OutcomeUnknown,
)

SILENT_S: Final = 5.0
"""A site that has not answered by then is silent: a person waits for the page."""
AT_ONCE: Final = 16
WAITING: Final = 64

_log = get(__name__)


class Switchboard(Protocol):
    """As much of it as is needed here."""

    async def exchange(self, call: Call) -> Answer: ...
    def lacks(self, site: str, server: str) -> bool: ...
    def servers(self, site: str) -> frozenset[str]: ...


class Asking:
    """See `penstock_relay.oauth.offers.Sites`."""

    def __init__(self, switchboard: Switchboard) -> None:
        self._switchboard = switchboard
        self._turns = Turns(AT_ONCE, WAITING)

    async def offer(self, caller: Principal, site: str, server: str) -> Offer | None:
        call = Call(
            site, server, "POST", (("accept", JSON),), b"", caller, Purpose.CONSENT, SILENT_S, SILENT_S
        )
        try:
            async with asyncio.timeout(SILENT_S), self._turns:
                return offers.parse(await self._ask(call))
        except (Offline, NotExecuted, OutcomeUnknown, AnswerBroken, TimeoutError, TooMany) as error:
            _log.info("site_silent", site=site, server=server or None, why=type(error).__name__)
        except ValueError as error:
            _log.warning("offer_not_usable", site=site, server=server or None, why=str(error))
        return None

    async def _ask(self, call: Call) -> bytes:
        answer = await self._switchboard.exchange(call)
        reason = DoneReason.CLIENT_GONE
        try:
            if answer.status != 200:
                raise ValueError(f"the answer has status {answer.status}")
            data = bytearray()
            async for chunk in answer:
                data += chunk
                if len(data) > offers.MAX_BYTES:
                    raise ValueError("the answer is too long")
            reason = DoneReason.OK
            return bytes(data)
        finally:
            answer.close(reason)

    def servers(self, site: str) -> frozenset[str]:
        return self._switchboard.servers(site)

    def lacks(self, site: str, server: str) -> bool:
        return self._switchboard.lacks(site, server)
