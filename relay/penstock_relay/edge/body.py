"""A request body: whole, within its size, its time and the replica's memory, or a named refusal."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from aiohttp import StreamReader

from penstock.http import Refusal
from penstock_relay.edge import order
from penstock_relay.edge.limits import RETRY_AFTER, Limits
from penstock_relay.edge.stats import Stats

TOO_SLOW: Final = Refusal(408, "The request body came too slowly: send it in one go.")
DAMAGED: Final = Refusal(400, "The request body is not framed as HTTP/1.1 demands.")
NO_ROOM: Final = Refusal(
    503,
    "The relay holds as many request bytes as it may: this request was not executed. Try again.",
    (("retry-after", str(RETRY_AFTER)),),
)


class Refused(Exception):
    """The body was not taken; `refusal` is the answer."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.text)
        self.refusal = refusal


class Budget:
    """Request bytes that one replica holds, for all callers together."""

    __slots__ = ("_limit", "_stats")

    def __init__(self, limit: int, stats: Stats) -> None:
        self._limit = limit
        self._stats = stats

    def take(self, size: int) -> bool:
        """Takes `size` bytes if there is room for them."""
        if self._stats.request_bytes + size > self._limit:
            return False
        self._stats.request_bytes += size
        return True

    def give_back(self, size: int) -> None:
        """Returns what was taken."""
        self._stats.request_bytes -= size


class Share:
    """What one request has taken from the budget; given back when the request is over."""

    __slots__ = ("_budget", "_size")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._size = 0

    def grow(self, size: int) -> None:
        """Raises Refused when there is no room for `size` bytes altogether."""
        if size > self._size:
            if not self._budget.take(size - self._size):
                raise Refused(NO_ROOM)
            self._size = size

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._budget.give_back(self._size)


@dataclass(frozen=True, slots=True)
class Pace:
    """How long a body may take. Pure."""

    started: float
    limits: Limits

    def until(self, received: int) -> float:
        """The time by which the next byte is due when `received` have come."""
        limits = self.limits
        steady = limits.body_start_s + received / limits.body_rate
        return self.started + min(limits.body_s, steady)


async def read(content: StreamReader, length: int | None, share: Share, limits: Limits) -> bytes:
    """The whole body; `length` is its Content-Length, None when it comes in chunks.

    Raises Refused (408, 400, 413, 503), and CancelledError when the caller goes.
    """
    if length is not None:
        share.grow(length)
    try:
        if length is not None and content.is_eof():  # it came with the headers
            return content.read_nowait()
        return await _read(content, share, limits)
    except (Refused, asyncio.CancelledError):
        raise
    except TimeoutError:
        raise Refused(TOO_SLOW) from None
    except Exception:
        # The connection says by an exception of its parser's that the framing is damaged. Whatever it is,
        # its text may hold bytes of the request.
        raise Refused(DAMAGED) from None


async def _read(content: StreamReader, share: Share, limits: Limits) -> bytes:
    pace = Pace(asyncio.get_running_loop().time(), limits)
    body = bytearray()
    while True:
        async with asyncio.timeout_at(pace.until(len(body))):
            chunk = await content.readany()
        if not chunk:
            return bytes(body)
        body += chunk
        if len(body) > limits.body:
            raise Refused(order.too_long(limits.body))
        share.grow(len(body))
