"""Conversations with the endpoint: a client on one side, scripted children on the other, no process and no
network.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from math import inf
from pathlib import Path

from penstock.names import AgentId
from penstock.principal import Principal
from penstock_agent.children.child import ChildGone, ChildSpec, ProcessSpec
from penstock_agent.children.lines import Oversize
from penstock_agent.endpoint import Endpoint, Limits
from penstock_agent.endpoint.ports import Callers
from penstock_agent.exchange import Purpose
from penstock_agent.gate.gate import Gate
from penstock_agent.gate.policy.books import Books
from penstock_agent.gate.policy.rules import Policy
from penstock_agent.ledger.entries import Ledger
from penstock_agent.tolerance import Tolerance
from tests.harness.fake_exchange import ALICE, WAIT, FakeExchange

Json = dict[str, object]

AGENT = AgentId("plant", "alpha")
EVERYTHING = ("*", "prompt:*", "resource:**", "method:*")
BY_THE_BOOK = Tolerance(**dict.fromkeys(Tolerance.model_fields, False))
ACCEPT = ("accept", "application/json, text/event-stream")


def spec(name: str = "files", *arguments: str) -> ChildSpec:
    return ProcessSpec(name=name, command=("server", *arguments), env={}, folder=Path("/"))


class FakeChild:
    """``heard`` and ``say`` are the test's; the rest is the endpoint's."""

    def __init__(self, spec: ChildSpec) -> None:
        self.spec = spec
        self.stopped = False
        self.accepts = asyncio.Event()
        """Cleared, the child takes no input."""
        self.accepts.set()
        self.deaf = False
        """Its input is closed, though it lives."""
        self._heard: deque[bytes] = deque()
        self._said: deque[bytes | Oversize] = deque()
        self._changed = asyncio.Event()
        self.dead = False

    async def send(self, line: bytes) -> None:
        assert b"\n" not in line
        await self.accepts.wait()
        if self.dead or self.deaf:
            raise ChildGone("gone", 1)
        self._heard.append(line)
        self._change()

    async def receive(self) -> bytes | Oversize:
        while not self._said:
            if self.dead:
                raise ChildGone("gone", 1)
            await self._changed.wait()
        return self._said.popleft()

    async def stop(self) -> None:
        self.stopped = self.dead = True
        self.accepts.set()
        self._change()

    async def heard_raw(self) -> bytes:
        async with asyncio.timeout(WAIT):
            while not self._heard:
                await self._changed.wait()
        return self._heard.popleft()

    async def heard(self, method: str | None = None) -> Json:
        """The next message, which must be of this method."""
        message = json.loads(await self.heard_raw())
        assert isinstance(message, dict)
        if method is not None:
            assert message.get("method") == method, message
        return message

    @property
    def heard_nothing(self) -> bool:
        return not self._heard

    def say(self, message: Json | bytes | Oversize) -> None:
        self._said.append(json.dumps(message).encode() if isinstance(message, dict) else message)
        self._change()

    def answer(self, request: Json, result: object = None) -> None:
        self.say({"jsonrpc": "2.0", "id": request["id"], "result": {} if result is None else result})

    def answer_raw(self, request: Json, result: bytes) -> None:
        self.say(b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (json.dumps(request["id"]).encode(), result))

    def note(self, method: str, **params: object) -> None:
        self.say({"jsonrpc": "2.0", "method": method, "params": params})

    def ask(self, id: object, method: str, **params: object) -> None:
        self.say({"jsonrpc": "2.0", "id": id, "method": method, "params": params})

    def die(self) -> None:
        self.dead = True
        # Whoever waits to send hears of it last: the harder order for the endpoint.
        asyncio.get_running_loop().call_later(0.001, self.accepts.set)
        self._change()

    def _change(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


class FakeChildren:
    def __init__(self) -> None:
        self.started: list[FakeChild] = []
        self.refusal: Exception | None = None
        self.delay = 0.0
        self.worked_for: list[str] = []
        self.forgotten: list[str] = []
        self._changed = asyncio.Event()

    async def start(self, spec: ChildSpec, /) -> FakeChild:
        if self.refusal is not None:
            raise self.refusal
        child = FakeChild(spec)
        self.started.append(child)
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
        return child

    def restart_delay(self, server: str, /) -> float:
        return self.delay

    def worked(self, server: str, /) -> None:
        self.worked_for.append(server)

    def forget(self, server: str, /) -> None:
        self.forgotten.append(server)

    async def number(self, count: int) -> FakeChild:
        """The ``count``-th child, waiting for it."""
        async with asyncio.timeout(WAIT):
            while len(self.started) < count:
                await self._changed.wait()
        return self.started[count - 1]


class Talk:
    """A client of the endpoint, with whichever principal each request names."""

    def __init__(self, endpoint: Endpoint, children: FakeChildren, tasks: asyncio.TaskGroup) -> None:
        self.endpoint = endpoint
        self.children = children
        self._tasks = tasks

    def send(
        self,
        method: str,
        body: Json | bytes = b"",
        *,
        session: str | None = None,
        version: str | None = None,
        principal: Principal = ALICE,
        server: str = "files",
        headers: Mapping[str, str] | None = None,
        deadline: float = float("inf"),
        slow: asyncio.Event | None = None,
        purpose: Purpose = Purpose.MCP,
        key: str = FakeExchange.key,
    ) -> FakeExchange:
        given = dict([ACCEPT] if method != "DELETE" else [])
        if method == "POST":
            given["content-type"] = "application/json"
        if session is not None:
            given["mcp-session-id"] = session
        if version is not None:
            given["mcp-protocol-version"] = version
        exchange = FakeExchange(
            server,
            method,
            tuple({**given, **(headers or {})}.items()),
            json.dumps(body).encode() if isinstance(body, dict) else body,
            principal,
            deadline=deadline,
            slow=slow,
            purpose=purpose,
            key=key,
        )
        self._tasks.create_task(self.endpoint.serve(exchange))
        return exchange

    def call(self, id: object, session: str, method: str = "tools/call", **params: object) -> FakeExchange:
        """POST a request; tools/call calls "echo" unless told otherwise."""
        if method == "tools/call":
            params = {"name": "echo", "arguments": {}, **params}
        body: Json = {"jsonrpc": "2.0", "id": id, "method": method, "params": params}
        return self.send("POST", body, session=session)

    def resume(self, session: str, last: str | None, principal: Principal = ALICE) -> FakeExchange:
        """GET the rest of the stream that this event is of."""
        assert last is not None
        return self.send("GET", session=session, headers={"last-event-id": last}, principal=principal)

    def note(self, session: str, method: str, **params: object) -> FakeExchange:
        return self.send("POST", {"jsonrpc": "2.0", "method": method, "params": params}, session=session)

    async def session(
        self, version: str = "2025-11-25", principal: Principal = ALICE, server: str = "files"
    ) -> tuple[str, FakeChild]:
        """A session that is ready, and its child."""
        count = len(self.children.started)
        begun = self.send("POST", hello(version), principal=principal, server=server)
        child = await self.children.number(count + 1)
        child.answer(await child.heard("initialize"), {"protocolVersion": version, "capabilities": {}})
        await begun.until_end()
        assert begun.status == 200
        session = dict(begun.answered)["mcp-session-id"]
        ready = self.send(
            "POST",
            {"jsonrpc": "2.0", "method": "notifications/initialized"},
            session=session,
            principal=principal,
            server=server,
        )
        await ready.until_end()
        await child.heard("notifications/initialized")
        return session, child

    async def pass_time(self, seconds: float) -> None:
        """Let so much time pass on the test's clock, which jumps."""
        await asyncio.sleep(seconds)

    async def settle(self) -> None:
        """Let everything happen that can happen now."""
        for _ in range(50):
            await asyncio.sleep(0)


def hello(version: str = "2025-11-25", id: object = 0) -> Json:
    info = {"name": "client", "version": "1"}
    return {
        "jsonrpc": "2.0",
        "id": id,
        "method": "initialize",
        "params": {"protocolVersion": version, "capabilities": {"elicitation": {}}, "clientInfo": info},
    }


@asynccontextmanager
async def talking(
    expose: tuple[str, ...] = EVERYTHING,
    *,
    limits: Limits | None = None,
    call_timeout: float = 120.0,
    servers: Mapping[str, ChildSpec] | None = None,
    callers: Callers | None = None,
    children: FakeChildren | None = None,
    close_after: float = inf,
    tolerance: Tolerance = Tolerance(),  # noqa: B008 - frozen
    session_key: bytes | None = None,
    policies: Mapping[str, Policy] | None = None,
    books: Books | None = None,
    now: Callable[[], float] = time.time,
    ledger: Ledger | None = None,
) -> AsyncIterator[Talk]:
    """An endpoint that runs, and what talks to it. Leaving it checks that no child was left behind."""
    servers = {"files": spec()} if servers is None else servers
    children = children or FakeChildren()
    endpoint = Endpoint(
        AGENT,
        servers,
        Gate.of(dict.fromkeys(servers, expose), policies or {}),
        children,
        call_timeout=call_timeout,
        limits=limits or Limits(),
        callers=callers,
        close_after=close_after,
        tolerance=tolerance,
        session_key=session_key,
        books=books,
        now=now,
        ledger=ledger,
    )
    async with asyncio.TaskGroup() as tasks:
        running = tasks.create_task(endpoint.run())
        talk = Talk(endpoint, children, tasks)
        await talk.settle()
        try:
            yield talk
        finally:
            running.cancel()
    assert all(child.dead for child in children.started), "a child was left running"
    assert endpoint.status().held_bytes == 0, "something is still held for a caller"
