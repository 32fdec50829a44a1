"""A server that speaks only 2026-07-28, played by a test."""

from __future__ import annotations

from typing import Final

from tests.agent.endpoint.talk import FakeChild, Json, Talk, hello

META: Final = "io.modelcontextprotocol/"
CAPABILITIES: Final[Json] = {
    "tools": {"listChanged": True},
    "resources": {"subscribe": True, "listChanged": False},
    "logging": {},
}
ENVELOPE: Final[Json] = {
    META + "protocolVersion": "2026-07-28",
    META + "clientCapabilities": {"elicitation": {}},
    META + "clientInfo": {"name": "client", "version": "1"},
    META + "logLevel": "info",
}
"""What each request of ``hello``'s client says of itself."""
DISCOVERED: Final[Json] = {
    "resultType": "complete",
    "supportedVersions": ["2026-07-28"],
    "capabilities": CAPABILITIES,
    "instructions": "Be kind.",
    "ttlMs": 0,
    "cacheScope": "private",
    "_meta": {META + "serverInfo": {"name": "newer", "version": "3"}},
}


class Newer:
    def __init__(self, child: FakeChild) -> None:
        self.child = child

    async def refuses_initialize(self) -> None:
        asked = await self.child.heard("initialize")
        error: Json = {"code": -32022, "message": "no", "data": {"supported": ["2026-07-28"]}}
        self.child.say({"jsonrpc": "2.0", "id": asked["id"], "error": error})
        await self.is_discovered()

    async def is_discovered(self) -> None:
        self.child.answer(await self.child.heard("server/discover"), DISCOVERED)

    async def is_asked_to_listen(self) -> Json:
        """Acknowledges all that is asked for, and returns it."""
        asked = await self.child.heard("subscriptions/listen")
        params = asked["params"]
        assert isinstance(params, dict)
        self.acknowledges(asked, params["notifications"])
        return asked

    def acknowledges(self, asked: Json, taken: object) -> None:
        self.child.note(
            "notifications/subscriptions/acknowledged",
            notifications=taken,
            _meta={META + "subscriptionId": asked["id"]},
        )

    def tells(self, asked: Json, method: str, **params: object) -> None:
        self.child.note(method, **params, _meta={META + "subscriptionId": asked["id"]})

    def wants(self, call: Json, state: str | None, **questions: object) -> None:
        result: Json = {"resultType": "input_required"}
        if questions:
            result["inputRequests"] = questions
        if state is not None:
            result["requestState"] = state
        self.child.answer(call, result)


async def newer(talk: Talk, count: int) -> Newer:
    """The ``count``-th process that was started."""
    return Newer(await talk.children.number(count))


async def session(talk: Talk, version: str = "2025-11-25") -> tuple[str, Newer, Json]:
    """A session with a server that has been found out, its process, and what that was asked to tell of."""
    begun = talk.send("POST", hello(version))
    server = await newer(talk, len(talk.children.started) + 1)
    await server.refuses_initialize()
    await begun.until_end()
    id = dict(begun.answered)["mcp-session-id"]
    await talk.note(id, "notifications/initialized").until_end()
    return id, server, await server.is_asked_to_listen()
