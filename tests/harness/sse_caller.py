"""A caller of HTTP+SSE (2024-11-05) that sees what came on the stream, and what each message was told."""

from __future__ import annotations

import asyncio
import json
from types import TracebackType
from typing import Any, Self
from urllib.parse import urljoin

import aiohttp

TIMEOUT = aiohttp.ClientTimeout(total=150)


class SseCaller:
    """`async with` opens the stream; leaving it drops the connection, which is how such a session ends."""

    def __init__(self, url: str, token: str) -> None:
        self.url = url
        self.messages_url = ""
        self._headers = {"Authorization": f"Bearer {token}"}
        self._http = aiohttp.ClientSession(timeout=TIMEOUT)
        self._next = 0
        self._rest = b""
        self._stream: aiohttp.ClientResponse | None = None

    async def __aenter__(self) -> Self:
        self._stream = await self._http.get(
            self.url, headers={**self._headers, "Accept": "text/event-stream"}
        )
        assert self._stream.status == 200, self._stream.status
        kind, data = await self.event()
        assert kind == "endpoint"
        self.messages_url = urljoin(self.url, data)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream is not None:
            self._stream.close()
        await self._http.close()

    async def event(self) -> tuple[str, str]:
        """The next event of the stream; comments are skipped. Raises EOFError at its end."""
        assert self._stream is not None
        while True:
            while b"\n\n" not in self._rest:
                chunk = await self._stream.content.readany()
                if not chunk:
                    raise EOFError
                self._rest += chunk
            block, self._rest = self._rest.split(b"\n\n", 1)
            lines = [line.partition(b": ") for line in block.split(b"\n")]
            found = {name.decode(): value.decode() for name, _, value in lines if name}
            if found:
                return found["event"], found["data"]

    async def message(self) -> Any:
        """The next JSON-RPC message of the stream."""
        kind, data = await self.event()
        assert kind == "message"
        return json.loads(data)

    async def post(self, message: object, *, token: str | None = None) -> tuple[int, bytes]:
        """What a message is told: status and body. `token`: another one than that of the stream."""
        headers = {**self._headers, "Content-Type": "application/json"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        body = message if isinstance(message, bytes) else json.dumps(message).encode()
        async with self._http.post(self.messages_url, data=body, headers=headers) as response:
            return response.status, await response.read()

    async def send(self, method: str, params: object | None = None) -> int:
        """A request, accepted; its id."""
        self._next += 1
        message: dict[str, object] = {"jsonrpc": "2.0", "id": self._next, "method": method}
        if params is not None:
            message["params"] = params
        assert await self.post(message) == (202, b"Accepted")
        return self._next

    async def request(self, method: str, params: object | None = None) -> Any:
        """A request, and its answer."""
        id = await self.send(method, params)
        while (message := await self.message()).get("id") != id:
            pass
        return message

    async def initialize(self, version: str = "2024-11-05") -> Any:
        info = {"name": "test", "version": "1"}
        params = {"protocolVersion": version, "capabilities": {}, "clientInfo": info}
        begun = await self.request("initialize", params)
        assert (await self.post({"jsonrpc": "2.0", "method": "notifications/initialized"}))[0] == 202
        return begun

    async def tool(self, name: str, **arguments: object) -> str:
        """The text of a tool's answer."""
        async with asyncio.timeout(60):
            answer = await self.request("tools/call", {"name": name, "arguments": arguments})
        return str(answer["result"]["content"][0]["text"])
