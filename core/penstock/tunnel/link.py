"""One end of one link: handshake, heartbeat, and the order in which frames leave.

Sans-I/O. The driver calls `receive` with what arrived, `take` when the kernel can carry more, `tick`
when `due` has passed, and closes the websocket with the code of any RemoteError.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Protocol

from penstock.tunnel.codec import Decoder
from penstock.tunnel.errors import CloseCode, LocalError, RemoteError
from penstock.tunnel.frames import Frame, FrameType, GoAway, GoAwayReason, Hello, Ping, Welcome
from penstock.tunnel.limits import BATCH, HEARTBEAT, MAX_CONTROL, MISSES
from penstock.tunnel.states import LEGAL, LINK, End, LinkInput, LinkState, legal, step


class Sender(Protocol):
    """An exchange that has something to send on a link."""

    def pump(self, link: Link) -> tuple[bytes, bool]:
        """At most one payload frame and what must precede it; and whether there is more to send now.

        What is returned counts as handed to the transport.
        """


def _nobody() -> None:
    """Nobody waits for this link."""


def _unheeded(link: Link, welcome: Welcome) -> None:
    """Nobody wants to know."""


class Link:
    """One end of a link. `number` is the owner's name for it, never reused in one life."""

    def __init__(self, end: End, number: int, now: float) -> None:
        self.end = end
        self.number = number
        self.state = LinkState.GREETING
        self.leaving = False
        """Whether this end said GOAWAY."""
        self.heartbeat = HEARTBEAT
        self.hello: Hello | None = None
        self.welcome: Welcome | None = None
        self.round_trip: float | None = None
        """Seconds of the last PING and its answer."""
        self.wake: Callable[[], None] = _nobody
        """Called when there is something to `take` where there was nothing. Set by the driver."""
        self.greeted: Callable[[Link, Welcome], None] = _unheeded
        """Called at the dialling end for WELCOME, before any frame behind it is returned."""
        self._legal = LEGAL[end, LinkState.GREETING]
        self._decoder = Decoder()
        self._control: deque[bytes] = deque()
        self._ready: deque[Sender] = deque()
        self._queued: set[Sender] = set()
        self._heard = now
        self._spoke = now
        self._pinged: tuple[int, float] | None = None
        self._pings = 0

    # -- what arrives -------------------------------------------------------------------------------

    def receive(self, data: bytes, now: float) -> Iterator[tuple[int, Frame]]:
        """(link field, frame) of what is for the owner; the link's own frames are dealt with here.

        Frames are read as they are asked for, so take all of them. Raises RemoteError for anything
        illegal, after what stood before it. An overdue link is refused before it is read: what lies in
        its buffers may be older than the peer's patience.
        """
        if now > self._heard + self._patience:
            raise RemoteError(CloseCode.OVERDUE, "the link was silent for two heartbeats")
        if len(self._control) > MAX_CONTROL:
            raise RemoteError(CloseCode.TOO_MANY, "the peer asks for more than it reads")
        for item in self._decoder.feed(data):
            self._heard = now
            frame = item[1]
            kind = frame.type
            if kind not in self._legal:
                raise RemoteError(CloseCode.WRONG_STATE, f"{kind.name} is not legal while {self.state.value}")
            if kind >= FrameType.PRINCIPAL or self._own(frame, now):
                yield item

    def _own(self, frame: Frame, now: float) -> bool:
        """Deals with a frame of the link itself; True when the owner must see it as well."""
        match frame:
            case Hello():
                self.hello = frame
                self._enter(LinkInput.GREETED)
            case Welcome():
                if self.hello is None or frame.version not in self.hello.versions:
                    raise RemoteError(CloseCode.VERSION, "the relay chose a version that was not offered")
                self.welcome = frame
                self.heartbeat = min(max(frame.heartbeat_ms / 1000, 1.0), 600.0)
                self._enter(LinkInput.GREETED)
                self.greeted(self, frame)
            case Ping(token, ack=False):
                self.control(Ping(token, ack=True))
            case Ping(token):
                if self._pinged and self._pinged[0] == token:
                    self.round_trip = now - self._pinged[1]
            case GoAway():
                self._enter(LinkInput.GOAWAY)
                return True
            case _:
                return True
        return False

    def _enter(self, given: LinkInput) -> None:
        self.state = step(LINK, self.state, given) or self.state
        self._legal = legal(self.end, self.state, self.version)

    @property
    def version(self) -> int:
        """The protocol version of the link; 0 while none was chosen."""
        return 0 if self.welcome is None else self.welcome.version

    # -- what leaves --------------------------------------------------------------------------------

    def greet(self, hello: Hello) -> None:
        """The dialling end's first frame."""
        self.hello = hello
        self.control(hello)

    def admit(self, welcome: Welcome) -> None:
        """The accepting end's answer, once it has judged the HELLO."""
        if self.hello is None:
            raise LocalError("WELCOME answers HELLO")
        self.welcome = welcome
        self.heartbeat = welcome.heartbeat_ms / 1000
        self._legal = legal(self.end, self.state, self.version)
        self.control(welcome)

    def go_away(self, reason: GoAwayReason, spread_ms: int) -> None:
        """Asks the peer to open nothing more here. Nothing to ask where nobody was greeted."""
        if self.state in (LinkState.GREETING, LinkState.CLOSED):
            return
        self.leaving = True
        self._enter(LinkInput.GOAWAY)
        self.control(GoAway(reason, spread_ms))

    def control(self, frame: Frame) -> None:
        """A small frame that leaves before any payload, in the order of these calls."""
        if not self.pending:
            self.wake()
        self._control.append(frame.encode())

    def ready(self, sender: Sender) -> None:
        """`sender` has something to send; it gets its turns until it says that it has not."""
        if sender not in self._queued:
            if not self.pending:
                self.wake()
            self._queued.add(sender)
            self._ready.append(sender)

    @property
    def pending(self) -> bool:
        """Whether `take` would return something."""
        return bool(self._control or self._ready)

    def take(self, now: float) -> bytes:
        """The next message for the transport; empty when there is none. What it returns is *sent*.

        Control frames first, then one turn for each exchange, round and round, so that no exchange
        waits for more than 16 KiB of each other one. Closed at 32 KiB, at most 256 KiB.
        """
        parts: list[bytes] = []
        size = 0
        while size < BATCH and self._control:
            part = self._control.popleft()
            parts.append(part)
            size += len(part)
        while size < BATCH and self._ready:
            sender = self._ready.popleft()
            part, more = sender.pump(self)
            if more and part:  # a sender with nothing to send would be asked for ever
                self._ready.append(sender)
            else:
                self._queued.discard(sender)
            if part:
                parts.append(part)
                size += len(part)
            # A turn may have queued control frames that must not wait behind other exchanges.
            while self._control and size < BATCH:
                part = self._control.popleft()
                parts.append(part)
                size += len(part)
        if parts:
            self._spoke = now
        return parts[0] if len(parts) == 1 else b"".join(parts)

    # -- time ---------------------------------------------------------------------------------------

    @property
    def _patience(self) -> float:
        # Half a heartbeat on top: a PING that left in time must also arrive in time.
        return self.heartbeat * (MISSES + 0.5)

    @property
    def due(self) -> float:
        """When `tick` must be called next."""
        if self.state is LinkState.GREETING:
            return self._heard + self._patience  # nothing but the greeting may be sent
        return min(self._spoke + self.heartbeat, self._heard + self._patience)

    def tick(self, now: float) -> None:
        """PING after a heartbeat of our own silence; RemoteError(OVERDUE) after too much of the peer's."""
        if now >= self._heard + self._patience:
            raise RemoteError(CloseCode.OVERDUE, "the link was silent for two heartbeats")
        if now >= self._spoke + self.heartbeat and self.state is not LinkState.GREETING:
            self._pings += 1
            self._pinged = (self._pings, now)
            self.control(Ping(self._pings))
            self._spoke = now

    def close(self) -> None:
        """The websocket is gone. The owner's `link_gone` does the rest."""
        self._enter(LinkInput.CLOSE)
        self._control.clear()
        self._ready.clear()
        self._queued.clear()
