"""Calls that go on in the server while their caller thinks: asked something, it comes back with a state."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from penstock.principal import Principal
from penstock_agent.endpoint.bridge.down.rooms import Lease, Room
from penstock_agent.endpoint.bridge.down.state import NONCE_BYTES, BadState, States
from penstock_agent.endpoint.bridge.down.translate import Wanted
from penstock_agent.endpoint.session.correlate import Call
from penstock_agent.endpoint.streams import Stream

#: Seconds that a caller, and whoever it asks, may take; then the server is told that nobody answers.
THINKING: Final = 300.0
#: Calls of one caller that wait for it.
PER_CALLER: Final = 16
#: Calls of all callers that wait.
ALL: Final = 256


@dataclass(slots=True, eq=False)
class Waiting:
    """A call whose caller was asked something."""

    caller: Principal
    wanted: Wanted
    ids: dict[str, bytes]
    """Under which id the server asked, by key. Empty where the server has ended the call with what it wants,
    and is called again.
    """
    running: tuple[Lease, Call[Stream], Stream] | None
    """The call that goes on; whoever takes it releases the room."""


class TooManyWaiting(Exception):
    """More calls must not wait."""


class Pending:
    """``give_up`` ends a call that nobody has come back for."""

    def __init__(self, give_up: Callable[[Waiting], None]) -> None:
        self._states = States(secrets.token_bytes(32))
        self._waiting: dict[str, tuple[Waiting, asyncio.TimerHandle]] = {}
        self._give_up = give_up

    def __len__(self) -> int:
        return len(self._waiting)

    def keep(self, waiting: Waiting, server: str, essence: bytes) -> str:
        """The state that its caller has to bring back. Raises TooManyWaiting, and keeps nothing then."""
        own = sum(other.caller.identity == waiting.caller.identity for other, _ in self._waiting.values())
        if own >= PER_CALLER or len(self._waiting) >= ALL:
            raise TooManyWaiting
        loop = asyncio.get_running_loop()
        handle, until = secrets.token_hex(16), loop.time() + THINKING
        self._waiting[handle] = (waiting, loop.call_at(until, self._expire, handle))
        nonce = secrets.token_bytes(NONCE_BYTES)
        return self._states.seal(handle, until, nonce, server, waiting.caller, essence)

    def take(self, state: str, server: str, caller: Principal, essence: bytes) -> Waiting:
        """The call that this state continues, once. Raises BadState."""
        handle = self._states.open(state, asyncio.get_running_loop().time(), server, caller, essence)
        found = self._waiting.pop(handle, None)
        if found is None:
            raise BadState
        found[1].cancel()
        return found[0]

    def drop(self, waiting: Waiting) -> None:
        """Its caller never learned of the state. Whoever drops it sees to the call."""
        for handle, (other, timer) in self._waiting.items():
            if other is waiting:
                timer.cancel()
                del self._waiting[handle]
                return

    def give_up_oldest(self, rooms: Collection[Room]) -> bool:
        """Of the calls that wait in these rooms. False when none does."""
        for handle, (waiting, timer) in self._waiting.items():  # in the order in which they came
            if waiting.running is not None and waiting.running[0].room in rooms:
                timer.cancel()
                self._expire(handle)
                return True
        return False

    def close(self) -> None:
        """Nobody comes back any more."""
        for handle in list(self._waiting):
            self._waiting[handle][1].cancel()
            self._expire(handle)

    def _expire(self, handle: str) -> None:
        self._give_up(self._waiting.pop(handle)[0])
