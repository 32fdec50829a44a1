"""Frames as a hostile relay would make them: good ones, ones of which a field lies, and no frames.

Seeded, so that a case can be made again. What comes from here is bytes: much of it cannot be encoded.
"""

from __future__ import annotations

import dataclasses
import json
import random
import struct
from collections.abc import Callable
from hashlib import sha256
from typing import Any

from penstock.ledgerhead import MAX_N, to_frame
from penstock.tunnel.errors import LocalError
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
    Ledger,
    Lost,
    Method,
    Notice,
    Offer,
    Open,
    Ping,
    Principal,
    Purpose,
    Role,
    Welcome,
)
from tests.harness.ledgers import Ledger as Heads

U16, U32, U64 = (1 << 16) - 1, (1 << 32) - 1, (1 << 64) - 1
NUMBERS = (0, 1, 2, 7, 255, 65535, 65536, 1 << 20, 4 << 20, (4 << 20) + 1, U32, 1 << 32, 1 << 63, U64)
JSON_TYPE = ("content-type", "application/json")
ACCEPT = ("accept", "application/json, text/event-stream")
SERVERS = (
    "open",
    "shut",
    "",
    "open ",
    "OPEN",
    "../shut",
    "shut\0",
    "open/shut",
    "x" * 255,
    "none",
    "console",
)
TOOLS = (
    "allowed",
    "hidden",
    "danger",
    "late",
    "Allowed",
    "allowed ",
    "allowed\0",
    "*",
    "",
    "../hidden",
    "hidden\u200b",
)
METHODS = (
    "tools/call",
    "tools/call",
    "tools/call",
    "tools/call",
    "tools/list",
    "resources/read",
    "resources/list",
    "resources/subscribe",
    "resources/templates/list",
    "prompts/get",
    "prompts/list",
    "completion/complete",
    "sampling/createMessage",
    "roots/list",
    "elicitation/create",
    "logging/setLevel",
    "ping",
    "shell/exec",
    "server/restart",
    "config/set",
    "tasks/get",
    "tasks/result",
    "tasks/cancel",
    "server/discover",
    "subscriptions/listen",
    "notifications/cancelled",
    "notifications/initialized",
    "notifications/tools/call",
    "notifications/roots/list_changed",
    "rpc.discover",
    "initialize",
)
MODERN = "2026-07-28"
VERSIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", MODERN, "1999-01-01", "")


class Forger:
    """Makes the messages of one link after the other."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.boot = self.random.randbytes(16)
        self.epoch = 0
        """Of the agent, once it has said HELLO."""
        self.seq = 0
        self.sessions: list[str] = []
        """Session ids that answers have named."""
        self.keys: list[Key] = []
        """Of exchanges that the agent may hold."""
        self._lied: set[Key] = set()
        """Keys that are none of ours, and that an exchange was opened under."""
        self._kinds: tuple[tuple[int, Callable[[], list[bytes]]], ...] = (
            (30, self.fair_call),
            (20, self.call),
            (12, self.lying_field),
            (8, self.lying_principal),
            (6, self.storm),
            (4, self.foreign_key),
            (4, self.out_of_order),
            (3, self.consent),
            (2, self.reopened),
            (2, self.garbage),
        )

    def case(self, calm: bool = False) -> tuple[str, list[bytes]]:
        """What kind of case, and its frames. `calm`: none that closes the link."""
        kinds = ((4, self.fair_call), (1, self.consent)) if calm else self._kinds
        make = self.random.choices([k for _, k in kinds], [w for w, _ in kinds])[0]
        return make.__name__, make()

    # -- honest parts

    def key(self) -> Key:
        self.seq += 1
        found = Key(self.boot, self.seq)
        self.keys.append(found)
        del self.keys[:-2000]
        return found

    def principal(self, claims: object = None, grant: bytes = b"", token: bytes = b"") -> Principal:
        claims = {"issuer": "https://relay.example", "subject": "u:1"} if claims is None else claims
        content = Principal.pack(
            claims if isinstance(claims, bytes) else json.dumps(claims).encode(), grant, token
        )
        return Principal(sha256(content).digest(), content)

    def opening(self, body: bytes, **changes: Any) -> Open:
        """A good OPEN|END, but for `changes`."""
        fields: dict[str, Any] = {
            "key": self.key(),
            "epoch": self.epoch,
            "site": "plant",
            "server": "open",
            "method": Method.POST,
            "purpose": Purpose.MCP,
            "principal": self.principal().digest,
            "deadline_ms": 3000,
            "length": len(body),
            "limit": 1 << 16,
            "headers": (JSON_TYPE, ACCEPT),
            "data": body,
            "end": True,
        }
        return Open(**(fields | changes))

    def body(self) -> bytes:
        """One JSON-RPC message, good or not."""
        pick = self.random.choice
        method = pick(METHODS)
        name = pick(TOOLS)
        params: Any = {
            "name": name,
            "uri": pick(("file:///allowed", "file:///hidden", "file:///etc/passwd", "file:///../x")),
            "arguments": pick(({}, {"word": "x"}, [], None, {"a": {"b": [1] * 50}})),
            "protocolVersion": pick(VERSIONS),
            "capabilities": {},
            "clientInfo": {"name": "x", "version": "1"},
            "ref": {"type": pick(("ref/prompt", "ref/resource", "x")), "name": "greet"},
            "level": "debug",
            "argument": {"name": "x", "value": "y"},
            "requestId": pick((1, "1", 0, None)),
            "notifications": {"toolsListChanged": True, "resourceSubscriptions": ["file:///hidden"]},
        }
        if self.random.random() < 0.3:
            prefix = "io.modelcontextprotocol/"
            params["_meta"] = {
                f"{prefix}protocolVersion": MODERN,
                f"{prefix}clientInfo": {"name": "x", "version": "1"},
                f"{prefix}clientCapabilities": {},
                "progressToken": pick((1, "t")),
            }
        message: Any = {
            "jsonrpc": "2.0",
            "method": method,
            "params": pick((params, params, params, [], None, 7)),
        }
        if self.random.random() < 0.85:
            message["id"] = pick((1, "1", 0, -1, 1.5, None, [], "x" * 300))
        text = json.dumps(message)
        shape = self.random.random()
        if shape < 0.05:
            text = json.dumps([message, message])
        elif shape < 0.10:  # said twice: which one counts?
            text = text.replace('"method":', '"method": "tools/list", "method":', 1)
        elif shape < 0.15:
            text = text.replace('"name":', '"name": "allowed", "name":', 1)
        elif shape < 0.17:
            text = text[: self.random.randrange(len(text))]
        elif shape < 0.19:
            text = "[" * 10_000
        elif shape < 0.22:
            text = json.dumps({"jsonrpc": "2.0", "id": 1, "result": {}})
        return text.encode()

    def headers(self) -> tuple[tuple[str, str], ...]:
        pick = self.random.choice
        found = [JSON_TYPE, ACCEPT]
        if self.sessions and self.random.random() < 0.6:
            found.append(("mcp-session-id", pick(self.sessions)))
        if self.random.random() < 0.5:
            found.append(("mcp-protocol-version", pick(VERSIONS)))
        if self.random.random() < 0.3:
            found += [("mcp-method", pick(METHODS)), ("mcp-name", pick(TOOLS))]
        if self.random.random() < 0.15:
            found.append(
                pick(
                    (
                        ("mcp-session-id", "x" * 4000),
                        ("last-event-id", "x.y.z"),
                        ("last-event-id", "\0" * 80),
                        ("authorization", "Bearer x"),
                        ("x-penstock-command", "run"),
                        ("", ""),
                        ("host", "evil"),
                        ("mcp-param-x", "=?base64?AAAA?="),
                        ("content-encoding", "gzip"),
                        ("accept", "*/*;q=0"),
                    )
                )
            )
        self.random.shuffle(found)
        return tuple(found)

    # -- cases

    def begun(self) -> list[bytes]:
        """A session of the handshake era is asked for: the cases that follow are in it."""
        params = {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "x", "version": "1"},
        }
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}).encode()
        return [self.principal().encode(), self.opening(body).encode()]

    def fair_call(self) -> list[bytes]:
        """A request that nothing is wrong with, but what it asks for: so it gets as far as policy lets it."""
        pick = self.random.choice
        if self.random.random() < 0.04:
            return self.begun()
        method, name = pick(METHODS), pick(("allowed", "allowed", *TOOLS))
        uri = pick(("file:///allowed", "file:///hidden", "file:///etc/passwd"))
        params: dict[str, Any] = {"_meta": {}}
        if method == "tools/call":
            params |= {"name": name, "arguments": {}}
        elif method.startswith("prompts/"):
            params |= {"name": pick(("greet", "hidden"))}
        elif method.startswith("resources/"):
            params |= {"uri": uri}
        elif method == "completion/complete":
            params |= {
                "ref": {"type": "ref/prompt", "name": "greet"},
                "argument": {"name": "x", "value": "y"},
            }
        headers = [JSON_TYPE, ACCEPT]
        if self.sessions and self.random.random() < 0.7:
            headers += [("mcp-session-id", pick(self.sessions)), ("mcp-protocol-version", "2025-11-25")]
        else:
            prefix = "io.modelcontextprotocol/"
            params["_meta"] = {
                f"{prefix}protocolVersion": MODERN,
                f"{prefix}clientInfo": {"name": "x", "version": "1"},
                f"{prefix}clientCapabilities": {},
            }
            headers += [("mcp-protocol-version", MODERN), ("mcp-method", method)]
            if (named := params.get("uri", params.get("name"))) is not None:
                headers.append(("mcp-name", named))
        message: dict[str, Any] = {"jsonrpc": "2.0", "method": method, "params": params}
        # Without an id it asks for nothing, and must not get a sloppy server to do it either.
        if self.random.random() < 0.85:
            message["id"] = self.seq
        body = json.dumps(message).encode()
        return [self.principal().encode(), *_encoded(self.opening(body, headers=tuple(headers)))]

    def call(self) -> list[bytes]:
        """A whole request of any method, in any form."""
        principal = self.principal()
        purpose = self.random.choices(list(Purpose), (20, 2, 2, 1))[0]
        method = self.random.choices(list(Method), (2, 20, 1))[0]
        server = "open" if self.random.random() < 0.8 else self.random.choice(SERVERS)
        opening = self.opening(
            self.body(),
            principal=principal.digest,
            purpose=purpose,
            method=method,
            headers=self.headers(),
            server=server,
        )
        return [principal.encode(), *_encoded(opening)]

    def lying_field(self) -> list[bytes]:
        """A frame of any type with one of its fields at a bound, random, or of something else."""
        honest = self.random.choice(self._all())
        names = [field.name for field in dataclasses.fields(honest) if field.name != "type"]
        name = self.random.choice(names)
        value = self._lie(getattr(honest, name))
        if isinstance(honest, Open) and isinstance(value, Key):
            value = self._once(value)
        return _encoded(dataclasses.replace(honest, **{name: value}))

    def _once(self, key: Key) -> Key:
        """The key, or one that nothing was opened under: who uses a key again after its exchange is over
        gets two answers of one name, and nobody can say which bytes belong to which.
        """
        while key in self._lied:
            key = Key(key.boot, self.random.getrandbits(63))
        self._lied.add(key)
        return key

    def _all(self) -> list[Frame]:
        """One of every type."""
        key = self.random.choice(self.keys) if self.keys and self.random.random() < 0.7 else self.key()
        return [
            Hello(Role.REPLICA, "r", bytes(16), 1, Lane.MAIN, (1,), bytes(32), ()),
            Welcome(1, "r", self.boot, 1, "https://relay.example", 10_000, 1024, 1 << 26, 4 << 20),
            Offer(bytes(32), ("shut",)),
            Ping(1),
            GoAway(GoAwayReason.DRAIN, 10),
            Lost(self.boot),
            self.head(),
            Notice(1, 0),
            self.principal(),
            self.opening(self.body()),
            Head(key, 200, (JSON_TYPE,), b"{}"),
            Data(key, 0, b"{}"),
            End(key, 0),
            Credit(key, 0, 1 << 16),
            Attach(key, 1, self.epoch, 0, 1 << 16),
            Done(key, DoneReason.OK),
        ]

    def head(self) -> Ledger:
        """As the newest that the relay has kept: of a ledger that is not the agent's."""
        return to_frame(Heads("forged").head(self.random.choice((1, 7, 1 << 20, MAX_N))))

    def _lie(self, value: object) -> Any:
        pick = self.random.choice
        match value:
            case bool():
                return not value
            case Method() | Purpose() | Role() | Lane() | EndReason() | DoneReason() | GoAwayReason():
                return pick((*type(value), 0, 99, 255))
            case int():
                return pick((*NUMBERS, self.random.getrandbits(64), value + 1, max(0, value - 1)))
            case Key():
                return pick(
                    (
                        Key(bytes(16), 1),
                        Key(self.random.randbytes(16), 1),
                        Key(self.boot, U64),
                        Key(self.boot, 0),
                        value,
                    )
                )
            case bytes():
                return pick(
                    (b"", value + b"x", value[:-1], self.random.randbytes(len(value)), bytes(16 * 1024))
                )
            case str():
                return pick((*SERVERS, "\u202e", "a\nb", "\x7f"))
            case tuple():
                return pick(
                    ((), value * 50, (("a", "b"),) * 1000, (("\n", "\r\nx: y"),), ("shut",), (1, 2, 3))
                )
        raise AssertionError(value)

    def lying_principal(self) -> list[bytes]:
        """A call in the name of anybody, with any grant."""
        pick = self.random.choice
        claims: object = pick(
            (
                b"",
                b"null",
                b"[]",
                b"{",
                b"\xff",
                b"{}",
                b"[" * 5000,
                {"issuer": "", "subject": ""},
                {"issuer": "x", "subject": None},
                {"issuer": ["x"], "subject": "y"},
                {"issuer": "x", "subject": "root", "groups": ["administrators"] * 500, "admin": True},
                {"issuer": "local", "subject": "uid:0", "expose": ["*"], "command": ["/bin/sh"]},
                {"issuer": "x", "subject": "y", "name": "\u202e\0", "email": "x" * 5000},
            )
        )
        grant = pick(
            (
                b"",
                b"{}",
                b"null",
                b"[]",
                b'{"tools":["*"],"later":"all","others":true}',
                b'{"expose":["*"]}',
                b'{"tools":["hidden","danger","allowed"]}',
                b'{"prefixes":[""]}',
                b'{"prefixes":["hid"]}',
                b"\xff",
                json.dumps({"tools": [f"t{n}" for n in range(600)]}).encode(),
                b'{"denied":["allowed"]}',
                b'{"later":"read_only"}',
                b" " * 40_000,
            )
        )
        principal = self.principal(claims, grant, pick((b"", b"{}", b"x" * 4000)))
        digest = principal.digest if self.random.random() < 0.9 else bytes(32)
        raw = _encoded(principal)
        if self.random.random() < 0.03:
            raw = _encoded(dataclasses.replace(principal, digest=self.random.randbytes(32)))
        return [*raw, *_encoded(self.opening(self.body(), principal=digest, headers=self.headers()))]

    def storm(self) -> list[bytes]:
        """Much of the same."""
        count = self.random.choice((10, 100, 400))
        key = self.random.choice(self.keys) if self.keys else self.key()
        makers: list[Callable[[int], Frame]] = [
            lambda n: Ping(n),
            lambda n: Ping(n, ack=True),
            lambda n: Credit(key, 0, n),
            lambda n: Done(Key(self.boot, n), DoneReason.OK),
            lambda n: Done(key, self.random.choice(list(DoneReason))),
            lambda n: GoAway(self.random.choice(list(GoAwayReason)), self.random.choice(NUMBERS) & U32),
            lambda n: Lost(self.boot),
            lambda n: self.head(),
            lambda n: Lost(self.random.randbytes(16)),
            lambda n: Data(key, n * 100, b"x" * 100),
            lambda n: Attach(key, n, self.epoch, 0, 1 << 16),
            lambda n: Attach(Key(self.random.randbytes(16), n), 1, self.epoch, 0, 1 << 16),
            lambda n: self.principal({"issuer": "x", "subject": f"{n}-{self.random.random()}"}),
            # No agent may run out of places because one is asked for exchanges that never begin.
            lambda n: self.opening(b"", length=100, data=b"", end=False, deadline_ms=500),
        ]
        make = self.random.choice(makers)
        return [make(n).encode() for n in range(count)]

    def foreign_key(self) -> list[bytes]:
        """About exchanges that there are not, of other origins, other epochs."""
        boot = self.random.choice((bytes(16), b"\xff" * 16, self.random.randbytes(16)))
        key = self._once(Key(boot, self.random.choice((0, 1, U64, self.random.getrandbits(40)))))
        epoch = self.random.choice((self.epoch, self.epoch ^ 1, 0, U64))
        return [
            self.random.choice(
                (
                    Attach(key, 1, epoch, 0, 1 << 16),
                    Data(key, 0, b"x"),
                    End(key, 0),
                    Credit(key, U64, U64),
                    Done(key, DoneReason.REVOKED),
                )
            ).encode(),
            *_encoded(self.opening(self.body(), epoch=epoch, key=key)),
        ]

    def out_of_order(self) -> list[bytes]:
        """A request in pieces: late, twice, beyond its end, never ended, or taken back in between."""
        body = self.body()
        opening = self.opening(body, data=b"", end=False)
        key = opening.key
        half = len(body) // 2
        pieces: list[Frame] = [
            opening,
            Data(key, 0, body[:half]),
            Data(key, half, body[half:], True),
            End(key, len(body)),
            Attach(key, 1, self.epoch, 0, 1 << 16),
            Done(key, self.random.choice(list(DoneReason))),
            Credit(key, 0, 1 << 16),
        ]
        rest = pieces[1:]
        self.random.shuffle(rest)
        first = pieces[:1] if self.random.random() < 0.9 else []
        return [
            self.principal().encode(),
            *(b for p in first + rest[: self.random.randrange(1, 7)] for b in _encoded(p)),
        ]

    def consent(self) -> list[bytes]:
        """The relay's own question, for servers that it must not know, and with things that it has not."""
        principal = self.principal(grant=self.random.choice((b"", b'{"later":"all","others":true}')))
        body = self.random.choice((b"", b"", b"{}", self.body()))
        server = self.random.choice(SERVERS)
        method = self.random.choice(list(Method))
        opening = self.opening(
            body,
            purpose=Purpose.CONSENT,
            server=server,
            method=method,
            principal=principal.digest,
            headers=(),
        )
        return [principal.encode(), *_encoded(opening)]

    def reopened(self) -> list[bytes]:
        """The same key again, which must close the link or be refused; one call is one call."""
        body = json.dumps(
            {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "hidden"}}
        ).encode()
        opening = self.opening(body)
        return [self.principal().encode(), opening.encode(), opening.encode()]

    def garbage(self) -> list[bytes]:
        """No frames: types, flags and lengths that there are not, and noise."""
        kind = self.random.choice((*FrameType, 0x00, 0x09, 0x18, 0x7F, 0xFF))
        size = self.random.choice((0, 1, 8, 24, 100))
        length = self.random.choice((size, size, size + 1, U32, 80 * 1024 + 1))
        flags = self.random.choice((0, 1, 2, 0x80, 0xFF))
        link = self.random.choice((0, 0, 0, 1, U32))
        return [HEADER.pack(length, kind, flags, link) + self.random.randbytes(size)]


def _encoded(frame: Frame) -> list[bytes]:
    """Nothing for what cannot even be written down; `garbage` is for that."""
    try:
        return [frame.encode()]
    except (LocalError, struct.error, TypeError, ValueError, OverflowError, AttributeError):
        return []
