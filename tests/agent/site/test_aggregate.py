"""All servers as one child: what is said to it, what its servers hear, and what it says."""

from __future__ import annotations

import asyncio
import json

import pytest

from penstock_agent.children.child import ChildGone, ChildStartError
from penstock_agent.children.lines import Oversize
from penstock_agent.endpoint.session.correlate import MAX_ASKED
from penstock_agent.site.asking import WALK_S
from penstock_agent.site.names import Target, joined
from penstock_agent.site.questions import MAX_QUESTION
from tests.agent.endpoint.talk import Json
from tests.agent.site.kit import Script, Site, named, resource, site, tool


def two(**more: object) -> dict[str, Script]:
    return {
        "a": Script(tools=[tool("read"), tool("write")], prompts=[named("hi")], **more),  # type: ignore[arg-type]
        "b": Script(tools=[tool("read")], prompts=[named("hi")]),
    }


def text(result: Json) -> str:
    content = result["content"]
    assert isinstance(content, list)
    return str(content[0]["text"])


def code(answer: Json) -> object:
    error = answer["error"]
    assert isinstance(error, dict)
    return error["code"]


# The beginning.


async def test_a_question_what_is_spoken_starts_no_server() -> None:
    async with site(two()) as there:
        assert code(await there.ask("server/discover")) == -32601
        assert await there.ask("ping") == {"jsonrpc": "2.0", "id": "id-2", "result": {}}
        assert code(await there.ask("tools/list")) == -32600
        assert there.children.started == []


async def test_initialize_starts_all_servers_and_says_what_they_say() -> None:
    scripts = {"a": Script(instructions="Ask a."), "b": Script(version="2025-06-18", instructions="Ask b.")}
    async with site(scripts, title="Plant", instructions="Be brief.") as there:
        found = await there.begin()
        assert found["protocolVersion"] == "2025-06-18"
        assert found["serverInfo"]["name"] == "Plant"  # type: ignore[index]
        assert found["instructions"] == "Be brief.\n\n## a\nAsk a.\n\n## b\nAsk b."
        for name in scripts:
            hello, ready = there.member(name).log
            assert hello["params"]["clientInfo"] == {"name": "client", "version": "1"}  # type: ignore[index]
            assert ready == {"jsonrpc": "2.0", "method": "notifications/initialized"}


async def test_it_is_initialized_once() -> None:
    async with site(two()) as there:
        await there.begin()
        assert code(await there.ask("initialize")) == -32600


async def test_a_stopped_site_is_gone() -> None:
    async with site(two()) as there:
        await there.begin()
        await there.aggregate.stop()
        await there.aggregate.stop()
        with pytest.raises(ChildGone):
            await there.send({"method": "ping", "id": 1})


# Tools and prompts.


async def test_tools_of_all_servers_are_listed_and_called_under_their_servers_name() -> None:
    async with site(two()) as there:
        await there.begin()
        assert await there.names() == ["a__read", "a__write", "b__read"]
        found = await there.result(
            "tools/call", name="b__read", arguments={"x": 1}, _meta={"progressToken": 7}
        )
        assert text(found) == 'b: {"name": "read", "arguments": {"x": 1}, "_meta": {"progressToken": 7}}'
        assert there.member("a").heard_of("tools/call") == []


async def test_prompts_have_the_same_names() -> None:
    async with site(two()) as there:
        await there.begin()
        assert await there.names("prompts") == ["a__hi", "b__hi"]
        assert text(await there.result("prompts/get", name="b__hi")) == 'b: {"name": "hi"}'


async def test_an_alias_takes_the_place_of_the_long_name() -> None:
    async with site(two(), alias={"search": "b.read"}) as there:
        await there.begin()
        assert await there.names() == ["a__read", "a__write", "search"]
        assert text(await there.result("tools/call", name="search")) == 'b: {"name": "read"}'
        found = await there.result("tools/call", name="b__read")
        assert found["isError"] is True
        assert len(there.member("b").heard_of("tools/call")) == 1


async def test_a_name_that_is_too_long_is_shortened_and_found_again_without_a_list() -> None:
    long = "x" * 80
    scripts = {"a": Script(tools=[tool("t1"), tool(long), tool(long + "y")], page=1), "b": Script()}
    short = joined(Target("a", long + "y"))
    async with site(scripts) as there:
        await there.begin()
        assert text(await there.result("tools/call", name=short)) == f'a: {{"name": "{long}y"}}'
        asked = len(there.member("a").heard_of("tools/list"))
        assert asked == 3
        await there.result("tools/call", name=short)
        assert len(there.member("a").heard_of("tools/list")) == asked


async def test_a_shortened_name_of_nothing_is_denied() -> None:
    long = "x" * 80
    async with site({"a": Script(tools=[tool(long)]), "b": Script()}, {"a": ("y*",)}) as there:
        await there.begin()
        found = await there.result("tools/call", name=joined(Target("a", long)))
        assert found["isError"] is True
        assert "exposes no tool of that name" in text(found)
        assert there.member("a").heard_of("tools/call") == []


async def test_of_two_tools_with_one_name_the_first_is_listed() -> None:
    scripts = {"a": Script(tools=[tool("read", n=1), tool("read", n=2)]), "b": Script()}
    async with site(scripts) as there:
        await there.begin()
        tools = (await there.result("tools/list"))["tools"]
        assert tools == [tool("a__read", n=1)]


async def test_a_server_cannot_have_a_tool_of_another_ones_name() -> None:
    scripts = {"a": Script(tools=[tool("b__read"), tool("search")]), "b": Script(tools=[tool("read")])}
    async with site(scripts, alias={"search": "b.read"}) as there:
        await there.begin()
        assert await there.names() == ["a__b__read", "a__search", "search"]
        assert text(await there.result("tools/call", name="search")).startswith("b: ")


# Pages.


async def test_pages_of_all_servers_go_on_together() -> None:
    scripts = {
        "a": Script(tools=[tool(f"t{n}") for n in range(5)], page=2),
        "b": Script(tools=[tool("t0")]),
    }
    async with site(scripts) as there:
        await there.begin()
        found: list[str] = []
        cursor: dict[str, object] = {}
        for _ in range(3):
            page = await there.result("tools/list", **cursor)
            found += [one["name"] for one in page["tools"]]  # type: ignore[attr-defined]
            cursor = {"cursor": page.get("nextCursor")}
        assert cursor == {"cursor": None}
        assert found == ["a__t0", "a__t1", "b__t0", "a__t2", "a__t3", "a__t4"]
        assert len(there.member("b").heard_of("tools/list")) == 1


@pytest.mark.parametrize("cursor", ["nonsense", 7, "", "WyJ0b29scy9saXN0Iix7InoiOiIxIn1d"])
async def test_a_cursor_that_was_not_given_out_is_refused_without_asking_anybody(cursor: object) -> None:
    async with site(two()) as there:
        await there.begin()
        assert code(await there.ask("tools/list", cursor=cursor)) == -32602
        assert there.member("a").heard_of("tools/list") == []


async def test_an_endless_list_ends_where_the_agent_itself_looks_for_something() -> None:
    scripts = {"a": Script(tools=[tool("t")], resources=[resource("x://1")], endless=True), "b": Script()}
    async with site(scripts) as there:
        await there.begin()
        assert code(await there.ask("resources/read", uri="x://gone")) == -32002
        assert len(there.member("a").heard_of("resources/list")) <= 100
        short = joined(Target("a", "x" * 80))
        assert (await there.result("tools/call", name=short))["isError"] is True


async def test_a_list_goes_out_without_a_server_that_does_not_say() -> None:
    scripts = two()
    scripts["b"].silent = {"tools/list"}
    async with site(scripts) as there:
        await there.begin()
        assert await there.names() == ["a__read", "a__write"]
        assert there.member("b").heard_of("notifications/cancelled") != []


async def test_a_list_that_nobody_answers_is_an_error_and_not_empty() -> None:
    scripts = two()
    for script in scripts.values():
        script.silent = {"tools/list"}
    async with site(scripts) as there:
        await there.begin()
        assert code(await there.ask("tools/list")) == -32011


# Resources.

FILES = {
    "a": Script(resources=[resource("x://1")], contents={"x://1": "one", "x://both": "of a"}),
    "b": Script(
        resources=[resource("x://2"), resource("x://1")],
        templates=[{"uriTemplate": "x://{id}/part", "name": "t"}],
        contents={"x://1": "of b", "x://2": "two", "x://7/part": "seven", "x://both": "of b"},
    ),
}


@pytest.mark.parametrize(
    ("uri", "said"),
    [("x://1", "one"), ("x://2", "two"), ("x://7/part", "seven"), ("x://both", "of a")],
)
@pytest.mark.parametrize("listed", [True, False])
async def test_a_resource_is_read_from_the_server_that_has_it(uri: str, said: str, listed: bool) -> None:
    async with site(FILES) as there:
        await there.begin()
        if listed:
            assert await there.names("resources") == ["x://1", "x://2"]
        found = await there.result("resources/read", uri=uri)
        assert found["contents"] == [{"uri": uri, "text": said}]


async def test_one_that_may_not_show_it_is_not_asked_for_it() -> None:
    async with site(FILES, {"a": ("resource:y://**",)}) as there:
        await there.begin()
        assert await there.names("resources") == ["x://2", "x://1"]
        found = await there.result("resources/read", uri="x://1")
        assert found["contents"] == [{"uri": "x://1", "text": "of b"}]
        assert there.member("a").heard_of("resources/read") == []


async def test_who_has_been_found_is_asked_again_and_nobody_else() -> None:
    async with site(FILES) as there:
        await there.begin()
        await there.result("resources/read", uri="x://7/part")
        heard = len(there.member("a").log)
        await there.result("resources/read", uri="x://7/part")
        assert len(there.member("a").log) == heard


async def test_subscriptions_go_to_the_owner_and_only_its_word_counts() -> None:
    async with site(FILES) as there:
        await there.begin()
        await there.result("resources/subscribe", uri="x://2")
        assert there.member("a").heard_of("resources/subscribe") == []
        there.member("a").note("notifications/resources/updated", uri="x://2")
        there.member("b").note("notifications/resources/updated", uri="x://2")
        await there.settle()
        assert there.methods == ["notifications/resources/updated"]
        await there.result("resources/unsubscribe", uri="x://2")
        assert len(there.member("b").heard_of("resources/unsubscribe")) == 1


async def test_subscriptions_outlive_the_process() -> None:
    async with site(FILES) as there:
        await there.begin()
        await there.result("resources/subscribe", uri="x://2")
        there.member("b").die()
        await there.settle()
        (again,) = there.member("b", 1).heard_of("resources/subscribe")
        assert again["params"] == {"uri": "x://2"}
        assert there.said == []


async def test_completions_go_where_their_reference_points() -> None:
    async with site({**FILES, "c": Script(prompts=[named("hi")])}) as there:
        await there.begin()
        argument = {"name": "x", "value": "y"}
        found = await there.result(
            "completion/complete", ref={"type": "ref/prompt", "name": "c__hi"}, argument=argument
        )
        assert text(found).startswith('c: {"ref": {"type": "ref/prompt", "name": "hi"}')
        found = await there.result(
            "completion/complete", ref={"type": "ref/resource", "uri": "x://{id}/part"}, argument=argument
        )
        assert text(found).startswith("b: ")
        assert code(await there.ask("completion/complete", ref={"type": "ref/x"})) == -32602


# Without the gate: by the servers' own lists.

SOME = {"a": ("read", "prompt:other"), "b": ("none", "resource:x://open/**")}
CLOSED: list[tuple[str, Json]] = [
    ("tools/call", {"name": "a__write"}),
    ("tools/call", {"name": "b__read"}),
    ("tools/call", {"name": 7}),
    ("tools/call", {}),
    ("prompts/get", {"name": "a__hi"}),
    ("resources/read", {"uri": "x://shut"}),
    ("resources/read", {"uri": 7}),
    ("resources/subscribe", {"uri": "x://shut"}),
    ("resources/unsubscribe", {"uri": "x://shut"}),
    ("completion/complete", {"ref": {"type": "ref/prompt", "name": "a__hi"}}),
    ("completion/complete", {"ref": {"type": "ref/resource", "uri": "x://shut"}}),
]


@pytest.mark.parametrize(("method", "params"), CLOSED)
async def test_what_a_server_does_not_expose_it_is_not_asked_for(method: str, params: Json) -> None:
    async with site(two(resources=[resource("x://shut")]), SOME) as there:
        await there.begin()
        answer = await there.ask(method, **params)
        if method == "tools/call":
            assert answer["result"]["isError"] is True  # type: ignore[index]
        else:
            assert code(answer) == -32012
        for name in SOME:
            assert there.member(name).heard_of(method) == []


async def test_what_a_server_does_not_expose_is_not_listed_and_not_notified() -> None:
    scripts = two(resources=[resource("x://shut")], templates=[{"uriTemplate": "x://{a}", "name": "t"}])
    async with site(scripts, SOME) as there:
        await there.begin()
        assert await there.names() == ["a__read"]
        assert await there.names("prompts") == []
        assert await there.names("resources") == []
        assert (await there.result("resources/templates/list"))["resourceTemplates"] == []
        for name in SOME:
            there.member(name).note("notifications/resources/updated", uri="x://shut")
        await there.settle()
        assert there.said == []


# Notifications, both ways.


async def test_the_log_level_is_for_all_and_for_those_that_come_later() -> None:
    async with site({"a": Script(), "b": Script(capabilities={"tools": {}})}) as there:
        await there.begin()
        await there.result("logging/setLevel", level="debug")
        there.member("a").die()
        await there.settle()
        assert there.member("a", 1).heard_of("logging/setLevel")[0]["params"] == {"level": "debug"}
        assert there.member("b").heard_of("logging/setLevel") == []


async def test_a_cancelled_call_is_cancelled_at_its_server() -> None:
    scripts = two()
    scripts["b"].silent = {"tools/call"}
    async with site(scripts) as there:
        await there.begin()
        id = await there.give("tools/call", name="b__read")
        await there.send(
            {"method": "notifications/cancelled", "params": {"requestId": id, "reason": "enough"}}
        )
        await there.settle()
        (told,) = there.member("b").heard_of("notifications/cancelled")
        (call,) = there.member("b").heard_of("tools/call")
        assert told["params"] == {"requestId": call["id"], "reason": "enough"}
        assert there.member("a").heard_of("notifications/cancelled") == []


async def test_a_cancelled_list_is_cancelled_at_all_servers() -> None:
    scripts = two()
    for script in scripts.values():
        script.silent = {"tools/list"}
    async with site(scripts) as there:
        await there.begin()
        id = await there.give("tools/list")
        await there.settle()
        await there.send({"method": "notifications/cancelled", "params": {"requestId": id}})
        await there.settle()
        for name in scripts:
            assert len(there.member(name).heard_of("notifications/cancelled")) == 1


async def test_progress_counts_only_for_a_call_of_the_server_that_reports_it() -> None:
    scripts = two()
    scripts["b"].silent = {"tools/call"}
    async with site(scripts) as there:
        await there.begin()
        await there.give("tools/call", name="b__read", _meta={"progressToken": "p"})
        there.member("a").note("notifications/progress", progressToken="p", progress=9)
        there.member("b").note("notifications/progress", progressToken="p", progress=1)
        await there.settle()
        assert [one["params"] for one in there.said] == [{"progressToken": "p", "progress": 1}]


async def test_a_server_that_changes_says_so_for_what_it_exposes() -> None:
    async with site(two(), {"a": ("read",)}) as there:
        await there.begin()
        for kind in ("tools", "prompts", "resources"):
            there.member("a").note(f"notifications/{kind}/list_changed")
        there.member("a").note("notifications/tasks/status", taskId="1")
        there.member("a").note("notifications/message", level="info", data=1)
        await there.settle()
        assert there.methods == ["notifications/tools/list_changed", "notifications/message"]


async def test_what_the_client_says_to_all_reaches_all() -> None:
    async with site(two()) as there:
        await there.begin()
        await there.send({"method": "notifications/roots/list_changed"})
        for name in ("a", "b"):
            assert len(there.member(name).heard_of("notifications/roots/list_changed")) == 1


async def test_a_server_that_does_not_read_keeps_nothing_from_the_others() -> None:
    async with site(two()) as there:
        await there.begin()
        there.member("a").accepts.clear()
        call = await there.give("tools/call", name="b__read")
        assert "result" in await there.answer(call)
        assert await there.names("prompts") == ["b__hi"]


# What servers ask.


async def test_questions_of_two_servers_with_one_id_are_told_apart() -> None:
    scripts = two()
    for script in scripts.values():
        script.silent = {"tools/call"}
    async with site(scripts) as there:
        await there.begin()
        calls = []
        for name in ("a", "b"):
            calls.append(await there.give("tools/call", name=f"{name}__read"))
            there.member(name).ask(1, "elicitation/create", message=name)
        await there.settle()
        first, second = there.said
        assert first["id"] != second["id"]
        assert [str(one["id"]).partition("/")[0] for one in there.said] == calls, "each names its call"
        await there.send({"id": second["id"], "result": {"action": "accept"}})
        await there.send({"id": first["id"], "result": {"action": "decline"}})
        await there.send({"id": first["id"], "result": {"action": "twice"}})
        assert there.member("b").log[-1] == {"jsonrpc": "2.0", "id": 1, "result": {"action": "accept"}}
        assert there.member("a").log[-1] == {"jsonrpc": "2.0", "id": 1, "result": {"action": "decline"}}


async def test_only_a_server_that_is_used_may_ask_the_user() -> None:
    async with site(two()) as there:
        await there.begin()
        there.member("b").ask(1, "elicitation/create", message="Your password?")
        there.member("b").ask(2, "roots/list")
        there.member("b").ask(3, "ping")
        await there.settle()
        assert there.methods == ["roots/list"]
        refused, pong = there.member("b").log[-2:]
        assert code(refused) == -32600
        assert pong == {"jsonrpc": "2.0", "id": 3, "result": {}}


async def test_the_clients_progress_goes_to_the_server_that_asked() -> None:
    scripts = two()
    for script in scripts.values():
        script.silent = {"tools/call"}
    async with site(scripts) as there:
        await there.begin()
        for name in ("a", "b"):
            await there.give("tools/call", name=f"{name}__read")
            there.member(name).ask(1, "sampling/createMessage", _meta={"progressToken": 5})
        await there.settle()
        token = there.said[1]["params"]["_meta"]["progressToken"]  # type: ignore[index]
        await there.send(
            {"method": "notifications/progress", "params": {"progressToken": token, "progress": 1}}
        )
        assert there.member("a").heard_of("notifications/progress") == []
        (told,) = there.member("b").heard_of("notifications/progress")
        assert told["params"] == {"progressToken": 5, "progress": 1}


async def test_a_question_that_is_taken_back_is_taken_back_under_its_name() -> None:
    scripts = two()
    scripts["a"].silent = {"tools/call"}
    async with site(scripts) as there:
        await there.begin()
        await there.give("tools/call", name="a__read")
        there.member("a").ask(1, "elicitation/create")
        there.member("a").note("notifications/cancelled", requestId=1)
        there.member("b").note("notifications/cancelled", requestId=1)
        await there.settle()
        asked, cancelled = there.said
        assert cancelled["params"] == {"requestId": asked["id"]}


# Trouble.


async def test_an_answer_under_an_id_of_another_servers_call_finds_nothing() -> None:
    scripts = two()
    scripts["b"].silent = {"tools/call"}
    async with site(scripts) as there:
        await there.begin()
        id = await there.give("tools/call", name="b__read")
        (call,) = there.member("b").heard_of("tools/call")
        for forged in (call["id"], id):
            there.member("a").say({"jsonrpc": "2.0", "id": forged, "result": {"content": "forged"}})
        await there.settle()
        there.member("b").answer(call, {"content": "own"})
        assert (await there.answer(id))["result"] == {"content": "own"}


async def test_a_crash_ends_the_calls_of_its_server_and_no_other() -> None:
    scripts = two()
    for script in scripts.values():
        script.silent = {"tools/call"}
    async with site(scripts) as there:
        await there.begin()
        lost = await there.give("tools/call", name="a__read")
        kept = await there.give("tools/call", name="b__read")
        there.member("a").die()
        answer = await there.answer(lost)
        assert answer["result"]["_meta"]["penstock/outcome"]["outcome"] == "outcome_unknown"  # type: ignore[index]
        await there.settle()
        assert [one["method"] for one in there.member("a", 1).log] == [
            "initialize",
            "notifications/initialized",
        ]
        assert there.said == [], "nobody has missed anything"
        there.member("b").answer(there.member("b").heard_of("tools/call")[0], {})
        assert (await there.answer(kept))["result"] == {}
        assert len(there.children.members["b"]) == 1


async def test_a_call_right_after_a_crash_goes_to_the_next_process() -> None:
    async with site(two()) as there:
        await there.begin()
        there.member("a").die()
        assert text(await there.result("tools/call", name="a__read")).startswith("a: ")


async def test_a_silent_server_is_left_out_and_announced_when_it_is_up() -> None:
    scripts = two()
    scripts["b"].silent = {"initialize"}
    async with site(scripts) as there:
        found = await there.begin()
        assert "b" not in str(found["protocolVersion"])
        assert await there.names() == ["a__read", "a__write"]
        refused = await there.result("tools/call", name="b__read")
        assert refused["isError"] is True
        assert 'The server "b" on site is being started' in text(refused)
        (hello,) = there.member("b").heard_of("initialize")
        there.member("b").answer(hello, {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}})
        await there.settle()
        assert there.methods == ["notifications/tools/list_changed"]
        assert await there.names() == ["a__read", "a__write", "b__read"]
        assert there.member("b").heard_of("notifications/initialized") != []


async def test_a_server_that_stays_silent_is_started_again() -> None:
    scripts = two()
    scripts["b"].silent = {"initialize"}
    async with site(scripts) as there:
        await there.begin()
        await asyncio.sleep(100)
        assert len(there.children.members["b"]) == 1
        await asyncio.sleep(60)
        assert len(there.children.members["b"]) == 2


async def test_a_server_that_cannot_be_started_is_tried_again_in_the_background() -> None:
    scripts = two()
    scripts["b"].refusal = ChildStartError("server b: its command /opt/secret is not there")
    async with site(scripts) as there:
        await there.begin()
        refused = await there.result("tools/call", name="b__read")
        assert refused["isError"] is True
        assert "could not be started" in text(refused)
        assert "/opt/secret" not in text(refused)
        scripts["b"].refusal = None
        await asyncio.sleep(120)
        assert there.methods == [
            "notifications/tools/list_changed",
            "notifications/prompts/list_changed",
            "notifications/resources/list_changed",
        ]
        assert await there.names() == ["a__read", "a__write", "b__read"]


async def test_without_any_server_there_is_no_beginning() -> None:
    scripts = two()
    for script in scripts.values():
        script.refusal = ChildStartError("no")
    async with site(scripts) as there:
        assert code(await there.ask("initialize", protocolVersion="2025-11-25")) == -32010


async def test_the_first_of_several_slow_servers_is_enough() -> None:
    scripts = two()
    for script in scripts.values():
        script.silent = {"initialize"}
    async with site(scripts) as there:
        id = await there.give("initialize", protocolVersion="2025-11-25")
        await asyncio.sleep(60)
        (hello,) = there.member("a").heard_of("initialize")
        there.member("a").answer(hello, {"protocolVersion": "2025-11-25", "capabilities": {}})
        assert "result" in await there.answer(id)


@pytest.mark.parametrize("version", ["2026-07-28", "x", None])
async def test_a_server_of_no_version_of_this_era_is_left_out(version: str) -> None:
    scripts = two()
    scripts["b"].version = version
    async with site(scripts) as there:
        await there.begin()
        assert await there.names() == ["a__read", "a__write"]


async def test_lines_that_are_no_messages_end_what_can_only_be_meant() -> None:
    scripts = two()
    scripts["a"].silent = {"tools/call"}
    async with site(scripts) as there:
        await there.begin()
        there.member("a").say(b"Hello, I am a server.")
        first = await there.give("tools/call", name="a__read")
        there.member("a").say(Oversize(1 << 26))
        assert "larger than this agent accepts" in text((await there.answer(first))["result"])  # type: ignore[arg-type]
        second = await there.give("tools/call", name="a__read")
        id = json.dumps(there.member("a").heard_of("tools/call")[-1]["id"]).encode()
        there.member("a").say(b'{"jsonrpc":"2.0","id":%b,"result":{"a":"\\ud800"}}' % id)
        assert "cannot be passed on" in text((await there.answer(second))["result"])  # type: ignore[arg-type]


async def test_a_flood_of_one_server_is_not_read_faster_than_it_is_taken() -> None:
    async with site(two()) as there:
        await there.begin()
        flood = b'{"jsonrpc":"2.0","method":"notifications/message","params":{"data":"%b"}}' % (b"x" * 4096)
        there.listening.clear()
        for _ in range(2000):
            there.member("a").say(flood)
        await asyncio.sleep(1)
        assert len(there.member("a").unread) > 1500, "about 1 MiB was read"
        call = await there.give("tools/call", name="b__read")
        there.listening.set()
        assert "result" in await there.answer(call)


async def test_a_server_that_speaks_2026_07_28_only_is_part_of_it() -> None:
    scripts = two()
    scripts["b"].modern = True
    async with site(scripts) as there:
        found = await there.begin()
        assert found["protocolVersion"] == "2025-11-25"
        assert await there.names() == ["a__read", "a__write", "b__read"]
        assert text(await there.result("tools/call", name="b__read")).startswith('b: {"name": "read"')


# The agent's own tool.


async def test_the_status_says_what_is_up_and_how_much_is_withheld() -> None:
    scripts = two()
    scripts["c"] = Script(silent={"initialize"})
    async with site(scripts, {"a": ("read",)}, status=True) as there:
        await there.begin()
        assert await there.names() == ["penstock_status", "a__read", "b__read"]
        found = await there.result("tools/call", name="penstock_status", arguments={})
        assert text(found) == (
            "The site is online since 1970-01-01 00:00 UTC.\n"
            "a: up, 2 of its items are withheld by the site\n"
            "b: up, 0 of its items are withheld by the site\n"
            "c: down; it is started again in the background"
        )
        assert "write" not in json.dumps(found)


async def test_without_the_setting_there_is_no_such_tool() -> None:
    async with site(two()) as there:
        await there.begin()
        found = await there.result("tools/call", name="penstock_status")
        assert "exposes no tool of that name" in text(found)


async def test_unknown_methods_are_unknown() -> None:
    async with site(two()) as there:
        await there.begin()
        for method in ("tasks/list", "x/y", "subscriptions/listen"):
            assert code(await there.ask(method)) == -32601


# A server that means harm.


async def used_and_hostile(there: Site) -> str:
    """A call that runs at the server a."""
    await there.begin()
    call = await there.give("tools/call", name="a__read", arguments={})
    await there.settle()
    return call


async def test_a_server_asks_no_user_because_it_is_asked_for_its_list() -> None:
    scripts = {
        "a": Script(tools=[tool("read")], silent={"tools/call"}),
        "b": Script(tools=[tool("read")], silent={"tools/list"}),
    }
    async with site(scripts) as there:
        await used_and_hostile(there)
        listing = await there.give("tools/list")
        await there.settle()
        listed = str(there.member("b").heard_of("tools/list")[0]["id"])
        for id in ("q", f"{listed}/q"):
            there.member("b").ask(id, "elicitation/create", message="Your PIN?", requestedSchema={})
        await there.settle()
        assert there.said == []
        refused = [message for message in there.member("b").log if "error" in message]
        assert [message["id"] for message in refused] == ["q", f"{listed}/q"]
        await there.send({"method": "notifications/cancelled", "params": {"requestId": listing}})


async def test_a_server_asks_no_user_while_it_is_started_again() -> None:
    scripts = {"a": Script(tools=[tool("read")], silent={"tools/call"}), "b": Script(tools=[tool("read")])}
    async with site(scripts) as there:
        await used_and_hostile(there)
        scripts["b"].silent = {"initialize"}
        there.member("b").die()
        await asyncio.sleep(5)
        again = there.member("b", 1)
        assert [message["method"] for message in again.log] == ["initialize"]
        again.ask("q", "elicitation/create", message="Your PIN?", requestedSchema={})
        await there.settle()
        assert "elicitation/create" not in there.methods
        assert again.log[-1]["id"] == "q"
        assert "error" in again.log[-1]


async def test_questions_of_a_server_that_ended_are_withdrawn() -> None:
    scripts = {"a": Script(tools=[tool("read")], silent={"tools/call"}), "b": Script(tools=[tool("read")])}
    async with site(scripts) as there:
        await used_and_hostile(there)
        there.member("a").ask("q", "elicitation/create", message="Sure?", requestedSchema={})
        await there.settle()
        asked = there.said.pop()
        there.member("a").die()
        await there.settle()
        withdrawn = [one for one in there.said if one["method"] == "notifications/cancelled"]
        assert [one["params"] for one in withdrawn] == [{"requestId": asked["id"]}]


async def test_questions_of_one_server_leave_room_for_those_of_the_others() -> None:
    scripts = {"a": Script(tools=[tool("read")], silent={"tools/call"}), "b": Script(tools=[tool("read")])}
    async with site(scripts) as there:
        await used_and_hostile(there)
        for number in range(MAX_ASKED):
            there.member("b").ask(number, "roots/list")
        await there.settle()
        there.member("a").ask("q", "elicitation/create", message="Sure?", requestedSchema={})
        await there.settle()
        assert there.methods.count("roots/list") == MAX_ASKED // 2
        assert there.methods[-1] == "elicitation/create"


async def test_a_question_that_would_fill_the_session_is_refused() -> None:
    async with site(two(silent={"tools/call"})) as there:
        await used_and_hostile(there)
        there.member("a").ask("q", "elicitation/create", message="x" * MAX_QUESTION, requestedSchema={})
        await there.settle()
        assert there.said == []
        assert "error" in there.member("a").log[-1]


async def test_a_list_without_end_holds_up_no_resource_of_another_server_for_long() -> None:
    scripts = {
        "a": Script(resources=[resource(f"x://{n}") for n in range(200)], page=1, endless=True),
        "b": Script(contents={"file://here": "yes"}),
    }
    async with site(scripts) as there:
        await there.begin()
        there.member("a").pause_s = 9.0
        begun = asyncio.get_running_loop().time()
        read = await there.result("resources/read", uri="file://here")
        assert read["contents"] == [{"uri": "file://here", "text": "yes"}]
        assert asyncio.get_running_loop().time() - begun < 2 * WALK_S + 2 * 9.0


async def test_a_server_that_does_not_answer_a_read_leaves_it_to_the_next() -> None:
    scripts = {"a": Script(silent={"resources/read"}), "b": Script(contents={"file://here": "yes"})}
    async with site(scripts) as there:
        await there.begin()
        read = await there.result("resources/read", uri="file://here")
        assert read["contents"] == [{"uri": "file://here", "text": "yes"}]
        assert there.member("a").heard_of("notifications/cancelled")
