"""An answer on its way through the relay: filled by the tunnel, emptied by the caller's connection."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Final

from penstock.http import Headers
from penstock.link import now
from penstock.tunnel.frames import DoneReason, EndReason
from penstock.tunnel.origin import Origin
from penstock.tunnel.origin_exchange import Exchange, NotStarted, OutcomeUnknown
from penstock_relay.switchboard.calls import AnswerBroken
from penstock_relay.switchboard.calls import OutcomeUnknown as OutcomeUnknownError

_CHECK: Final = "Check what it changed before you send it again."
LATE: Final = f"The site did not answer in time: the request may or may not have run. {_CHECK}"
_UNKNOWN: Final = {
    None: f"The link to the site was lost and not found again: the request may have run. {_CHECK}",
    EndReason.FAILED: f"The server on site failed while the request ran. {_CHECK}",
    EndReason.DEADLINE: LATE,
    EndReason.REVOKED: f"The right to this request was withdrawn while it ran. {_CHECK}",
}
_RESTARTED: Final = f"The agent on site was restarted: the request may or may not have run. {_CHECK}"


class NeverStarted(Exception):
    """This attempt never started and never will; `reason` is the agent's, None when its link went first."""

    def __init__(self, reason: EndReason | None) -> None:
        super().__init__(reason)
        self.reason = reason


class LiveAnswer:
    """One attempt's answer. Bounded by the credit of its exchange: at most 4 MiB wait here."""

    __slots__ = (
        "_chunks", "_closed", "_deadline", "_done", "_exchange", "_failure", "_left", "_origin", "_tell",
        "_timer", "headers", "status",
    )  # fmt: skip

    def __init__(self, origin: Origin, deadline: float, left: Callable[[], None]) -> None:
        """`deadline` is the loop's time at which the exchange ends, whatever has arrived. `left()` is
        called once, when whoever was given the answer closes it.
        """
        self._left = left
        self._origin = origin
        self._deadline = deadline
        self._exchange: Exchange | None = None
        self._chunks: deque[bytes] = deque()
        self._tell: asyncio.Future[None] | None = None
        self._failure: Exception | None = None
        self._done = False
        self._closed = False
        self._timer: asyncio.TimerHandle | None = None
        self.status = 0
        self.headers: Headers = ()

    @property
    def key(self) -> str:
        return "" if self._exchange is None else str(self._exchange.key)

    # -- from the tunnel ------------------------------------------------------------------------------

    def opened(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._timer = asyncio.get_running_loop().call_at(self._deadline, self._expire)

    def head_arrived(self, status: int, headers: Headers) -> None:
        self.status = status
        self.headers = headers
        self._wake()

    def data_arrived(self, data: bytes) -> None:
        self._chunks.append(data)
        self._wake()

    def answered(self) -> None:
        self._finish(None)

    def not_started(self, event: NotStarted) -> None:
        self._finish(NeverStarted(event.reason))

    def unknown(self, event: OutcomeUnknown) -> None:
        self._finish(OutcomeUnknownError(_UNKNOWN.get(event.reason, _RESTARTED)))

    def _expire(self) -> None:
        if self._done or self._exchange is None:
            return
        if self._origin.done(self._exchange, DoneReason.DEADLINE):
            self._finish(OutcomeUnknownError(LATE))
        else:
            self._finish(NeverStarted(None))

    def _finish(self, failure: Exception | None) -> None:
        self._done = True
        self._failure = failure
        if self._timer is not None:
            self._timer.cancel()
        self._wake()

    def _wake(self) -> None:
        tell, self._tell = self._tell, None
        if tell is not None and not tell.done():
            tell.set_result(None)

    async def _wait(self) -> None:
        self._tell = asyncio.get_running_loop().create_future()
        await self._tell

    # -- for the edge -----------------------------------------------------------------------------------

    async def begun(self, until: float, ending: Callable[[], DoneReason]) -> None:
        """Waits for HEAD until the loop's time `until`. Raises NeverStarted, OutcomeUnknown.

        Whatever else ends the wait, cancellation above all, ends the exchange as well, as `ending()` says.
        """
        timer = asyncio.get_running_loop().call_at(until, self._expire)
        try:
            while not self.status:
                if self._done:
                    raise self._failure or OutcomeUnknownError(_RESTARTED)
                await self._wait()
        except BaseException:
            self._end(ending())
            raise
        finally:
            timer.cancel()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._body()

    async def _body(self) -> AsyncIterator[bytes]:
        while True:
            while self._chunks:
                chunk = self._chunks.popleft()
                yield chunk
                if self._exchange is not None and not self._done:
                    self._origin.taken(self._exchange, len(chunk), now())
            if self._done:
                if self._failure is not None:
                    raise AnswerBroken(str(self._failure))
                return
            await self._wait()

    def withdraw(self, text: str) -> None:
        """The site takes no calls any more: the agent must stop, and whoever waits is told `text`."""
        if self._done or self._exchange is None:
            return
        if self._origin.revoke(self._exchange, now()):
            self._finish(OutcomeUnknownError(text))
        else:
            self._finish(NeverStarted(None))

    def close(self, reason: DoneReason) -> None:
        """See `Answer`."""
        if self._closed:
            return
        self._closed = True
        try:
            self._end(reason)
        finally:
            self._left()

    def _end(self, reason: DoneReason) -> None:
        if self._exchange is not None and not self._done:
            if reason is DoneReason.REVOKED:
                self._origin.revoke(self._exchange, now())
            else:
                self._origin.done(self._exchange, reason)
            self._finish(AnswerBroken("The answer was given up."))
        if self._exchange is not None:
            self._origin.release(self._exchange)
        self._chunks.clear()
