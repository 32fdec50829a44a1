"""What is not as approved: left out of lists, refused when it is used, in every era."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager

import pytest

from penstock_agent.gate import pins
from penstock_agent.gate.definitions import Definitions, Sight
from penstock_agent.gate.overrides import Override, Overrides
from penstock_agent.gate.pins import INSTRUCTIONS, Broken, Pinned
from penstock_agent.ledger.entries import Decision, Entry, Unrecorded, Verdict
from tests.agent.endpoint.modern import kit as modern
from tests.agent.endpoint.talk import Json, Talk, hello
from tests.agent.site.kit import Script, Scripted, SiteChildren
from tests.agent.site.kit import endpoint as endpoint_of

CHANGED = "has changed on site and waits for approval"
NEW = "is new on site and waits for approval"
NO_SUCH = "exposes no tool of that name"


class Written(Unrecorded):
    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def record(self, entry: Entry, /) -> None:
        self.entries.append(entry)

    @property
    def verdicts(self) -> list[tuple[Verdict, str]]:
        return [(one.verdict, one.rule) for one in self.entries if isinstance(one, Decision)]


class Scene:
    """A site with the server ``files``, or several; every caller is Alice."""

    def __init__(
        self, talk: Talk, children: SiteChildren, definitions: Definitions, news: list[str], ledger: Written
    ) -> None:
        self.talk = talk
        self.children = children
        self.definitions = definitions
        self.news = news
        self.ledger = ledger
        self.now = 0.0

    def child(self, server: str = "files", number: int = -1) -> Scripted:
        return self.children.members[server][number]

    async def begin(self, server: str = "files") -> Session:
        begun = self.talk.send("POST", hello(), server=server)
        greeting = (await begun.json())["result"]
        session = dict(begun.answered)["mcp-session-id"]
        assert isinstance(greeting, dict)
        return Session(self, server, session, greeting)

    async def answered(self, asking: Coroutine[object, object, str], method: str, error: Json) -> str:
        """What is answered where the server answers this method with an error."""
        async with asyncio.TaskGroup() as tasks:
            asked = tasks.create_task(asking)
            while not (heard := self.child().heard_of(method)):
                await asyncio.sleep(0)
            self.child().say({"jsonrpc": "2.0", "id": heard[-1]["id"], "error": error})
        return asked.result()

    def waiting(self, server: str = "files") -> list[str]:
        kept = self.definitions.kept(server)
        assert isinstance(kept, Pinned)
        return sorted(kept.waiting)

    def approve(self, *keys: str, server: str = "files") -> None:
        kept = self.definitions.kept(server)
        assert isinstance(kept, Pinned)
        self.definitions.approve(server, {key: kept.waiting[key].digest for key in keys}, 0)


class Session:
    """Of the handshake era."""

    def __init__(self, scene: Scene, server: str, id: str, greeting: Json) -> None:
        self.scene = scene
        self.server = server
        self.id = id
        self.greeting = greeting

    async def ask(self, method: str, **params: object) -> Json:
        body: Json = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        exchange = self.scene.talk.send("POST", body, session=self.id, server=self.server)
        return await exchange.json()

    async def names(self, method: str = "tools/list") -> list[object]:
        return names(await self.ask(method))

    async def call(self, name: str, **arguments: object) -> str:
        return words(await self.ask("tools/call", name=name, arguments=arguments))


class Stateless(Session):
    """Requests of 2026-07-28."""

    async def ask(self, method: str, **params: object) -> Json:
        body = modern.request(1, method, **params)
        return await modern.send(self.scene.talk, body, server=self.server).json()


def names(answer: Json) -> list[object]:
    result = answer["result"]
    assert isinstance(result, dict), answer
    (items,) = (value for value in result.values() if isinstance(value, list))
    return [item["name"] for item in items]


def words(answer: Json) -> str:
    result = answer.get("result", answer.get("error"))
    assert isinstance(result, dict)
    content = result.get("content")
    return str(content[0]["text"]) if isinstance(content, list) else str(result["message"])


def tool(name: str, description: str = "as it was", **more: object) -> Json:
    return {"name": name, "description": description, "inputSchema": {"type": "object"}, **more}


def script(*tools: Json, **more: object) -> Script:
    found = Script(list(tools))
    for name, value in more.items():
        setattr(found, name, value)
    return found


@asynccontextmanager
async def scene(
    scripts: Mapping[str, Script] | Script,
    kept: Mapping[str, Pinned | Broken | None] | None = None,
    overrides: Overrides | None = None,
    expose: Mapping[str, tuple[str, ...]] | None = None,
) -> AsyncIterator[Scene]:
    servers = {"files": scripts} if isinstance(scripts, Script) else scripts
    news: list[str] = []
    ledger, clock = Written(), [100.0]

    def now() -> float:
        clock[0] += 1.0
        return clock[0]

    definitions = Definitions(now, news.append)
    definitions.use({name: (kept or {}).get(name) for name in servers}, overrides or {})
    async with (
        asyncio.timeout(30),
        endpoint_of(servers, expose, definitions=definitions, ledger=ledger) as (talk, children),
    ):
        yield Scene(talk, children, definitions, news, ledger)


async def test_what_is_found_first_is_approved_with_what_is_not_exposed() -> None:
    server = script(tool("read"), tool("write"), prompts=[{"name": "p"}], instructions="be nice")
    server.templates = [{"name": "t", "uriTemplate": "file:///{x}"}]
    server.resources = [{"name": "r", "uri": "file:///r"}]
    async with scene(server, expose={"files": ("read",)}) as here:
        session = await here.begin()
        assert await session.names() == ["read"]
        kept = here.definitions.kept("files")
        assert isinstance(kept, Pinned)
        assert sorted(kept.approved.items) == [
            "prompt:p", "template:file:///{x}", "tool:read", "tool:write",
        ]  # fmt: skip
        assert kept.approved.instructions == "be nice"
        assert here.news == ["files"]
        assert len(here.children.started) == 1  # no other process was needed for it


@pytest.mark.parametrize("era", [Session, Stateless])
@pytest.mark.parametrize("is_modern", [False, True])
async def test_a_changed_tool_is_withheld_and_so_is_a_new_one(era: type[Session], is_modern: bool) -> None:
    server = script(tool("read"), tool("write"), modern=is_modern)
    async with scene(server) as here:
        session = await here.begin() if era is Session else Stateless(here, "files", "", {})
        assert await session.names() == ["read", "write"]
        assert "files" in await session.call("read")

        server.tools = [tool("read"), tool("write", "as it was\u200b"), tool("pay")]
        assert await session.names() == ["read"]
        assert "files" in await session.call("read")
        assert CHANGED in await session.call("write")
        assert "penstock-agent tools review" in await session.call("write")
        assert NEW in await session.call("pay")
        assert NO_SUCH in await session.call("other")
        assert here.waiting() == ["tool:pay", "tool:write"]
        withheld = [one for one in here.ledger.verdicts if one[0] is Verdict.WITHHELD]
        assert withheld == [(Verdict.WITHHELD, "pin")] * 4

        here.approve("tool:write")  # one of two
        assert await session.names() == ["read", "write"]
        assert "files" in await session.call("write")
        assert NEW in await session.call("pay")


@pytest.mark.parametrize("era", [Session, Stateless])
async def test_a_list_that_changes_between_list_and_call(era: type[Session]) -> None:
    server = script(tool("read"), tool("write"))
    async with scene(server) as here:
        session = await here.begin() if era is Session else Stateless(here, "files", "", {})
        assert await session.names() == ["read", "write"]
        server.tools = [tool("read"), tool("write", inputSchema={"type": "object", "required": ["card"]})]
        here.child().note("notifications/tools/list_changed")
        await here.talk.settle()
        calls = len(here.child().heard_of("tools/call"))
        assert CHANGED in await session.call("write")
        assert len(here.child().heard_of("tools/call")) == calls  # the server heard nothing of it
        assert "files" in await session.call("read")
        assert here.ledger.verdicts[-2:] == [(Verdict.WITHHELD, "pin"), (Verdict.ALLOWED, "expose")]


async def test_a_call_before_any_list_has_the_process_show_its_own() -> None:
    server = script(tool("read"), tool("write"))
    first = pins.first({"tool:read": b'{"name":"read"}'}, "", 1.0)
    async with scene(server, {"files": first}) as here:
        session = await here.begin()
        assert CHANGED in await session.call("read")
        assert NO_SUCH in await session.call("write") or NEW in await session.call("write")
        assert len(here.child().heard_of("tools/list")) == 1
        assert here.child().heard_of("tools/call") == []
        assert len(here.children.started) == 1


async def test_lists_in_pages_are_looked_at_whole_before_a_call() -> None:
    server = script(*(tool(f"t{n}") for n in range(5)), page=2)
    async with scene(server) as here:
        session = await here.begin()
        assert await session.names() == ["t0", "t1"]
        kept = here.definitions.kept("files")
        assert isinstance(kept, Pinned)
        assert len(kept.approved.items) == 5
        server.tools[4] = tool("t4", "other")
        here.child().note("notifications/tools/list_changed")
        await here.talk.settle()
        assert CHANGED in await session.call("t4")


async def test_one_process_that_differs_withholds_for_all_of_them() -> None:
    server = script(tool("read"))
    async with scene(server) as here:
        one, two = await here.begin(), await here.begin()
        assert await one.names() == await two.names() == ["read"]
        first = here.child(number=0)
        first.script = script(tool("read", "evil"))
        assert await one.names() == []
        assert CHANGED in await two.call("read")
        assert await two.names() == []
        # A process of its own says that all is well: what was seen is no more than one process's word.
        await here.talk.endpoint.read("files")
        assert here.waiting() == []
        assert "files" in await two.call("read")
        assert CHANGED in await one.call("read")  # which still shows the other one


async def test_prompts_and_templates_are_pinned_and_resources_are_not() -> None:
    server = script(prompts=[{"name": "p"}], templates=[{"name": "t", "uriTemplate": "file:///{x}"}])
    server.resources, server.contents = [{"name": "r", "uri": "file:///r"}], {"file:///r": "R"}
    async with scene(server) as here:
        session = await here.begin()
        assert await session.names("prompts/list") == ["p"]
        server.prompts = [{"name": "p", "description": "x"}]
        server.templates = [{"name": "other", "uriTemplate": "file:///{x}"}]
        server.resources = [{"name": "other", "uri": "file:///r"}]
        assert await session.names("prompts/list") == []
        assert await session.names("resources/templates/list") == []
        assert await session.names("resources/list") == ["other"]
        assert "prompt has changed" in words(await session.ask("prompts/get", name="p"))
        assert "contents" in str(await session.ask("resources/read", uri="file:///r"))
        reference = {"type": "ref/resource", "uri": "file:///{x}"}
        argument = {"name": "x", "value": ""}
        assert CHANGED in words(await session.ask("completion/complete", ref=reference, argument=argument))
        assert here.waiting() == ["prompt:p", "template:file:///{x}"]


@pytest.mark.parametrize("is_modern", [False, True])
async def test_instructions_that_changed_are_never_seen(is_modern: bool) -> None:
    server = script(tool("read"), instructions="be nice", modern=is_modern)
    async with scene(server, {"files": pins.first({"tool:read": b"{}"}, "be nice", 1.0)}) as here:
        assert (await here.begin()).greeting["instructions"] == "be nice"
        if is_modern:  # it has none any more, which is a change as well
            assert here.waiting() == [INSTRUCTIONS]
            return
        server.instructions = "be evil"
        session = await here.begin()
        assert session.greeting["instructions"] == "be nice"
        found = await Stateless(here, "files", "", {}).ask("server/discover")
        assert "be nice" in str(found)
        assert "be evil" not in str(found)
        assert here.waiting() == [INSTRUCTIONS]
        here.approve(INSTRUCTIONS)
        assert (await here.begin()).greeting["instructions"] == "be evil"


async def test_a_greeting_that_two_readers_read_differently_has_one_text() -> None:
    definitions = Definitions(lambda: 1.0, lambda _: None)
    definitions.use({"files": pins.first({}, "", 1.0)}, {})

    raw = b'{"instructions":"evil","Instructions":"evil","instructions":"","serverInfo":{"name":"x"}}'
    assert definitions.greeted("files", Sight(), raw) == b'{"serverInfo":{"name":"x"}}'


async def test_what_was_approved_cannot_be_read_and_nothing_is_used() -> None:
    async with scene(script(tool("read"), instructions="x"), {"files": Broken("it is broken")}) as here:
        session = await here.begin()
        assert "instructions" not in session.greeting
        assert await session.names() == []
        assert "cannot be read there, so nothing of it is used" in await session.call("read")
        read = words(await session.ask("resources/read", uri="file:///r"))
        assert "cannot be read there" in read
        assert here.news == []


async def test_a_server_that_does_not_show_its_list_is_not_called() -> None:
    server = script(tool("read"), silent={"tools/list"})
    first = pins.first({"tool:read": b"{}"}, "", 1.0)
    async with scene(server, {"files": first}) as here:
        session = await here.begin()
        error: Json = {"code": -32603, "message": "no"}
        text = await here.answered(session.call("read"), "tools/list", error)
        assert "did not say what it offers now" in text
        assert here.child().heard_of("tools/call") == []


async def test_the_whole_site_is_compared_server_by_server() -> None:
    files, crm = script(tool("read"), instructions="files here"), script(tool("read"), tool("pay"))
    async with scene({"files": files, "crm": crm}) as here:
        session = await here.begin("")
        assert "files here" in str(session.greeting["instructions"])
        assert await session.names() == ["files__read", "crm__read", "crm__pay"]
        assert sorted(here.news) == ["crm", "files"]
        crm.tools = [tool("read", "other"), tool("pay"), tool("new")]
        assert await session.names() == ["files__read", "crm__pay"]
        assert CHANGED in await session.call("crm__read")
        assert NEW in await session.call("crm__new")
        assert "files:" in await session.call("files__read")
        assert here.ledger.verdicts[-3:] == [
            (Verdict.WITHHELD, "pin"), (Verdict.WITHHELD, "pin"), (Verdict.ALLOWED, "expose"),
        ]  # fmt: skip
        # Between list and call.
        files.tools = [tool("read", "other")]
        here.child("files").note("notifications/tools/list_changed")
        await here.talk.settle()
        assert CHANGED in await session.call("files__read")
        files.instructions = "evil"
        assert "evil" not in str((await here.begin("")).greeting)
        here.approve("tool:read", server="crm")
        assert await session.names() == ["crm__read", "crm__pay"]


async def test_the_sites_words_are_seen_in_the_place_of_the_servers() -> None:
    ours = {"files": {"read": Override("Read", "ours", {"readOnlyHint": True})}}
    files = script(tool("read", "theirs"))
    async with scene({"files": files, "crm": script(tool("read"))}, overrides=ours) as here:
        for server in ("files", ""):
            answer = await (await here.begin(server)).ask("tools/list")
            assert "'description': 'ours'" in str(answer)
            assert "theirs" not in str(answer)
        catalogue = await here.talk.endpoint.read("files")
        assert catalogue.items[0].title == "Read"
        assert here.waiting() == []  # the pin is of the server's own
        files.tools = [tool("read", "evil")]
        assert await (await here.begin()).names() == []


async def test_who_knows_an_older_schema_is_told_when_the_arguments_no_longer_fit() -> None:
    old = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}
    new = {"type": "object", "properties": {"file": {"type": "string"}}, "required": ["file"]}
    server = script(tool("read", inputSchema=old))
    async with scene(server) as here:
        session, other = await here.begin(), await here.begin()
        assert await session.names() == ["read"]
        server.tools = [tool("read", inputSchema=new)]
        assert await session.names() == []
        here.approve("tool:read")
        text = await session.call("read", path="x")
        assert "The arguments do not fit this tool" in text
        assert "refresh the connector" in text
        assert "files" in await session.call("read", file="x")
        assert await other.names() == ["read"]  # the same caller has read the new one
        assert "files" in await session.call("read", path="x")  # now it is the server's to judge


async def test_an_error_about_arguments_says_that_the_definition_has_changed() -> None:
    server = script(tool("read"), silent={"tools/call"})
    async with scene(server) as here:
        session = await here.begin()
        await session.names()
        server.tools = [tool("read", "other")]
        await session.names()
        here.approve("tool:read")
        error: Json = {"code": -32602, "message": "no such path"}
        text = await here.answered(session.call("read"), "tools/call", error)
        assert text.startswith("no such path The definition of this tool has changed on site at ")


async def test_a_list_that_changes_while_it_is_asked_for_is_asked_for_again() -> None:
    server = script(tool("read"), silent={"tools/list"})
    first = pins.first({"tool:read": b'{"name":"read"}'}, "", 1.0)
    async with scene(server, {"files": first}) as here, asyncio.TaskGroup() as tasks:
        session = await here.begin()
        asked, child = tasks.create_task(session.call("read")), here.child()
        for number, text in enumerate((None, "evil")):
            while len(lists := child.heard_of("tools/list")) <= number:
                await asyncio.sleep(0)
            child.answer(lists[-1], {"tools": [{"name": "read", **({} if text is None else {"d": text})}]})
            if text is None:
                child.note("notifications/tools/list_changed")
        assert CHANGED in await asked
        assert child.heard_of("tools/call") == []


async def test_a_process_that_is_started_again_between_is_looked_at_anew() -> None:
    async with scene(script(tool("read"))) as here:
        session = await here.begin()
        await session.names()
        here.child().die()
        await here.talk.settle()
        here.children.scripts["files"].tools = [tool("read", "evil")]
        assert CHANGED in await session.call("read")
        assert here.child().heard_of("tools/call") == []


async def test_a_server_that_floods_with_changes_is_asked_once_for_each_call() -> None:
    async with scene(script(tool("read"))) as here:
        session = await here.begin()
        await session.names()
        before = len(here.child().heard_of("tools/list"))
        for _ in range(500):
            here.child().note("notifications/tools/list_changed")
        await here.talk.settle()
        await session.call("read")
        assert len(here.child().heard_of("tools/list")) == before + 1


async def test_what_is_withheld_is_not_on_the_page_where_it_is_granted() -> None:
    from penstock_agent.exchange import Purpose

    server = script(tool("read"), tool("write"))
    async with scene(server) as here:
        await here.talk.endpoint.read("files")
        server.tools[1] = tool("write", "other")
        await here.talk.endpoint.read("files")
        page = await here.talk.send("POST", b"{}", purpose=Purpose.CONSENT).json()
        tools = page["tools"]
        assert isinstance(tools, list)
        assert [one["name"] for one in tools] == ["read"]
