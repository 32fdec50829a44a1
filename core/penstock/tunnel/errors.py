"""Whose fault it was, and the code that says so on the wire (PROTOCOL.md, "Errors")."""

from __future__ import annotations

from enum import IntEnum


class CloseCode(IntEnum):
    """Why a link is closed: the close code of the websocket that carries it."""

    GOING_AWAY = 1001
    """The program stops, or it drained the link after a GOAWAY."""
    MALFORMED = 4001
    """A frame that cannot be decoded: unknown type, flag or enum value, wrong length, bad text."""
    WRONG_STATE = 4002
    """A frame that is not legal in this state of the link, from this end, or twice."""
    UNKNOWN_EXCHANGE = 4003
    """A sequence number that the origin never used, or a boot that is not its own."""
    CREDIT = 4004
    """`have` above what was sent or above `limit`, a window over 4 MiB, or bytes above the limit."""
    VERSION = 4005
    """No protocol version in common: update the older program."""
    IDENTITY = 4006
    """HELLO names another agent than the certificate does."""
    OVERDUE = 4007
    """Nothing was heard for two heartbeats."""
    TOO_MANY = 4008
    """A bound of the peer is exhausted: too many links of this agent or this site."""
    DUPLICATE = 4009
    """Another program shows the same instance: its state folder was copied."""
    REVOKED = 4010
    """The certificate of this agent was revoked."""


class TunnelError(Exception):
    """Something broke the rules of the tunnel. The text never holds payload."""

    def __init__(self, code: CloseCode, text: str) -> None:
        super().__init__(text)
        self.code = code


class RemoteError(TunnelError):
    """The peer broke a rule: close the link with `code`."""


class LocalError(TunnelError):
    """The caller of the core broke a rule: a bug on our side, never the peer's doing."""

    def __init__(self, text: str) -> None:
        super().__init__(CloseCode.WRONG_STATE, text)
