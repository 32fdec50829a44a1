"""What each exchange has been counted for, and the one place where that ends.

A call takes its place among those that run when it is judged, and gives it back when two things are over: its
exchange, and the request in the child (``Correlator`` and ``Flights`` say so, whatever ended it: an answer, a
cancelling, a crash, a deadline). In the handshake era a request outlives its exchange; elsewhere the exchange
may end before the child was given anything. Pure but for the clock that it is given.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from penstock.envelope import Kind, Message, text_member
from penstock.principal import Principal
from penstock_agent.gate.policy.books import Books, Charge, Over, Taken

TASKS_MAX: Final = 4096
"""Tasks that are remembered; what is fetched of one that was forgotten is not counted."""
TASK_ID_MAX: Final = 256
FETCH: Final = frozenset({"tasks/get", "tasks/result"})


class Permit:
    """Of one exchange: one call, or the calls of a batch."""

    __slots__ = ("_books", "_requests", "_running", "_serving", "_taken")

    def __init__(self, books: Books) -> None:
        self._books = books
        self._taken: list[tuple[bytes, Taken]] = []
        """With the ids of the requests, as their caller wrote them."""
        self._running = 0
        self._serving = True

    def add(self, id: bytes, taken: Taken) -> None:
        """Another request of the exchange."""
        self._taken.append((id, taken))

    def hold(self) -> None:
        """A child is being given one of them."""
        self._running += 1
        for _, taken in self._taken:
            self._books.hold(taken)

    def over(self) -> None:
        """A child has no more to do with one of them."""
        self._running -= 1
        self._settle()

    def rests(self) -> None:
        """The call waits for its caller, in another exchange, which is counted by itself."""
        for _, taken in self._taken:
            self._books.release(taken)

    def served(self) -> None:
        """The exchange is over."""
        self._serving = False
        self._settle()

    def of(self, id: bytes | None) -> Taken | None:
        """What the request of this id was counted for, once."""
        for n, (one, taken) in enumerate(self._taken):
            if one == id:
                del self._taken[n]
                self._books.release(taken)
                return taken
        return None

    def _settle(self) -> None:
        if self._running <= 0 and not self._serving:
            for _, taken in self._taken:
                self._books.release(taken)


class Permits:
    """One per endpoint. ``now``: seconds since 1970."""

    def __init__(self, books: Books, now: Callable[[], float]) -> None:
        self.books = books
        self._now = now
        self._serving: dict[str, Permit | None] = {}
        """The exchanges that are being served, and what each was counted for."""
        self._tasks: dict[tuple[str, str, str, str], Taken] = {}
        """By server, issuer, subject and id of the task; the oldest first."""

    def begin(self, exchange: str) -> None:
        """It is being served."""
        self._serving[exchange] = None

    def served(self, exchange: str) -> None:
        """It is over, however it ended."""
        permit = self._serving.pop(exchange, None)
        if permit is not None:
            permit.served()

    def of(self, exchange: str) -> Permit | None:
        """What this exchange was counted for; None for nothing."""
        return self._serving.get(exchange)

    def take(
        self,
        exchange: str,
        request: Message,
        who: Principal,
        charges: Sequence[Charge],
        left: float,
        *,
        runs: bool,
    ) -> Over | None:
        """Count a request that the rules allow; why not, where a budget is used up. ``left``: seconds until
        it is given up at the latest.
        """
        if exchange not in self._serving:
            return Over("The connection was lost before the request was looked at. Try again.", None)
        now = self._now()
        taken = self.books.take((who.issuer, who.subject), charges, now, now + left, runs=runs)
        if isinstance(taken, Over):
            return taken
        permit = self._serving[exchange]
        if permit is None:
            permit = self._serving[exchange] = Permit(self.books)
        permit.add(request.id or b"", taken)
        return None

    def answered(
        self, permit: Permit | None, server: str, who: Principal, request: Message, answer: Message
    ) -> Over | None:
        """Count what is about to leave in answer to a request; why it must not, where it is too much.

        What a call left behind as a task is counted for the call, when it is fetched.
        """
        taken = None if permit is None else permit.of(request.id)
        body = (answer.error if answer.kind is Kind.ERROR else answer.result) or b""
        if taken is None and self._tasks and request.method in FETCH:
            task = text_member(request.params or b"", "taskId")
            taken = self._tasks.get((server, who.issuer, who.subject, task or ""))
        elif taken is not None and b"askId" in body:
            self._began(taken, server, who, body)
        return None if taken is None else self.books.answered(taken, len(body), self._now())

    def _began(self, taken: Taken, server: str, who: Principal, result: bytes) -> None:
        """2026-07-28 has the id of a task in the result itself, 2025-11-25 in its member ``task``."""
        task = text_member(result, "taskId") or text_member(result, "task", "taskId")
        if task is not None and len(task) <= TASK_ID_MAX:
            self._tasks[server, who.issuer, who.subject, task] = taken
            while len(self._tasks) > TASKS_MAX:
                del self._tasks[next(iter(self._tasks))]
