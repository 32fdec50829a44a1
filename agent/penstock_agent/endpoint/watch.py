"""Learning that a caller is gone while nothing is written to it."""

from __future__ import annotations

from penstock_agent.endpoint.ports import Spawn
from penstock_agent.endpoint.streams import Stream
from penstock_agent.exchange import DoneReason, Exchange


class Watch:
    """Learns that a caller is gone while nothing is written to it."""

    def __init__(self, exchange: Exchange, stream: Stream, spawn: Spawn) -> None:
        self.reason: DoneReason | None = None
        self._task = spawn(self._run(exchange, stream))

    async def _run(self, exchange: Exchange, stream: Stream) -> None:
        self.reason = await exchange.gone()
        stream.wake()

    def stop(self) -> None:
        self._task.cancel()
