"""Words of the protocol that several parts use: what requests and answers of 2026-07-28 say of themselves in
``_meta``, the levels of log messages, the news of changed lists, what
servers ask. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from penstock.envelope import VERSION_KEY

_PREFIX: Final = "io.modelcontextprotocol/"

VERSION: Final = VERSION_KEY
CAPABILITIES: Final = _PREFIX + "clientCapabilities"
CLIENT: Final = _PREFIX + "clientInfo"
LEVEL: Final = _PREFIX + "logLevel"
SERVER: Final = _PREFIX + "serverInfo"
SUBSCRIPTION: Final = _PREFIX + "subscriptionId"

CHANGED: Final[Mapping[str, str]] = {
    name: f"notifications/{name}/list_changed" for name in ("tools", "prompts", "resources")
}
"""What is sent when a list has changed, by the capability that it belongs to."""

TOOLS_CHANGED: Final = CHANGED["tools"]
ASKED: Final[Mapping[str, str]] = {
    "elicitation/create": "elicitation",
    "sampling/createMessage": "sampling",
    "roots/list": "roots",
}
"""What a server may ask of a client, and the capability by which the client says that it may."""
ASKING: Final = frozenset({"tools/call", "prompts/get", "resources/read"})
"""Requests whose answer may be that the client is asked first."""

LEVELS: Final = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
"""From the least severe up."""


def severe_enough(level: str | None, wanted: str | None) -> bool:
    """Whether a log message of ``level`` is to be seen by who asked for ``wanted``. One of a later revision
    is: the server has decided.
    """
    if level not in LEVELS or wanted not in LEVELS:
        return True
    return LEVELS.index(level) >= LEVELS.index(wanted)
