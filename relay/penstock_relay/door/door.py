"""The tunnel listener. Three paths: the CA for anyone, enrolment without a certificate, links with one."""

from __future__ import annotations

import asyncio
import http
import logging
import socket
import ssl
import time
from collections.abc import Sequence
from typing import Final

from sqlalchemy.exc import SQLAlchemyError
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, NegotiationError
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from penstock import enrolment as conversation
from penstock import log
from penstock.link import CLOSE_TIMEOUT
from penstock.names import AgentId, BadName
from penstock.tls import peer_agent
from penstock.tunnel.limits import MAX_MESSAGE, SUBPROTOCOL
from penstock_relay import enrolment
from penstock_relay.audit import Kind
from penstock_relay.ca import CertificateAuthority
from penstock_relay.store import Store
from penstock_relay.switchboard.switchboard import Switchboard

LINK_PATH: Final = "/link"
OPEN_TIMEOUT: Final = 10.0
"""Seconds for TLS and the websocket handshake."""
ENROL_TIMEOUT: Final = 10.0
"""Seconds for the whole enrolment conversation, waiting for its turn included."""
ENROLMENTS: Final = 4
"""Certificates that are made at the same time; further ones wait."""
ENROLLING: Final = 256
"""Enrolment conversations at the same time; further ones are refused (503)."""
QUEUE: Final = 4
"""Messages that websockets may read ahead for a link."""
WRITE_LIMIT: Final = 16 * 1024
"""Bytes that websockets may hold back per link; the rest waits in the tunnel, where it can be overtaken."""

_log = log.get(__name__)


class Door:
    """Admits agents. One per replica."""

    def __init__(self, switchboard: Switchboard, store: Store, ca: CertificateAuthority) -> None:
        self._switchboard = switchboard
        self._store = store
        self._ca = ca
        self._enrolments = asyncio.Semaphore(ENROLMENTS)
        self._enrolling = 0

    async def serve(self, listener: socket.socket, context: ssl.SSLContext) -> None:
        """Serves `listener` until it is cancelled; then closes every link (1001)."""
        async with serve(
            self._handle,
            sock=listener,
            ssl=context,
            process_request=self._judge,
            select_subprotocol=_subprotocol,
            compression=None,
            max_size=MAX_MESSAGE,
            max_queue=QUEUE,
            open_timeout=OPEN_TIMEOUT,
            close_timeout=CLOSE_TIMEOUT,
            ping_interval=None,
            write_limit=WRITE_LIMIT,
            server_header=None,
            logger=logging.getLogger("websockets.door"),
        ):
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                # Each link drops a peer that does not read; websockets would wait for it.
                self._switchboard.stop()

    def _judge(self, connection: ServerConnection, request: Request) -> Response | None:
        """Who may go on to a websocket. None lets the handshake go on."""
        if request.path == conversation.CA_PATH:
            return connection.respond(http.HTTPStatus.OK, self._ca.pem.decode())
        if request.path == conversation.PATH:
            if self._enrolling < ENROLLING:
                return None
            return connection.respond(
                http.HTTPStatus.SERVICE_UNAVAILABLE, "Too many agents enrol at the moment. Try again later.\n"
            )
        if request.path != LINK_PATH:
            return connection.respond(
                http.HTTPStatus.NOT_FOUND, "This is the tunnel listener of a Penstock relay, for agents.\n"
            )
        try:
            agent = _agent(connection)
        except BadName:
            agent = None
        if agent is None:
            return connection.respond(
                http.HTTPStatus.FORBIDDEN, "A link needs the certificate of an enrolled agent: join first.\n"
            )
        return None

    async def _handle(self, connection: ServerConnection) -> None:
        request = connection.request
        try:
            if request is not None and request.path == conversation.PATH:
                self._enrolling += 1
                try:
                    async with asyncio.timeout(ENROL_TIMEOUT):
                        await self._enrol(connection)
                finally:
                    self._enrolling -= 1
                return
            agent = _agent(connection)
            if agent is not None:
                await self._switchboard.serve(connection, agent)
        except (ConnectionClosed, TimeoutError):
            pass  # the agent went, or never said anything: there is nobody to tell

    async def _enrol(self, connection: ServerConnection) -> None:
        text = await connection.recv()
        try:
            request = conversation.decode_enrol(text)
            # Only now: who says nothing takes nobody's turn.
            async with self._enrolments:
                reply = await enrolment.enrol(request, self._store, self._ca, time.time())
        except conversation.BadEnrolment as error:
            reply = conversation.Refused(reason=conversation.MALFORMED, text=str(error))
        except SQLAlchemyError as error:
            _log.error("enrolment_failed", cause=type(error).__name__)
            await connection.close(1011, "the relay's store cannot be used now")
            return
        if isinstance(reply, conversation.Enrolled):
            _log.info("agent_enrolled", site=reply.site, agent=reply.agent)
        else:
            _log.warning("enrolment_refused", reason=reply.reason)
            self._store.audit.stranger(Kind.ENROLMENT_REFUSED, reason=reply.reason)
        await connection.send(conversation.encode(reply))


def _agent(connection: ServerConnection) -> AgentId | None:
    """Who the certificate of the peer says; raises BadName for a certificate that is no agent's."""
    tls = connection.transport.get_extra_info("ssl_object")
    return peer_agent(tls) if isinstance(tls, ssl.SSLObject | ssl.SSLSocket) else None


def _subprotocol(connection: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    request = connection.request
    enrolling = request is not None and request.path == conversation.PATH
    wanted = Subprotocol(conversation.SUBPROTOCOL if enrolling else SUBPROTOCOL)
    if wanted not in offered:
        raise NegotiationError(f"this relay speaks {wanted}")
    return wanted
