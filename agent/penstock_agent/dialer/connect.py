"""How this agent opens a websocket, to enrol as well as to link."""

from __future__ import annotations

from types import TracebackType

from websockets.asyncio.client import connect


class Connect(connect):
    """Follows no redirect: who answers at the relay's address does not choose where else an agent dials."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Who is cancelled while it waits for the other end's close leaves the connection open otherwise.
        transport = self.connection.transport
        try:
            await super().__aexit__(exc_type, exc_value, traceback)
        finally:
            transport.abort()
