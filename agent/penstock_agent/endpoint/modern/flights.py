"""The requests of many callers in one process, and what it says about each. Pure: messages in, messages out.

Towards the process each request has a random id, which is its progress token and its subscription id as
well. What comes back gets the caller's own, as the bytes that they were. An id is never used twice, so an
answer that is forged, late or doubled finds nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from penstock.envelope import EnvelopeError, Message, id_key, member, replaced, text_member, with_id
from penstock.http import LISTEN
from penstock.principal import Principal
from penstock_agent.endpoint import meta
from penstock_agent.endpoint.permits import Permit

S = TypeVar("S")
"""Whatever the owner keeps per request: where its answer goes."""


@dataclass(slots=True, eq=False)
class Flight(Generic[S]):
    """A request that the process works on."""

    request: Message
    """As the caller sent it."""
    caller: Principal
    stream: S
    child_id: bytes
    token: bytes | None
    """The caller's progress token, raw."""
    level: str | None
    """Log messages that the caller asked for: this level and above."""
    sent: bool = False
    """Whether the process has it; until then it has certainly not run."""
    permit: Permit | None = None
    """What it was counted for, if it was; told when the request is over."""

    @property
    def listens(self) -> bool:
        return self.request.method == LISTEN


class Flights(Generic[S]):
    """``mint`` gives unguessable ASCII words, each only once, without characters that JSON escapes."""

    def __init__(self, mint: Callable[[], str]) -> None:
        self._mint = mint
        self._by_id: dict[bytes, Flight[S]] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Flight[S]]:
        """Oldest first."""
        return iter(list(self._by_id.values()))

    def of(self, identity: tuple[str, str, str]) -> int:
        """How many are one principal's."""
        return sum(flight.caller.identity == identity for flight in self._by_id.values())

    def open(
        self, request: Message, caller: Principal, stream: S, permit: Permit | None = None
    ) -> tuple[Flight[S], Message]:
        """Take up a request; returns it as the process shall see it."""
        child_id = b'"%b"' % self._mint().encode()
        params = request.params
        token = None if params is None else member(params, "_meta", "progressToken")
        level = None if params is None else text_member(params, "_meta", meta.LEVEL)
        if params is not None and token is not None:
            params = replaced(params, child_id, "_meta", "progressToken")
        flight = Flight(request, caller, stream, child_id, token, level, permit=permit)
        if permit is not None:
            permit.hold()
        self._by_id[child_id] = flight
        return flight, Message(request.kind, child_id, request.method, params, None, None)

    def holds(self, flight: Flight[S]) -> bool:
        """Whether the process still works on it."""
        return self._by_id.get(flight.child_id) is flight

    def retire(self, flight: Flight[S]) -> None:
        """It is over; whatever the process still says about it is dropped."""
        if self._by_id.pop(flight.child_id, None) is not None and flight.permit is not None:
            flight.permit.over()

    def clear(self) -> list[Flight[S]]:
        """The process is gone. Returns what it worked on."""
        lost = list(self)
        self._by_id.clear()
        for flight in lost:
            if flight.permit is not None:
                flight.permit.over()
        return lost

    # What the process says.

    def answered(self, answer: Message) -> tuple[Flight[S], Message] | None:
        """What an answer belongs to, which is over then, and the answer as its caller shall see it."""
        found = self.answering(answer)
        if found is not None:
            self.retire(found[0])
        return found

    def answering(self, answer: Message) -> tuple[Flight[S], Message] | None:
        """The same, of what is not over yet."""
        flight = self._find(answer.id)
        if flight is None:
            return None
        message = with_id(answer, flight.request.id)
        if flight.listens and message.result is not None:
            message = _with_result(message, self._subscribed(flight, message.result))
        return flight, message

    def cancelled(self, params: bytes | None) -> Flight[S] | None:
        """The request that the process gives up on. It stays until it is retired."""
        return self._find(None if params is None else member(params, "requestId"))

    def progress(self, params: bytes | None) -> tuple[Flight[S], bytes] | None:
        """What a progress notification belongs to, and its params for the caller."""
        flight = self._find(None if params is None else member(params, "progressToken"))
        if params is None or flight is None or flight.token is None:
            return None
        return flight, replaced(params, flight.token, "progressToken")

    def notified(self, params: bytes | None) -> tuple[Flight[S], bytes] | None:
        """The subscription that a notification belongs to, and its params for the caller."""
        flight = self._find(None if params is None else member(params, "_meta", meta.SUBSCRIPTION))
        if params is None or flight is None or not flight.listens:
            return None
        return flight, self._subscribed(flight, params)

    def logged(self, params: bytes | None) -> Flight[S] | None:
        """The only request that a log message can belong to; None when there are none or several.

        Nothing in it says to whom it belongs. So it must be certain: one request asks for log messages, and
        nothing of anybody else is being worked on.
        """
        wanted = [flight for flight in self._by_id.values() if flight.level is not None]
        if len(wanted) != 1:
            return None
        (one,) = wanted
        if any(flight.caller.identity != one.caller.identity for flight in self._by_id.values()):
            return None
        return one if meta.severe_enough(text_member(params or b"{}", "level"), one.level) else None

    def _find(self, raw: bytes | None) -> Flight[S] | None:
        if raw is None:
            return None
        try:  # spelled with escapes, it is the same id
            return self._by_id.get(raw) or self._by_id.get(id_key(raw) + b'"')
        except EnvelopeError:
            return None

    @staticmethod
    def _subscribed(flight: Flight[S], raw: bytes) -> bytes:
        assert flight.request.id is not None  # noqa: S101 - a request has an id, says the parser
        try:
            return replaced(raw, flight.request.id, "_meta", meta.SUBSCRIPTION)
        except ValueError:
            return raw


def _with_result(message: Message, result: bytes) -> Message:
    return Message(message.kind, message.id, None, None, result, None)
