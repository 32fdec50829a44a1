"""Servers that answer by a script, and the site made of them: as a child, and through the endpoint."""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from penstock.names import WHOLE_SITE
from penstock_agent.children.child import ChildGone, ChildSpec
from penstock_agent.children.lines import Oversize
from penstock_agent.endpoint import Endpoint
from penstock_agent.endpoint.bridge.up.face import Faces
from penstock_agent.gate.definitions import Definitions
from penstock_agent.gate.expose import Expose
from penstock_agent.gate.gate import Gate
from penstock_agent.gate.policy.rules import Policy
from penstock_agent.gate.policy.taint import Taint
from penstock_agent.gate.view import Exposed
from penstock_agent.ledger.entries import Ledger
from penstock_agent.site.aggregate import Aggregate
from penstock_agent.site.names import Names, parse_alias
from penstock_agent.site.spec import Member, SiteSpec, SiteView
from penstock_agent.tolerance import Tolerance
from tests.agent.endpoint.modern import kit as modern
from tests.agent.endpoint.talk import AGENT, EVERYTHING, FakeChild, FakeChildren, Json, Talk, spec
from tests.harness.fake_exchange import WAIT

NOT_FOUND: Json = {"code": -32002, "message": "no such resource"}
ALL: Json = {
    "tools": {"listChanged": True},
    "prompts": {},
    "resources": {"subscribe": True},
    "logging": {},
    "completions": {},
}


@dataclass
class Script:
    """What a server offers; ``silent``: methods that it does not answer."""

    tools: list[Json] = field(default_factory=list)
    prompts: list[Json] = field(default_factory=list)
    resources: list[Json] = field(default_factory=list)
    templates: list[Json] = field(default_factory=list)
    contents: dict[str, str] = field(default_factory=dict)
    capabilities: Json = field(default_factory=lambda: dict(ALL))
    instructions: str = ""
    version: str = "2025-11-25"
    page: int = 100
    endless: bool = False
    silent: set[str] = field(default_factory=set)
    refusal: Exception | None = None
    modern: bool = False
    """It speaks 2026-07-28 and nothing else."""


class Scripted(FakeChild):
    """Answers at once; ``log`` is what it was sent."""

    def __init__(self, spec: ChildSpec, script: Script) -> None:
        super().__init__(spec)
        self.script = script
        self.log: list[Json] = []
        self.pause_s = 0.0
        """Before each answer."""

    async def send(self, line: bytes) -> None:
        await super().send(line)
        message = json.loads(line)
        self.log.append(message)
        if "id" in message and "method" in message and message["method"] not in self.script.silent:
            found = self._result(message["method"], message.get("params") or {})
            error = found.pop("_error", None)
            answer = {
                "jsonrpc": "2.0",
                "id": message["id"],
                **({"error": error} if error else {"result": found}),
            }
            if self.pause_s:
                asyncio.get_running_loop().call_later(self.pause_s, self.say, answer)
            else:
                self.say(answer)

    @property
    def unread(self) -> list[bytes | Oversize]:
        """What it has said and nobody has taken."""
        return list(self._said)

    def heard_of(self, method: str) -> list[Json]:
        return [message for message in self.log if message.get("method") == method]

    def _result(self, method: str, params: Json) -> Json:
        script = self.script
        lists = {
            "tools/list": ("tools", script.tools),
            "prompts/list": ("prompts", script.prompts),
            "resources/list": ("resources", script.resources),
            "resources/templates/list": ("resourceTemplates", script.templates),
        }
        if script.modern and method == "initialize":
            return {"_error": {"code": -32601, "message": "Method not found"}}
        if script.modern and method == "server/discover":
            return modern.found()
        if method == "initialize":
            info = {"name": self.spec.name, "version": "1"}
            return {
                "protocolVersion": script.version,
                "capabilities": script.capabilities,
                "serverInfo": info,
                "instructions": script.instructions,
            }
        if method in lists:
            key, items = lists[method]
            start = int(str(params.get("cursor") or 0))
            result: Json = {key: items[start : start + script.page]}
            if script.endless or start + script.page < len(items):
                result["nextCursor"] = str(start + script.page)
            return result
        if method == "resources/read":
            uri = str(params["uri"])
            if uri not in script.contents:
                return {"_error": NOT_FOUND}
            return {"contents": [{"uri": uri, "text": script.contents[uri]}]}
        if method in ("tools/call", "prompts/get", "completion/complete"):
            return {"content": [{"type": "text", "text": f"{self.spec.name}: {json.dumps(params)}"}]}
        return {}


class SiteChildren(FakeChildren):
    """Starts sites as the agent does, and scripted servers. ``spawn``: of the test's tasks."""

    def __init__(self, scripts: Mapping[str, Script], tasks: asyncio.TaskGroup) -> None:
        super().__init__()
        self.scripts = scripts
        self.tasks = tasks
        self.sites: list[Aggregate] = []
        self.late: set[str] = set()
        self.members: dict[str, list[Scripted]] = {name: [] for name in scripts}
        self.definitions: Definitions | None = None

    def spawn(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        return self.tasks.create_task(work)

    async def start(self, spec: ChildSpec, /) -> FakeChild:
        if isinstance(spec, SiteSpec):
            faces, late, known = Faces(self, self.spawn), self.late, self.definitions
            self.sites.append(Aggregate(spec, faces, self.spawn, lambda: 0.0, late, known))
            return self.sites[-1]  # type: ignore[return-value]  # the endpoint needs no more of a child
        script = self.scripts[spec.name]
        if script.refusal is not None:
            raise script.refusal
        child = Scripted(spec, script)
        self.started.append(child)
        self.members[spec.name].append(child)
        return child


def tool(name: str, **more: object) -> Json:
    return {"name": name, "inputSchema": {"type": "object"}, **more}


def named(name: str) -> Json:
    return {"name": name}


def resource(uri: str, name: str = "r") -> Json:
    return {"uri": uri, "name": name}


def site_spec(
    servers: Mapping[str, tuple[str, ...]],
    alias: Mapping[str, str] | None = None,
    *,
    status: bool = False,
    title: str = "",
    instructions: str = "",
) -> SiteSpec:
    """Of servers and what each exposes."""
    return SiteSpec.of(
        [Member(spec(name), Expose.parse(expose)) for name, expose in servers.items()],
        names=Names({name: parse_alias(name, meant) for name, meant in (alias or {}).items()}),
        status=status,
        title=title,
        instructions=instructions,
    )


class Site:
    """The aggregate, spoken to as the endpoint does."""

    def __init__(self, aggregate: Aggregate, children: SiteChildren) -> None:
        self.aggregate = aggregate
        self.children = children
        self.said: list[Json] = []
        """Everything but the answers that were waited for."""
        self.listening = asyncio.Event()
        """Cleared, nobody takes what the site says."""
        self.listening.set()
        self._answers: dict[object, Json] = {}
        self._changed = asyncio.Event()
        self._ids = itertools.count(1)

    def member(self, name: str, number: int = -1) -> Scripted:
        """A process of this server: the newest, unless another is asked for."""
        return self.children.members[name][number]

    async def send(self, message: Json) -> None:
        await self.aggregate.send(json.dumps({"jsonrpc": "2.0", **message}).encode())

    async def give(self, method: str, **params: object) -> str:
        """Send a request; its id."""
        id = f"id-{next(self._ids)}"
        await self.send({"id": id, "method": method, "params": params})
        return id

    async def answer(self, id: str) -> Json:
        async with asyncio.timeout(WAIT):
            while id not in self._answers:
                self._changed.clear()
                await self._changed.wait()
        return self._answers.pop(id)

    async def ask(self, method: str, **params: object) -> Json:
        """A request, and the whole answer."""
        return await self.answer(await self.give(method, **params))

    async def result(self, method: str, **params: object) -> Json:
        found = (await self.ask(method, **params)).get("result")
        assert isinstance(found, dict), f"no result of {method}"
        return found

    async def names(self, kind: str = "tools", **params: object) -> list[str]:
        key = "uri" if kind == "resources" else "name"
        items = (await self.result(f"{kind}/list", **params))[kind]
        assert isinstance(items, list)
        return [item[key] for item in items]

    async def begin(self, version: str = "2025-11-25") -> Json:
        info = {"name": "client", "version": "1"}
        found = await self.result(
            "initialize", protocolVersion=version, capabilities={"elicitation": {}}, clientInfo=info
        )
        await self.send({"method": "notifications/initialized"})
        return found

    async def settle(self) -> None:
        for _ in range(50):
            await asyncio.sleep(0)

    @property
    def methods(self) -> list[object]:
        """What was said that is no answer, by method."""
        return [message.get("method") for message in self.said]

    async def listen(self) -> None:
        while True:
            await self.listening.wait()
            try:
                line = await self.aggregate.receive()
            except ChildGone:
                return
            assert not isinstance(line, Oversize)
            message = json.loads(line)
            if "method" in message:
                self.said.append(message)
            else:
                self._answers[message["id"]] = message
            self._changed.set()


@asynccontextmanager
async def site(
    scripts: Mapping[str, Script],
    expose: Mapping[str, tuple[str, ...]] | None = None,
    alias: Mapping[str, str] | None = None,
    *,
    status: bool = False,
    title: str = "",
    instructions: str = "",
) -> AsyncIterator[Site]:
    """An aggregate that runs. Leaving it checks that no server was left behind."""
    exposed = {name: (expose or {}).get(name, EVERYTHING) for name in scripts}
    async with asyncio.TaskGroup() as tasks:
        children = SiteChildren(scripts, tasks)
        whole = site_spec(exposed, alias, status=status, title=title, instructions=instructions)
        aggregate = Aggregate(whole, Faces(children, children.spawn), children.spawn, lambda: 0.0)
        there = Site(aggregate, children)
        tasks.create_task(there.listen())
        try:
            yield there
        finally:
            await aggregate.stop()
    assert all(child.dead for child in children.started), "a server was left running"


@asynccontextmanager
async def endpoint(
    scripts: Mapping[str, Script],
    expose: Mapping[str, tuple[str, ...]] | None = None,
    alias: Mapping[str, str] | None = None,
    *,
    status: bool = False,
    policies: Mapping[str, Policy] | None = None,
    definitions: Definitions | None = None,
    ledger: Ledger | None = None,
    taint: Taint | None = None,
    now: Callable[[], float] = time.time,
) -> AsyncIterator[tuple[Talk, SiteChildren]]:
    """The endpoint with the servers and the whole site; ``Talk`` sends to the site with ``server=""``."""
    exposed = {name: (expose or {}).get(name, EVERYTHING) for name in scripts}
    whole = site_spec(exposed, alias, status=status)
    specs: dict[str, ChildSpec] = {name: spec(name) for name in scripts}
    shown: dict[str, Exposed] = {name: Expose.parse(entries) for name, entries in exposed.items()}
    async with asyncio.TaskGroup() as tasks:
        children = SiteChildren(scripts, tasks)
        children.definitions = definitions
        running = Endpoint(
            AGENT,
            {**specs, WHOLE_SITE: whole},
            Gate(
                {**shown, WHOLE_SITE: (view := SiteView(whole))},
                policies=policies or {},
                whole=view,
                taint=taint,
            ),
            children,
            tolerance=Tolerance(),
            definitions=definitions,
            ledger=ledger,
            now=now,
        )
        task = tasks.create_task(running.run())
        talk = Talk(running, children, tasks)
        await talk.settle()
        try:
            yield talk, children
        finally:
            task.cancel()
    assert all(child.dead for child in children.started), "a server was left running"
    assert running.status().held_bytes == 0, "something is still held for a caller"
