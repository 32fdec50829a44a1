"""The tunnel listener. The CA for anyone, enrolment and renewal without a certificate, links with one."""

from __future__ import annotations

import asyncio
import http
import logging
import socket
import ssl
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy.exc import SQLAlchemyError
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, NegotiationError
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from penstock import enrolment, log, refusal, renewal
from penstock.link import CLOSE_TIMEOUT
from penstock.names import AgentId, BadName
from penstock.renewal import leaf_digest
from penstock.tls import peer_agent
from penstock.tunnel.limits import MAX_MESSAGE, SUBPROTOCOL
from penstock_relay.ca import CertificateAuthority, serial_text
from penstock_relay.door.admission import Admission
from penstock_relay.door.conversations import Conversations
from penstock_relay.store import Store
from penstock_relay.switchboard.heads import Heads
from penstock_relay.switchboard.notices import Notices
from penstock_relay.switchboard.switchboard import Switchboard

LINK_PATH: Final = "/link"
OPEN_TIMEOUT: Final = 10.0
"""Seconds for TLS and the websocket handshake."""
CONVERSATIONS: Final = 256
"""Enrolments and renewals at the same time; further ones are refused (503)."""
LEAVES: Final = 2
"""The tunnel certificates that a renewal may be bound to: the one in use, and the one before it, because a
handshake may have come before the change and its renewal after it."""
QUEUE: Final = 4
"""Messages that websockets may read ahead for a link."""
WRITE_LIMIT: Final = 16 * 1024
"""Bytes that websockets may hold back per link; the rest waits in the tunnel, where it can be overtaken."""

_SUBPROTOCOLS: Final[Mapping[str, str]] = {
    enrolment.PATH: enrolment.SUBPROTOCOL,
    renewal.PATH: renewal.SUBPROTOCOL,
}

_log = log.get(__name__)


class Door:
    """Admits agents. One per replica."""

    def __init__(self, switchboard: Switchboard, store: Store, ca: CertificateAuthority) -> None:
        self._switchboard = switchboard
        self._ca = ca
        self._admission = Admission(store, ca, switchboard)
        self._conversations = Conversations(store, ca, switchboard.links)
        self.heads = switchboard.links.heads = Heads(store)
        self.notices = switchboard.links.notices = Notices(store)
        self._talking = 0
        self._leaves: deque[bytes] = deque(maxlen=LEAVES)

    def shows(self, chain: Path) -> None:
        """The TLS context shows the certificate of `chain` (PEM) from now on. Raises OSError, ValueError."""
        leaf = x509.load_pem_x509_certificates(chain.read_bytes())[0]
        digest = leaf_digest(leaf.public_bytes(Encoding.DER))
        if digest not in self._leaves:
            self._leaves.append(digest)

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
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(self.heads.run())
                    tasks.create_task(self.notices.run())
                    await self._admission.watch()
            finally:
                # Each link drops a peer that does not read; websockets would wait for it.
                self._switchboard.links.stop()

    async def _judge(self, connection: ServerConnection, request: Request) -> Response | None:
        """Who may go on to a websocket. None lets the handshake go on."""
        if request.path == enrolment.CA_PATH:
            return connection.respond(http.HTTPStatus.OK, self._ca.introduction.decode())
        if request.path in (enrolment.PATH, renewal.PATH):
            if self._talking < CONVERSATIONS:
                return None
            return connection.respond(
                http.HTTPStatus.SERVICE_UNAVAILABLE,
                "Too many agents enrol or renew at the moment. Try again later.\n",
            )
        if request.path != LINK_PATH:
            return connection.respond(
                http.HTTPStatus.NOT_FOUND, "This is the tunnel listener of a Penstock relay, for agents.\n"
            )
        try:
            peer = _peer(connection)
        except BadName:
            peer = None
        if peer is None:
            return connection.respond(
                http.HTTPStatus.FORBIDDEN, "A link needs the certificate of an enrolled agent: join first.\n"
            )
        try:
            refused = await self._admission.judge(*peer)
        except (SQLAlchemyError, TimeoutError) as error:
            _log.error("link_not_judged", cause=type(error).__name__)
            return connection.respond(
                http.HTTPStatus.SERVICE_UNAVAILABLE, "The relay's store cannot be used now. Try again.\n"
            )
        if refused is None:
            return None
        return connection.respond(http.HTTPStatus.FORBIDDEN, refusal.encode(refused))

    async def _handle(self, connection: ServerConnection) -> None:
        path = connection.request.path if connection.request is not None else ""
        try:
            if path != LINK_PATH:
                self._talking += 1
                try:
                    if path == enrolment.PATH:
                        await self._conversations.enrol(connection)
                    else:
                        await self._conversations.renew(connection, tuple(self._leaves))
                finally:
                    self._talking -= 1
                return
            peer = _peer(connection)
            if peer is not None:
                await self._link(connection, *peer)
        except (ConnectionClosed, TimeoutError):
            pass  # the agent went, or never said anything: there is nobody to tell

    async def _link(self, connection: ServerConnection, agent: AgentId, serial: str) -> None:
        try:
            head = await self._admission.head(agent)
        except (SQLAlchemyError, TimeoutError) as error:
            # Without it the agent would take what is stored for nothing.
            _log.error("ledger_head_not_read", cause=type(error).__name__)
            await connection.close(1011, "the relay's store cannot be used now")
            return
        await self._switchboard.links.serve(connection, agent, serial, head)


def _peer(connection: ServerConnection) -> tuple[AgentId, str] | None:
    """Who the certificate of the peer says, and its serial number in hexadecimal.

    Raises BadName for a certificate that is no agent's.
    """
    tls = connection.transport.get_extra_info("ssl_object")
    if not isinstance(tls, ssl.SSLObject | ssl.SSLSocket):
        return None
    agent, der = peer_agent(tls), tls.getpeercert(binary_form=True)
    if agent is None or der is None:
        return None
    return agent, serial_text(x509.load_der_x509_certificate(der))


def _subprotocol(connection: ServerConnection, offered: Sequence[Subprotocol]) -> Subprotocol | None:
    path = connection.request.path if connection.request is not None else ""
    wanted = Subprotocol(_SUBPROTOCOLS.get(path, SUBPROTOCOL))
    if wanted not in offered:
        raise NegotiationError(f"this relay speaks {wanted}")
    return wanted
