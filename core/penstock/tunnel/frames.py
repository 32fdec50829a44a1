"""Frames: what travels on a link. Layout of each body in its class; PROTOCOL.md is normative.

    0         4      5       6          10
    +---------+------+-------+----------+----------- - -
    | length  | type | flags |   link   |  body
    +---------+------+-------+----------+----------- - -

Integers are unsigned and big-endian; `length` counts the body alone. `link` is 0 between an agent and
a replica; between replicas it names the link of the agent that the frame is for or from.

`text8` and `text16` are UTF-8 behind a length of 8 or 16 bits, `bytes16` is bytes behind a length of 16
bits. `data` is whatever is left of the body, at most 16 KiB.

`encode` raises LocalError for a value that does not fit its field, `decode` RemoteError(MALFORMED).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, TypeAlias

from penstock.tunnel.errors import CloseCode, LocalError, RemoteError
from penstock.tunnel.fields import Key, Reader, Writer, member
from penstock.tunnel.limits import MAX_DATA, MAX_PRINCIPAL

Headers: TypeAlias = tuple[tuple[str, str], ...]
"""HTTP header pairs: names in lower case, order and duplicates kept."""


class FrameType(IntEnum):
    HELLO = 0x01
    WELCOME = 0x02
    OFFER = 0x03
    PING = 0x04
    GOAWAY = 0x05
    LOST = 0x06
    LEDGER = 0x07
    NOTICE = 0x08
    PRINCIPAL = 0x10
    OPEN = 0x11
    HEAD = 0x12
    DATA = 0x13
    END = 0x14
    CREDIT = 0x15
    ATTACH = 0x16
    DONE = 0x17


class Flag(IntEnum):
    END = 0x01
    """On OPEN, HEAD and DATA: nothing follows in this direction."""
    ACK = 0x01
    """On PING: the answer to one."""


class Role(IntEnum):
    """Who says HELLO."""

    AGENT = 1
    REPLICA = 2


class Lane(IntEnum):
    MAIN = 0
    BULK = 1


class Method(IntEnum):
    GET = 1
    POST = 2
    DELETE = 3


class Purpose(IntEnum):
    """Which public entry the caller used; the verb set is closed."""

    MCP = 1
    """`/{site}/{server}/mcp`; an empty server is the whole site, `/{site}/mcp`."""
    SSE = 2
    """`/{site}/{server}/sse`, HTTP+SSE of 2024-11-05."""
    MESSAGES = 3
    """`/{site}/{server}/messages`, the other half of it."""
    CONSENT = 4
    """The relay asks what a server exposes, for the page on which a user grants it."""


class EndReason(IntEnum):
    """The agent's last word. What each proves: `states.VERDICTS`."""

    OK = 0
    STALE = 1
    WRONG_EPOCH = 2
    BUSY = 3
    UNKNOWN_SERVER = 4
    UNKNOWN_PRINCIPAL = 5
    DRAINING = 6
    TOO_LARGE = 7
    UNKNOWN = 8
    FORGOTTEN = 9
    FAILED = 16
    DEADLINE = 17
    REVOKED = 18


class DoneReason(IntEnum):
    """The origin's last word. It frees the exchange at once."""

    OK = 0
    CLIENT_GONE = 1
    DEADLINE = 2
    REVOKED = 3
    TOO_SLOW = 4


class GoAwayReason(IntEnum):
    DRAIN = 0
    RESTART = 1
    REBALANCE = 2


HEADER = struct.Struct("!IBBI")
# Layouts of fields that stand side by side. A key is "16sQ".
_OPEN_KEY = struct.Struct("!16sQQ")
_OPEN_WHO = struct.Struct("!BB32sIIQ")
_HEAD = struct.Struct("!16sQH")
_DATA = struct.Struct("!16sQQ")
_END = struct.Struct("!16sQQB")
_CREDIT = struct.Struct("!16sQQQ")
_ATTACH = struct.Struct("!16sQIQQQ")
_DONE = struct.Struct("!16sQB")
_LEDGER = struct.Struct("!32sQ32sQ64s")
_NOTICE = struct.Struct("!IIB")


@dataclass(slots=True)
class Hello:
    """First frame of the dialling end. Bytes behind the known fields are ignored: later versions append.

    role u8 · name text8 · instance 16 · epoch u64 · lane u8 · versions u8 × u16 · digest 32 ·
    servers u16 × text8

    An agent says the name in its certificate, `instance` once made at enrolment, and `epoch`, random for
    each life. A replica says its own name, its boot as `instance`, and epoch 0. `digest` is the SHA-256
    of the server names, sorted and joined by line feeds.
    """

    role: Role
    name: str
    instance: bytes
    epoch: int
    lane: Lane
    versions: tuple[int, ...]
    digest: bytes
    servers: tuple[str, ...]
    type: ClassVar[FrameType] = FrameType.HELLO

    def encode(self, link: int = 0) -> bytes:
        w = Writer().u8(self.role).text8(self.name).fixed(self.instance, 16).u64(self.epoch).u8(self.lane)
        w.u8(len(self.versions))
        for version in self.versions:
            w.u16(version)
        return _frame(self.type, 0, link, w.fixed(self.digest, 32).names(self.servers))

    @classmethod
    def decode(cls, r: Reader, flags: int) -> Hello:
        role, name, instance, epoch, lane = r.enum8(Role), r.text8(), r.fixed(16), r.u64(), r.enum8(Lane)
        versions = tuple(r.u16() for _ in range(r.u8()))
        return cls(role, name, instance, epoch, lane, versions, r.fixed(32), r.names())


@dataclass(slots=True)
class Welcome:
    """Answer to HELLO. Bytes behind the known fields are ignored: later versions append.

    version u16 · replica text8 · boot 16 · replicas u16 · public_url text16 · heartbeat_ms u32 ·
    max_exchanges u32 · answer_budget u64 · max_request u32 · urls u16 × text16

    `urls` may name one URL per replica, so that an agent can keep links to several.
    """

    version: int
    replica: str
    boot: bytes
    replicas: int
    public_url: str
    heartbeat_ms: int
    max_exchanges: int
    answer_budget: int
    max_request: int
    urls: tuple[str, ...] = ()
    type: ClassVar[FrameType] = FrameType.WELCOME

    def encode(self, link: int = 0) -> bytes:
        w = Writer().u16(self.version).text8(self.replica).fixed(self.boot, 16).u16(self.replicas)
        w.text16(self.public_url).u32(self.heartbeat_ms).u32(self.max_exchanges)
        w.u64(self.answer_budget).u32(self.max_request).u16(len(self.urls))
        for url in self.urls:
            w.text16(url)
        return _frame(self.type, 0, link, w)

    @classmethod
    def decode(cls, r: Reader, flags: int) -> Welcome:
        return cls(
            r.u16(), r.text8(), r.fixed(16), r.u16(), r.text16(), r.u32(), r.u32(), r.u64(), r.u32(),
            tuple(r.text16() for _ in range(r.u16())),
        )  # fmt: skip


@dataclass(slots=True)
class Offer:
    """The servers of the agent changed: these are all of them. digest 32 · servers u16 × text8"""

    digest: bytes
    servers: tuple[str, ...]
    type: ClassVar[FrameType] = FrameType.OFFER

    def encode(self, link: int = 0) -> bytes:
        return _frame(self.type, 0, link, Writer().fixed(self.digest, 32).names(self.servers))

    @classmethod
    def decode(cls, r: Reader, flags: int) -> Offer:
        return cls(r.fixed(32), r.names())


@dataclass(slots=True)
class Ping:
    """Sent by either end after a heartbeat of silence; answered at once with flag ACK. token u64"""

    token: int
    ack: bool = False
    type: ClassVar[FrameType] = FrameType.PING

    def encode(self, link: int = 0) -> bytes:
        return _frame(self.type, Flag.ACK if self.ack else 0, link, Writer().u64(self.token))

    @classmethod
    def decode(cls, r: Reader, flags: int) -> Ping:
        return cls(r.u64(), flags != 0)


@dataclass(slots=True)
class GoAway:
    """Open nothing more on this link; dial another within `spread_ms`. reason u8 · spread_ms u32"""

    reason: GoAwayReason
    spread_ms: int
    type: ClassVar[FrameType] = FrameType.GOAWAY

    def encode(self, link: int = 0) -> bytes:
        return _frame(self.type, 0, link, Writer().u8(self.reason).u32(self.spread_ms))

    @classmethod
    def decode(cls, r: Reader, flags: int) -> GoAway:
        return cls(r.enum8(GoAwayReason), r.u32())


@dataclass(slots=True)
class Lost:
    """A hop behind this link is gone. boot 0 or 16

    With a boot, towards an agent: that origin can no longer be reached over this link. Without, towards
    an origin: the agent's link that the header names is gone, and this frame was not delivered to it.
    """

    boot: bytes = b""
    type: ClassVar[FrameType] = FrameType.LOST

    def encode(self, link: int = 0) -> bytes:
        return _frame(self.type, 0, link, Writer().fixed(self.boot, len(self.boot)))

    @classmethod
    def decode(cls, r: Reader, flags: int) -> Lost:
        boot = r.rest()
        if len(boot) not in (0, 16):
            raise RemoteError(CloseCode.MALFORMED, "a boot has 16 bytes")
        return cls(boot)


@dataclass(slots=True)
class Ledger:
    """The head of the agent's ledger, or the newest that the relay has stored. Since version 2.

    ledger 32 · n u64 · hash 32 · at_ms u64 · signature 64

    `ledger` is its public key, `n` the number of its newest record, `hash` that of the chain there.
    """

    ledger: bytes
    n: int
    hash: bytes
    at_ms: int
    signature: bytes
    type: ClassVar[FrameType] = FrameType.LEDGER

    def encode(self, link: int = 0) -> bytes:
        w = Writer().fixed(self.ledger, 32).u64(self.n).fixed(self.hash, 32).u64(self.at_ms)
        return _frame(self.type, 0, link, w.fixed(self.signature, 64))

    @classmethod
    def decode(cls, r: Reader, flags: int) -> Ledger:
        return cls(*r.unpack(_LEDGER))


@dataclass(slots=True)
class Notice:
    """How much waits for the site's administrator. Since version 2. withheld u32 · waiting u32 · state u8

    `withheld` counts items whose definition is not the one that was approved, `waiting` calls that wait for
    approval. Bit 0 of `state`: the ledger cannot be written; bit 1: something is paused; no other exists.
    """

    withheld: int
    waiting: int
    ledger_failing: bool = False
    paused: bool = False
    type: ClassVar[FrameType] = FrameType.NOTICE

    def encode(self, link: int = 0) -> bytes:
        w = Writer().u32(self.withheld).u32(self.waiting).u8(self.ledger_failing | self.paused << 1)
        return _frame(self.type, 0, link, w)

    @classmethod
    def decode(cls, r: Reader, flags: int) -> Notice:
        withheld, waiting, state = r.unpack(_NOTICE)
        if state > 3:
            raise RemoteError(CloseCode.MALFORMED, f"{state} is no state of a notice")
        return cls(withheld, waiting, bool(state & 1), bool(state & 2))


@dataclass(slots=True)
class Principal:
    """Who calls; once per link, before the first OPEN that names it. digest 32 · content

    content is: claims bytes16 · grant bytes16 · token bytes16, at most 48 KiB together. `digest` is the
    SHA-256 of the content. `claims` and `grant` are JSON, `token` is the caller's own or empty.
    """

    digest: bytes
    content: bytes
    type: ClassVar[FrameType] = FrameType.PRINCIPAL

    def encode(self, link: int = 0) -> bytes:
        if len(self.content) > MAX_PRINCIPAL:
            raise LocalError("a principal has at most 48 KiB")
        return _frame(
            self.type, 0, link, Writer().fixed(self.digest, 32).fixed(self.content, len(self.content))
        )

    @classmethod
    def decode(cls, r: Reader, flags: int) -> Principal:
        digest, content = r.fixed(32), r.rest()
        if len(content) > MAX_PRINCIPAL:
            raise RemoteError(CloseCode.MALFORMED, "a principal has at most 48 KiB")
        cls.unpack(content)
        return cls(digest, content)

    @staticmethod
    def pack(claims: bytes, grant: bytes = b"", token: bytes = b"") -> bytes:
        """The content of a principal from its parts."""
        return Writer().bytes16(claims).bytes16(grant).bytes16(token).done()

    @staticmethod
    def unpack(content: bytes) -> tuple[bytes, bytes, bytes]:
        """claims, grant and token of a content; RemoteError when it is malformed."""
        r = Reader(content)
        parts = (r.bytes16(), r.bytes16(), r.bytes16())
        r.finish()
        return parts


@dataclass(slots=True)
class Open:
    """Begins an exchange; once per key.

    key 24 · epoch u64 · site text8 · server text8 · method u8 · purpose u8 · principal 32 ·
    deadline_ms u32 · length u32 · limit u64 · headers u16 × (name text8 · value text16) · data

    `length` is that of the request body, whose first bytes may stand in `data`. `limit` is the credit
    for the answer. `deadline_ms` counts from the arrival of this frame.
    """

    key: Key
    epoch: int
    site: str
    server: str
    method: Method
    purpose: Purpose
    principal: bytes
    deadline_ms: int
    length: int
    limit: int
    headers: Headers
    data: bytes = b""
    end: bool = False
    type: ClassVar[FrameType] = FrameType.OPEN

    def encode(self, link: int = 0) -> bytes:
        if len(self.principal) != 32:
            raise LocalError("the digest of a principal has 32 bytes")
        w = Writer().pack(_OPEN_KEY, *self.key, self.epoch).text8(self.site).text8(self.server)
        w.pack(
            _OPEN_WHO, self.method, self.purpose, self.principal, self.deadline_ms, self.length, self.limit
        ).headers(self.headers)
        return _frame(self.type, self.end, link, w, self.data)

    @classmethod
    def decode(cls, r: Reader, flags: int) -> Open:
        boot, seq, epoch = r.unpack(_OPEN_KEY)
        site, server = r.text8(), r.text8()
        method, purpose, principal, deadline_ms, length, limit = r.unpack(_OPEN_WHO)
        return cls(
            Key(boot, seq), epoch, site, server, member(Method, method), member(Purpose, purpose), principal,
            deadline_ms, length, limit, r.headers(), r.data(), flags != 0,
        )  # fmt: skip


@dataclass(slots=True)
class Head:
    """Status and headers of the answer. key 24 · status u16 · headers u16 × (text8 · text16) · data

    `data` are the first bytes of the answer (offset 0), so that a small answer is one frame. Repeated
    after each ATTACH; what the origin has is not repeated with it.
    """

    key: Key
    status: int
    headers: Headers
    data: bytes = b""
    end: bool = False
    type: ClassVar[FrameType] = FrameType.HEAD

    def encode(self, link: int = 0) -> bytes:
        return self.frame(self.metadata(self.key, self.status, self.headers), self.data, self.end, link)

    @staticmethod
    def metadata(key: Key, status: int, headers: Headers) -> bytes:
        """The body without its payload: made once, however often HEAD is sent."""
        return Writer().pack(_HEAD, *key, status).headers(headers).done()

    @staticmethod
    def frame(metadata: bytes, data: bytes, end: bool, link: int = 0) -> bytes:
        return _pack(FrameType.HEAD, end, link, metadata, data)

    @classmethod
    def decode(cls, r: Reader, flags: int) -> Head:
        boot, seq, status = r.unpack(_HEAD)
        return cls(Key(boot, seq), status, r.headers(), r.data(), flags != 0)


@dataclass(slots=True)
class Data:
    """Payload at its place in the stream. key 24 · offset u64 · data"""

    key: Key
    offset: int
    data: bytes
    end: bool = False
    type: ClassVar[FrameType] = FrameType.DATA

    def encode(self, link: int = 0) -> bytes:
        return _pack(FrameType.DATA, self.end, link, _DATA.pack(*self.key, self.offset), self.data)

    @classmethod
    def decode(cls, r: Reader, flags: int) -> Data:
        boot, seq, offset = r.unpack(_DATA)
        return cls(Key(boot, seq), offset, r.data(), flags != 0)


@dataclass(slots=True)
class End:
    """The stream ends at `offset`. key 24 · offset u64 · reason u8

    From the agent it is the last word; from the origin, the end of the request, and `reason` is OK.
    """

    key: Key
    offset: int
    reason: EndReason = EndReason.OK
    type: ClassVar[FrameType] = FrameType.END

    def encode(self, link: int = 0) -> bytes:
        return _pack(FrameType.END, 0, link, _END.pack(*self.key, self.offset, self.reason))

    @classmethod
    def decode(cls, r: Reader, flags: int) -> End:
        boot, seq, offset, reason = r.unpack(_END)
        return cls(Key(boot, seq), offset, member(EndReason, reason))


@dataclass(slots=True)
class Credit:
    """All bytes below `have` are here for good; send below `limit`. key 24 · have u64 · limit u64"""

    key: Key
    have: int
    limit: int
    type: ClassVar[FrameType] = FrameType.CREDIT

    def encode(self, link: int = 0) -> bytes:
        return _pack(FrameType.CREDIT, 0, link, _CREDIT.pack(*self.key, self.have, self.limit))

    @classmethod
    def decode(cls, r: Reader, flags: int) -> Credit:
        boot, seq, have, limit = r.unpack(_CREDIT)
        return cls(Key(boot, seq), have, limit)


@dataclass(slots=True)
class Attach:
    """The exchange goes on over this link. key 24 · counter u32 · epoch u64 · have u64 · limit u64"""

    key: Key
    counter: int
    epoch: int
    have: int
    limit: int
    type: ClassVar[FrameType] = FrameType.ATTACH

    def encode(self, link: int = 0) -> bytes:
        body = _ATTACH.pack(*self.key, self.counter, self.epoch, self.have, self.limit)
        return _pack(FrameType.ATTACH, 0, link, body)

    @classmethod
    def decode(cls, r: Reader, flags: int) -> Attach:
        boot, seq, counter, epoch, have, limit = r.unpack(_ATTACH)
        return cls(Key(boot, seq), counter, epoch, have, limit)


@dataclass(slots=True)
class Done:
    """The origin's last word. key 24 · reason u8"""

    key: Key
    reason: DoneReason
    type: ClassVar[FrameType] = FrameType.DONE

    def encode(self, link: int = 0) -> bytes:
        return _pack(FrameType.DONE, 0, link, _DONE.pack(*self.key, self.reason))

    @classmethod
    def decode(cls, r: Reader, flags: int) -> Done:
        boot, seq, reason = r.unpack(_DONE)
        return cls(Key(boot, seq), member(DoneReason, reason))


LinkFrame: TypeAlias = Hello | Welcome | Offer | Ping | GoAway | Lost | Ledger | Notice
ExchangeFrame: TypeAlias = Principal | Open | Head | Data | End | Credit | Attach | Done
Frame: TypeAlias = LinkFrame | ExchangeFrame


def _frame(kind: FrameType, flags: int, link: int, body: Writer, data: bytes = b"") -> bytes:
    return _pack(kind, flags, link, body.done(), data)


def _pack(kind: FrameType, flags: int, link: int, metadata: bytes, data: bytes = b"") -> bytes:
    if len(data) > MAX_DATA:
        raise LocalError("a frame carries at most 16 KiB of payload")
    return HEADER.pack(len(metadata) + len(data), kind, flags, link) + metadata + data
