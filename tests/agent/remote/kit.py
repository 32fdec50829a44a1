"""A scripted HTTP server on a real socket: each request waits for what the test answers."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from aiohttp import web

from penstock_agent.remote.channel import Channel
from penstock_agent.remote.headers import Header
from penstock_agent.remote.remotes import Remotes
from penstock_agent.remote.spec import RemoteSpec, Transport

WAIT = 20.0
Json = dict[str, object]

HELLO: Json = {
    "jsonrpc": "2.0",
    "id": "hello",
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "t", "version": "1"},
    },
}
INITIALIZED: Json = {"jsonrpc": "2.0", "method": "notifications/initialized"}
WELCOME: Json = {
    "jsonrpc": "2.0",
    "id": "hello",
    "result": {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}, "serverInfo": {"name": "s"}},
}


def line(message: Json) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode()


def call(id: str = "c1", tool: str = "find") -> Json:
    return {"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": tool, "arguments": {}}}


def modern(id: str = "m1", method: str = "tools/call", **params: object) -> Json:
    meta = {
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    found = params or {"name": "find", "arguments": {}}
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": {**found, "_meta": meta}}


def result(id: str = "c1", text: str = "water") -> Json:
    return {"jsonrpc": "2.0", "id": id, "result": {"content": [{"type": "text", "text": text}]}}


class Stream:
    """An event stream that the test writes."""

    def __init__(self, heard: Heard, response: web.StreamResponse) -> None:
        self._heard = heard
        self._response = response

    async def raw(self, data: bytes) -> None:
        await self._response.write(data)

    async def event(self, data: Json | str, *, id: str | None = None, name: str | None = None) -> None:
        text = json.dumps(data) if isinstance(data, dict) else data
        fields = [f"event: {name}"] if name else []
        fields += [f"id: {id}"] if id is not None else []
        await self.raw("".join(f"{field}\n" for field in [*fields, f"data: {text}"]).encode() + b"\n")

    async def end(self) -> None:
        """The response ends in good order."""
        await self._response.write_eof()
        self._heard.finish(self._response)

    def break_off(self) -> None:
        """The connection is gone."""
        self._heard.break_off()


class Heard:
    """One request, and the answers that it can get."""

    def __init__(self, request: web.Request, body: bytes) -> None:
        self.request = request
        self.method = request.method
        self.path = request.path_qs
        self.headers = request.headers
        self.body = body
        self.left = asyncio.Event()
        """The agent closed the connection before there was an answer."""
        self.answer: asyncio.Future[web.StreamResponse] = asyncio.get_running_loop().create_future()

    @property
    def message(self) -> Json:
        found = json.loads(self.body)
        assert isinstance(found, dict)
        return found

    def finish(self, response: web.StreamResponse) -> None:
        if not self.answer.done():
            self.answer.set_result(response)

    def json(self, message: object, status: int = 200, **headers: str) -> None:
        self.raw(json.dumps(message).encode(), "application/json", status, **headers)

    def raw(self, body: bytes, kind: str, status: int = 200, **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.finish(web.Response(body=body, status=status, headers={"Content-Type": kind, **named}))

    def status(self, status: int, **headers: str) -> None:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.finish(web.Response(status=status, headers=named))

    async def stream(self, **headers: str) -> Stream:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", **named})
        await response.prepare(self.request)
        return Stream(self, response)

    def break_off(self) -> None:
        if self.request.transport is not None:
            self.request.transport.abort()


class Scripted:
    """``heard`` gives the requests in the order in which they came."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._requests: asyncio.Queue[Heard] = asyncio.Queue(1000)
        self._runner: web.ServerRunner | None = None
        self.port = 0
        self.says_goodbye = True
        """Sessions are ended without the test."""

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """On the port that it had before, if it had one."""
        self._runner = web.ServerRunner(
            web.Server(self._handle, handler_cancellation=True), shutdown_timeout=0.01
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=self._tls, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """As a process that was killed: nothing listens, every connection is gone."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def url(self, path: str = "/mcp", host: str = "127.0.0.1") -> str:
        return f"{'http' if self._tls is None else 'https'}://{host}:{self.port}{path}"

    async def heard(self, method: str = "POST", mcp: str | None = None) -> Heard:
        """The next request, which must be of this HTTP method, and of this method of MCP."""
        async with asyncio.timeout(WAIT):
            found = await self._requests.get()
        assert found.method == method, (found.method, found.body)
        if mcp is not None:
            assert found.message.get("method") == mcp, found.message
        return found

    @property
    def heard_nothing(self) -> bool:
        return self._requests.empty()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        assert isinstance(request, web.BaseRequest)
        if request.method == "DELETE" and self.says_goodbye:
            return web.Response()
        heard = Heard(request, await request.content.read())  # type: ignore[arg-type]  # a Server gives a BaseRequest
        await self._requests.put(heard)
        try:
            return await heard.answer
        except asyncio.CancelledError:
            heard.left.set()
            raise


@asynccontextmanager
async def talking(
    server: Scripted | str,
    *,
    transport: Transport = "http",
    headers: Mapping[str, str] | None = None,
    ca_file: Path | None = None,
    path: str = "/mcp",
) -> AsyncIterator[Channel]:
    """A conversation with the server, as the endpoint has it."""
    url = server.url(path) if isinstance(server, Scripted) else server
    own = tuple(Header(name, value) for name, value in (headers or {}).items())
    async with Remotes() as remotes:
        yield await remotes.start(RemoteSpec("crm", url, transport, own, ca_file))


async def read(channel: Channel) -> Json:
    """The next message that the endpoint gets."""
    async with asyncio.timeout(WAIT):
        found = await channel.receive()
    assert isinstance(found, bytes)
    message = json.loads(found)
    assert isinstance(message, dict)
    return message


async def greet(
    channel: Channel, server: Scripted, session: str | None = "s-1", *, listen: int = 405
) -> None:
    """The handshake; ``listen`` is what the GET stream is answered with."""
    await channel.send(line(HELLO))
    hello = await server.heard("POST", "initialize")
    if session is None:
        hello.json(WELCOME)
    else:
        hello.json(WELCOME, Mcp_Session_Id=session)
    assert (await read(channel))["id"] == "hello"
    sending = asyncio.gather(channel.send(line(INITIALIZED)))
    (await server.heard("POST", "notifications/initialized")).status(202)
    await sending
    if listen:
        (await server.heard("GET")).status(listen)
