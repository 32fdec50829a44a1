"""Which protocol versions are spoken here, and which era a request belongs to."""

from __future__ import annotations

from typing import Final

from penstock import http
from penstock_agent.children.eras import MODERN_VERSIONS

#: The handshake era: client and server agree on one of these in ``initialize``.
HANDSHAKE: Final = http.HANDSHAKE
#: Versions of that era that this endpoint serves in full over Streamable HTTP; what we name to other eras.
SUPPORTED: Final = ("2025-03-26", "2025-06-18", "2025-11-25")
#: What is served, the newest first, whatever a server itself speaks: there is a bridge for each way.
SERVED: Final = MODERN_VERSIONS + tuple(reversed(SUPPORTED))
#: The only one in which several messages may come in one array.
BATCHES: Final = "2025-03-26"


def is_handshake(header: str | None) -> bool:
    """Whether a request with this ``MCP-Protocol-Version`` belongs to the handshake era."""
    return not http.is_modern(header)
