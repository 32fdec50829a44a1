"""Callers of every revision, as conversations: what differs between revisions is in this folder, and checked.

    async with callers.talking("2025-06-18", "dual") as caller:
        heard = await caller.call("slow", steps=2, token="t")
        heard.before, heard.text

Each caller speaks as the clients of its revision do, and takes from every message what only its revision
knows, after having seen that it is there: what is left is the same for all. Ids are numbers and texts in
turn, and answers have to bring back the one that was sent, of the same type.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, Self

import aiohttp

Json = dict[str, Any]

META: Final = "io.modelcontextprotocol/"
TIMEOUT: Final = aiohttp.ClientTimeout(total=60)
INFO: Final = {"name": "test", "version": "1"}
OF_MODERN_ONLY: Final = frozenset({"resultType", "ttlMs", "cacheScope", "inputRequests", "requestState"})
CACHED: Final = frozenset(
    {
        "server/discover",
        "tools/list",
        "prompts/list",
        "resources/list",
        "resources/templates/list",
        "resources/read",
    }
)
CAPABILITIES: Final[Mapping[str, Json]] = {
    "2024-11-05": {"roots": {"listChanged": True}, "sampling": {}},
    "2025-03-26": {"roots": {"listChanged": True}, "sampling": {}},
    "2025-06-18": {"roots": {"listChanged": True}, "sampling": {}, "elicitation": {}},
    "2025-11-25": {"roots": {"listChanged": True}, "sampling": {}, "elicitation": {"form": {}}},
    "2026-07-28": {"roots": {}, "sampling": {}, "elicitation": {"form": {}}},
}
"""What a client of this revision can say of itself: there is no elicitation before 2025-06-18."""
ANSWERS: Final[Mapping[str, Json]] = {
    "elicitation/create": {"action": "accept", "content": {"colour": "blue"}},
    "sampling/createMessage": {
        "role": "assistant",
        "model": "none",
        "content": {"type": "text", "text": "Paris"},
    },
    "roots/list": {"roots": [{"uri": "file:///srv/share"}]},
}


@dataclass
class Heard:
    """A request, answered. `before` came on its own stream; `asked` is what the caller was asked."""

    message: Json = field(default_factory=dict)
    status: int = 200
    before: list[Json] = field(default_factory=list)
    asked: list[tuple[str, Json]] = field(default_factory=list)

    @property
    def result(self) -> Json:
        found = self.message["result"]
        assert isinstance(found, dict)
        return found

    @property
    def error(self) -> Json:
        found = self.message["error"]
        assert isinstance(found, dict)
        return found

    @property
    def text(self) -> str:
        """Of a tool's result."""
        (content,) = self.result["content"]
        return str(content["text"])


def refused(heard: Heard) -> str:
    """Why a tool did not do what it was asked for, having asked nothing itself."""
    assert heard.asked == []
    if "error" in heard.message:
        return str(heard.error["message"])
    assert heard.result["isError"]
    return heard.text


class Running(Protocol):
    """A request that the server has; its own stream."""

    @property
    def id(self) -> object: ...

    @property
    def method(self) -> str: ...

    @property
    def status(self) -> int: ...

    async def next(self) -> Json:
        """Raises EOFError at the end of the stream."""
        ...

    async def rest(self) -> list[Json]:
        """After a cancellation: all that still came."""
        ...


class News(Protocol):
    async def next(self) -> Json:
        """What the server says by itself."""
        ...


class Conversation(ABC):
    """One caller with one server."""

    status_of_invalid = 200
    """The HTTP status of an error of JSON-RPC that says that parameters are wrong."""

    def __init__(self, revision: str, url: str, token: str) -> None:
        self.revision = revision
        self.url = url
        self.capabilities: Json = CAPABILITIES[revision]
        """What it says of itself."""
        self.begun: Json = {}
        """The result of `initialize` or `server/discover`."""
        self._authorization = {"Authorization": f"Bearer {token}"}
        self._http = aiohttp.ClientSession(timeout=TIMEOUT, connector=aiohttp.TCPConnector(limit=0))
        self._ids = 0

    async def __aenter__(self) -> Self:
        try:
            await self._begin()
        except BaseException:
            await self.hang_up()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            await self._end()
        finally:
            await self.hang_up()

    async def _end(self) -> None:  # noqa: B027 - most say nothing
        """Says goodbye, where that is usual."""

    async def hang_up(self) -> None:
        """Drops every connection and says nothing."""
        await self._http.close()

    def _next_id(self) -> int | str:
        self._ids += 1
        return self._ids if self._ids % 2 else str(self._ids)

    async def call(
        self,
        tool: str,
        *,
        token: object = None,
        id: object = None,
        meta: Json | None = None,
        **arguments: object,
    ) -> Heard:
        """`tools/call`."""
        params: Json = {"name": tool, "arguments": arguments, **({"_meta": meta} if meta else {})}
        return await self.request("tools/call", params, token=token, id=id)

    async def request(
        self, method: str, params: Json | None = None, *, token: object = None, id: object = None
    ) -> Heard:
        """A request and its answer; what the server asks meanwhile is answered as in `ANSWERS`."""
        async with self.running(method, params, token=token, id=id) as running:
            return await self._finish(running)

    async def _finish(self, running: Running) -> Heard:
        heard = Heard()
        while True:
            message = await running.next()
            if "method" not in message:
                assert (message["id"], type(message["id"])) == (running.id, type(running.id))
                if "result" in message:
                    message["result"] = self._undress(running.method, message["result"])
                heard.message, heard.status = message, running.status
                return heard
            if "id" in message:
                heard.asked.append((message["method"], message.get("params", {})))
                await self._reply(message)
            else:
                heard.before.append(message)

    def running(
        self, method: str, params: Json | None = None, *, token: object = None, id: object = None
    ) -> Any:
        """`async with` a request whose messages are taken one by one."""
        given = dict(params or {})
        if token is not None:
            given["_meta"] = {**given.get("_meta", {}), "progressToken": token}
        return self._running(method, given, self._next_id() if id is None else id)

    # What each era does in its own way.

    @abstractmethod
    async def _begin(self) -> None: ...

    @abstractmethod
    def _running(self, method: str, params: Json, id: object) -> Any: ...

    @abstractmethod
    async def _reply(self, asked: Json) -> None:
        """Answer a request of the server."""

    @abstractmethod
    def _undress(self, method: str, result: Json) -> Json:
        """A result without what only this revision wants in it, after a look at that."""

    @abstractmethod
    async def log_level(self, level: str) -> None:
        """From here on."""

    @abstractmethod
    async def cancel(self, running: Running) -> None: ...

    @abstractmethod
    def listening(self, uri: str | None = None) -> Any:
        """`async with` news of all three lists, or of one resource."""
