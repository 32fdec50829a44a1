"""What a session has asked of its server for as long as it lasts. Pure.

A server that is started again knows nothing of it, and its client does not know that it was: it would wait
for news of a resource for ever. So the next process is asked again.
"""

from __future__ import annotations

from typing import Final

from penstock.envelope import Kind, Message, text_member, with_id

MOST_URIS: Final = 256
"""Resources whose subscriptions outlive a process; those that came first are kept."""


class Standing:
    """Of one session."""

    def __init__(self) -> None:
        self._level: Message | None = None
        self._uris: dict[str, Message] = {}
        self._asked: set[bytes] = set()

    def granted(self, request: Message) -> None:
        """The server has answered this request of the client with a result."""
        if request.method == "logging/setLevel":
            self._level = request
            return
        if request.method not in ("resources/subscribe", "resources/unsubscribe"):
            return
        uri = text_member(request.params or b"{}", "uri")
        if uri is None:
            return
        if request.method == "resources/unsubscribe":
            self._uris.pop(uri, None)
        elif len(self._uris) < MOST_URIS:
            self._uris[uri] = request

    def again(self) -> list[Message]:
        """Requests for the next process. Their answers are nobody's, see ``settles``."""
        wanted = [*self._uris.values()] if self._level is None else [self._level, *self._uris.values()]
        asked = [with_id(each, b'"again-%d"' % number) for number, each in enumerate(wanted)]
        self._asked = {each.id for each in asked if each.id is not None}
        return asked

    def settles(self, answer: Message) -> bool:
        """Whether it answers one of them."""
        if answer.id not in self._asked or answer.kind not in (Kind.RESPONSE, Kind.ERROR):
            return False
        self._asked.discard(answer.id)
        return True
