"""Which answer belongs to which call, for one session. Pure: messages in, messages out.

Ids are rewritten in both directions. Towards the child each request gets a random id that is never used
twice, so an answer that is forged, late or doubled finds nothing. Towards the caller each request of the
child gets one too, so an answer that was meant for a child that died cannot reach its successor. Ids and
progress tokens are compared with their JSON type (``1`` is not ``"1"``) and come back as the bytes that they
were.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

import msgspec

from penstock.envelope import EnvelopeError, Message, id_key, member, with_id
from penstock_agent.endpoint.permits import Permit

#: Requests of one child that wait for the caller's answer. The child is told when there are more.
MAX_ASKED: Final = 64

S = TypeVar("S")
"""Whatever the owner keeps per call: where its answer goes."""

_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode


@dataclass(slots=True, eq=False)
class Call(Generic[S]):
    """A request of the caller that is in flight in the child."""

    request: Message
    stream: S
    child_id: bytes
    caller_key: bytes
    token: bytes | None
    sent: bool = False
    """Whether the child has it; until then it has certainly not run."""
    permit: Permit | None = None
    """What it was counted for, if it was; told when the call is over."""


@dataclass(slots=True, eq=False)
class Asked(Generic[S]):
    """A request of the child that waits for the caller's answer. ``stream``: where it went, None for not
    yet.
    """

    child_id: bytes
    child_key: bytes
    caller_id: bytes
    stream: S | None = None


class Correlator(Generic[S]):
    """``mint`` gives unguessable ASCII words, each only once, without characters that JSON escapes."""

    def __init__(self, mint: Callable[[], str]) -> None:
        self._mint = mint
        self._calls: dict[bytes, Call[S]] = {}
        self._by_caller: dict[bytes, Call[S]] = {}
        self._by_token: dict[bytes, Call[S]] = {}
        self._asked: dict[bytes, Asked[S]] = {}
        self._asked_by_child: dict[bytes, Asked[S]] = {}

    # What callers ask of the child.

    @property
    def calls(self) -> int:
        """How many calls are in flight."""
        return len(self._calls)

    def in_flight(self) -> list[Call[S]]:
        """The calls in flight, oldest first."""
        return list(self._calls.values())

    def open(self, request: Message, stream: S, permit: Permit | None = None) -> tuple[Call[S], Message]:
        """Take up a caller's request; returns it as the child shall see it."""
        assert request.id is not None  # noqa: S101 - a request has an id, says the parser
        child_id = b'"%b"' % self._mint().encode()
        call = Call(request, stream, child_id, id_key(request.id), _token(request.params), permit=permit)
        if permit is not None:
            permit.hold()
        self._calls[child_id] = call
        # A caller that uses an id twice at a time gets both answers; what it cancels is the newer one.
        self._by_caller[call.caller_key] = call
        if call.token is not None:
            self._by_token[call.token] = call
        return call, with_id(request, child_id)

    def calling(self, child_id: bytes) -> Call[S] | None:
        """The same, of a call that is not over yet."""
        return self._calls.get(child_id) or self._calls.get(_plain(child_id))

    def answered(self, child_id: bytes) -> Call[S] | None:
        """The call that the child's answer belongs to, which is over then; None for an id that is not in
        flight.
        """
        call = self.calling(child_id)
        if call is not None:
            self.retire(call)
        return call

    def holds(self, call: Call[S]) -> bool:
        """Whether this call is still in flight."""
        return self._calls.get(call.child_id) is call

    def retire(self, call: Call[S]) -> None:
        """The call is over; whatever the child still says about it is dropped."""
        if self._calls.pop(call.child_id, None) is not None and call.permit is not None:
            call.permit.over()
        if self._by_caller.get(call.caller_key) is call:
            del self._by_caller[call.caller_key]
        if call.token is not None and self._by_token.get(call.token) is call:
            del self._by_token[call.token]

    def cancelled(self, params: bytes | None) -> tuple[Call[S], bytes] | None:
        """The call that a caller's ``notifications/cancelled`` means, and the params as the child shall see
        them.

        None when it means nothing that may be cancelled. The call stays until it is retired.
        """
        raw = _member(params, "requestId")
        call = self._by_caller.get(_key(raw)) if raw is not None else None
        if call is None or call.request.method == "initialize" or params is None:
            return None
        return call, _replace(params, "requestId", call.child_id)

    def progress(self, params: bytes | None) -> Call[S] | None:
        """The call whose progress token the child's notification carries."""
        raw = _member(params, "progressToken")
        return self._by_token.get(_key(raw)) if raw is not None else None

    def asking(self, id: bytes | None) -> Call[S] | None:
        """The call that a request of the child belongs to, where its id says so: it begins with the call's,
        and a slash. Children that are of our making do that; others cannot say.
        """
        head, slash, _ = (id or b"").partition(b"/")
        return self._calls.get(head + b'"') if slash else None

    # What the child asks of the caller.

    @property
    def asked(self) -> int:
        """How many requests of the child wait for the caller's answer."""
        return len(self._asked)

    def questions(self) -> list[Asked[S]]:
        """Those requests, oldest first."""
        return list(self._asked.values())

    def ask(self, request: Message, of: bytes | None = None) -> tuple[Asked[S], Message] | None:
        """Take up a request of the child; returns it as the caller shall see it. None when too many wait.

        ``of``: the raw id, a string, of the caller's request that it belongs to, which its id names then (see
        ``asking``).
        """
        assert request.id is not None  # noqa: S101 - a request has an id, says the parser
        if len(self._asked) >= MAX_ASKED:
            return None
        caller_id = b'"%b"' % self._mint().encode()
        if of is not None and of.endswith(b'"'):
            caller_id = b"%b/%b" % (of[:-1], caller_id[1:])
        asked: Asked[S] = Asked(request.id, id_key(request.id), caller_id)
        self._asked[caller_id] = asked
        self._asked_by_child[asked.child_key] = asked
        return asked, with_id(request, caller_id)

    def replied(self, caller_id: bytes) -> Asked[S] | None:
        """What the caller's answer belongs to, which is over then; None for an id that this child never
        sent.
        """
        asked = self._asked.get(caller_id) or self._asked.get(_plain(caller_id))
        if asked is not None:
            self.forget(asked)
        return asked

    def withdrawn(self, params: bytes | None) -> tuple[Asked[S], bytes] | None:
        """The request that the child's ``notifications/cancelled`` takes back, and the params for the
        caller.
        """
        raw = _member(params, "requestId")
        asked = self._asked_by_child.get(_key(raw)) if raw is not None else None
        if asked is None or params is None:
            return None
        self.forget(asked)
        return asked, _replace(params, "requestId", asked.caller_id)

    def find(self, caller_id: bytes) -> Asked[S] | None:
        """The request of the child that the caller sees under this raw id."""
        return self._asked.get(caller_id)

    def forget(self, asked: Asked[S]) -> None:
        """The request of the child is over; an answer of the caller is refused."""
        self._asked.pop(asked.caller_id, None)
        if self._asked_by_child.get(asked.child_key) is asked:
            del self._asked_by_child[asked.child_key]

    def restart(self) -> list[Call[S]]:
        """The child is gone, and with it all that it owed and asked. Returns the calls that were in
        flight.
        """
        lost = self.in_flight()
        for table in (self._calls, self._by_caller, self._by_token, self._asked, self._asked_by_child):
            table.clear()
        for call in lost:
            if call.permit is not None:
                call.permit.over()
        return lost


def _plain(raw: bytes) -> bytes:
    """How we spell an id of ours that somebody sent back with escapes: the key of a string, and its end."""
    return _key(raw) + b'"'


def _token(params: bytes | None) -> bytes | None:
    # Almost no call carries one; an escaped key is looked at as well, though nobody writes such.
    if params is None or (b"progressToken" not in params and b"\\u" not in params):
        return None
    raw = member(params, "_meta", "progressToken")
    return None if raw is None else _key(raw)


def _member(params: bytes | None, name: str) -> bytes | None:
    return None if params is None else member(params, name)


def _key(raw: bytes) -> bytes:
    """A key for any JSON value: those that are no ids or tokens match nothing but themselves."""
    try:
        return id_key(raw)
    except EnvelopeError:
        return raw


def _replace(raw: bytes, name: str, value: bytes) -> bytes:
    """The object ``raw`` with another value of ``name``; all else byte-exact."""
    members = _object(raw)
    members[name] = msgspec.Raw(value)
    return _encode(members)
