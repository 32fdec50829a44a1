"""Every bound of the public edge, by name. Bytes and seconds. Tests pass smaller ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from penstock.tunnel.limits import MAX_REQUEST

MAX_HEADERS: Final = 64
MAX_HEADER_BYTES: Final = 16 * 1024
"""All header names and values of one request together."""
MAX_NAME: Final = 255
"""Characters in the name of a header that travels to the site: what its frame holds."""
MAX_LINE: Final = 8190
"""The request line, or one header."""
MAX_DIGITS: Final = 19
"""Of a Content-Length."""
MAX_TOKEN: Final = 8000
"""Characters of a bearer token: those of issuers list groups."""

RETRY_AFTER: Final = 10
"""Seconds after which a caller of an absent site should ask again."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What callers together, and each of them, may cost this replica."""

    body: int = MAX_REQUEST
    """Bytes of one request body; more is 413."""
    bodies: int = 256 * 1024 * 1024
    """Request bytes held for all callers together; above it a request is refused with 503, not executed."""
    connections: int = 10_000
    """Open public connections; above it a new one is told 503 and closed."""
    pipelined: int = 2
    """Requests that may wait behind the one being answered; no known client sends any."""

    header_s: float = 10.0
    """From the first byte of a request (or from accept) to the end of its headers."""
    idle_s: float = 75.0
    """Silence between two requests of a connection: longer than the usual 60 s of load balancers, which
    would otherwise send a request into a connection that we are just closing."""
    body_s: float = 30.0
    """From the end of the headers to the end of the body."""
    body_rate: int = 1024
    """Bytes per second that a body must keep up with on average, after `body_start_s`."""
    body_start_s: float = 5.0
    unread: int = 64 * 1024
    """Body bytes per connection that wait to be read; twice as much stops reading from the socket."""
    linger_s: float = 1.0
    """How long the rest of a refused body is read and dropped before the connection closes."""

    whole: int = 64 * 1024
    """A JSON answer up to this size is sent in one piece with its length, a longer one is streamed."""
    unsent: int = 64 * 1024
    """Answer bytes per caller that wait in this process, and again as much in the kernel, before the
    answer's credit stops."""
    keep_alive_s: float = 15.0
    slow_bytes: int = 64 * 1024
    """A reader takes this much in `slow_s` while data waits; kernels acknowledge in steps of 64 to 95 KiB."""
    slow_s: float = 180.0
    stop_s: float = 1.0
    """How long cleaning up waits for connections once their streams have been ended."""
