"""On which stream what a child says by itself reaches its client. Every message goes to one stream at most.

Progress goes to the call whose token it carries. Requests go to the call that their id names, else to the
latest in flight (stdio does not say to which call they belong), else to the GET stream; everything else to
the GET stream, else to the latest call. What finds neither waits, within bounds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Final

from penstock.envelope import Message, dump, notification
from penstock.outcome import INTERNAL, rpc_error
from penstock_agent.endpoint.limits import Limits
from penstock_agent.endpoint.session.correlate import Asked, Correlator
from penstock_agent.endpoint.streams import Backlog, Stream

CANCELLED: Final = "notifications/cancelled"


class Delivery:
    """``reply`` sends a line to the child without waiting."""

    def __init__(
        self,
        correlator: Correlator[Stream],
        limits: Limits,
        reply: Callable[[bytes], None],
        counts: Counter[str],
    ) -> None:
        self._correlator = correlator
        self._reply = reply
        self._counts = counts
        self._asked_wait = limits.asked_wait
        self._listener: Stream | None = None
        self._backlog = Backlog(
            events=limits.backlog_events, size=limits.backlog_bytes, asked=limits.backlog_asked
        )

    # Streams come and go.

    def listen(self, stream: Stream) -> None:
        """``stream`` is the client's GET stream from now on; an older one ends, and leaves what it still
        had.
        """
        old, self._listener = self._listener, stream
        if old is not None and old is not stream:
            for data in old.drain():
                stream.put(data)
        self.flush(stream)
        for data in self._backlog.take_notes():
            stream.put(data, droppable=True)

    def unlisten(self, stream: Stream) -> None:
        """The GET stream is gone; what was not sent waits for the next one."""
        left = stream.drain()
        if self._listener is stream:
            self._listener = None
            for data in left:
                self.note(data)

    def flush(self, stream: Stream) -> None:
        """A stream has opened: requests of the child that waited for one go there."""
        for caller_id, data in self._backlog.take_asked():
            asked = self._correlator.find(caller_id)
            if asked is not None:
                asked.stream = stream
                stream.put(data)

    def forget(self) -> None:
        """The child is gone, and its questions with it."""
        self._backlog.forget_asked()

    def close(self) -> None:
        """The session is over."""
        self.forget()
        if self._listener is not None:
            self._listener.close()

    # What the child says.

    def progress(self, params: bytes | None, data: bytes) -> None:
        """A progress notification."""
        call = self._correlator.progress(params)
        if call is None or not call.stream.put(data, droppable=True):
            self._counts["dropped_notification"] += 1

    def note(self, data: bytes) -> None:
        """A notification that belongs to no call."""
        stream = self._open_listener() or self._latest()
        if stream is None:
            self._backlog.note(data)
        elif not stream.put(data, droppable=True):
            self._counts["dropped_notification"] += 1

    def ask(self, request: Message) -> None:
        """A request of the child; it is answered with an error when the client cannot be reached."""
        taken = self._correlator.ask(request)
        if taken is None:
            self._reply(rpc_error(request.id, INTERNAL, "Too many requests to the client are unanswered."))
            return
        asked, renamed = taken
        data = dump(renamed)
        call = self._correlator.asking(request.id)
        of = call.stream if call is not None and call.stream.live else None
        stream = of or self._latest() or self._open_listener()
        if stream is not None:
            asked.stream = stream
            stream.put(data)
        elif not self._backlog.ask(asked.caller_id, data, self._asked_wait, lambda: self._unreachable(asked)):
            self._unreachable(asked)

    def withdraw(self, params: bytes | None) -> None:
        """The child takes a request of its own back."""
        found = self._correlator.withdrawn(params)
        if found is None:
            return
        asked, renamed = found
        if self._backlog.withdraw(asked.caller_id):
            return
        data = dump(notification(CANCELLED, renamed))
        if asked.stream is None or not asked.stream.put(data):
            self.note(data)

    def _unreachable(self, asked: Asked[Stream]) -> None:
        self._correlator.forget(asked)
        self._reply(rpc_error(asked.child_id, INTERNAL, "No stream of the client is open."))

    def _open_listener(self) -> Stream | None:
        return self._listener if self._listener is not None and self._listener.live else None

    def _latest(self) -> Stream | None:
        for call in reversed(self._correlator.in_flight()):
            if call.stream.live and call.request.method != "initialize":
                return call.stream
        return None
