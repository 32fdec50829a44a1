"""Tells the relay the head of the ledger over a link, and the ledger what the relay gave back."""

from __future__ import annotations

import asyncio
from typing import Protocol

from penstock import ledgerhead
from penstock.ledgerhead import LedgerHead
from penstock.tunnel.errors import CloseCode, RemoteError
from penstock.tunnel.frames import FrameType, Ledger
from penstock.tunnel.limits import LEDGER_EVERY
from penstock.tunnel.link import Link
from penstock.tunnel.states import SINCE


class Heads(Protocol):
    """The ledger, as the dialer sees it."""

    def current(self) -> LedgerHead | None:
        """The signed head of now; None while there is no ledger. It must not wait for anything."""
        ...

    def returned(self, head: LedgerHead) -> None:
        """What the relay has stored under this agent's name: of this ledger, or of the one that it follows.

        Its signature is good; whose key it is the ledger must see. On a new link it is called before the
        first exchange can start and before `current` is asked; and not at all where nothing is stored.
        """
        ...


class NoLedger:
    """Nothing is said, and what the relay says is not heeded."""

    def current(self) -> LedgerHead | None:
        return None

    def returned(self, head: LedgerHead) -> None:
        pass


class Telling:
    """What one link has said and heard of the ledger."""

    def __init__(self, link: Link, heads: Heads) -> None:
        self._link = link
        self._heads = heads
        self._told = 0
        self._heard = 0
        self._said: LedgerHead | None = None
        self._answered = False
        self._timer: asyncio.Handle | None = None

    def begin(self) -> None:
        """The link is greeted."""
        if self._link.version >= SINCE[FrameType.LEDGER]:
            # Not yet: what the relay has stored stands right behind WELCOME, and is heard first.
            self._timer = asyncio.get_running_loop().call_soon(self._again)

    def end(self) -> None:
        """The link is gone, or nothing is to be said any more. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def tell(self) -> None:
        """Says the head now, unless the relay has answered this very one."""
        if self._timer is None:
            return  # not greeted, or of a version that has no ledgers
        head = self._heads.current()
        if head is None or (self._answered and _alike(head, self._said)):
            return
        self._told += 1
        self._said, self._answered = head, False
        self._link.control(ledgerhead.to_frame(head))

    def heard(self, frame: Ledger) -> None:
        """RemoteError closes the link."""
        self._heard += 1
        if self._heard > self._told + 1:
            raise RemoteError(CloseCode.WRONG_STATE, "more ledger heads than were asked for")
        head = ledgerhead.of_frame(frame)
        if not ledgerhead.verify(head):
            raise RemoteError(CloseCode.MALFORMED, "a ledger head that its ledger has not signed")
        self._answered = self._told > 0
        self._heads.returned(head)

    def _again(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(LEDGER_EVERY, self._again)
        self.tell()


def _alike(head: LedgerHead, said: LedgerHead | None) -> bool:
    """Whether they say the same; when each was signed does not matter."""
    return said is not None and (head.key, head.n, head.hash) == (said.key, said.n, said.hash)
