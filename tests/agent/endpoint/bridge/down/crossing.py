"""Conversations over the bridge: a caller of 2026-07-28, and scripted children of the handshake era."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager

from penstock.envelope import parse_caller
from penstock.principal import Principal
from penstock_agent.catalogue.catalogues import Catalogues
from penstock_agent.children.child import ChildSpec
from penstock_agent.endpoint.bridge.down.bridge import Bridge
from penstock_agent.endpoint.held import Held
from penstock_agent.endpoint.limits import Limits
from penstock_agent.endpoint.memory import Memory
from penstock_agent.endpoint.session.eventlog import EPOCH_BYTES, KEY_BYTES, Budget, EventIds
from penstock_agent.endpoint.session.sessions import Sessions
from penstock_agent.endpoint.shared import Shared
from penstock_agent.exchange import ExchangeGone
from penstock_agent.gate.gate import Gate
from penstock_agent.ledger.entries import Ledger, Unrecorded
from penstock_agent.tolerance import Tolerance
from tests.agent.endpoint.talk import AGENT, EVERYTHING, FakeChild, FakeChildren, Json, spec
from tests.harness.fake_exchange import ALICE, FakeExchange

META = "io.modelcontextprotocol/"
INFO: Json = {"name": "a-server", "version": "7"}
INITIALIZED: Json = {
    "protocolVersion": "2025-11-25",
    "capabilities": {
        "tools": {"listChanged": True},
        "resources": {"subscribe": True, "listChanged": True},
        "logging": {},
        "tasks": {},
    },
    "serverInfo": INFO,
    "instructions": "Ask nicely.",
}

BOB = Principal("https://idp.example", "bob", client="assistant")
QUESTION: Json = {"mode": "form", "message": "Sure?", "requestedSchema": {"type": "object"}}
YES: Json = {"action": "accept", "content": {"sure": True}}


class Crossing:
    def __init__(
        self,
        bridge: Bridge,
        children: FakeChildren,
        tasks: asyncio.TaskGroup,
        shared: Shared,
        sessions: Sessions,
    ) -> None:
        self.bridge = bridge
        self.children = children
        self._shared = shared
        self._sessions = sessions
        self._tasks = tasks
        self._ids = itertools.count(1)

    def send(
        self,
        method: str,
        *,
        id: object = None,
        caller: Principal = ALICE,
        capabilities: Json | None = None,
        meta: Json | None = None,
        deadline: float = float("inf"),
        **params: object,
    ) -> FakeExchange:
        """A request with the envelope of its era; its id counts from 1 unless it is given."""
        envelope: Json = {
            META + "protocolVersion": "2026-07-28",
            META + "clientInfo": {"name": "client", "version": "1"},
            META + "clientCapabilities": {"elicitation": {}} if capabilities is None else capabilities,
            **(meta or {}),
        }
        body = {
            "jsonrpc": "2.0",
            "id": next(self._ids) if id is None else id,
            "method": method,
            "params": {"_meta": envelope, **params},
        }
        exchange = FakeExchange("files", "POST", (), json.dumps(body).encode(), caller, deadline=deadline)
        self._tasks.create_task(self._serve(exchange))
        return exchange

    async def _serve(self, exchange: FakeExchange) -> None:
        try:
            await self.bridge.post(exchange, parse_caller(exchange.body))
        except ExchangeGone:
            return

    def tool(self, name: str = "echo", **more: object) -> FakeExchange:
        return self.send("tools/call", **{"name": name, "arguments": {}, **more})  # type: ignore[arg-type]

    async def begun(self, number: int = 1, initialized: Json = INITIALIZED) -> FakeChild:
        """The ``number``-th child, once it has been greeted."""
        child = await self.children.number(number)
        child.answer(await child.heard("initialize"), initialized)
        await child.heard("notifications/initialized")
        return child

    def configure(self, changed: ChildSpec) -> None:
        """What the endpoint does with sessions when a server is configured otherwise."""
        self._shared.servers = {changed.name: changed}
        for session in self._sessions:
            session.renew(changed)

    async def settle(self) -> None:
        for _ in range(50):
            await asyncio.sleep(0)


@asynccontextmanager
async def crossing(
    expose: tuple[str, ...] = EVERYTHING,
    *,
    limits: Limits | None = None,
    call_timeout: float = 120.0,
    ledger: Ledger | None = None,
) -> AsyncIterator[Crossing]:
    """Leaving it checks that no child was left behind, and that nothing is held for anybody."""
    children = FakeChildren()
    limits = limits or Limits()
    async with asyncio.TaskGroup() as tasks:

        def spawn(work: Coroutine[object, object, None]) -> asyncio.Task[None]:
            return tasks.create_task(work)

        shared = Shared(
            servers={"files": spec()},
            gate=Gate.of({"files": expose}),
            children=children,
            faces=children,
            catalogues=Catalogues({"files": spec()}, children, spawn),
            limits=limits,
            held=Held(limits.agent_held),
            ids=EventIds(AGENT.tag, b"e" * EPOCH_BYTES, b"k" * KEY_BYTES),
            logs=Budget(limits.agent_log),
            tolerance=Tolerance(),
            memory=Memory(time.monotonic),
            call_timeout=call_timeout,
            spawn=spawn,
            running=True,
            ledger=ledger or Unrecorded(),
        )
        sessions = Sessions(AGENT, limits, b"s" * 32)
        bridge = Bridge(shared, sessions)
        try:
            yield Crossing(bridge, children, tasks, shared, sessions)
        finally:
            bridge.close()
            for session in sessions:
                session.end()
    assert all(child.dead for child in children.started), "a child was left running"
    assert shared.held.bytes == 0, "something is still held for a caller"


async def result(exchange: FakeExchange) -> Json:
    answer = await exchange.json()
    found = answer["result"]
    assert isinstance(found, dict), answer
    return found


async def error(exchange: FakeExchange) -> tuple[int | None, object]:
    answer = await exchange.json()
    found = answer["error"]
    assert isinstance(found, dict)
    return exchange.status, found["code"]
