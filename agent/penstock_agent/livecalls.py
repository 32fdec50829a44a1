"""What callers do at this moment: the exchanges that are open, and what was decided about each."""

from __future__ import annotations

import time
from collections.abc import Callable, Container
from typing import Final

import msgspec

from penstock.http import LISTEN, only_listens
from penstock_agent import control
from penstock_agent.control import Args, Peer
from penstock_agent.ledger.entries import Decision, Entry
from penstock_agent.ledger.recorded import Recorded, Safe

MOST: Final = 200
"""Calls in one answer; the others are counted."""
MAX_TEXT: Final = 200
"""Characters of one text in it, of what callers chose."""
MAX_SUBJECT: Final = 1000
"""The same of who they are to their issuer: by that they are stopped."""


class _Open:
    __slots__ = ("decision", "exchange", "since")

    def __init__(self, exchange: Recorded, since: float) -> None:
        self.exchange = exchange
        self.since = since
        self.decision: Decision | None = None


class LiveCalls:
    """One per agent. It stands between the endpoint and the ledger, and sees what is decided; see
    :class:`~penstock_agent.ledger.entries.Ledger`.
    """

    def __init__(self, ledger: Safe, held: Container[str], clock: Callable[[], float] = time.time) -> None:
        """``held``: the keys of exchanges that wait for somebody on site to approve them."""
        self._ledger = ledger
        self._held = held
        self._clock = clock
        self._open: dict[str, _Open] = {}

    @property
    def refuses(self) -> str | None:
        return self._ledger.refuses

    def record(self, entry: Entry, /) -> None:
        self._ledger.record(entry)
        if type(entry) is Decision and (found := self._open.get(entry.exchange)) is not None:
            found.decision = entry

    async def synced(self) -> None:
        await self._ledger.synced()

    def begin(self, exchange: Recorded) -> None:
        self._open[exchange.key] = _Open(exchange, self._clock())

    def end(self, exchange: Recorded) -> None:
        self._open.pop(exchange.key, None)

    async def calls(self, peer: Peer, args: Args) -> Args:
        """The verb of the control socket. Those that somebody waits for come first, then the oldest."""
        found = [self._shown(each) for each in self._open.values()]
        found.sort(key=lambda one: (one.state == "listening", one.since))
        answer = control.Calls(found[:MOST], max(0, len(found) - MOST))
        return msgspec.to_builtins(answer)  # type: ignore[no-any-return]  # a Struct becomes a dict

    def _shown(self, one: _Open) -> control.Call:
        exchange, decision = one.exchange, one.decision
        who = exchange.principal
        server = exchange.server if decision is None else decision.of or decision.server
        return control.Call(
            exchange.key,
            one.since,
            self._state(one),
            who.name[:MAX_TEXT],
            who.email[:MAX_TEXT],
            who.subject[:MAX_SUBJECT],
            who.client[:MAX_TEXT],
            server,
            "" if decision is None else (decision.item or decision.method)[:MAX_TEXT],
            exchange.sent,
        )

    def _state(self, one: _Open) -> str:
        exchange = one.exchange
        if exchange.key in self._held:
            return "waiting"
        listens = one.decision is not None and one.decision.method == LISTEN
        return "listening" if listens or only_listens(exchange.method, exchange.headers) else "running"
