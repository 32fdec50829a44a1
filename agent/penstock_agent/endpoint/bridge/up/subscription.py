"""What a session wants to hear of a server: list changes, and the resources that it subscribed to. Pure.

In 2026-07-28 that is one request that lasts. A change of what is wanted is a new one; the one before ends
when its successor has been acknowledged, so that nothing is missed and nothing comes twice.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from penstock.envelope import Message, member, request
from penstock.http import LISTEN
from penstock.outcome import INVALID_PARAMS
from penstock_agent.endpoint.bridge.up.out import Out
from penstock_agent.endpoint.meta import CHANGED

MOST_URIS: Final = 1000
"""Resources that one session may subscribe to."""

_NOT_SUBSCRIBED: Final = "The server does not tell of changes of this resource: read it again instead."


class Subscription:
    """``mint`` gives raw ids, each once. ``complete`` adds to a request what every request has."""

    def __init__(
        self, capabilities: bytes, mint: Callable[[], bytes], complete: Callable[[Message], Message]
    ) -> None:
        """``capabilities`` are those of the server, raw."""
        self._mint = mint
        self._complete = complete
        self._changes = [
            f"{kind}ListChanged" for kind in CHANGED if member(capabilities, kind, "listChanged") == b"true"
        ]
        self._uris: dict[str, None] = {}
        self._waiting: list[tuple[bytes, str]] = []
        """Requests of the session that are answered when the server has acknowledged."""
        self._current: bytes | None = None
        self._opening: bytes | None = None
        self._asked: frozenset[str] = frozenset()
        """What the one that is being opened asks for."""
        self._stale = False

    def hears(self, id: bytes | None) -> bool:
        """Whether what comes under this id is for the session."""
        return id is not None and id == self._current

    def owns(self, id: bytes) -> bool:
        """Whether it is the id of one of these requests."""
        return id in (self._current, self._opening)

    def begin(self) -> Out:
        """The session is ready to hear of changes."""
        out = Out()
        self._renew(out)
        return out

    def subscribe(self, id: bytes, uri: str) -> Out:
        """``resources/subscribe`` of the session under this id."""
        out = Out()
        if uri in self._uris and not any(waits == uri for _, waits in self._waiting):
            out.done(id)
        elif len(self._uris) >= MOST_URIS:
            out.failed(
                id, INVALID_PARAMS, f"A session subscribes to {MOST_URIS} resources at most: end some."
            )
        else:
            self._uris[uri] = None
            self._waiting.append((id, uri))
            self._renew(out)
        return out

    def unsubscribe(self, id: bytes, uri: str) -> Out:
        """``resources/unsubscribe`` of the session under this id."""
        out = Out()
        for each in [each for each in self._waiting if each[1] == uri]:
            self._waiting.remove(each)
            out.done(each[0])
        out.done(id)
        if uri in self._uris:
            del self._uris[uri]
            self._renew(out)
        return out

    def acknowledged(self, id: bytes | None, params: bytes) -> Out:
        """The server has taken a subscription on, or parts of it."""
        out = Out()
        if id is None or id != self._opening:
            return out
        if self._current is not None:
            out.withdrawn(self._current)
        self._current, self._opening = self._opening, None
        self._settle(out, _uris(params))
        if self._stale:
            self._renew(out)
        return out

    def ended(self, id: bytes) -> Out:
        """The server has ended one, or refused to begin it."""
        out = Out()
        if id == self._current:
            self._current = None
        elif id == self._opening:
            self._opening = None
            self._settle(out, frozenset())
            if self._stale:  # something else is wanted by now
                self._renew(out)
        return out

    def _settle(self, out: Out, taken: frozenset[str]) -> None:
        for id, uri in [each for each in self._waiting if each[1] in self._asked]:
            self._waiting.remove((id, uri))
            if uri in taken:
                out.done(id)
            else:
                self._uris.pop(uri, None)
                out.failed(id, INVALID_PARAMS, _NOT_SUBSCRIBED)

    def _renew(self, out: Out) -> None:
        if self._opening is not None:
            self._stale = True
            return
        self._stale = False
        wanted: dict[str, object] = dict.fromkeys(self._changes, True)
        if self._uris:
            wanted["resourceSubscriptions"] = list(self._uris)
        if not wanted:
            if self._current is not None:
                out.withdrawn(self._current)
                self._current = None
            return
        self._opening, self._asked = self._mint(), frozenset(self._uris)
        params = msgspec.json.encode({"notifications": wanted})
        out.server.append(self._complete(request(self._opening, LISTEN, params)))


def _uris(params: bytes) -> frozenset[str]:
    found = member(params, "notifications", "resourceSubscriptions")
    try:
        return frozenset() if found is None else frozenset(msgspec.json.decode(found, type=list[str]))
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return frozenset()
