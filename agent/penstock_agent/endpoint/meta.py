"""What requests and answers of 2026-07-28 say of themselves, in ``_meta``; and the levels of log messages."""

from __future__ import annotations

from typing import Final

from penstock.envelope import VERSION_KEY

_PREFIX: Final = "io.modelcontextprotocol/"

VERSION: Final = VERSION_KEY
CAPABILITIES: Final = _PREFIX + "clientCapabilities"
CLIENT: Final = _PREFIX + "clientInfo"
LEVEL: Final = _PREFIX + "logLevel"
SERVER: Final = _PREFIX + "serverInfo"
SUBSCRIPTION: Final = _PREFIX + "subscriptionId"

LEVELS: Final = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
"""From the least severe up."""


def severe_enough(level: str | None, wanted: str | None) -> bool:
    """Whether a log message of ``level`` is to be seen by who asked for ``wanted``. One of a later revision
    is: the server has decided.
    """
    if level not in LEVELS or wanted not in LEVELS:
        return True
    return LEVELS.index(level) >= LEVELS.index(wanted)
