"""Enrolment and renewal over a websocket: one request, one answer, within a time and a number of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from typing import Final

from sqlalchemy.exc import SQLAlchemyError
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from penstock import enrolment as enrolling
from penstock import log, refusal
from penstock import renewal as renewing
from penstock.refusal import Refusal
from penstock_relay import enrolment, renewal
from penstock_relay.audit import Kind
from penstock_relay.ca import CaError, CertificateAuthority
from penstock_relay.store import Store
from penstock_relay.switchboard.links import Links

TIMEOUT: Final = 10.0
"""Seconds for a whole conversation, waiting for its turn included."""
AT_WORK: Final = 4
"""Certificates that are made at the same time; further ones wait."""

_log = log.get(__name__)


class Conversations:
    """One per replica."""

    def __init__(self, store: Store, ca: CertificateAuthority, links: Links) -> None:
        self._store = store
        self._ca = ca
        self._links = links
        self._turn = asyncio.Semaphore(AT_WORK)

    async def enrol(self, connection: ServerConnection) -> None:
        """Raises ConnectionClosed, TimeoutError."""
        async with asyncio.timeout(TIMEOUT):
            text = await connection.recv()
            try:
                request = enrolling.decode_enrol(text)
                # Only now: who says nothing takes nobody's turn.
                async with self._turn:
                    reply = await enrolment.enrol(request, self._store, self._ca, time.time())
            except enrolling.BadEnrolment as error:
                reply = enrolling.Refused(reason=enrolling.MALFORMED, text=str(error))
            except (SQLAlchemyError, CaError) as error:
                await _failed(connection, "enrolment_failed", error)
                return
            if isinstance(reply, enrolling.Enrolled):
                _log.info("agent_enrolled", site=reply.site, agent=reply.agent, waits=reply.approval)
            else:
                _log.warning("enrolment_refused", reason=reply.reason)
                self._store.audit.stranger(Kind.ENROLMENT_REFUSED, reason=reply.reason)
            await connection.send(enrolling.encode(reply))

    async def renew(self, connection: ServerConnection, leaves: Collection[bytes]) -> None:
        """`leaves`: see `renewal.renew`. Raises ConnectionClosed, TimeoutError."""
        async with asyncio.timeout(TIMEOUT):
            nonce = renewal.new_nonce()
            await connection.send(renewing.encode(renewing.Challenge(renewing.text_of(nonce))))
            text = await connection.recv()
            answer: renewing.Answer
            try:
                request = renewing.decode_renew(text)
                async with self._turn:
                    answer = await renewal.renew(
                        request, nonce, leaves, self._store, self._ca, time.time(), self._links.linked
                    )
            except renewing.BadRenewal as error:
                answer = Refusal(refusal.MALFORMED, str(error))
            except (SQLAlchemyError, CaError) as error:
                await _failed(connection, "renewal_failed", error)
                return
            if isinstance(answer, Refusal):
                _log.warning("renewal_refused", reason=answer.reason)
                await connection.send(renewing.encode(answer))
                return
            _log.info(
                "certificate_renewed", site=answer.site, agent=answer.agent, generation=answer.generation
            )
            await connection.send(renewing.encode(answer))
            await self._stored(connection, answer)

    async def _stored(self, connection: ServerConnection, answer: renewing.Renewed) -> None:
        """Notes that the agent has it. Unsaid, the first link or renewal with it says the same."""
        try:
            renewing.decode_stored(await connection.recv())
            await self._store.certificates.confirm(renewal.serial_of(answer), time.time())
        except (renewing.BadRenewal, SQLAlchemyError, ConnectionClosed):
            _log.info("renewal_not_confirmed", site=answer.site, agent=answer.agent)


async def _failed(connection: ServerConnection, event: str, error: Exception) -> None:
    _log.error(event, cause=type(error).__name__)
    await connection.close(1011, "the relay's store or CA cannot be used now")
