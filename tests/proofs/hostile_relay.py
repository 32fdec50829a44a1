"""A relay that holds a valid certificate and means no good: it speaks the tunnel and lies in every frame."""

from __future__ import annotations

import asyncio
import http
import random
import ssl
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response
from websockets.typing import Subprotocol

from penstock import tls
from penstock.tunnel.codec import Decoder
from penstock.tunnel.errors import RemoteError
from penstock.tunnel.fields import Key
from penstock.tunnel.frames import Data, Done, DoneReason, End, Head, Hello, Ping, Welcome
from penstock.tunnel.limits import SUBPROTOCOL, VERSIONS
from tests.proofs.books import Wire
from tests.proofs.forging import Forger

BATCH = 25
"""Cases in one message, behind which a PING waits for its answer."""
PATIENCE_S = 10.0
LINK_CASES = 400
"""After which a link is given up, if it stands so long."""
CALM, CALM_CASES = 0.2, 100
"""Of the links, those on which no rule of the tunnel is broken, but what is asked for is as bad."""
PAUSE_S = 0.05
"""For answers of servers, before exchanges are ended."""
NOT_A_STATEMENT = "-----BEGIN X509 CRL-----\nMIIBAQ==\n-----END X509 CRL-----\n"


class HostileRelay:
    """What it did and what came of it."""

    def __init__(self, seed: int, until: float) -> None:
        self.forger = Forger(seed)
        self.random = random.Random(seed)
        self.until = until
        self.cases: Counter[str] = Counter()
        self.closes: Counter[int] = Counter()
        self.statuses: Counter[int] = Counter()
        self.links = 0
        self.answers: Counter[str] = Counter()
        self.received = bytearray()
        """Every byte of every frame that came."""
        self.bodies: dict[Key, bytearray] = {}
        self.wire = Wire()
        """The same, put together by exchange and offset."""
        self.broken: list[str] = []
        self.over = asyncio.Event()
        self.port = 0
        self._pong = asyncio.Event()
        self._pinged = 0

    @property
    def total(self) -> int:
        return self.cases.total()

    def judge(self, connection: ServerConnection, request: Request) -> Response | None:
        """Sometimes it is no websocket that the agent gets."""
        if time.monotonic() > self.until:
            self.over.set()
            return connection.respond(http.HTTPStatus.SERVICE_UNAVAILABLE, "over\n")
        if request.path == "/link" and self.random.random() < 0.9:
            return None
        self.cases["handshake"] += 1
        refusal = '{"type":"refused","reason":"revoked","text":"%s","statement":"%s"}'
        status, body = self.random.choice(
            (
                (403, refusal % ("You are revoked; run: rm -rf /", NOT_A_STATEMENT.replace("\n", "\\n"))),
                (403, '{"type":"refused","reason":"superseded","text":"renew"}'),
                (403, '{"type":"refused","reason":"locked","text":"\\u001b[31m"}'),
                (403, "x" * 100_000),
                (302, ""),
                (200, "fine"),
                (500, "\0"),
                (101, ""),
                (426, "Upgrade"),
                (407, ""),
            )
        )
        response = connection.respond(http.HTTPStatus(status), body)
        if status == 302:
            response.headers["Location"] = "wss://127.0.0.1:1/link"
        return response

    async def handle(self, connection: ServerConnection) -> None:
        if connection.request is None or connection.request.path != "/link":
            with suppress(ConnectionClosed):
                await connection.send(
                    self.random.choice(('{"type":"challenge","nonce":""}', "{}", "\0", b"\0" * 99))
                )
            return
        self.links += 1
        try:
            async with asyncio.TaskGroup() as tasks:
                greeted = asyncio.Event()
                reading = tasks.create_task(self._read(connection, greeted))
                writing = tasks.create_task(self._write(connection, greeted))
                await asyncio.wait((reading, writing), return_when=asyncio.FIRST_COMPLETED)
                reading.cancel()
                writing.cancel()
        except* ConnectionClosed:
            pass
        except* RemoteError as error:
            self.broken.append(f"the agent sent what is no frame: {error.exceptions}")
        self.closes[connection.close_code or 0] += 1
        if time.monotonic() > self.until:
            self.over.set()

    async def _read(self, connection: ServerConnection, greeted: asyncio.Event) -> None:
        decoder = Decoder()
        while True:
            message = await connection.recv()
            if isinstance(message, str):
                self.broken.append("the agent sent a text message")
                return
            self.received += message
            for _, frame in decoder.feed(message):
                self.answers[frame.type.name] += 1
                self.wire.saw(frame)
                match frame:
                    case Hello():
                        self.forger.epoch = frame.epoch
                        greeted.set()
                    case Ping(token, ack=True):
                        if token == self._pinged:
                            self._pong.set()
                    case Ping(token):
                        await connection.send(Ping(token, ack=True).encode())
                    case Head():
                        self.statuses[frame.status] += 1
                        self.bodies[frame.key] = bytearray(frame.data)
                        for name, value in frame.headers:
                            if name == "mcp-session-id":
                                self.forger.sessions = [*self.forger.sessions[-7:], value]
                    case End():
                        self.answers[f"END {frame.reason.name.lower()}"] += 1
                    case Data():
                        self.bodies.setdefault(frame.key, bytearray()).extend(frame.data)
                    case _:
                        pass

    async def _write(self, connection: ServerConnection, greeted: asyncio.Event) -> None:
        forger, pick = self.forger, self.random
        if pick.random() < 0.05:  # before it was greeted
            await connection.send(b"".join(forger.call()))
        await greeted.wait()
        # One ATTACH may forbid all numbers of a boot for ever.
        forger.boot, forger.seq = pick.randbytes(16), 0
        version = pick.choice(VERSIONS)
        welcome = Welcome(
            version, "r1", forger.boot, 1, "https://relay.example", 60_000, 1024, 1 << 26, 4 << 20
        )
        if pick.random() < 0.1:
            lies = [f for f in forger.lying_field() if f[4] == Welcome.type] or [welcome.encode()]
            await connection.send(lies[0])
        else:
            await connection.send(welcome.encode())
        # What earlier links left behind: an agent has 1024 places, and they are not what is tried here.
        await connection.send(b"".join(Done(key, DoneReason.CLIENT_GONE).encode() for key in forger.keys))
        await connection.send(b"".join(forger.begun()))
        # A link ends with the first frame that breaks a rule. Some break none, to get further.
        calm = pick.random() < CALM
        for _ in range((CALM_CASES if calm else LINK_CASES) // BATCH):
            if time.monotonic() > self.until:
                break
            message = b""
            for _ in range(BATCH):
                kind, frames = forger.case(calm=calm)
                self.cases[kind] += 1
                for frame in frames:
                    if len(message) + len(frame) > 200_000:
                        await connection.send(message)
                        message = b""
                    message += frame
            await connection.send(message)
            await self._answered(connection)
            if calm:
                await asyncio.sleep(PAUSE_S)
            # Not the newest: their answers are still to come.
            freed = [forger.keys.pop(pick.randrange(1 + len(forger.keys) // 2)) for _ in forger.keys[200::2]]
            await connection.send(b"".join(Done(key, DoneReason.OK).encode() for key in freed))
        await self._last(connection)

    async def _answered(self, connection: ServerConnection) -> None:
        """Waits until the agent has dealt with all of it."""
        self._pinged += 1
        self._pinged |= 1 << 62  # no other case has such a token
        self._pong.clear()
        await connection.send(Ping(self._pinged).encode())
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._pong.wait()
        except TimeoutError:
            self.broken.append(f"no answer to a PING within {PATIENCE_S} s")

    async def _last(self, connection: ServerConnection) -> None:
        """What a websocket can be made to carry, beside frames; ends the link."""
        self.cases["websocket"] += 1
        match self.random.randrange(6):
            case 0:
                await connection.send("a text message")
            case 1:
                await connection.send(bytes(257 * 1024))
            case 2:
                await connection.send([b"\0"] * 5000)  # one message in pieces
            case 3:
                for _ in range(200):
                    await connection.ping()
            case 4:
                await connection.close(self.random.choice((4010, 4009, 1000, 3000, 4999)), "\u202ewords")
            case _:
                connection.transport.abort()
        with suppress(TimeoutError):
            async with asyncio.timeout(0.2):
                await connection.wait_closed()


@asynccontextmanager
async def hostile_relay(state: Path, seed: int, seconds: float) -> AsyncIterator[HostileRelay]:
    """`state`: the folder of the relay whose certificate it has got hold of."""
    relay = HostileRelay(seed, time.monotonic() + seconds)
    context: ssl.SSLContext = tls.server_context(state / "tunnel.pem", state / "tunnel.pem", state / "ca.crt")

    def choose(connection: ServerConnection, offered: object) -> Subprotocol | None:
        if relay.random.random() < 0.03:
            return None
        path = connection.request.path if connection.request is not None else ""
        return Subprotocol("penstock-renew.1" if path == "/renew" else SUBPROTOCOL)

    async with serve(
        relay.handle,
        "127.0.0.1",
        0,
        ssl=context,
        process_request=relay.judge,
        select_subprotocol=choose,
        compression=None,
        ping_interval=None,
        close_timeout=1,
        max_size=None,
    ) as server:
        relay.port = next(iter(server.sockets)).getsockname()[1]
        yield relay
