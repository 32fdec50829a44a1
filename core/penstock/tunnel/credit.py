"""Flow control: two absolute numbers per direction, and the windows that they make.

`have`: all bytes below it have arrived for good. `limit`: bytes may be sent below it. Both only grow,
and where two are known the larger one wins, so a lost or repeated CREDIT does no harm. The sender keeps
what lies between `have` and what it sent, to send it again over another link.
"""

from __future__ import annotations

from collections import deque

from penstock.tunnel.errors import CloseCode, RemoteError
from penstock.tunnel.limits import FREE_WINDOW, MAX_DATA, MAX_WINDOW

QUICK = 1.0
"""A window that is taken within this many seconds may grow: its reader is not the bottleneck."""


def beyond(data: bytes, offset: int, have: int) -> bytes:
    """The part of `data`, which stands at `offset`, that continues the first `have` bytes of its stream.

    Empty when there is none: it is a repeat, or something before it is missing. Repeats need not be cut
    into the same frames as the first time, so a frame may begin below `have` and end above it.
    """
    if offset == have:
        return data
    return data[have - offset :] if offset < have else b""


class Budget:
    """Bytes that may be promised above the free windows, over many exchanges."""

    __slots__ = ("left", "total")

    def __init__(self, total: int) -> None:
        self.total = self.left = total

    def take(self, n: int) -> bool:
        """Whether `n` more bytes may be promised; if so they are."""
        if n > self.left:
            return False
        self.left -= n
        return True

    def give_back(self, n: int) -> None:
        self.left = min(self.total, self.left + n)


class SendWindow:
    """What the peer allows us to send, and what we must still keep.

    `next` is the offset of the next byte to send on the current link, `sent` the highest ever sent.
    """

    __slots__ = ("_chunks", "_length", "_start", "have", "limit", "next", "sent")

    def __init__(self, limit: int = FREE_WINDOW) -> None:
        self.have = 0
        self.limit = max(limit, FREE_WINDOW)
        self.next = 0
        self.sent = 0
        self._chunks: deque[bytes] = deque()
        self._start = 0  # offset of the first byte of _chunks[0]
        self._length = 0  # offset behind the last byte written

    @property
    def length(self) -> int:
        """Offset behind the last byte that was written."""
        return self._length

    @property
    def unsent(self) -> int:
        """Bytes written that no link has carried yet."""
        return self._length - self.sent

    def write(self, data: bytes) -> None:
        if not data:
            return
        # Small writes share a chunk: what `chunk` walks over stays short, whatever the writer does.
        if self._chunks and len(self._chunks[-1]) + len(data) <= MAX_DATA:
            self._chunks[-1] += data
        else:
            self._chunks.append(data)
        self._length += len(data)

    def credit(self, have: int, limit: int) -> None:
        """The peer's CREDIT or ATTACH. RemoteError(CREDIT) when it cannot be true."""
        if have > self.sent:
            raise RemoteError(CloseCode.CREDIT, "credit for bytes that were never sent")
        if have > limit:
            raise RemoteError(CloseCode.CREDIT, "credit with `have` above `limit`")
        if limit - have > MAX_WINDOW:
            raise RemoteError(CloseCode.CREDIT, "a window of more than 4 MiB")
        self.limit = max(self.limit, limit)
        if have > self.have:
            self.have = have
            self.next = max(self.next, have)  # it may have been rewound below
            while self._chunks and self._start + len(self._chunks[0]) <= have:
                self._start += len(self._chunks.popleft())

    def rewind(self, to: int) -> None:
        """Sends again from `to`; what the peer has by now is skipped."""
        self.next = max(to, self.have)

    def ready(self) -> bool:
        return self.next < self._length and self.next < self.limit

    def chunk(self, most: int) -> bytes:
        """The next bytes to send, at most `most`; empty when credit or bytes are lacking."""
        n = min(most, self.limit - self.next, self._length - self.next)
        if n <= 0:
            return b""
        at = self.next
        self.next = stop = at + n
        self.sent = max(self.sent, stop)
        offset = self._start
        parts: list[bytes] = []
        for piece in self._chunks:
            end = offset + len(piece)
            if end > at:
                parts.append(piece[max(0, at - offset) : stop - offset])
                if end >= stop:
                    break
            offset = end
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def truncate(self) -> None:
        """Forgets what was written and never sent: the stream ends where it broke."""
        keep = self.sent
        while self._chunks and self._length - len(self._chunks[-1]) >= keep:
            self._length -= len(self._chunks.pop())
        if self._length > keep:
            self._chunks[-1] = self._chunks[-1][: keep - self._length]
            self._length = keep

    def clear(self) -> None:
        """Forgets everything: the exchange is over."""
        self._chunks.clear()


class AnswerWindow:
    """What the origin lets the agent send of an answer; grows for quick readers while budgets last.

    `received` counts bytes that arrived, `taken` those that the caller's connection took. The window
    above `taken` starts at 64 KiB and doubles to 4 MiB.
    """

    __slots__ = ("_budgets", "_extra", "_told", "_window_from", "received", "taken", "window")

    def __init__(self, budgets: tuple[Budget, ...] = ()) -> None:
        self.received = 0
        self.taken = 0
        self.window = FREE_WINDOW
        self._budgets = budgets
        self._extra = 0
        self._told = FREE_WINDOW
        self._window_from: tuple[int, float] | None = None

    @property
    def limit(self) -> int:
        return max(self._told, self.taken + self.window)

    def arrived(self, n: int) -> None:
        """RemoteError(CREDIT) when the agent sent more than it may."""
        if self.received + n > self._told:
            raise RemoteError(CloseCode.CREDIT, "more bytes than the credit allows")
        self.received += n

    def took(self, n: int, now: float) -> bool:
        """The caller's connection took `n` bytes; True when a CREDIT is worth a frame."""
        self.taken += n
        if self._window_from is None:
            self._window_from = (self.taken - n, now)
        start, since = self._window_from
        if self.taken - start >= self.window:
            if now - since <= QUICK:
                self._grow()
            self._window_from = (self.taken, now)
        return self.taken + self.window - self._told >= self.window // 2

    def _grow(self) -> None:
        more = min(self.window, MAX_WINDOW - self.window)
        granted: list[Budget] = []
        for budget in self._budgets:
            if not more or not budget.take(more):
                break
            granted.append(budget)
        if more and len(granted) == len(self._budgets):
            self.window += more
            self._extra += more
            return
        for budget in granted:
            budget.give_back(more)

    def told(self) -> int:
        """The limit for a CREDIT, OPEN or ATTACH that is about to be sent."""
        # `have` is what was received, and `taken` is never above it, so the window stays within 4 MiB.
        self._told = self.limit
        return self._told

    def release(self) -> None:
        """Returns the budget. Idempotent."""
        for budget in self._budgets:
            budget.give_back(self._extra)
        self._extra = 0
