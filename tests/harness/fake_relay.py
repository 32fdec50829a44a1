"""The tunnel listener of a relay as enrolment sees it: scripted answers, a record of what it was sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from penstock import enrolment, tls
from penstock.joinstring import JoinString
from penstock.names import AgentId
from tests.harness.certs import RELAY_NAMES, Authority

SECRET = b"0123456789abcdef"
DAY = timedelta(days=1)


class EnrollingAuthority(Authority):
    """An authority that also certifies keys it has not made."""

    @property
    def pem(self) -> str:
        return self.ca.read_text()

    def sign(
        self,
        csr: str,
        *uris: str,
        not_after: datetime | None = None,
        key: ec.EllipticCurvePublicKey | None = None,
    ) -> str:
        """The certificate (PEM) that ``csr`` asks for, with ``uris`` as names; ``key`` replaces its key."""
        public = key or x509.load_pem_x509_csr(csr.encode()).public_key()
        assert isinstance(public, ec.EllipticCurvePublicKey)
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([]))
            .issuer_name(self.certificate.subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - DAY)
            .not_valid_after(not_after or now + DAY)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
        )
        if uris:
            names = [x509.UniformResourceIdentifier(uri) for uri in uris]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=True)
        return builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()


Answer = Callable[[enrolment.Enrol], enrolment.Reply | str | None]


@dataclass
class FakeRelay:
    """What the listener does, and what it saw."""

    ca: EnrollingAuthority
    answer: Answer
    port: int = 0
    #: Paths in the order that they were asked for.
    paths: list[str] = field(default_factory=list)
    #: Every websocket message that came.
    messages: list[str | bytes] = field(default_factory=list)
    #: Set when a message has come.
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    #: Answer to GET /ca, when it is not the CA.
    ca_body: str | None = None
    ca_status: HTTPStatus = HTTPStatus.OK
    #: Take the request and never answer.
    silent: bool = False

    def join_string(
        self, *, host: str = "127.0.0.1", pin: bytes | None = None, port: int | None = None
    ) -> JoinString:
        return JoinString(
            url=f"wss://{host}:{port or self.port}",
            pin=tls.spki_pin(self.ca.certificate) if pin is None else pin,
            secret=SECRET,
            site="plant",
        )

    def process_request(self, connection: ServerConnection, request: Request) -> Response | None:
        self.paths.append(request.path)
        if request.path == enrolment.CA_PATH:
            body = self.ca.pem if self.ca_body is None else self.ca_body
            return connection.respond(self.ca_status, body)
        if request.path != enrolment.PATH:
            return connection.respond(HTTPStatus.NOT_FOUND, "no\n")
        return None

    async def enrol(self, connection: ServerConnection) -> None:
        try:
            message = await connection.recv()
            self.messages.append(message)
            self.asked.set()
            if self.silent:
                await connection.wait_closed()
            answer = self.answer(enrolment.decode_enrol(message))
            if answer is not None:
                await connection.send(answer if isinstance(answer, str) else enrolment.encode(answer))
        except ConnectionClosed:
            return


def enrolled(ca: EnrollingAuthority, site: str = "plant", agent: str = "a1") -> Answer:
    """Let everybody in, with a good certificate."""

    def answer(request: enrolment.Enrol) -> enrolment.Reply:
        return enrolment.Enrolled(site, agent, ca.sign(request.csr, AgentId(site, agent).uri), ca.pem)

    return answer


@asynccontextmanager
async def fake_relay(
    folder: Path,
    *,
    names: Sequence[x509.GeneralName] = RELAY_NAMES,
    leaf_ca: Authority | None = None,
    not_after: datetime | None = None,
    subprotocol: str | None = enrolment.SUBPROTOCOL,
) -> AsyncIterator[FakeRelay]:
    """A listener on the loopback. ``leaf_ca`` signs its certificate in place of the CA that it shows."""
    ca = EnrollingAuthority(folder)
    files = (leaf_ca or ca).issue("relay", names, ExtendedKeyUsageOID.SERVER_AUTH, not_after=not_after)
    relay = FakeRelay(ca, enrolled(ca))
    async with serve(
        relay.enrol,
        "127.0.0.1",
        0,
        ssl=tls.server_context(files.chain, files.key, ca.ca),
        process_request=relay.process_request,
        subprotocols=[Subprotocol(subprotocol)] if subprotocol else None,
        compression=None,
    ) as server:
        relay.port = next(iter(server.sockets)).getsockname()[1]
        yield relay
