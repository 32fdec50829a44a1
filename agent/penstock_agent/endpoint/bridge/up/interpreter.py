"""A process that speaks 2026-07-28 and a session of the handshake era, each understood by the other. Pure.

What the server wants to know before it answers becomes requests to the client, and the call is asked again
with the answers. A request's id is that of the session, except when it is asked again: no id is used twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from penstock.envelope import Kind, Message, dump, id_key, member, request, text_member, with_id
from penstock.outcome import INTERNAL, INVALID_PARAMS, METHOD_NOT_FOUND
from penstock_agent.endpoint.bridge.up import translate
from penstock_agent.endpoint.bridge.up.out import Out
from penstock_agent.endpoint.bridge.up.subscription import Subscription
from penstock_agent.endpoint.bridge.up.translate import Client, Wanted
from penstock_agent.endpoint.meta import ASKED, LEVELS, SUBSCRIPTION, severe_enough

ROUNDS: Final = 10
"""How often a server may ask before it answers one call; the official clients stop there, too."""
UNSET: Final = "info"
"""The level of log messages before the client says which it wants. Older servers send some then, too, and a
server of 2026-07-28 sends none unless it is told."""
PAUSES: Final = (0.05, 0.1, 0.25)
"""Seconds before a call is asked again of a server that wants nothing but to be asked again."""

_REMOVED: Final = frozenset({"tasks/list", "tasks/result"})


@dataclass(slots=True, eq=False)
class _Call:
    request: Message
    id: bytes
    """Under which the server works on it now, or did last."""
    rounds: int = 0
    pauses: int = 0
    wanted: Wanted | None = None
    """What the server waits for; it does not work on the call then."""
    responses: dict[str, bytes] = field(default_factory=dict)


class Interpreter:
    """For the life of one process. Every method takes one message and says what follows."""

    def __init__(
        self,
        name: str,
        hello: Message,
        discovered: bytes,
        mint: Callable[[], str],
    ) -> None:
        """``hello`` is the session's ``initialize``, ``discovered`` the server's answer to
        ``server/discover``, ``name`` what the site calls the server; ``mint`` gives unguessable ASCII words,
        each once. Raises ValueError when that answer, or the hello, is not of the form.
        """
        self._name = name
        self._client = Client.of(hello)
        self._discovered = discovered
        self._capabilities = member(discovered, "capabilities") or b"{}"
        self._mint = mint
        logs = member(self._capabilities, "logging") is not None
        self._level: str | None = UNSET if logs else None
        self._calls: dict[bytes, _Call] = {}
        """By the session's id."""
        self._working: dict[bytes, _Call] = {}
        """By the id that the server knows."""
        self._questions: dict[bytes, tuple[_Call, str]] = {}
        self._subscription = Subscription(self._capabilities, self._fresh, self._complete)
        self.dropped = 0
        """Messages of the server that mean nothing here."""
        self._hello = hello

    def greeting(self) -> bytes:
        """The answer to the session's ``initialize``, a line."""
        told = translate.initialized(self._discovered, self._client, self._name)
        return dump(Message(Kind.RESPONSE, self._hello.id, None, None, told, None))

    # From the session.

    def from_client(self, message: Message) -> Out:
        if message.kind is Kind.REQUEST:
            return self._requested(message)
        if message.kind is Kind.NOTIFICATION:
            if message.method == "notifications/initialized":
                return self._subscription.begin()
            if message.method == "notifications/cancelled":
                return self._cancelled(message.params or b"{}")
            return Out()  # a modern server is told nothing else
        return self._replied(message)

    def again(self, id: bytes) -> Out:
        """The pause of a call is over."""
        call, out = self._calls.get(id), Out()
        if call is not None and call.wanted is not None and not call.wanted.questions:
            self._ask_again(call, out)
        return out

    def _requested(self, message: Message) -> Out:
        out, id, method = Out(), message.id or b"null", message.method or ""
        params = message.params or b"{}"
        if method == "ping":
            out.done(id)
        elif method == "logging/setLevel":
            self._set_level(out, id, params)
        elif method in ("resources/subscribe", "resources/unsubscribe"):
            return self._subscribed(id, method, params)
        elif method in _REMOVED:
            out.failed(id, METHOD_NOT_FOUND, "This server does not have this method.")
        else:
            call = self._calls[id] = self._working[id] = _Call(message, id)
            try:
                out.server.append(self._complete(call.request))
            except ValueError:
                self._forget(call)
                out.failed(id, INVALID_PARAMS, "params, and _meta in it, must be objects.")
        return out

    def _set_level(self, out: Out, id: bytes, params: bytes) -> None:
        level = text_member(params, "level")
        if member(self._capabilities, "logging") is None:
            out.failed(id, METHOD_NOT_FOUND, "This server sends no log messages.")
        elif level not in LEVELS:
            out.failed(id, INVALID_PARAMS, f"level must be one of {', '.join(LEVELS)}.")
        else:
            self._level = level
            out.done(id)

    def _subscribed(self, id: bytes, method: str, params: bytes) -> Out:
        uri = text_member(params, "uri")
        if uri is None:
            out = Out()
            out.failed(id, INVALID_PARAMS, "uri must be a text.")
            return out
        if method == "resources/subscribe":
            return self._subscription.subscribe(id, uri)
        return self._subscription.unsubscribe(id, uri)

    def _cancelled(self, params: bytes) -> Out:
        out = Out()
        call = self._calls.get(_plain(member(params, "requestId")) or b"")
        if call is None:
            return out
        for question, (asker, _) in list(self._questions.items()):
            if asker is call:
                note = b'{"requestId":%b}' % question
                out.client.append(
                    dump(Message(Kind.NOTIFICATION, None, "notifications/cancelled", note, None, None))
                )
        self._forget(call)
        if call.wanted is None:
            out.withdrawn(call.id)
        return out

    def _replied(self, message: Message) -> Out:
        """The client has answered a question."""
        out = Out()
        found = self._questions.pop(_plain(message.id) or b"", None)
        if found is None:
            return out
        call, key = found
        if message.kind is Kind.ERROR:
            # There is no other way to tell the server, and without an answer it would ask for ever.
            self._fail(call, out, message.error or b"{}")
            return out
        call.responses[key] = message.result or b"{}"
        if call.wanted is not None and len(call.responses) == len(call.wanted.questions):
            self._ask_again(call, out)
        return out

    # From the server.

    def from_server(self, message: Message) -> Out:
        if message.kind is Kind.NOTIFICATION:
            return self._notified(message)
        if message.kind is Kind.REQUEST:
            self.dropped += 1  # there are none in 2026-07-28
            out = Out()
            text = "Clients of 2026-07-28 take no requests: ask in a result."
            error = b'{"code":%d,"message":"%b"}' % (METHOD_NOT_FOUND, text.encode())
            out.server.append(Message(Kind.ERROR, message.id, None, None, None, error))
            return out
        return self._answered(message)

    def _answered(self, message: Message) -> Out:
        out, id = Out(), _plain(message.id)
        if id is not None and self._subscription.owns(id):
            return self._subscription.ended(id)
        call = self._working.pop(id, None) if id is not None else None
        if call is None:
            self.dropped += 1
            return out
        try:
            wanted = translate.wanted(call.request, message)
            if wanted is not None:
                self._ask_client(call, wanted, out)
                return out
            if message.kind is Kind.RESPONSE:
                told = translate.result(message.result or b"")
                message = Message(Kind.RESPONSE, None, None, None, told, None)
        except ValueError as e:
            text = f"The server's answer is not one of MCP 2026-07-28. {e} The request has run."
            self._fail_in_words(call, out, text)
            return out
        self._forget(call)
        out.client.append(dump(with_id(message, call.request.id)))
        return out

    def _ask_client(self, call: _Call, wanted: Wanted, out: Out) -> None:
        call.rounds += 1
        if call.rounds > ROUNDS:
            self._fail_in_words(call, out, f"The server asked {ROUNDS} times and still does not answer.")
            return
        for method, params in wanted.questions.values():
            if not self._client.may_be_asked(method, params):
                known = method if method in ASKED else "something"
                text = f"The server needs to ask the user ({known}), which this client does not support."
                self._fail_in_words(call, out, text)
                return
        call.wanted, call.responses = wanted, {}
        if not wanted.questions:
            pause = PAUSES[min(call.pauses, len(PAUSES) - 1)]
            call.pauses += 1
            out.later.append((pause, call.request.id or b"null"))
            return
        call.pauses = 0
        for key, (method, params) in wanted.questions.items():
            id = self._of(call)
            self._questions[id] = (call, key)
            told = translate.question(method, params, self._client, id.decode())
            out.client.append(dump(request(id, method, told)))

    def _ask_again(self, call: _Call, out: Out) -> None:
        assert call.wanted is not None  # noqa: S101 - only called when something was wanted
        extra = translate.brought(call.wanted, call.responses)
        call.wanted, call.responses = None, {}
        call.id = self._fresh()
        self._working[call.id] = call
        out.server.append(with_id(self._complete(call.request, extra), call.id))

    def _notified(self, message: Message) -> Out:
        out, method, params = Out(), message.method or "", message.params or b"{}"
        subscribed = _plain(member(params, "_meta", SUBSCRIPTION))
        if method == "notifications/subscriptions/acknowledged":
            return self._subscription.acknowledged(subscribed, params)
        if method == "notifications/cancelled":
            id = _plain(member(params, "requestId"))
            return self._subscription.ended(id) if id is not None else out
        heard = subscribed is None or self._subscription.hears(subscribed)
        if method == "notifications/message":
            heard = self._level is not None and severe_enough(text_member(params, "level"), self._level)
        if heard:
            out.client.append(dump(translate.notified(message)))
        else:
            self.dropped += 1
        return out

    # Small things.

    def _complete(self, message: Message, extra: dict[str, bytes] | None = None) -> Message:
        return translate.for_server(message, self._client, self._level, extra or {})

    def _fresh(self) -> bytes:
        return b'"%b"' % self._mint().encode()

    def _of(self, call: _Call) -> bytes:
        """An id for a question that shows of which call it is: the session puts it on that call's stream."""
        return (call.request.id or b'""').removesuffix(b'"') + b'/%b"' % self._mint().encode()

    def _forget(self, call: _Call) -> None:
        self._calls.pop(call.request.id or b"null", None)
        self._working.pop(call.id, None)
        for id in [id for id, (asker, _) in self._questions.items() if asker is call]:
            del self._questions[id]

    def _fail(self, call: _Call, out: Out, error: bytes) -> None:
        self._forget(call)
        out.client.append(dump(Message(Kind.ERROR, call.request.id, None, None, None, error)))

    def _fail_in_words(self, call: _Call, out: Out, text: str) -> None:
        self._forget(call)
        out.failed(call.request.id or b"null", INTERNAL, text)


def _plain(raw: bytes | None) -> bytes | None:
    """How we spell an id of ours that somebody sent back with escapes."""
    if raw is None:
        return None
    key = id_key(raw) if raw.startswith(b'"') else raw
    return key + b'"' if key.startswith(b'"') else key
