"""One attempt of a call as its origin holds it, and the events that its owner sees."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from penstock.tunnel.credit import AnswerWindow, Budget, SendWindow
from penstock.tunnel.errors import CloseCode, LocalError, RemoteError
from penstock.tunnel.fields import Key
from penstock.tunnel.frames import (
    Attach,
    Data,
    Done,
    DoneReason,
    EndReason,
    Headers,
    Method,
    Open,
    Principal,
    Purpose,
)
from penstock.tunnel.limits import MAX_DATA, MAX_PRINCIPAL
from penstock.tunnel.link import Link
from penstock.tunnel.principals import Principals
from penstock.tunnel.states import ORIGIN, OriginInput, OriginState, step


@dataclass(slots=True)
class Request:
    """What is to be asked of a server. `principal` is the content of a PRINCIPAL, `digest` its SHA-256."""

    site: str
    server: str
    method: Method
    purpose: Purpose
    headers: Headers
    body: bytes
    digest: bytes
    principal: bytes
    deadline_ms: int


@dataclass(slots=True)
class HeadArrived:
    exchange: Exchange
    status: int
    headers: Headers


@dataclass(slots=True)
class DataArrived:
    exchange: Exchange
    data: bytes


@dataclass(slots=True)
class Answered:
    """The whole answer is here."""

    exchange: Exchange


@dataclass(slots=True)
class NotStarted:
    """Proven: this key never started and never will. Another key may be tried."""

    exchange: Exchange
    reason: EndReason | None
    """None when the link went before the request was whole."""


@dataclass(slots=True)
class OutcomeUnknown:
    """It may have run. After HEAD: the answer breaks off."""

    exchange: Exchange
    reason: EndReason | None
    """None when no link of the same agent and epoch was found in time."""


OriginEvent: TypeAlias = HeadArrived | DataArrived | Answered | NotStarted | OutcomeUnknown


@dataclass(slots=True, eq=False)
class AgentLink:
    """A link as the origin sees it: who is at its other end."""

    link: Link
    agent: str
    epoch: int
    principals: Principals = field(default_factory=Principals)


class Exchange:
    """One attempt under one key. Made by `Origin.open`; `owner` is the caller's own."""

    __slots__ = (
        "_opening", "agent", "answer", "attaches", "epoch", "give_up_at", "headed", "key", "owner", "path",
        "request", "request_end", "sending", "state", "to_attach", "to_revoke",
    )  # fmt: skip

    def __init__(
        self, key: Key, request: Request, path: AgentLink, budgets: tuple[Budget, ...], owner: object
    ) -> None:
        """LocalError when `request` does not fit into its frames."""
        if len(request.principal) > MAX_PRINCIPAL:
            raise LocalError("a principal has at most 48 KiB")
        self.key = key
        self.request = request
        self.path: AgentLink | None = path
        self.agent = path.agent
        self.epoch = path.epoch
        self.owner = owner
        self.state = OriginState.QUEUED
        self.sending = SendWindow()
        self.sending.write(request.body)
        self.answer = AnswerWindow(budgets)
        self.headed = False
        self.give_up_at: float | None = None
        """When it ends without a word from the agent, unless a link is found before."""
        self.attaches = 0
        self.request_end = False
        """Whether the END of the request was handed to the current link."""
        self.to_attach = False
        self.to_revoke = False
        # Made now, so that a request that does not fit its frame fails its caller and not the link.
        data = self.sending.chunk(MAX_DATA)
        self._opening = Open(
            key, path.epoch, request.site, request.server, request.method, request.purpose, request.digest,
            request.deadline_ms, self.sending.length, self.answer.told(), request.headers, data,
            self.sending.next == self.sending.length,
        ).encode()  # fmt: skip

    def pump(self, link: Link) -> tuple[bytes, bool]:
        """See `Sender`. OPEN before anything, ATTACH before anything on a later link."""
        path = self.path
        if path is None or path.link is not link or self.state is OriginState.FINISHED:
            return b"", False
        if self.state is OriginState.QUEUED:
            return self._pump_open(path), not self.request_end and self.sending.ready()
        if self.to_attach:
            self.to_attach = False
            frames = Attach(
                self.key, self.attaches, self.epoch, self.answer.received, self.answer.told()
            ).encode()
            if self.to_revoke:
                self.to_revoke = False
                frames += Done(self.key, DoneReason.REVOKED).encode()
            # The agent's CREDIT says from where the request must be repeated.
            return frames, not self.request_end and self.sending.ready()
        if self.request_end:
            return b"", False
        offset = self.sending.next
        data = self.sending.chunk(MAX_DATA)
        end = self.sending.next == self.sending.length
        if not data and not end:
            return b"", False
        if end:
            self._end_sent()
        return Data(self.key, offset, data, end).encode(), not end and self.sending.ready()

    def _pump_open(self, path: AgentLink) -> bytes:
        request = self.request
        frames = b""
        if path.principals.use(request.digest) is None:
            path.principals.add(request.digest, request.principal)
            frames = Principal(request.digest, request.principal).encode()
        frames += self._opening
        self._opening = b""
        self.advance(OriginInput.OPEN_SENT)
        if self.sending.next == self.sending.length:
            self._end_sent()
        return frames

    def _end_sent(self) -> None:
        self.request_end = True
        if self.state is OriginState.OPENING:
            self.advance(OriginInput.END_SENT)

    def advance(self, given: OriginInput) -> None:
        """Moves to the next state; RemoteError when the peer cannot know what it says."""
        state = step(ORIGIN, self.state, given)
        if state is None:
            raise RemoteError(CloseCode.WRONG_STATE, f"{given.value} while {self.state.value}")
        self.state = state
