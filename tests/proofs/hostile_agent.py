"""A valid agent of one site that means no good: what it answers, and what it says of others' exchanges.

It has enrolled as every agent does. From then on this module speaks for it, with its key.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
import struct
from collections import Counter, deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

from penstock import tls
from penstock.ledgerhead import MAX_AT_MS, MAX_N, to_frame
from penstock.tunnel.agent import digest_of
from penstock.tunnel.codec import Decoder
from penstock.tunnel.errors import LocalError, RemoteError
from penstock.tunnel.fields import Key
from penstock.tunnel.frames import (
    HEADER,
    Attach,
    Credit,
    Data,
    Done,
    DoneReason,
    End,
    EndReason,
    Frame,
    FrameType,
    GoAway,
    GoAwayReason,
    Head,
    Hello,
    Lane,
    Lost,
    Notice,
    Offer,
    Open,
    Ping,
    Role,
    Welcome,
)
from penstock.tunnel.limits import SUBPROTOCOL, VERSIONS
from penstock_agent.dialer.connect import Connect
from tests.harness.ledgers import Ledger as Heads

JSON: Final = ("content-type", "application/json")
MARK: Final = "of-the-rogue"
"""In everything that it says: whoever sees it has heard from it."""
U32, U64 = (1 << 32) - 1, (1 << 64) - 1
STATUSES: Final = (
    0,
    100,
    101,
    199,
    201,
    206,
    301,
    302,
    303,
    307,
    308,
    401,
    402,
    407,
    418,
    421,
    502,
    511,
    599,
    999,
    65535,
)
HEADERS: Final[tuple[tuple[tuple[str, str], ...], ...]] = (
    (("set-cookie", f"session={MARK}"),),
    (("location", f"https://evil.example/{MARK}"),),
    (("access-control-allow-origin", "*"),),
    (("strict-transport-security", "max-age=0"),),
    (("www-authenticate", f'Bearer resource_metadata="https://evil.example/{MARK}"'),),
    (("content-type", "text/html"),),
    (("content-type", "application/json\r\nset-cookie: x=y"),),
    (("content-type", "application/json\nset-cookie: x=y"),),
    (("mcp-session-id", f"x\r\n\r\n<script>{MARK}</script>"),),
    (("Set-Cookie", "x=y"),),
    (("set-cookie\r\nx", "y"),),
    (("content-length", "0"),),
    (("transfer-encoding", "chunked"),),
    (("content-encoding", "gzip"),),
    (("connection", "upgrade"), ("upgrade", "websocket")),
    (("refresh", "0; url=https://evil.example"),),
    (("content-security-policy", ""),),
    (("content-type", "application/json"), ("content-type", "text/html")),
    (("allow", "\u00e9"),),
    (("retry-after", "\0"),),
    (("", ""),),
    (("content-type", "x" * 60_000),),
    tuple((f"x-{n}", "y") for n in range(2000)),
)
NAMES: Final = (
    ("work",),
    ("work", "tools"),
    ("../tools",),
    ("plant/tools",),
    ("oauth",),
    ("TOOLS",),
    ("a\nb",),
    ("",),
    ("x" * 255,),
    tuple(f"n{n}" for n in range(257)),
    tuple(f"n{n}" for n in range(5000)),
    ("work", "work"),
    ("\u202e",),
)


class HostileAgent:
    """`state` is its folder, as `penstock-agent join` has left it."""

    def __init__(self, state: Path, url: str, agent: str, seed: int) -> None:
        self.random = random.Random(seed)
        self.agent = agent
        self.cases: Counter[str] = Counter()
        self.closes: Counter[int] = Counter()
        self.links = 0
        self.refused = 0
        self.opened = 0
        """Exchanges that it was given."""
        self.foreign: list[str] = []
        """Sites of those that were not of its own."""
        self.boot = bytes(16)
        self.epoch = self.random.getrandbits(64)
        self.instance = self.random.randbytes(16)
        self._url = url
        self._context = tls.client_context(state / "ca.pem", state / "identity.pem", state / "identity.pem")
        self._given: deque[Key] = deque(maxlen=50)
        self._ways: tuple[Callable[[ClientConnection], list[bytes]], ...] = (
            self._of_others,
            self._of_others,
            self._offers,
            self._fields,
            self._storm,
            self._heads,
            self._notices,
            self._noise,
            self._illegal,
        )

    async def run(self) -> None:
        """Link after link, until cancelled."""
        while True:
            try:
                await self._link()
            except (OSError, InvalidHandshake, TimeoutError):
                self.refused += 1
                await asyncio.sleep(0.05)

    async def _link(self) -> None:
        async with Connect(
            f"{self._url}/link",
            ssl=self._context,
            proxy=None,
            subprotocols=[Subprotocol(SUBPROTOCOL)],
            compression=None,
            close_timeout=0.2,
            ping_interval=None,
            max_size=None,
            open_timeout=5,
        ) as connection:
            self.links += 1
            with suppress(ConnectionClosed):
                await connection.send(self._hello())
                async with asyncio.timeout(2.5), asyncio.TaskGroup() as tasks:
                    greeted = asyncio.Event()
                    reading = tasks.create_task(self._read(connection, greeted))
                    writing = tasks.create_task(self._write(connection, greeted))
                    await asyncio.wait((reading, writing), return_when=asyncio.FIRST_COMPLETED)
                    reading.cancel()
                    writing.cancel()
        self.closes[connection.close_code or 0] += 1

    def _hello(self) -> bytes:
        digest, names = digest_of(["work"])
        honest = Hello(Role.AGENT, self.agent, self.instance, self.epoch, Lane.MAIN, VERSIONS, digest, names)
        if self.random.random() < 0.7:
            return honest.encode()
        self.cases["HELLO"] += 1
        pick = self.random.choice
        names = pick(NAMES)
        lie: dict[str, Any] = pick(
            (
                {"name": pick(("agent", "", "x", "a/b", "plant"))},
                {"role": Role.REPLICA},
                {"versions": (1,)},
                {"versions": (3,)},
                {"versions": ()},
                {"servers": names, "digest": digest_of(names)[0]},
                {"servers": names},
                {"epoch": self.random.getrandbits(64)},
                {"lane": Lane.BULK},
                {"instance": bytes(16)},
            )
        )
        return (_encoded(dataclasses.replace(honest, **lie)) or [honest.encode()])[0] + pick(
            (b"", Ping(1).encode())
        )

    async def _read(self, connection: ClientConnection, greeted: asyncio.Event) -> None:
        decoder = Decoder()
        try:
            while True:
                message = await connection.recv(decode=False)
                for _, frame in decoder.feed(message):
                    match frame:
                        case Welcome():
                            self.boot = frame.boot
                            greeted.set()
                        case Ping(token, ack=False):
                            await connection.send(Ping(token, ack=True).encode())
                        case Open():
                            self.opened += 1
                            self._given.append(frame.key)
                            if frame.site != "rogue":
                                self.foreign.append(frame.site)
                            for answer in self._answer(frame.key):
                                await connection.send(answer)
        except (ConnectionClosed, RemoteError):
            return

    async def _write(self, connection: ClientConnection, greeted: asyncio.Event) -> None:
        with suppress(ConnectionClosed):
            await greeted.wait()
            # What breaks a rule ends the link; so there are some that break none, and are there for longer.
            calm = self.random.random() < 0.4
            for _ in range(self.random.randrange(1, 40)):
                way = self._of_others if calm else self.random.choice(self._ways)
                self.cases[way.__name__.strip("_")] += 1
                for data in way(connection):
                    await connection.send(data)
                await asyncio.sleep(self.random.random() * 0.05)
            if self.random.random() < 0.2:
                self.cases["text"] += 1
                await connection.send(MARK)
            elif self.random.random() < 0.2:
                self.cases["huge"] += 1
                await connection.send(bytes(300_000))
            with suppress(TimeoutError):
                async with asyncio.timeout(0.2):
                    await connection.wait_closed()

    # -- what it says

    def _answer(self, key: Key) -> list[bytes]:
        """To a caller of its own site."""
        pick, body = self.random.choice, b'{"jsonrpc":"2.0","id":1,"result":{"x":"%b"}}' % MARK.encode()
        self.cases["answer"] += 1
        status = pick((200, 200, *STATUSES))
        headers = (JSON, *pick(HEADERS)) if status == 200 or self.random.random() < 0.5 else (JSON,)
        head = Head(key, status, headers, body, True)
        kind = self.random.random()
        if kind < 0.6:
            return _encoded(head)
        if kind < 0.7:  # two heads that differ
            return _encoded(Head(key, 200, (JSON,), b"{")) + _encoded(dataclasses.replace(head, data=b""))
        if kind < 0.8:  # more than anybody has room for
            begin = _encoded(Head(key, 200, (JSON,), b"")) or []
            return begin + [Data(key, n * 16384, b"x" * 16384).encode() for n in range(100)]
        if kind < 0.9:
            return [End(key, pick((0, 1, U64)), pick(list(EndReason))).encode()]
        # An event stream with what is no event, and a head in its body.
        stream = (("content-type", "text/event-stream"),)
        return _encoded(
            Head(key, 200, stream, b"HTTP/1.1 302 Found\r\nLocation: https://evil.example\r\n\r\n", True)
        )

    def _of_others(self, _: ClientConnection) -> list[bytes]:
        """About exchanges of others: numbers count up, and the boot is known, so theirs can be told."""
        newest = max((key.seq for key in self._given if key.boot == self.boot), default=0)
        most = newest + (30 if self.random.random() < 0.02 else 1)  # what was not used yet closes the link
        found: list[bytes] = []
        for seq in self.random.sample(range(max(1, most - 60), most), min(most - 1, 8)) if most > 1 else ():
            key = Key(self.boot, seq)
            frame: Frame = self.random.choice(
                (
                    Head(key, 200, (JSON,), b'{"jsonrpc":"2.0","id":1,"result":"%b"}' % MARK.encode(), True),
                    Data(key, 0, MARK.encode(), True),
                    End(key, 0, self.random.choice(list(EndReason))),
                    Credit(key, 0, 1 << 20),
                    End(key, U64),
                    Head(key, 302, (("location", "x"),), b"", True),
                )
            )
            found += _encoded(frame)
        return found

    def _offers(self, _: ClientConnection) -> list[bytes]:
        """Names of others', names that are none, and many."""
        names = self.random.choice(NAMES)
        digest = self.random.choice((digest_of(names)[0], bytes(32)))
        return _encoded(Offer(digest, names))

    def _fields(self, _: ClientConnection) -> list[bytes]:
        """Of an exchange of its own: numbers that cannot be."""
        pick = self.random.choice
        key = pick(self._given) if self._given else Key(self.boot, 1)
        number = pick((0, 1, 65535, 65536, 4 << 20, (4 << 20) + 1, 1 << 63, U64))
        frame: Frame = pick(
            (
                Credit(key, number, pick((0, 1 << 20, U64))),
                Data(key, number, b"x"),
                End(key, number),
                Head(Key(self.boot, number), 200, (JSON,)),
                Head(Key(bytes(16), 1), 200, (JSON,)),
                Ping(number),
                Ping(number, ack=True),
                GoAway(pick(list(GoAwayReason)), number & U32),
            )
        )
        return _encoded(frame)

    def _storm(self, _: ClientConnection) -> list[bytes]:
        """Much of the same: the relay answers each PING, and each OFFER changes what it routes by."""
        kind, count = self.random.randrange(4), self.random.choice((100, 1000, 3000))
        make: tuple[Callable[[int], Frame], ...] = (
            lambda n: Ping(n),
            lambda n: Offer(*digest_of([f"n{n}"])),
            lambda n: Credit(self._given[-1] if self._given else Key(self.boot, 1), 0, n),
            lambda n: GoAway(GoAwayReason.REBALANCE, n),
        )
        frames = [make[kind](n).encode() for n in range(count)]
        return [b"".join(frames[at : at + 1000]) for at in range(0, count, 1000)]

    def _noise(self, _: ClientConnection) -> list[bytes]:
        size = self.random.choice((0, 1, 8, 24, 60_000))
        length = self.random.choice((size, size + 1, U32))
        kind = self.random.randrange(256)
        return [
            HEADER.pack(length, kind, self.random.choice((0, 1, 2, 255)), 0) + self.random.randbytes(size)
        ]

    def _heads(self, _: ClientConnection) -> list[bytes]:
        """Of ledgers: signed and not, older and newer, of many keys, and many at once."""
        pick = self.random.choice
        ledger = Heads(f"rogue {self.random.randrange(200)}")
        head = to_frame(ledger.head(pick((1, 7, 1 << 40, MAX_N)), pick((0, MAX_AT_MS))))
        lies: tuple[dict[str, Any], ...] = (
            {}, {}, {"n": 8}, {"n": U64}, {"at_ms": U64}, {"hash": bytes(32)}, {"signature": bytes(64)},
            {"ledger": bytes(32)},
        )  # fmt: skip
        return _encoded(dataclasses.replace(head, **pick(lies))) * pick((1, 1, 2, 50))

    def _notices(self, _: ClientConnection) -> list[bytes]:
        """Of what waits: any counts, states that there are not, more than is there, and many at once."""
        pick = self.random.choice
        good = Notice(pick((0, 1, U32)), pick((0, 1, U32)), pick((True, False)), pick((True, False))).encode()
        body = pick(
            (good[10:], good[10:], good[10:], good[10:-1] + b"\xff", good[10:-1], good[10:] + MARK.encode())
        )
        return [HEADER.pack(len(body), FrameType.NOTICE, pick((0, 0, 0, 1)), 0) + body] * pick((1, 1, 2, 50))

    def _illegal(self, _: ClientConnection) -> list[bytes]:
        """Frames that only a relay may send."""
        key = Key(self.boot, 1)
        frames: tuple[Frame, ...] = (
            Attach(key, 1, 1, 0, 0),
            Done(key, DoneReason.OK),
            Lost(self.boot),
            Lost(),
            Welcome(1, "r", self.boot, 1, "https://evil.example", 1, 1, 1, 1),
        )
        return [self.random.choice(frames).encode(self.random.choice((0, 0, 1, U32)))]


def _encoded(frame: Frame) -> list[bytes]:
    """Nothing for what does not fit into a frame."""
    try:
        return [frame.encode()]
    except (LocalError, struct.error, ValueError, OverflowError):
        return []
