"""Accounts for every byte that an agent sent: each belongs to one published shape, or the account fails.

What PROTOCOL.md allows an agent to send without being asked is a closed list, and every field of it is
either known beforehand or fixed by what was sent before: there is no place for anything else. The only random
bytes are the websocket's own (its key, and the mask of each message), `instance` and `epoch`, which never
change.
"""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from penstock.tunnel.agent import digest_of
from penstock.tunnel.codec import decode
from penstock.tunnel.errors import RemoteError
from penstock.tunnel.fields import Key
from penstock.tunnel.frames import (
    HEADER,
    Attach,
    Credit,
    Data,
    Frame,
    GoAway,
    Head,
    Hello,
    Lane,
    Ledger,
    Notice,
    Offer,
    Open,
    Ping,
    Role,
)
from penstock.tunnel.frames import End as EndFrame
from penstock.tunnel.limits import VERSIONS
from tests.proofs.tap import Capture

RECORD, OVERHEAD = 5, 17
"""Of each TLS 1.3 record: its header, and what encryption adds to its content."""
CLOSE_NOTIFY = 2
CLOSING_WORDS = frozenset({b"", b"stopped", b"this program stops", b"too many links"})
"""What an agent says beside a close code when nothing was wrong."""
SUBPROTOCOLS = {"/link": "penstock.1", "/enrol": "penstock-enrol.1", "/renew": "penstock-renew.1"}
MEMBERS = {"enrol": {"type", "secret", "csr"}, "renew": {"type", "certificate", "csr", "signature"}}
ANSWERS = "bytes of answers to exchanges that were opened"


class Unexplained(AssertionError):
    """A byte that belongs to no published shape."""


@dataclass(frozen=True)
class Site:
    """What is known beforehand."""

    agent: str
    instance: str
    """In hexadecimal, as `agent.json` has it."""
    servers: Collection[str]
    """All names that it may ever have offered."""
    ledger: bytes = b""
    """The public key of its ledger."""
    heads: Collection[tuple[int, bytes, int, bytes]] = ()
    """What stands in that ledger itself as its heads: number, hash, moment, signature."""
    notices: Sequence[Notice] = (Notice(0, 0),)
    """What waited on the site, in the order in which it came to be so: all that a NOTICE may say."""


@dataclass
class Account:
    """Rows by name: how many, and how many bytes."""

    counts: Counter[str] = field(default_factory=Counter)
    sizes: Counter[str] = field(default_factory=Counter)
    total: int = 0
    """Bytes that were captured, decrypted."""
    wire: int = 0
    """Bytes that were captured as TLS records."""

    def add(self, row: str, size: int) -> None:
        self.counts[row] += 1
        self.sizes[row] += size

    def since(self, before: Account) -> Account:
        """What was added."""
        return Account(
            self.counts - before.counts,
            self.sizes - before.sizes,
            self.total - before.total,
            self.wire - before.wire,
        )

    def table(self) -> str:
        lines = [f"{'what':<58} {'times':>7} {'bytes':>9}"]
        lines += [f"{row:<58} {self.counts[row]:>7} {self.sizes[row]:>9}" for row in sorted(self.sizes)]
        lines.append(f"{'all of it, decrypted':<58} {'':>7} {self.total:>9}")
        lines.append(f"{'the same, as records of TLS 1.3':<58} {'':>7} {self.wire:>9}")
        return "\n".join(lines)


def account(captures: Iterable[Capture], site: Site) -> Account:
    """Raises Unexplained."""
    books = _Books(site)
    for capture in captures:
        try:
            books.connection(capture)
        except Unexplained as error:
            raise Unexplained(f"connection {capture.number}: {error}") from None
    return books.account


def frames(capture: Capture) -> Iterator[Frame]:
    """All that the agent sent on a link, and nothing else of the connection."""
    _, _, rest = bytes(capture.up).partition(b"\r\n\r\n")
    payload = b"".join(text for opcode, text, _ in _messages(rest, True) if opcode == 2)
    for frame, _ in _split(payload):
        yield frame


def cut_short(capture: Capture) -> tuple[list[Frame], list[Frame]]:
    """All frames of a link that may have been cut anywhere: the agent's, and the relay's.

    Of the last one of the agent, where only part of it is there, as much of its payload as that has.
    """
    up, down = (
        b"".join(text for opcode, text, _ in _messages(rest, masked, whole=False, part=True) if opcode == 2)
        for rest, masked in (
            (bytes(capture.up).partition(b"\r\n\r\n")[2], True),
            (bytes(capture.down).partition(b"\r\n\r\n")[2], False),
        )
    )
    said = [*_split(up, whole=False)]
    half = begun(up[sum(len(raw) for _, raw in said) :])
    return (
        [*(frame for frame, _ in said), *([] if half is None else [half])],
        [frame for frame, _ in _split(down, whole=False)],
    )


def begun(data: bytes) -> Head | Data | None:
    """A frame that ends too early, without the END that it may have said; None where no payload is in it."""
    if len(data) <= HEADER.size:
        return None
    _, kind, _, _ = HEADER.unpack_from(data)
    if kind not in (Head.type, Data.type):
        return None
    try:
        frame = decode(kind, 0, data[HEADER.size :])
    except RemoteError:
        return None  # cut before its payload
    assert isinstance(frame, Head | Data)
    return frame if frame.data else None


def answers(captures: Iterable[Capture]) -> dict[Key, bytes]:
    """The body of each answer, put together: what stands in two frames is whole here."""
    found: dict[Key, bytearray] = {}
    for capture in captures:
        if b"GET /link " not in capture.up[:16]:
            continue
        for frame in frames(capture):
            if isinstance(frame, Head):
                found.setdefault(frame.key, bytearray()).extend(frame.data)
            elif isinstance(frame, Data):
                body = found.setdefault(frame.key, bytearray())
                body.extend(frame.data[max(0, len(body) - frame.offset) :])
    return {key: bytes(body) for key, body in found.items()}


class _Books:
    def __init__(self, site: Site) -> None:
        self.site = site
        self.account = Account()
        self._epoch: int | None = None
        self._keys: set[Key] = set()

    def connection(self, capture: Capture) -> None:
        up = bytes(capture.up)
        self.account.total += len(up)
        self.account.wire += len(capture.cipher)
        before = self.account.sizes.total()
        if capture.cipher:
            _records(capture)
        if up:
            path = self._request(up)
            head = up.index(b"\r\n\r\n") + 4
            if path == "/link":
                self._link(up[head:], bytes(capture.down))
            elif path in SUBPROTOCOLS:
                self._conversation(up[head:])
            elif up[head:]:
                raise Unexplained("a request has a body")
        booked = self.account.sizes.total() - before
        if booked != len(up):
            raise Unexplained(f"{booked} bytes are explained, and {len(up)} were sent")

    def _request(self, up: bytes) -> str:
        """The path, once each header is known to be what a websocket needs and nothing else."""
        head, found, _ = up.partition(b"\r\n\r\n")
        if not found:
            raise Unexplained("no end of the request's head")
        first, *lines = head.decode("ascii", "replace").split("\r\n")
        shown = re.fullmatch(r"GET (/link|/enrol|/renew|/ca) HTTP/1\.1", first)
        if shown is None:
            raise Unexplained("a request line that is not published")
        path = shown[1]
        allowed = {"host": r"127\.0\.0\.1:\d{1,5}", "connection": "Upgrade|close"}
        if path != "/ca":
            allowed |= {
                "upgrade": "websocket",
                "connection": "Upgrade",
                "sec-websocket-version": "13",
                "sec-websocket-protocol": re.escape(SUBPROTOCOLS[path]),
                "sec-websocket-key": r"[A-Za-z0-9+/]{22}==",
            }
        seen = set()
        for line in lines:
            name, _, value = line.partition(": ")
            if name.lower() in seen or re.fullmatch(allowed.get(name.lower(), r"(?!)"), value) is None:
                raise Unexplained(f"the header {name!r} is not published")
            seen.add(name.lower())
            if name.lower() == "sec-websocket-key" and len(base64.b64decode(value)) != 16:
                raise Unexplained("a key of another length")
        self.account.add(f"GET {path}, with the headers of a websocket", len(head) + 4)
        return path

    def _link(self, sent: bytes, down: bytes) -> None:
        asked = self._asked(down)
        frames, closing = b"", False
        for opcode, payload, header in _messages(sent, True):
            self.account.add("headers and masks of websocket messages", header)
            if closing:
                raise Unexplained("a message after the closing one")
            if opcode == 8:
                closing = True
                self._closing(payload)
            elif opcode == 2:
                frames += payload
            else:
                raise Unexplained(f"a websocket message of opcode {opcode}")
        pings, first = 0, True
        notices = list(self.site.notices)
        for frame, raw in _split(frames):
            if frame.encode() != raw:
                raise Unexplained(f"{frame.type.name} has more in it than its fields")
            if isinstance(frame, Hello) is not first:
                raise Unexplained("HELLO is the first frame, once")
            first = False
            match frame:
                case Hello():
                    self._hello(frame)
                case Offer():
                    self._names(frame.digest, frame.servers)
                case Ping(token, ack=True):
                    if not asked[token]:
                        raise Unexplained("an answer to a PING that was not sent")
                    asked[token] -= 1
                case Ping(token):
                    pings += 1
                    if token != pings:
                        raise Unexplained("PING counts its tokens")
                case GoAway():
                    if frame.spread_ms:
                        raise Unexplained("an agent's GOAWAY has no spread")
                case Ledger():
                    self._head(frame)
                case Notice():
                    if frame not in notices:
                        raise Unexplained("a notice of what is not so, or is not so any more, or was said")
                    del notices[: notices.index(frame) + 1]
                case Head() | Data() | EndFrame() | Credit():
                    if frame.key not in self._keys:
                        raise Unexplained(f"{frame.type.name} of an exchange that nobody opened")
                case _:
                    raise Unexplained(f"{frame.type.name} is not for agents to send")
            ack = ", ACK" if isinstance(frame, Ping) and frame.ack else ""
            answer = isinstance(frame, Head | Data | EndFrame | Credit)
            self.account.add(ANSWERS if answer else f"{frame.type.name}{ack}", len(raw))

    def _asked(self, down: bytes) -> Counter[int]:
        """The tokens of the relay's PINGs; notes which exchanges it opened."""
        _, _, rest = down.partition(b"\r\n\r\n")
        asked: Counter[int] = Counter()
        payload = b"".join(p for opcode, p, _ in _messages(rest, False, whole=False) if opcode == 2)
        for frame, _ in _split(payload, whole=False):
            if isinstance(frame, Ping) and not frame.ack:
                asked[frame.token] += 1
            elif isinstance(frame, Open | Attach):
                self._keys.add(frame.key)
        return asked

    def _hello(self, frame: Hello) -> None:
        known = (Role.AGENT, self.site.agent, bytes.fromhex(self.site.instance), Lane.MAIN, VERSIONS)
        if (frame.role, frame.name, frame.instance, frame.lane, frame.versions) != known:
            raise Unexplained("HELLO does not say what it says each time")
        if self._epoch not in (None, frame.epoch):
            raise Unexplained("another epoch in one life")
        self._epoch = frame.epoch
        self._names(frame.digest, frame.servers)

    def _names(self, digest: bytes, servers: tuple[str, ...]) -> None:
        if (digest, servers) != digest_of(servers) or not set(servers) <= set(self.site.servers):
            raise Unexplained("names that are not exposed servers'")

    def _head(self, frame: Ledger) -> None:
        """Every byte of it stands in the ledger, and so it is one that the ledger itself was signed with."""
        said = (frame.n, frame.hash, frame.at_ms, frame.signature)
        if frame.ledger != self.site.ledger or said not in self.site.heads:
            raise Unexplained("a ledger head that is none of the ledger's")

    def _closing(self, payload: bytes) -> None:
        if payload and (payload[:2] not in (b"\x03\xe8", b"\x03\xe9") or payload[2:] not in CLOSING_WORDS):
            raise Unexplained("a close code or its words are not published")
        self.account.add("closing words of a websocket", len(payload))

    def _conversation(self, sent: bytes) -> None:
        """Enrolment and renewal: JSON of known members, whose values are base64, PEM, or the type."""
        for opcode, payload, header in _messages(sent, True):
            self.account.add("headers and masks of websocket messages", header)
            if opcode == 8:
                self._closing(payload)
                continue
            if opcode != 1:
                raise Unexplained(f"a websocket message of opcode {opcode}")
            try:
                said = json.loads(payload)
                kind = said["type"]
            except (ValueError, KeyError, TypeError):
                raise Unexplained("a conversation in another form") from None
            if set(said) != (MEMBERS.get(kind) or {"type"}) or kind not in ("enrol", "renew", "stored"):
                raise Unexplained(f"a message of {sorted(said)}")
            if json.dumps(said, separators=(",", ":")).encode() != payload:
                raise Unexplained("a message with more in it than its members")
            pem = r"(-----BEGIN [A-Z ]+-----\n([A-Za-z0-9+/=]{1,64}\n)+-----END [A-Z ]+-----\n)+"
            for name, value in said.items():
                form = {"csr": pem, "certificate": pem, "type": r"[a-z]+"}.get(name, r"[A-Za-z0-9_-]{1,128}")
                if re.fullmatch(form, value) is None:
                    raise Unexplained(f"{name} is of another form")
            self.account.add(f"conversation: {kind}", len(payload))


def _records(capture: Capture) -> None:
    """Every byte on the wire is of the handshake of TLS, or of a record whose content is accounted for."""
    if not capture.handshake:
        if capture.up:
            raise Unexplained("bytes before the handshake")
        return
    at, content = capture.handshake, 0
    cipher = bytes(capture.cipher)
    while at < len(cipher):
        kind, size = cipher[at], int.from_bytes(cipher[at + 3 : at + 5])
        if at + RECORD + size > len(cipher):
            break  # cut off on its way: nobody can read it
        if kind != 0x17:
            raise Unexplained(f"a record of type {kind}")
        at += RECORD + size
        content += size - OVERHEAD
    if content - len(capture.up) not in (0, CLOSE_NOTIFY):
        raise Unexplained(f"{content} bytes in records, and {len(capture.up)} of them read")


def _messages(
    data: bytes, masked: bool, *, whole: bool = True, part: bool = False
) -> Iterator[tuple[int, bytes, int]]:
    """Opcode, payload, and the size of the header of each websocket message; all are in one piece.

    `part`: where the last one is not `whole`, what there is of it.
    """
    at = 0
    while at < len(data):
        if len(data) - at < 2:
            break
        first, second = data[at], data[at + 1]
        if first & 0x70 or not first & 0x80 or bool(second & 0x80) is not masked:
            raise Unexplained("a websocket frame of another form")
        size, header = second & 0x7F, 2
        if size > 125:
            more = {126: 2, 127: 8}[size]
            if len(data) - at < 2 + more:
                break
            size, header = int.from_bytes(data[at + 2 : at + 2 + more]), 2 + more
            if size <= (125 if more == 2 else 0xFFFF):
                raise Unexplained("a length that is not written in the shortest form")
        mask = data[at + header : at + header + 4] if masked else b"\0\0\0\0"
        header += 4 if masked else 0
        if at + header + size > len(data):
            size = len(data) - at - header
            if not part or size <= 0:
                break
        payload = data[at + header : at + header + size]
        if masked:
            key = int.from_bytes(mask * (size // 4 + 1))
            key >>= 8 * (4 * (size // 4 + 1) - size)
            payload = (int.from_bytes(payload) ^ key).to_bytes(size)
        yield first & 0x0F, payload, header
        at += header + size
    if at != len(data) and whole:
        raise Unexplained("half a websocket message")


def _split(data: bytes, whole: bool = True) -> Iterator[tuple[Frame, bytes]]:
    """Each frame, and its bytes."""
    at = 0
    while len(data) - at >= HEADER.size:
        length, kind, flags, link = HEADER.unpack_from(data, at)
        stop = at + HEADER.size + length
        if stop > len(data):
            break
        try:
            frame = decode(kind, flags, data[at + HEADER.size : stop])
        except RemoteError as error:
            raise Unexplained(f"no frame: {error}") from None
        if link:
            raise Unexplained("a link field in a frame of an agent")
        yield frame, data[at:stop]
        at = stop
    if at != len(data) and whole:
        raise Unexplained("half a frame")


def payload(capture: Capture) -> bytes:
    """What the agent sent in messages of a websocket, without their headers and masks."""
    _, _, rest = bytes(capture.up).partition(b"\r\n\r\n")
    return b"".join(text for opcode, text, _ in _messages(rest, True, whole=False) if opcode == 2)
