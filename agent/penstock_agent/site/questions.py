"""What one server of the site asks of the client, and how that is told from what the others ask. Pure.

Ids and progress tokens of two servers may be the same; up there each question has one of its own for both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Generic, TypeVar

from penstock.envelope import Message, member, notification, replaced, request, with_id
from penstock.outcome import INVALID_REQUEST, rpc_error
from penstock_agent.endpoint.session.correlate import MAX_ASKED, Correlator

CANCELLED: Final = "notifications/cancelled"
PROGRESS: Final = "notifications/progress"
#: What a server may ask of the user only while a call of the user's runs there: of several servers, the one
#: that the user is using.
_OF_USERS: Final = frozenset({"elicitation/create", "sampling/createMessage"})
#: What users use. That a server is being greeted, or asked for its lists with all others, is not their doing.
_USING: Final = frozenset({"tools/call", "prompts/get", "resources/read"})

MAX_QUESTION: Final = 1 << 20
"""Bytes of the parameters of one: what a client has not taken yet keeps all servers from being read."""

S = TypeVar("S")


class Questions(Generic[S]):
    """Of one server. ``reply`` sends it a line. ``most``: questions that may wait for the client; all
    servers share what the client's session takes.
    """

    def __init__(
        self, correlator: Correlator[S], reply: Callable[[bytes], None], most: int = MAX_ASKED
    ) -> None:
        self._correlator = correlator
        self._reply = reply
        self._most = most
        self._tokens: dict[bytes, bytes] = {}

    def asked(self, message: Message) -> Message | None:
        """A request of the server as the client shall see it; None when it was answered here."""
        if message.method == "ping":
            self._reply(b'{"jsonrpc":"2.0","id":%b,"result":{}}' % (message.id or b"null"))
            return None
        of_users = message.method in _OF_USERS
        calls = [
            call for call in self._correlator.in_flight() if not of_users or call.request.method in _USING
        ]
        if of_users and not calls:
            text = "Of several servers, only one that runs a request may ask the user. None runs here."
            self._reply(rpc_error(message.id, INVALID_REQUEST, text))
            return None
        # What it belongs to, so that it appears where that call was made: other servers have calls, too.
        call = self._correlator.asking(message.id)
        if call not in calls:
            call = calls[-1] if calls else None
        full = self._correlator.asked >= self._most or len(message.params or b"") > MAX_QUESTION
        taken = None if full else self._correlator.ask(message, None if call is None else call.request.id)
        if taken is None:
            text = "Too many requests to the client are unanswered, or this one is too large."
            self._reply(rpc_error(message.id, INVALID_REQUEST, text))
            return None
        asked, renamed = taken
        params = message.params
        token = None if params is None else member(params, "_meta", "progressToken")
        if params is None or token is None:
            return renamed
        self._tokens[asked.caller_id] = token
        params = replaced(params, asked.caller_id, "_meta", "progressToken")
        return request(asked.caller_id, message.method or "", params)

    def answered(self, message: Message) -> Message | None:
        """The client's answer as the server shall see it; None when that was another server's question."""
        asked = None if message.id is None else self._correlator.replied(message.id)
        if asked is None:
            return None
        self._tokens.pop(asked.caller_id, None)
        return with_id(message, asked.child_id)

    def progress(self, token: bytes, params: bytes) -> Message | None:
        """The client's progress as the server shall see it; None when that was another server's question."""
        own = self._tokens.get(token)
        return None if own is None else notification(PROGRESS, replaced(params, own, "progressToken"))

    def withdrawn(self, params: bytes | None) -> Message | None:
        """``notifications/cancelled`` of the server as the client shall see it; None when it means none."""
        found = self._correlator.withdrawn(params)
        if found is None:
            return None
        self._tokens.pop(found[0].caller_id, None)
        return notification(CANCELLED, found[1])

    def lost(self) -> list[Message]:
        """The server is gone, and its questions with it: what the client is told of them."""
        self._tokens.clear()
        return [
            notification(CANCELLED, b'{"requestId":%b}' % asked.caller_id)
            for asked in self._correlator.questions()
        ]
