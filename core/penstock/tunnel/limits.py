"""Every bound of the tunnel, by name (PROTOCOL.md, "Limits"). Bytes and seconds."""

from __future__ import annotations

VERSIONS = (2, 1)
"""Protocol versions that this build speaks, best first."""

SUBPROTOCOL = "penstock.1"
"""The websocket subprotocol of a link. Its number changes only when HELLO itself must."""

MAX_DATA = 16 * 1024
"""Payload bytes in one OPEN, HEAD or DATA: small enough that no exchange holds up the others."""
MAX_METADATA = 64 * 1024
"""A frame body without its payload."""
MAX_MESSAGE = 256 * 1024
"""One websocket message."""
MAX_PRINCIPAL = 48 * 1024
MAX_REQUEST = 4 * 1024 * 1024
"""A request body: the default of the official SDKs."""
FREE_WINDOW = 64 * 1024
"""Always granted, in each direction, without asking."""
MAX_WINDOW = 4 * 1024 * 1024
"""The most that may lie between `have` and `limit`."""

PRINCIPALS = 1024
"""Principals that an agent remembers per link."""
PRINCIPAL_BYTES = 16 * 1024 * 1024

HEARTBEAT = 10.0
"""Seconds of silence after which an end sends PING."""
MISSES = 2
"""Heartbeats without any frame after which a link is dead."""
HANDSHAKE = 10.0
"""Seconds from the open websocket to HELLO and WELCOME."""

GRACE = 60.0
"""How long the origin looks for another link of the same agent and epoch."""
REVOKE_GRACE = 300.0
"""How long the origin tries to tell an agent that an exchange was revoked."""
ORPHANED = 120.0
"""How long the agent keeps an exchange whose link is gone."""
DEADLINE_SLACK = 2.0
"""The origin waits this much longer than the deadline that it gave the agent."""

MAX_EXCHANGES = 1024
"""Open exchanges that an agent holds per life; one more is refused as busy."""
BOOTS = 64 * 1024
"""Lives of replicas of which an agent remembers that they asked for exchanges that it does not know."""
REQUEST_BUDGET = 64 * 1024 * 1024
"""Bytes above the free window that an agent grants to requests at any time."""
ANSWER_BUDGET_AGENT = 64 * 1024 * 1024
"""Bytes above the free window that a relay grants to the answers of one agent."""
ANSWER_BUDGET = 512 * 1024 * 1024
"""The same, for all agents of a relay together."""
ROOM = 64 * 1024
"""A writer of the agent that waits goes on when no more than this is left to send."""
LEDGER_EVERY = 60.0
"""Seconds between two LEDGERs of an agent on a link, at least; the first and the last do not wait."""
LEDGER_BURST = 8
"""LEDGERs that a link may bring at once."""
LEDGER_AGAIN = 10.0
"""Seconds after which it may bring one more."""
NOTICE_EVERY = 5.0
"""Seconds between two NOTICEs of an agent on a link, at least."""
NOTICE_BURST = 8
"""NOTICEs that a link may bring at once."""
NOTICE_AGAIN = 2.5
"""Seconds after which it may bring one more."""
MAX_CONTROL = 32 * 1024
"""Control frames that may wait on a link; a peer that asks for more answers than it reads is cut off."""
BATCH = 32 * 1024
"""A message is closed once it holds this much: the kernel keeps about as much unsent (TCP_NOTSENT_LOWAT)."""
