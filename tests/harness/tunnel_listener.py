"""The relay's tunnel listener with its real store, authority and switchboard, in this process."""

from __future__ import annotations

import asyncio
import socket
import sqlite3
import ssl
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from datetime import timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

from penstock import fingerprint, tls
from penstock.joinstring import JoinString
from penstock.names import AgentId
from penstock.tunnel.limits import SUBPROTOCOL
from penstock_relay.ca import CertificateAuthority
from penstock_relay.door.door import Door
from penstock_relay.enrolment import new_secret, secret_hash
from penstock_relay.store import Store
from penstock_relay.switchboard.switchboard import Switchboard
from tests.harness.link_pair import AGENT, WAIT, until

DAY = 86_400.0
POOL = 4


class TunnelListener:
    """`task` serves; cancel it to stop the listener."""

    def __init__(self, folder: Path, store: Store, ca: CertificateAuthority) -> None:
        self.folder = folder
        self.store = store
        self.ca = ca
        self.switchboard = Switchboard("r1")
        self.switchboard.links.public_url = "https://relay.example"
        self.door = Door(self.switchboard, store, ca)
        self.port = 0
        self.task: asyncio.Task[None] | None = None
        self._certificates: dict[AgentId, tuple[Path, Path]] = {}

    @property
    def url(self) -> str:
        return f"wss://localhost:{self.port}"

    async def open(self, tasks: asyncio.TaskGroup, port: int = 0) -> None:
        listener = socket.create_server(("127.0.0.1", port))
        listener.setblocking(False)
        self.port = listener.getsockname()[1]
        files = self.ca.tunnel_files("localhost", time.time())
        context = tls.server_context(files.chain, files.key, files.ca)
        self.door.shows(files.chain)
        self.task = tasks.create_task(self.door.serve(listener, context))
        self.task.add_done_callback(lambda _: listener.close())  # also when it never began

    async def close(self) -> None:
        if self.task is not None:
            self.task.cancel()
            await asyncio.wait((self.task,))

    def certificate(
        self, agent: AgentId = AGENT, names: Sequence[x509.GeneralName] | None = None
    ) -> tuple[Path, Path]:
        """Files of a certificate of this authority for `agent`, or for any `names`, and of its key.

        The agent's is the same each time, and the store knows it.
        """
        if names is None and agent in self._certificates:
            return self._certificates[agent]
        key = ec.generate_private_key(ec.SECP256R1())
        csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
        if names is None:
            certificate = self.ca.sign_agent(csr, agent, time.time())
        else:
            certificate = self.ca._sign(
                key.public_key(),
                "Penstock agent",
                x509.SubjectAlternativeName(names),
                ExtendedKeyUsageOID.CLIENT_AUTH,
                time.time(),
                timedelta(days=1),
            )
        chain = self.folder / f"{certificate.serial_number:x}.pem"
        chain.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        private = chain.with_suffix(".key")
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        if names is None:
            self._certificates[agent] = chain, private
            record(self.folder, agent, certificate)
        return chain, private

    def context(self, files: tuple[Path, Path] | None) -> ssl.SSLContext:
        """What trusts this authority, and shows a certificate if there is one."""
        anchor = self.folder / "anchor.pem"
        anchor.write_bytes(self.ca.pem)
        return tls.client_context(anchor, *(files or (None, None)))

    async def connect(
        self, path: str = "/link", *, context: ssl.SSLContext | None = None, subprotocol: str = SUBPROTOCOL
    ) -> ClientConnection:
        """A websocket, with a good certificate unless there is a `context`."""
        return await connect(
            self.url + path,
            ssl=context or self.context(self.certificate()),
            proxy=None,
            subprotocols=[Subprotocol(subprotocol)],
            compression=None,
            close_timeout=1,
            ping_interval=None,
        )

    async def get(self, path: str) -> tuple[int, bytes]:
        """Status and body of a plain GET without a certificate."""
        reader, writer = await asyncio.open_connection("localhost", self.port, ssl=self.context(None))
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
            return int(head.split()[1]), body
        finally:
            writer.transport.abort()

    async def invitation(self, site: str = "plant", replaces: str | None = None) -> JoinString:
        """A join string that is good once."""
        if not await self.store.sites.exists(site):
            await self.store.sites.add(site, time.time())
        secret = new_secret()
        now = time.time()
        await self.store.invites.create(site, secret_hash(secret), now, now + DAY, replaces)
        return JoinString(self.url, self.ca.pin, secret, site)


def record(state_dir: Path, agent: AgentId, certificate: x509.Certificate) -> None:
    """As if `agent` had enrolled and got `certificate`; written past the store, from plain functions."""
    serial, end = f"{certificate.serial_number:x}", certificate.not_valid_after_utc.timestamp()
    rows = {
        "sites": {"name": agent.site, "created_at": 0},
        "agents": {
            "site": agent.site, "agent": agent.agent, "serial": serial, "not_after": end, "enrolled_at": 0,
            "approved_at": 0,
        },
        "agent_certificates": {
            "serial": serial, "site": agent.site, "agent": agent.agent, "generation": 1, "issued_at": 0,
            "fingerprint": fingerprint.of_key(certificate.public_key()), "not_after": end,
        },
    }  # fmt: skip
    with closing(sqlite3.connect(state_dir / "relay.db")) as connection, connection:
        for table, row in rows.items():
            ignoring = "OR IGNORE " if table == "sites" else ""
            marks = ", ".join("?" * len(row))
            statement = f"INSERT {ignoring}INTO {table} ({', '.join(row)}) VALUES ({marks})"
            connection.execute(statement, tuple(row.values()))


@asynccontextmanager
async def tunnel_listener(folder: Path, patience: float = 4 * WAIT) -> AsyncIterator[TunnelListener]:
    """Open, on a free port of the loopback; for `patience` seconds at most."""
    ca = CertificateAuthority.open(folder, time.time())
    async with (
        await Store.open(f"sqlite+aiosqlite:///{folder / 'relay.db'}") as store,
        asyncio.timeout(patience),
        asyncio.TaskGroup() as tasks,
    ):
        # All connections of the store's pool: tests that count descriptors must not see them come.
        async with asyncio.TaskGroup() as warming:
            for _ in range(POOL):
                warming.create_task(store.sites.exists("plant"))
        place = TunnelListener(folder, store, ca)
        await place.open(tasks)
        try:
            # `record` writes past the store and lets nothing else go on meanwhile: what the store has begun
            # must be over, or each waits for the other.
            await until(lambda: not place.door.notices._begins)
            yield place
        finally:
            await place.close()
