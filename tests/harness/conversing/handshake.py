"""Callers with sessions, over Streamable HTTP."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from tests.harness.caller import ACCEPT
from tests.harness.conversing.conversation import (
    ANSWERS,
    INFO,
    META,
    OF_MODERN_ONLY,
    Conversation,
    Json,
    News,
    Running,
)
from tests.harness.conversing.streams import Response


class WithSession(Conversation):
    """What HTTP+SSE and Streamable HTTP have in common while there were sessions."""

    @abstractmethod
    async def _say(self, message: Json) -> None:
        """What is not answered."""

    def _hello(self) -> Json:
        return {
            "protocolVersion": self.revision,
            "capabilities": self.capabilities,
            "clientInfo": INFO,
        }

    async def _reply(self, asked: Json) -> None:
        await self._say({"id": asked["id"], "result": ANSWERS[asked["method"]]})

    def _undress(self, method: str, result: Json) -> Json:
        assert not result.keys() & OF_MODERN_ONLY, "strict clients take no members that they do not know"
        assert not [name for name in result.get("_meta", {}) if name.startswith(META)]
        return result

    async def log_level(self, level: str) -> None:
        assert (await self.request("logging/setLevel", {"level": level})).result == {}

    async def cancel(self, running: Running) -> None:
        params = {"requestId": running.id, "reason": "enough"}
        await self._say({"method": "notifications/cancelled", "params": params})


class Handshake(WithSession):
    """Streamable HTTP with a session: 2025-03-26 to 2025-11-25, and clients that name 2024-11-05 there."""

    session_id = ""

    async def _end(self) -> None:
        async with self._http.delete(self.url, headers=self._headers()) as response:
            assert response.status in (200, 204)

    async def _begin(self) -> None:
        async with self._running("initialize", self._hello(), self._next_id()) as running:
            heard = await self._finish(running)
            self.session_id = running.response.headers.get("Mcp-Session-Id", "")
        assert "result" in heard.message, (heard.status, heard.message)
        self.begun = heard.result
        await self._say({"method": "notifications/initialized"})

    def _headers(self, **more: str) -> dict[str, str]:
        headers = {**self._authorization, "Accept": ACCEPT, **more}
        if self.session_id:
            headers["Mcp-Session-Id"] = self.session_id
            if self.revision >= "2025-06-18":  # there was no such header before
                headers["MCP-Protocol-Version"] = self.revision
        return headers

    def post(self, body: object) -> Any:
        """The bare HTTP request."""
        return self._http.post(self.url, json=body, headers=self._headers())

    def get(self, **headers: str) -> Any:
        return self._http.get(self.url, headers=self._headers(Accept="text/event-stream", **headers))

    @asynccontextmanager
    async def resumed(self, lost: Response) -> AsyncIterator[Response]:
        """The rest of a stream, after the last event that came."""
        async with self.get(**{"Last-Event-ID": lost.event_ids[-1]}) as response:
            assert (response.status, response.content_type) == (200, "text/event-stream")
            yield Response(response, lost.method, lost.id)

    @asynccontextmanager
    async def _running(self, method: str, params: Json, id: object) -> AsyncIterator[Response]:
        body = {"jsonrpc": "2.0", "id": id, "method": method, "params": params}
        async with self.post(body) as response:
            running = Response(response, method, id)
            yield running
            self._check(running)

    def _check(self, stream: Response) -> None:
        # Clients of the revisions before could not read an event without data.
        assert not stream.event_ids or stream.primed == (self.revision >= "2025-11-25")

    async def _say(self, message: Json) -> None:
        async with self.post({"jsonrpc": "2.0", **message}) as response:
            assert (response.status, await response.read()) == (202, b"")

    @asynccontextmanager
    async def listening(self, uri: str | None = None) -> AsyncIterator[News]:
        async with self.get() as response:
            assert (response.status, response.content_type) == (200, "text/event-stream")
            if uri is not None:
                assert (await self.request("resources/subscribe", {"uri": uri})).result == {}
            yield (news := Response(response))
            self._check(news)
            if uri is not None:
                assert (await self.request("resources/unsubscribe", {"uri": uri})).result == {}
