"""One exchange as the agent holds it, and the events that its owner sees."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from penstock.tunnel.credit import SendWindow
from penstock.tunnel.errors import CloseCode, RemoteError
from penstock.tunnel.frames import Data, DoneReason, End, EndReason, Head, Open
from penstock.tunnel.limits import FREE_WINDOW, MAX_DATA, ROOM
from penstock.tunnel.link import Link
from penstock.tunnel.states import AGENT, AgentInput, AgentState, step


@dataclass(slots=True)
class Started:
    """The request is whole: give it to the server, now and never again."""

    exchange: Exchange
    body: bytes
    principal: bytes
    """The content of the PRINCIPAL that the OPEN named."""


@dataclass(slots=True)
class Gone:
    """The exchange is freed. `reason` None: its origin is lost (no link for 120 s)."""

    exchange: Exchange
    reason: DoneReason | None


@dataclass(slots=True)
class Room:
    """Bytes of the answer left: a writer that waits may go on."""

    exchange: Exchange


AgentEvent: TypeAlias = Started | Gone | Room


class Exchange:
    """One exchange that the agent holds. `owner` is the caller's own."""

    __slots__ = (
        "_note", "body", "counter", "end_said", "granted", "head", "head_sent", "key", "last_word", "link",
        "open", "orphaned_at", "owner", "principal", "received", "sending", "state", "waiting",
    )  # fmt: skip

    def __init__(self, frame: Open, link: Link, principal: bytes, note: Callable[[AgentEvent], None]) -> None:
        self._note = note
        self.key = frame.key
        self.open = frame
        self.link: Link | None = link
        self.principal = principal
        self.owner: object = None
        self.state = AgentState.RECEIVING
        self.orphaned_at: float | None = None
        """When it is freed, unless it is attached before. None while it has a link."""
        self.counter = 0
        self.body: list[bytes] = []
        self.received = 0
        self.granted = min(frame.length, FREE_WINDOW)
        self.sending = SendWindow(frame.limit)
        self.head: bytes | None = None
        """HEAD without its payload, once the endpoint has said it."""
        self.head_sent = False
        self.last_word: EndReason | None = None
        self.end_said = False
        self.waiting = False
        """Set by a writer that waits: `Room` follows once little is left to send."""

    def advance(self, given: AgentInput) -> None:
        """Moves to the next state; RemoteError when the peer cannot know what it says."""
        state = step(AGENT, self.state, given)
        if state is None:
            raise RemoteError(CloseCode.WRONG_STATE, f"{given.value} while {self.state.value}")
        self.state = state

    def pump(self, link: Link) -> tuple[bytes, bool]:
        """See `Sender`: HEAD, then DATA below the limit, then END. After an ATTACH all again from `have`."""
        if link is not self.link or self.state in (AgentState.RECEIVING, AgentState.FREED) or self.end_said:
            return b"", False
        sending = self.sending
        if self.head is not None and not self.head_sent:
            self.head_sent = True
            if sending.next:
                return Head.frame(self.head, b"", False), True
            data = self._chunk()
            end = self._whole(EndReason.OK)
            self.end_said = end
            return Head.frame(self.head, data, end), not end and self._more()
        offset = sending.next
        data = self._chunk()
        if data:
            end = self._whole(EndReason.OK)
            self.end_said = end
            return Data(self.key, offset, data, end).encode(), not end and self._more()
        if self.last_word is not None and sending.next == sending.length:
            self.end_said = True
            return End(self.key, sending.length, self.last_word).encode(), False
        return b"", False

    def _chunk(self) -> bytes:
        data = self.sending.chunk(MAX_DATA)
        if self.waiting and self.sending.unsent <= ROOM:
            self.waiting = False
            self._note(Room(self))
        return data

    def _whole(self, reason: EndReason) -> bool:
        return self.last_word is reason and self.sending.next == self.sending.length

    def _more(self) -> bool:
        said_all = self.sending.next == self.sending.length
        return self.sending.ready() or (self.last_word is not None and said_all)
