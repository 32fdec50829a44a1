"""A call that must be approved on site is held for a moment, and then told to come back for the answer."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from penstock_agent.endpoint.failures import LEFT_EARLY, Failure, denied, not_executed
from penstock_agent.exchange import Exchange
from penstock_agent.gate.approval import Approvals, Call, Key, Request, State, TooMany

HOLD_S: Final = 10.0
"""So long a call waits here: less than any client's patience for the first byte of an answer."""
SPARE_S: Final = 2.0
"""Of the caller's time, for the words that it shall call again."""


@dataclass(frozen=True, slots=True)
class Passed:
    """It was approved; the approval is used up."""

    id: str


@dataclass(frozen=True, slots=True)
class Stopped:
    """It goes no further now."""

    failure: Failure
    waits: bool
    id: str = ""


class Approving:
    """One per agent."""

    def __init__(
        self,
        approvals: Approvals | None = None,
        *,
        on_asked: Callable[[Request], None] = lambda request: None,
        on_expired: Callable[[Request], None] = lambda request: None,
        clock: Callable[[], float] = time.time,
        new_id: Callable[[], str] = lambda: secrets.token_hex(4),
    ) -> None:
        """``on_asked`` is told of each new request; ``on_expired`` of each that nobody answered, not before
        somebody asks for or looks at requests again.
        """
        self._approvals = approvals or Approvals()
        self._on_asked = on_asked
        self._on_expired = on_expired
        self._clock = clock
        self._new_id = new_id
        self._latest = 0.0
        self.held: set[str] = set()
        """The keys of the exchanges that are held here now."""
        self._waiters: dict[str, set[asyncio.Future[None]]] = {}

    def requests(self) -> list[Request]:
        """All that are open, oldest first."""
        self._now()
        return list(self._approvals)

    @property
    def waiting(self) -> int:
        """How many nobody has answered."""
        self._now()
        return self._approvals.waiting

    def answer(self, id: str, approved: bool, by_uid: int) -> Request:
        """Somebody on site says so. Raises :exc:`~penstock_agent.gate.approval.Unknown`."""
        request = self._approvals.answer(id, approved, by_uid, self._now())
        for waiter in self._waiters.get(id, ()):
            if not waiter.done():
                waiter.set_result(None)
        return request

    async def approved(self, call: Call, exchange: Exchange) -> Passed | Stopped:
        """Whether this call may go on now. The approval that lets it is used up when this returns."""
        now = self._now()
        known = {request.id for request in self._approvals}
        try:
            request = self._approvals.asked(call, self._fresh_id(known), now)
        except TooMany as e:
            text = f"{e} Nothing was done. Try again when some of them have been answered."
            return Stopped(not_executed(text), waits=False)
        if request.id not in known:
            self._on_asked(request)
        if request.state is State.WAITING and not await self._answered(request, exchange):
            return Stopped(LEFT_EARLY, waits=True, id=request.id)
        if self._approvals.use(request, self._now()):
            return Passed(request.id)
        if request.state is State.DENIED:
            self._approvals.told(request)
            return Stopped(denied(_DENIED.format(id=request.id)), waits=False, id=request.id)
        if request.state is State.EXPIRED:
            return Stopped(denied(_EXPIRED.format(id=request.id)), waits=False, id=request.id)
        if request.state is State.APPROVED:
            return Stopped(not_executed(_USED.format(id=request.id)), waits=False, id=request.id)
        return Stopped(not_executed(_WAITS.format(id=request.id)), waits=True, id=request.id)

    # Answers that are kept until somebody on site lets them out.

    def keep(self, call: Call) -> Request:
        """Keep the answer of a call that has run: its request, or that of an earlier equal call, whose
        answer is kept still. Raises :exc:`~penstock_agent.gate.approval.TooMany`.
        """
        now = self._now()
        known = {request.id for request in self._approvals}
        request = self._approvals.asked(call, self._fresh_id(known), now)
        if request.id not in known:
            self._on_asked(request)
        return request

    @property
    def keeps(self) -> bool:
        """Whether any answer is kept."""
        return self._approvals.keeps

    def kept(self, key: Key) -> Request | None:
        """The answer that is kept of a call, or what became of it."""
        return self._approvals.kept(key, self._now())

    async def released(self, request: Request, exchange: Exchange) -> Passed | Stopped:
        """Whether the answer may leave now; it stays until it is ``collected``."""
        if request.state is State.WAITING and not await self._answered(request, exchange):
            return Stopped(LEFT_EARLY, waits=True, id=request.id)
        self._now()
        if request.state is State.WAITING:
            return Stopped(denied(KEPT_STILL.format(id=request.id)), waits=True, id=request.id)
        if request.state is State.APPROVED and self.kept(request.call.key) is request:
            return Passed(request.id)
        if request.state is State.APPROVED:
            return Stopped(denied(_COLLECTED.format(id=request.id)), waits=False, id=request.id)
        self._approvals.told(request)
        text = _NOT_LET_OUT if request.state is State.DENIED else _NOT_IN_TIME
        return Stopped(denied(text.format(id=request.id)), waits=False, id=request.id)

    def collected(self, request: Request) -> None:
        """The answer leaves now. It was ``released`` without a pause since."""
        self._approvals.use(request, self._latest)

    async def _answered(self, request: Request, exchange: Exchange) -> bool:
        """Wait for an answer for a while. False when the caller is gone: what it asked for must not be done
        behind its back.
        """
        loop = asyncio.get_running_loop()
        seconds = max(0.0, min(HOLD_S, exchange.deadline - SPARE_S - loop.time()))
        waiter: asyncio.Future[None] = loop.create_future()
        waiters = self._waiters.setdefault(request.id, set())
        waiters.add(waiter)
        self.held.add(exchange.key)
        try:
            async with asyncio.TaskGroup() as tasks:
                gone = tasks.create_task(exchange.gone())
                done, _ = await asyncio.wait(
                    (waiter, gone), timeout=seconds, return_when=asyncio.FIRST_COMPLETED
                )
                gone.cancel()
            return gone not in done
        finally:
            self.held.discard(exchange.key)
            waiters.discard(waiter)
            if not waiters:
                self._waiters.pop(request.id, None)

    def _fresh_id(self, known: set[str]) -> str:
        while (id := self._new_id()) in known:
            pass
        return id

    def _now(self) -> float:
        self._latest = max(self._latest, self._clock())
        for request in self._approvals.expire(self._latest):
            self._on_expired(request)
        return self._latest


_WAITS: Final = (
    "This call waits for approval on site (request {id}). Nothing was done yet. Tell the user, and call "
    "again with the same arguments in a minute: once it is approved, that call is carried out."
)
_DENIED: Final = (
    "The site's administrator has denied this call (request {id}). Nothing was done. Tell the user; do not "
    "repeat it unless the user says so."
)
_USED: Final = (
    "Request {id} was approved on site for one call, and another equal call of yours has used it. Nothing "
    "was done. If it shall be done twice, call again, which asks anew."
)
_EXPIRED: Final = (
    "Nobody on site has approved this call in time (request {id}), which counts as a denial. Nothing was "
    "done. Tell the user; calling again asks anew."
)
KEPT_STILL: Final = (
    "The answer of this call still waits for approval on site (request {id}). Nothing was done now. Tell "
    "the user, and call again with the same arguments in a minute: that collects the answer, and does not "
    "run the call once more."
)
_NOT_LET_OUT: Final = (
    "The site's administrator does not let the answer of this call out (request {id}). The call has run "
    "before; nothing was done now. Tell the user; do not repeat it unless the user says so: that would run "
    "it once more."
)
_NOT_IN_TIME: Final = (
    "The answer of this call was not approved and collected in time (request {id}), so it is gone. The call "
    "has run before; nothing was done now. Tell the user; calling again runs it once more."
)
_COLLECTED: Final = (
    "The answer that was kept of this call (request {id}) has just been collected by another equal call of "
    "yours. Nothing was done now; calling again runs it once more."
)
