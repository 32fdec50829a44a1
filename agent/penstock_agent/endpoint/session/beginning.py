"""How a session began, for each child that comes later to be brought to the same point. Pure."""

from __future__ import annotations

from typing import Final

import msgspec

from penstock import __version__
from penstock.envelope import Message, notification, request, text_member
from penstock_agent.endpoint import versions
from penstock_agent.endpoint.session.standing import Standing

INITIALIZED: Final = "notifications/initialized"


class Beginning:
    """Of one session."""

    def __init__(self) -> None:
        self.version: str | None = None
        """The protocol version that client and server agreed on; None before that."""
        self.hello: Message | None = None
        """The ``initialize`` that children are greeted with; None before one has accepted it."""
        self.standing = Standing()
        self._initialized: Message | None = None
        self._unmet = False
        """Whether the version is only what the client says: no server has agreed to it yet."""

    @property
    def said(self) -> bytes | None:
        """What children are told about the client."""
        return None if self.hello is None else self.hello.params

    def introduce(self, version: str | None = None) -> None:
        """The agent begins instead of the client. ``version``: what the client says that it has agreed on
        before; the server has the last word again.
        """
        params = msgspec.json.encode(
            {
                "protocolVersion": version or versions.SUPPORTED[-1],
                "capabilities": {},
                "clientInfo": {"name": "penstock-agent", "version": __version__},
            }
        )
        self.adopt(request(b'"penstock"', "initialize", params))
        self._initialized = notification(INITIALIZED, None)
        self.version = version

    def adopt(self, hello: Message) -> None:
        """The client begins with ``hello``: the agent gives it to the child, and tells the client itself."""
        self.hello, self._unmet = hello, True

    def promised(self, result: bytes) -> None:
        """The client was told this answer to ``hello``, which was that of an earlier child."""
        self._unmet = False
        self.version = text_member(result, "protocolVersion")

    def accepted(self, hello: Message, result: bytes) -> None:
        """A child has answered the client's ``initialize``."""
        if self.hello is None:
            self.hello = hello
            self.version = text_member(result, "protocolVersion")

    def ready(self, message: Message) -> None:
        """The client has said that it is ready."""
        self._initialized = message

    def met(self, version: str) -> bool:
        """A further child speaks this version; whether the session can go on with it."""
        if self._unmet:
            self._unmet, self.version = False, version
        return version == self.version

    def follows(self) -> list[Message]:
        """What a further child is sent once it has been greeted."""
        return [] if self._initialized is None else [self._initialized, *self.standing.again()]
