"""The states of links and exchanges, as data (PROTOCOL.md, "States").

Rule 1: everything that decides which state comes next stands in this file.
Rule 2: this file knows neither bytes nor time nor who calls it.

A pair (state, input) that is in no table is a bug of ours (`step` raises LocalError), except where the
input is a frame: there the tables are total, and `VIOLATION` closes the link.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import TypeVar

from penstock.tunnel.errors import LocalError
from penstock.tunnel.frames import EndReason, FrameType


class _Named(Enum):
    """A closed set. Hashed by identity: Enum would hash the name of a member, in Python, at each look-up."""

    __hash__ = object.__hash__


class End(_Named):
    """Which end of a link this is."""

    RELAY = "relay"
    AGENT = "agent"
    PAIR = "pair"
    """Either end of a link between two replicas: each is origin and forwarder at once."""


class LinkState(_Named):
    GREETING = "greeting"
    """The websocket is open; HELLO or WELCOME is awaited."""
    OPEN = "open"
    DRAINING = "draining"
    """GOAWAY was sent or received: exchanges go on, none is opened."""
    CLOSED = "closed"


class LinkInput(_Named):
    GREETED = "greeted"
    GOAWAY = "goaway"
    CLOSE = "close"


LINK: Mapping[tuple[LinkState, LinkInput], LinkState] = {
    (LinkState.GREETING, LinkInput.GREETED): LinkState.OPEN,
    (LinkState.GREETING, LinkInput.CLOSE): LinkState.CLOSED,
    (LinkState.OPEN, LinkInput.GOAWAY): LinkState.DRAINING,
    (LinkState.OPEN, LinkInput.CLOSE): LinkState.CLOSED,
    (LinkState.DRAINING, LinkInput.GOAWAY): LinkState.DRAINING,
    (LinkState.DRAINING, LinkInput.CLOSE): LinkState.CLOSED,
    (LinkState.CLOSED, LinkInput.CLOSE): LinkState.CLOSED,
}

_TO_RELAY = frozenset(
    {
        FrameType.OFFER,
        FrameType.PING,
        FrameType.GOAWAY,
        FrameType.LEDGER,
        FrameType.NOTICE,
        FrameType.HEAD,
        FrameType.DATA,
        FrameType.END,
        FrameType.CREDIT,
    }
)
_TO_AGENT = frozenset(
    {
        FrameType.PING,
        FrameType.GOAWAY,
        FrameType.LOST,
        FrameType.LEDGER,
        FrameType.PRINCIPAL,
        FrameType.OPEN,
        FrameType.DATA,
        FrameType.END,
        FrameType.CREDIT,
        FrameType.ATTACH,
        FrameType.DONE,
    }
)

_AGENTS_LINK_ONLY = frozenset({FrameType.OFFER, FrameType.LEDGER, FrameType.NOTICE})
"""What ends at the replica that has the agent's link."""

LEGAL: Mapping[tuple[End, LinkState], frozenset[FrameType]] = {
    (End.RELAY, LinkState.GREETING): frozenset({FrameType.HELLO}),
    (End.RELAY, LinkState.OPEN): _TO_RELAY,
    (End.RELAY, LinkState.DRAINING): _TO_RELAY,
    (End.RELAY, LinkState.CLOSED): frozenset(),
    (End.AGENT, LinkState.GREETING): frozenset({FrameType.WELCOME}),
    (End.AGENT, LinkState.OPEN): _TO_AGENT,
    (End.AGENT, LinkState.DRAINING): _TO_AGENT,
    (End.AGENT, LinkState.CLOSED): frozenset(),
    (End.PAIR, LinkState.GREETING): frozenset({FrameType.HELLO, FrameType.WELCOME}),
    (End.PAIR, LinkState.OPEN): (_TO_RELAY | _TO_AGENT) - _AGENTS_LINK_ONLY,
    (End.PAIR, LinkState.DRAINING): (_TO_RELAY | _TO_AGENT) - _AGENTS_LINK_ONLY,
    (End.PAIR, LinkState.CLOSED): frozenset(),
}
"""What an end may receive. Anything else closes the link as WRONG_STATE."""

SINCE: Mapping[FrameType, int] = {FrameType.LEDGER: 2, FrameType.NOTICE: 2}
"""The version of the link from which a frame is legal at all, where that is not the first."""


def legal(end: End, state: LinkState, version: int) -> frozenset[FrameType]:
    """What an end may receive on a link of that version; 0 while none was chosen."""
    return LEGAL[end, state] - {kind for kind, since in SINCE.items() if version < since}


class OriginState(_Named):
    QUEUED = "queued"
    """Nothing was handed to a transport: nobody knows this key."""
    OPENING = "opening"
    """OPEN was handed over, the END of the request was not: it cannot have started."""
    WAITING = "waiting"
    """The END of the request was handed over: it may have started."""
    ANSWERING = "answering"
    """HEAD is here."""
    CUT = "cut"
    """END was handed over and the link is gone: another one of the same agent and epoch is awaited."""
    ATTACHING = "attaching"
    """Another link was found. Until HEAD is here again, frames of the old one may still come through a
    forwarder: what is out of order is ignored, not held against the peer."""
    REVOKING = "revoking"
    """The caller was told; the agent must still say that it stopped."""
    FINISHED = "finished"


class OriginInput(_Named):
    OPEN_SENT = "OPEN sent"
    END_SENT = "END sent"
    HEAD = "HEAD"
    DATA = "DATA"
    CREDIT = "CREDIT"
    ANSWERED = "END, answer whole"
    NOT_STARTED = "END, proof that it never started"
    UNKNOWN = "END, outcome unknown"
    LINK_GONE = "link gone"
    LINK_FOUND = "link found"
    GIVE_UP = "give up"
    REVOKE = "revoke"


VIOLATION = None
"""In `ORIGIN`: the peer cannot know what it says; the link is closed."""

_QUEUED, _OPENING, _WAITING = OriginState.QUEUED, OriginState.OPENING, OriginState.WAITING
_ANSWERING, _CUT, _ATTACHING, _REVOKING, _FINISHED = (
    OriginState.ANSWERING,
    OriginState.CUT,
    OriginState.ATTACHING,
    OriginState.REVOKING,
    OriginState.FINISHED,
)

ORIGIN: Mapping[tuple[OriginState, OriginInput], OriginState | None] = {
    (_QUEUED, OriginInput.OPEN_SENT): _OPENING,
    (_QUEUED, OriginInput.HEAD): VIOLATION,
    (_QUEUED, OriginInput.DATA): VIOLATION,
    (_QUEUED, OriginInput.CREDIT): VIOLATION,
    (_QUEUED, OriginInput.ANSWERED): VIOLATION,
    (_QUEUED, OriginInput.NOT_STARTED): VIOLATION,
    (_QUEUED, OriginInput.UNKNOWN): VIOLATION,
    (_QUEUED, OriginInput.LINK_GONE): _FINISHED,
    (_QUEUED, OriginInput.GIVE_UP): _FINISHED,
    (_QUEUED, OriginInput.REVOKE): _FINISHED,
    #
    (_OPENING, OriginInput.END_SENT): _WAITING,
    (_OPENING, OriginInput.HEAD): VIOLATION,
    (_OPENING, OriginInput.DATA): VIOLATION,
    (_OPENING, OriginInput.CREDIT): _OPENING,
    (_OPENING, OriginInput.ANSWERED): VIOLATION,
    (_OPENING, OriginInput.NOT_STARTED): _FINISHED,
    (_OPENING, OriginInput.UNKNOWN): VIOLATION,
    (_OPENING, OriginInput.LINK_GONE): _FINISHED,
    (_OPENING, OriginInput.GIVE_UP): _FINISHED,
    (_OPENING, OriginInput.REVOKE): _FINISHED,
    #
    (_WAITING, OriginInput.HEAD): _ANSWERING,
    (_WAITING, OriginInput.DATA): VIOLATION,
    (_WAITING, OriginInput.CREDIT): _WAITING,
    (_WAITING, OriginInput.ANSWERED): VIOLATION,
    (_WAITING, OriginInput.NOT_STARTED): _FINISHED,
    (_WAITING, OriginInput.UNKNOWN): _FINISHED,
    (_WAITING, OriginInput.LINK_GONE): _CUT,
    (_WAITING, OriginInput.GIVE_UP): _FINISHED,
    (_WAITING, OriginInput.REVOKE): _REVOKING,
    #
    (_ANSWERING, OriginInput.HEAD): _ANSWERING,
    (_ANSWERING, OriginInput.DATA): _ANSWERING,
    (_ANSWERING, OriginInput.CREDIT): _ANSWERING,
    (_ANSWERING, OriginInput.ANSWERED): _FINISHED,
    (_ANSWERING, OriginInput.NOT_STARTED): VIOLATION,
    (_ANSWERING, OriginInput.UNKNOWN): _FINISHED,
    (_ANSWERING, OriginInput.LINK_GONE): _CUT,
    (_ANSWERING, OriginInput.GIVE_UP): _FINISHED,
    (_ANSWERING, OriginInput.REVOKE): _REVOKING,
    #
    (_CUT, OriginInput.LINK_FOUND): _ATTACHING,
    (_CUT, OriginInput.GIVE_UP): _FINISHED,
    (_CUT, OriginInput.REVOKE): _REVOKING,
    #
    (_ATTACHING, OriginInput.HEAD): _ANSWERING,
    (_ATTACHING, OriginInput.DATA): _ATTACHING,
    (_ATTACHING, OriginInput.CREDIT): _ATTACHING,
    (_ATTACHING, OriginInput.ANSWERED): _FINISHED,
    (_ATTACHING, OriginInput.NOT_STARTED): _FINISHED,
    (_ATTACHING, OriginInput.UNKNOWN): _FINISHED,
    (_ATTACHING, OriginInput.LINK_GONE): _CUT,
    (_ATTACHING, OriginInput.GIVE_UP): _FINISHED,
    (_ATTACHING, OriginInput.REVOKE): _REVOKING,
    #
    (_REVOKING, OriginInput.HEAD): _REVOKING,
    (_REVOKING, OriginInput.DATA): _REVOKING,
    (_REVOKING, OriginInput.CREDIT): _REVOKING,
    (_REVOKING, OriginInput.ANSWERED): _FINISHED,
    (_REVOKING, OriginInput.NOT_STARTED): _FINISHED,
    (_REVOKING, OriginInput.UNKNOWN): _FINISHED,
    (_REVOKING, OriginInput.LINK_GONE): _REVOKING,
    (_REVOKING, OriginInput.LINK_FOUND): _REVOKING,
    (_REVOKING, OriginInput.GIVE_UP): _FINISHED,
    (_REVOKING, OriginInput.REVOKE): _REVOKING,
    #
    (_FINISHED, OriginInput.HEAD): _FINISHED,
    (_FINISHED, OriginInput.DATA): _FINISHED,
    (_FINISHED, OriginInput.CREDIT): _FINISHED,
    (_FINISHED, OriginInput.ANSWERED): _FINISHED,
    (_FINISHED, OriginInput.NOT_STARTED): _FINISHED,
    (_FINISHED, OriginInput.UNKNOWN): _FINISHED,
    (_FINISHED, OriginInput.GIVE_UP): _FINISHED,
    (_FINISHED, OriginInput.REVOKE): _FINISHED,
}


class AgentState(_Named):
    RECEIVING = "receiving"
    """OPEN is here, the END of the request is not."""
    RUNNING = "running"
    """The request was given to the endpoint."""
    ENDED = "ended"
    """The last word is said and kept until DONE."""
    FREED = "freed"


class AgentInput(_Named):
    OPEN = "OPEN"
    DATA = "DATA"
    END = "END"
    CREDIT = "CREDIT"
    ATTACH = "ATTACH"
    DONE = "DONE"
    WRITE = "head or bytes written"
    LAST_WORD = "last word said"
    LINK_GONE = "link gone"
    ORPHANED = "link gone for 120 s"


_RECEIVING, _RUNNING, _ENDED, _FREED = (
    AgentState.RECEIVING,
    AgentState.RUNNING,
    AgentState.ENDED,
    AgentState.FREED,
)

AGENT: Mapping[tuple[AgentState, AgentInput], AgentState | None] = {
    (_RECEIVING, AgentInput.OPEN): VIOLATION,
    (_RECEIVING, AgentInput.DATA): _RECEIVING,
    (_RECEIVING, AgentInput.END): _RUNNING,
    (_RECEIVING, AgentInput.CREDIT): _RECEIVING,
    (_RECEIVING, AgentInput.ATTACH): _RECEIVING,
    (_RECEIVING, AgentInput.DONE): _FREED,
    (_RECEIVING, AgentInput.LINK_GONE): _RECEIVING,
    (_RECEIVING, AgentInput.ORPHANED): _FREED,
    #
    (_RUNNING, AgentInput.OPEN): VIOLATION,
    (_RUNNING, AgentInput.DATA): _RUNNING,
    (_RUNNING, AgentInput.END): _RUNNING,
    (_RUNNING, AgentInput.CREDIT): _RUNNING,
    (_RUNNING, AgentInput.ATTACH): _RUNNING,
    (_RUNNING, AgentInput.DONE): _FREED,
    (_RUNNING, AgentInput.WRITE): _RUNNING,
    (_RUNNING, AgentInput.LAST_WORD): _ENDED,
    (_RUNNING, AgentInput.LINK_GONE): _RUNNING,
    (_RUNNING, AgentInput.ORPHANED): _FREED,
    #
    (_ENDED, AgentInput.OPEN): VIOLATION,
    (_ENDED, AgentInput.DATA): _ENDED,
    (_ENDED, AgentInput.END): _ENDED,
    (_ENDED, AgentInput.CREDIT): _ENDED,
    (_ENDED, AgentInput.ATTACH): _ENDED,
    (_ENDED, AgentInput.DONE): _FREED,
    (_ENDED, AgentInput.LINK_GONE): _ENDED,
    (_ENDED, AgentInput.ORPHANED): _FREED,
}
"""Of an exchange that the agent holds. For any other key all frames but OPEN and ATTACH are ignored."""


class Verdict(_Named):
    """What an END from the agent proves."""

    ANSWERED = "answered"
    NOT_STARTED = "never started, and never will"
    UNKNOWN = "it may have run"


VERDICTS: Mapping[EndReason, Verdict] = {
    EndReason.OK: Verdict.ANSWERED,
    EndReason.STALE: Verdict.NOT_STARTED,
    EndReason.WRONG_EPOCH: Verdict.NOT_STARTED,
    EndReason.BUSY: Verdict.NOT_STARTED,
    EndReason.UNKNOWN_SERVER: Verdict.NOT_STARTED,
    EndReason.UNKNOWN_PRINCIPAL: Verdict.NOT_STARTED,
    EndReason.DRAINING: Verdict.NOT_STARTED,
    EndReason.TOO_LARGE: Verdict.NOT_STARTED,
    EndReason.UNKNOWN: Verdict.NOT_STARTED,
    EndReason.FORGOTTEN: Verdict.UNKNOWN,
    EndReason.FAILED: Verdict.UNKNOWN,
    EndReason.DEADLINE: Verdict.UNKNOWN,
    EndReason.REVOKED: Verdict.UNKNOWN,
}

LAST_WORDS = frozenset({EndReason.OK, EndReason.FAILED, EndReason.DEADLINE, EndReason.REVOKED})
"""What an agent says of an exchange that it holds. With any other reason it holds none."""


def verdict(reason: EndReason, *, attached: bool, headed: bool) -> Verdict:
    """What `reason` proves. WRONG_EPOCH speaks for the copy that it answers: once an ATTACH was sent,
    an earlier life of the agent may have run the request. And what has answered has started."""
    proof = VERDICTS[reason]
    if proof is Verdict.NOT_STARTED and (headed or (attached and reason is EndReason.WRONG_EPOCH)):
        return Verdict.UNKNOWN
    return proof


S = TypeVar("S")
I = TypeVar("I")  # noqa: E741 - the input of a machine


def step(table: Mapping[tuple[S, I], S | None], state: S, given: I) -> S | None:
    """The next state, or VIOLATION. LocalError for a pair that no peer can cause."""
    try:
        return table[state, given]
    except KeyError:
        raise LocalError(f"{given} cannot happen while {state}") from None
