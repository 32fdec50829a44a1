"""Callers of 2026-07-28."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.harness.caller import ACCEPT
from tests.harness.conversing.conversation import (
    ANSWERS,
    CACHED,
    INFO,
    META,
    OF_MODERN_ONLY,
    Conversation,
    Heard,
    Json,
    News,
    Running,
)
from tests.harness.conversing.streams import Response


class Modern(Conversation):
    """2026-07-28: every request is whole in itself."""

    status_of_invalid = 400
    level: str | None = None

    async def _begin(self) -> None:
        self.begun = (await self.request("server/discover")).result

    @asynccontextmanager
    async def _running(self, method: str, params: Json, id: object) -> AsyncIterator[Response]:
        meta = {
            **params.get("_meta", {}),
            META + "protocolVersion": self.revision,
            META + "clientInfo": INFO,
            META + "clientCapabilities": self.capabilities,
        }
        if self.level is not None:
            meta[META + "logLevel"] = self.level
        body = {"jsonrpc": "2.0", "id": id, "method": method, "params": {**params, "_meta": meta}}
        headers = {
            **self._authorization,
            "Accept": ACCEPT,
            "MCP-Protocol-Version": self.revision,
            "Mcp-Method": method,
        }
        if method in ("tools/call", "prompts/get", "resources/read"):
            headers["Mcp-Name"] = params["uri" if method == "resources/read" else "name"]
        async with self._http.post(self.url, json=body, headers=headers) as response:
            assert "Mcp-Session-Id" not in response.headers
            yield (running := Response(response, method, id))
            assert running.event_ids == [], "streams cannot be resumed in this revision"

    async def request(
        self, method: str, params: Json | None = None, *, token: object = None, id: object = None
    ) -> Heard:
        """With what the server wants to know, the same again: each round is a request of its own."""
        given, everything = dict(params or {}), Heard()
        while True:
            async with self.running(method, given, token=token, id=id) as running:
                heard = await self._finish(running)
            everything.before += heard.before
            everything.message, everything.status = heard.message, heard.status
            result = heard.message.get("result", {})
            if result.get("resultType") != "input_required":
                return everything
            assert method in ("tools/call", "prompts/get", "resources/read")
            wanted, id = result["inputRequests"], None
            everything.asked += [(each["method"], each.get("params", {})) for each in wanted.values()]
            given["inputResponses"] = {key: ANSWERS[each["method"]] for key, each in wanted.items()}
            given["requestState"] = result["requestState"]

    async def _reply(self, asked: Json) -> None:
        raise AssertionError("servers send no requests in this revision")

    def _undress(self, method: str, result: Json) -> Json:
        kind = result["resultType"]
        meta = dict(result["_meta"])
        if "penstock/outcome" not in meta:  # the server's own
            assert meta.pop(META + "serverInfo")["name"]
        bare = {name: value for name, value in result.items() if name != "_meta"} | (
            {"_meta": meta} if meta else {}
        )
        if kind == "input_required":
            assert not bare.keys() & {"ttlMs", "cacheScope"}
            return bare
        assert kind == "complete"
        del bare["resultType"]
        if method in CACHED:
            assert bare.pop("ttlMs") >= 0
            assert bare.pop("cacheScope") in ("public", "private")
        assert not bare.keys() & OF_MODERN_ONLY
        return bare

    async def log_level(self, level: str) -> None:
        self.level = level

    async def cancel(self, running: Running) -> None:
        assert isinstance(running, Response)
        running.response.close()

    @asynccontextmanager
    async def listening(self, uri: str | None = None, id: object = None) -> AsyncIterator[News]:
        wanted: Json = dict.fromkeys(("toolsListChanged", "promptsListChanged", "resourcesListChanged"), True)
        if uri is not None:
            wanted = {"resourceSubscriptions": [uri]}
        async with self.running("subscriptions/listen", {"notifications": wanted}, id=id) as running:
            news = Subscription(running)
            acknowledged = await news.next()
            assert acknowledged["method"] == "notifications/subscriptions/acknowledged"
            assert acknowledged["params"] == {"notifications": wanted}
            yield news


class Subscription:
    """Its messages, without the name of the subscription that each has to carry."""

    def __init__(self, response: Response) -> None:
        self._response = response

    async def next(self) -> Json:
        message = await self._response.next()
        params = dict(message["params"])
        meta = dict(params.pop("_meta"))
        id = meta.pop(META + "subscriptionId")
        assert (id, type(id)) == (self._response.id, type(self._response.id))
        if meta:
            params["_meta"] = meta
        del message["params"]
        return message | ({"params": params} if params else {})
