"""Calls that somebody on site must approve: who asks for what, until when, and what came of it. Pure.

An approval is for one call: this caller, this item, these arguments. It is used once, and what is not
answered in time is denied. Nothing is kept on disk: after a restart of the agent it is asked anew.

What waits may also be the answer to a call that has run, which is kept meanwhile. That it was denied, or that
nobody approved it in time, is remembered for its caller: the same call would run once more.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final, TypeAlias

from penstock.principal import Principal

EXPIRY_S: Final = 600.0
"""So long an answer is waited for, and so long an approval can be used."""
MOST: Final = 200
"""Requests that are kept."""
MOST_OF_ONE: Final = 20
"""Those of one caller."""
MOST_BYTES: Final = 16 << 20
"""Arguments and answers that are kept, of all of them together."""
MOST_BYTES_OF_ONE: Final = 8 << 20
"""The same of one caller."""
MOST_ANSWER: Final = 4 << 20
"""Bytes of an answer that is kept."""
REMEMBERED_S: Final = 3600.0
"""So long it is remembered that an answer was not let out."""


class State(StrEnum):
    WAITING = "waiting"
    APPROVED = "approved"
    DENIED = "denied"
    EXPIRED = "expired"


#: Caller (issuer, subject, client), server, method, item, hash of the arguments.
Key: TypeAlias = tuple[tuple[str, str, str], str, str, str, str]


@dataclass(frozen=True, slots=True)
class Call:
    """What is to be approved."""

    who: Principal
    server: str
    item: str
    """``tool:NAME``, as the server calls it; for an answer ``answer of tool:NAME``, as its caller does."""
    digest: str
    """SHA-256 of the canonical arguments."""
    arguments: bytes = field(repr=False)
    """As they came, for the approver to read."""
    why: str
    """Which rule asks for it."""
    method: str = ""
    """To read something is not to subscribe to it."""
    answer: bytes = field(default=b"", repr=False)
    """The message that is kept until it may leave; empty for a call that has not run."""
    found: frozenset[str] = frozenset()
    """What the site's rules found in the answer, by what it is."""

    @property
    def key(self) -> Key:
        return self.who.identity, self.server, self.method, self.item, self.digest

    @property
    def size(self) -> int:
        return len(self.arguments) + len(self.answer)


@dataclass(slots=True, eq=False)
class Request:
    """A call that waits, or waited."""

    id: str
    call: Call
    asked_at: float
    """Seconds since 1970, like all times here."""
    expires_at: float
    state: State = State.WAITING
    by_uid: int = -1
    """Who answered."""


class TooMany(Exception):
    """So many calls wait already; the text says whose."""


class Unknown(Exception):
    """There is no such request, or it does not wait any more."""


class Approvals:
    """All of them. ``now`` is in seconds since 1970 and does not go back."""

    def __init__(self, expiry_s: float = EXPIRY_S) -> None:
        self._expiry = expiry_s
        self._requests: dict[str, Request] = {}
        self._by_key: dict[Key, Request] = {}
        self._over: dict[Key, Request] = {}
        """Answers that were not let out, without them: until their callers are told."""
        self._bytes = 0
        self._answers = 0

    def __iter__(self) -> Iterator[Request]:
        """Oldest first."""
        return iter(list(self._requests.values()))

    def asked(self, call: Call, new_id: str, now: float) -> Request:
        """The request of this call: one that is kept already, or a new one. Raises TooMany."""
        self.expire(now)
        found = self._by_key.get(call.key)
        if found is not None:
            return found
        whose = [one for one in self._requests.values() if one.call.who.identity == call.who.identity]
        if len(whose) >= MOST_OF_ONE or (
            whose and sum(one.call.size for one in whose) + call.size > MOST_BYTES_OF_ONE
        ):
            raise TooMany("Too many of your calls wait for approval on site already.")
        if len(self._requests) >= MOST or self._bytes + call.size > MOST_BYTES:
            raise TooMany("Too many calls wait for approval on this site already.")
        if new_id in self._requests:
            raise ValueError("the id is taken")
        request = Request(new_id, call, now, now + self._expiry)
        self._requests[new_id] = self._by_key[call.key] = request
        self._bytes += call.size
        self._answers += bool(call.answer)
        self._over.pop(call.key, None)
        return request

    @property
    def keeps(self) -> bool:
        """Whether anything is known of any answer."""
        return bool(self._answers or self._over)

    def kept(self, key: Key, now: float) -> Request | None:
        """The answer of a call, or what became of it."""
        self.expire(now)
        return self._by_key.get(key) or self._over.get(key)

    def answer(self, id: str, approved: bool, by_uid: int, now: float) -> Request:
        """Somebody on site says so. An approval can be used until it expires, from now. Raises Unknown."""
        self.expire(now)
        request = self._requests.get(id)
        if request is None or request.state is not State.WAITING:
            raise Unknown
        request.state = State.APPROVED if approved else State.DENIED
        request.by_uid = by_uid
        request.expires_at = now + self._expiry
        return request

    def use(self, request: Request, now: float) -> bool:
        """Use an approval: once. Whether it was one."""
        self.expire(now)
        if request.state is not State.APPROVED or self._requests.get(request.id) is not request:
            return False
        self._forget(request)
        return True

    def told(self, request: Request) -> None:
        """The caller has been told of the denial: the same call would be asked for anew."""
        if request.state is State.DENIED and self._requests.get(request.id) is request:
            self._forget(request)
        if self._over.get(request.call.key) is request:
            del self._over[request.call.key]

    def expire(self, now: float) -> list[Request]:
        """Forget what is over by now. Returns those that nobody had answered."""
        late = [one for one in self._requests.values() if one.expires_at <= now]
        unanswered = [one for one in late if one.state is State.WAITING]
        for one in late:
            self._forget(one)
            if not one.call.answer:
                one.state = State.EXPIRED
                continue
            self._remember(one)
            if one.state is not State.DENIED:
                one.state = State.EXPIRED
        while self._over and next(iter(self._over.values())).expires_at + REMEMBERED_S <= now:
            del self._over[next(iter(self._over))]
        return unanswered

    @property
    def due(self) -> float | None:
        """When the next one is over."""
        return min((one.expires_at for one in self._requests.values()), default=None)

    @property
    def waiting(self) -> int:
        """How many nobody has answered."""
        return sum(1 for one in self._requests.values() if one.state is State.WAITING)

    def _forget(self, request: Request) -> None:
        del self._requests[request.id]
        del self._by_key[request.call.key]
        self._bytes -= request.call.size
        self._answers -= bool(request.call.answer)

    def _remember(self, request: Request) -> None:
        request.call = replace(request.call, answer=b"", arguments=b"")
        self._over[request.call.key] = request
        while len(self._over) > MOST:
            del self._over[next(iter(self._over))]
