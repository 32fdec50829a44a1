"""What an interpreter has to say, to either side."""

from __future__ import annotations

from dataclasses import dataclass, field

from penstock.envelope import Kind, Message
from penstock.outcome import rpc_error


@dataclass(slots=True)
class Out:
    """In order for each side. The two sides do not wait for each other."""

    client: list[bytes] = field(default_factory=list)
    """Lines for the session."""
    server: list[Message] = field(default_factory=list)
    later: list[tuple[float, bytes]] = field(default_factory=list)
    """Calls to be asked again without anything new, each after so many seconds, under its id."""

    def add(self, other: Out) -> None:
        self.client += other.client
        self.server += other.server
        self.later += other.later

    def done(self, id: bytes) -> None:
        """A request of the session that has no result worth mentioning."""
        self.client.append(b'{"jsonrpc":"2.0","id":%b,"result":{}}' % id)

    def failed(self, id: bytes, code: int, text: str) -> None:
        """A request of the session that cannot be answered."""
        self.client.append(rpc_error(id, code, text))

    def withdrawn(self, id: bytes) -> None:
        """The server need not work on this any more."""
        params = b'{"requestId":%b}' % id
        self.server.append(Message(Kind.NOTIFICATION, None, "notifications/cancelled", params, None, None))
