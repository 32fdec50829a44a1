"""A caller of the public URL that sees what came: status, headers, JSON-RPC text, events."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import aiohttp

ACCEPT = "application/json, text/event-stream"
TIMEOUT = aiohttp.ClientTimeout(total=150)


@dataclass
class Reply:
    """One HTTP answer, whole. `messages` are its JSON-RPC messages in order; `raw` are their bytes."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    raw: list[bytes] = field(default_factory=list)

    @property
    def messages(self) -> list[Any]:
        return [json.loads(text) for text in self.raw]

    @property
    def last(self) -> Any:
        return self.messages[-1]

    @property
    def text(self) -> str:
        """Of a tool result."""
        return str(self.last["result"]["content"][0]["text"])

    @property
    def is_error(self) -> bool:
        return bool(self.last["result"].get("isError"))


class Caller:
    """One MCP session of the handshake era. `async with` opens and ends it."""

    def __init__(self, url: str, token: str, *, version: str = "2025-11-25") -> None:
        self.url = url
        self.version = version
        self.session_id: str | None = None
        self._headers = {"Authorization": f"Bearer {token}", "Accept": ACCEPT}
        self._http = _connections()
        self._next = 0

    async def __aenter__(self) -> Self:
        await self.initialize()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the session as well-behaved clients do."""
        if self.session_id is not None:
            async with self._http.delete(self.url, headers=self.headers()):
                pass
        await self.hang_up()

    async def hang_up(self) -> None:
        """Drops the connections and says nothing."""
        await self._http.close()

    async def reconnect(self) -> None:
        """Drops every connection that is kept alive; the session stays."""
        await self._http.close()
        self._http = _connections()

    def headers(self, **more: str) -> dict[str, str]:
        headers = {**self._headers, **more}
        if self.session_id is not None:
            headers |= {"Mcp-Session-Id": self.session_id, "MCP-Protocol-Version": self.version}
        return headers

    async def initialize(self, capabilities: dict[str, object] | None = None) -> Reply:
        params = {
            "protocolVersion": self.version,
            "capabilities": capabilities or {},
            "clientInfo": {"name": "test", "version": "1"},
        }
        reply = await self.request("initialize", params)
        assert reply.status == 200, (reply.status, reply.body)
        self.session_id = reply.headers["Mcp-Session-Id"]
        assert (await self.notify("notifications/initialized")).status == 202
        return reply

    async def request(self, method: str, params: object | None = None, id: object | None = None) -> Reply:
        self._next += 1
        message = {"jsonrpc": "2.0", "id": self._next if id is None else id, "method": method}
        if params is not None:
            message["params"] = params
        return await self.post(json.dumps(message).encode())

    async def notify(self, method: str, params: object | None = None) -> Reply:
        message: dict[str, object] = {"jsonrpc": "2.0", "method": method}
        if params is not None:
            message["params"] = params
        return await self.post(json.dumps(message).encode())

    async def tool(self, name: str, id: object | None = None, /, **arguments: object) -> Reply:
        params: dict[str, object] = {"name": name, "arguments": arguments}
        if name == "progress":
            self._next += 1
            params["_meta"] = {"progressToken": f"t{self._next}"}
        return await self.request("tools/call", params, id)

    async def post(self, body: bytes, **headers: str) -> Reply:
        everything = self.headers(**{"Content-Type": "application/json", **headers})
        async with self._http.post(self.url, data=body, headers=everything) as response:
            reply = Reply(response.status, response.headers, await response.read())
        kind = reply.headers.get("Content-Type", "")
        if kind.startswith("text/event-stream"):
            reply.raw = list(events(reply.body))
        elif kind.startswith("application/json") and reply.body:
            reply.raw = [reply.body]
        return reply

    @asynccontextmanager
    async def stream(self, method: str, params: object) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer to a request as it comes."""
        self._next += 1
        body = json.dumps({"jsonrpc": "2.0", "id": self._next, "method": method, "params": params})
        headers = self.headers(**{"Content-Type": "application/json"})
        async with self._http.post(self.url, data=body.encode(), headers=headers) as response:
            yield response

    @asynccontextmanager
    async def resume(self, last_event_id: str) -> AsyncIterator[aiohttp.ClientResponse]:
        """The rest of the stream that this event is of."""
        headers = self.headers(**{"Accept": "text/event-stream", "Last-Event-ID": last_event_id})
        async with self._http.get(self.url, headers=headers) as response:
            yield response

    async def listen(self) -> AsyncIterator[bytes]:
        """The messages of a GET stream, as they come."""
        async with self._http.get(self.url, headers=self.headers(Accept="text/event-stream")) as response:
            assert response.status == 200, response.status
            buffer = b""
            async for chunk in response.content.iter_any():
                buffer += chunk
                while b"\n\n" in buffer:
                    event, buffer = buffer.split(b"\n\n", 1)
                    for data in events(event + b"\n\n"):
                        yield data


def _connections() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(timeout=TIMEOUT, connector=aiohttp.TCPConnector(limit=0))


async def read(response: aiohttp.ClientResponse) -> AsyncIterator[tuple[str, int | None, bytes]]:
    """Id, retry and data of each event of a stream, as they come."""
    buffer = b""
    async for chunk in response.content.iter_any():
        buffer += chunk
        while b"\n\n" in buffer:
            event, buffer = buffer.split(b"\n\n", 1)
            named = dict(line.split(b": ", 1) for line in event.split(b"\n") if not line.startswith(b":"))
            if named:
                retry = int(named[b"retry"]) if b"retry" in named else None
                yield named.get(b"id", b"").decode(), retry, named.get(b"data", b"")


def events(stream: bytes) -> list[bytes]:
    """The data of the events in a whole event stream; comments and events without data are skipped."""
    found = []
    for event in stream.split(b"\n\n"):
        data = [line[5:].strip() for line in event.split(b"\n") if line.startswith(b"data:")]
        if any(data):
            found.append(b"\n".join(data))
    return found
