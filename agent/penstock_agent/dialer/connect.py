"""How this agent opens a websocket, to enrol as well as to link."""

from __future__ import annotations

from websockets.asyncio.client import connect


class Connect(connect):
    """Follows no redirect: who answers at the relay's address does not choose where else an agent dials."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc
