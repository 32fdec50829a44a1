"""The site through the endpoint: clients of both eras, grants, consent, and what nobody can reach."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from penstock.allowance import Allowance, Later
from penstock.names import WHOLE_SITE
from penstock.principal import Principal
from penstock_agent.children.child import ChildStartError
from penstock_agent.exchange import Purpose
from penstock_agent.gate.expose import Expose
from penstock_agent.gate.gate import Gate
from penstock_agent.site.names import Target, joined
from penstock_agent.site.spec import SiteView
from tests.agent.endpoint.modern import kit as modern
from tests.agent.endpoint.talk import Json, Talk, hello, spec, talking
from tests.agent.site.kit import ALL, Script, SiteChildren, endpoint, named, resource, site_spec, tool
from tests.harness.fake_exchange import ALICE, FakeExchange

READS = {"annotations": {"readOnlyHint": True}}


def scripts() -> dict[str, Script]:
    return {
        "a": Script(tools=[tool("read", **READS), tool("write")], prompts=[named("hi")]),
        "b": Script(
            tools=[tool("read", **READS), tool("drop")],
            resources=[resource("b://open/1"), resource("b://shut/1")],
            contents={"b://open/1": "open", "b://shut/1": "SECRET"},
        ),
    }


async def begin(talk: Talk, principal: Principal = ALICE, server: str = WHOLE_SITE) -> str:
    begun = talk.send("POST", hello(), principal=principal, server=server)
    await begun.until_end()
    assert begun.status == 200, begun.content
    session = dict(begun.answered)["mcp-session-id"]
    ready: Json = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    await talk.send("POST", ready, session=session, principal=principal, server=server).until_end()
    return session


def post(
    talk: Talk, session: str, method: str, principal: Principal = ALICE, /, **params: object
) -> FakeExchange:
    body: Json = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    return talk.send("POST", body, session=session, principal=principal, server=WHOLE_SITE)


async def result(exchange: FakeExchange) -> Json:
    found = (await exchange.message())["result"]
    assert isinstance(found, dict)
    return found


async def tools(talk: Talk, session: str, principal: Principal = ALICE) -> list[str]:
    return [one["name"] for one in (await result(post(talk, session, "tools/list", principal)))["tools"]]  # type: ignore[attr-defined]


def heard(children: SiteChildren, method: str) -> list[Json]:
    """What any server was sent of this method."""
    return [one for members in children.members.values() for each in members for one in each.heard_of(method)]


# Both eras.


async def test_a_client_of_the_handshake_era_uses_all_servers_in_one_session() -> None:
    async with endpoint(scripts()) as (talk, children):
        session = await begin(talk)
        assert await tools(talk, session) == ["a__read", "a__write", "b__read", "b__drop"]
        called = await result(post(talk, session, "tools/call", name="b__drop", arguments={"n": 1}))
        assert called["content"][0]["text"] == 'b: {"name": "drop", "arguments": {"n": 1}}'  # type: ignore[index]
        assert len(children.started) == 2
        gone = talk.send("DELETE", session=session, server=WHOLE_SITE)
        await gone.until_end()
        assert gone.status == 204


async def test_a_client_of_2026_07_28_uses_them_over_the_bridge() -> None:
    async with endpoint(scripts()) as (talk, children):
        found = modern.send(talk, modern.request(1, "server/discover"), server=WHOLE_SITE)
        discovered = modern.result_of(await found.json())
        assert "2026-07-28" in discovered["supportedVersions"]  # type: ignore[operator]
        listed = modern.send(talk, modern.request(2, "tools/list"), server=WHOLE_SITE)
        names = [one["name"] for one in modern.result_of(await listed.json())["tools"]]  # type: ignore[attr-defined]
        assert names == ["a__read", "a__write", "b__read", "b__drop"]
        call = modern.send(talk, modern.request(3, "tools/call", name="a__write"), server=WHOLE_SITE)
        text = modern.result_of(await call.json())["content"][0]["text"]  # type: ignore[index]
        assert text.startswith("a: ")
        # The question for the era has started none of them.
        assert len(children.started) == 2


@pytest.mark.parametrize("name", ["a", "b"])
async def test_a_question_of_a_server_appears_where_its_call_was_made(name: str) -> None:
    there = scripts()
    for script in there.values():
        script.silent = {"tools/call"}
    async with endpoint(there) as (talk, children):
        session = await begin(talk)
        calls = {each: post(talk, session, "tools/call", name=f"{each}__read") for each in there}
        await talk.settle()
        child = children.members[name][0]
        child.ask(7, "elicitation/create", message="Sure?")
        await calls[name].until(lambda: b"elicitation/create" in calls[name].content)
        (asked,) = [one for one in calls[name].events() if one.get("method") == "elicitation/create"]
        assert asked["method"] == "elicitation/create"
        answer: Json = {"jsonrpc": "2.0", "id": asked["id"], "result": {"action": "accept"}}
        await talk.send("POST", answer, session=session, server=WHOLE_SITE).until_end()
        assert child.log[-1] == {"jsonrpc": "2.0", "id": 7, "result": {"action": "accept"}}
        for each, call in calls.items():
            member = children.members[each][0]
            member.answer(member.heard_of("tools/call")[0], {"content": []})
            await call.message()


async def test_a_question_reaches_a_client_of_2026_07_28_as_input_that_is_required() -> None:
    there = scripts()
    there["b"].silent = {"tools/call"}
    async with endpoint(there) as (talk, children):
        call = modern.send(talk, modern.request(1, "tools/call", name="b__drop"), server=WHOLE_SITE)
        while not heard(children, "tools/call"):
            await asyncio.sleep(0.1)
        child = children.members["b"][0]
        child.ask(7, "elicitation/create", message="Sure?", requestedSchema={"type": "object"})
        wanted = modern.result_of(await call.json())
        assert wanted["resultType"] == "input_required"
        inputs = wanted["inputRequests"]
        assert isinstance(inputs, dict)
        (key,) = inputs
        again = modern.request(
            2,
            "tools/call",
            name="b__drop",
            inputResponses={key: {"action": "accept", "content": {}}},
            requestState=wanted["requestState"],
        )
        retried = modern.send(talk, again, server=WHOLE_SITE)
        while child.log[-1].get("id") != 7:
            await asyncio.sleep(0.1)
        child.answer(child.heard_of("tools/call")[0], {"content": [{"type": "text", "text": "done"}]})
        assert modern.result_of(await retried.json())["content"] == [{"type": "text", "text": "done"}]


# What nobody can reach.

SHOWN = {"a": ("read", "prompt:none"), "b": ("read", "resource:b://open/**")}
LONG = "write_" + "x" * 80


@pytest.mark.parametrize(
    "name",
    [
        "write", "a__write", "a__a__write", "a__b__write", "b__a__write", "a___write", "a____write",
        "a__write ", " a__write", "A__write", "a__Write", "a__wri\u200bte", "a__write\u0000", "__a__write",
        "a.write", "a__read__write", "-a__write", "a-__write", "a__", "a", "", "search", "aliased",
        "penstock_status", joined(Target("a", LONG)), joined(Target("a", LONG)).upper(), "a__" + LONG,
    ],
)  # fmt: skip
async def test_a_tool_that_is_not_exposed_is_reached_by_no_spelling(name: str) -> None:
    there = scripts()
    there["a"].tools.append(tool(LONG))
    async with endpoint(there, SHOWN, {"aliased": "a.write"}) as (talk, children):
        session = await begin(talk)
        refused = await result(post(talk, session, "tools/call", name=name))
        assert refused["isError"] is True
        assert "exposes no tool of that name" in refused["content"][0]["text"]  # type: ignore[index]
        assert heard(children, "tools/call") == []
        assert await tools(talk, session) == ["a__read", "b__read"]


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("prompts/get", {"name": "a__hi"}),
        ("prompts/get", {"name": "hi"}),
        ("resources/read", {"uri": "b://shut/1"}),
        ("resources/read", {"uri": "b://open/../shut/1"}),
        ("resources/read", {"uri": "b__b://open/1"}),
        ("resources/subscribe", {"uri": "b://shut/1"}),
        ("completion/complete", {"ref": {"type": "ref/prompt", "name": "a__hi"}}),
        ("completion/complete", {"ref": {"type": "ref/resource", "uri": "b://shut/1"}}),
        ("tasks/list", {}),
        ("x/y", {}),
    ],
)
async def test_nor_is_anything_else(method: str, params: Json) -> None:
    async with endpoint(scripts(), SHOWN) as (talk, children):
        session = await begin(talk)
        answer = await post(talk, session, method, ALICE, **params).message()
        assert "error" in answer
        assert heard(children, method) == []


async def test_lists_and_notifications_name_nothing_that_is_not_exposed() -> None:
    async with endpoint(scripts(), SHOWN) as (talk, children):
        session = await begin(talk)
        listen = talk.send("GET", session=session, server=WHOLE_SITE)
        await listen.until_head()
        for kind in ("tools", "prompts", "resources", "resources/templates"):
            answer = await post(talk, session, f"{kind}/list").until_end()
            for hidden in (b"write", b"drop", b"hi", b"shut"):
                assert hidden not in answer.content
        for uri in ("b://shut/1", "b://open/1"):
            children.members["b"][0].note("notifications/resources/updated", uri=uri)
            children.members["a"][0].note("notifications/resources/updated", uri=uri)
        await talk.settle()
        assert listen.content.count(b"b://open/1") == 1
        assert b"b://shut/1" not in listen.content
        listen.leave()


async def test_an_exposed_resource_of_one_server_is_not_read_from_another() -> None:
    there = scripts()
    there["a"].contents = {"b://open/1": "SHADOW"}
    there["a"].resources = [resource("b://open/1")]
    async with endpoint(there, SHOWN) as (talk, _):
        session = await begin(talk)
        found = await result(post(talk, session, "resources/read", uri="b://open/1"))
        assert found["contents"] == [{"uri": "b://open/1", "text": "open"}]


# Grants.

GRANTED = replace(ALICE, allowance=Allowance(tools=("a__read", "read", "b__write")))
PREFIXED = replace(ALICE, allowance=Allowance(prefixes=("b__",)))
READ_ONLY = replace(ALICE, allowance=Allowance(later=Later.READ_ONLY))
NOT_SEARCH = replace(ALICE, allowance=Allowance(denied=("search",), later=Later.ALL))


@pytest.mark.parametrize(
    ("principal", "expected"),
    [
        (GRANTED, ["a__read"]),
        (PREFIXED, ["b__drop"]),
        (READ_ONLY, ["a__read", "search"]),
        (NOT_SEARCH, ["a__read", "a__write", "b__drop"]),
    ],
)
async def test_a_grant_speaks_of_the_names_of_the_site(principal: Principal, expected: list[str]) -> None:
    async with endpoint(scripts(), alias={"search": "b.read"}) as (talk, children):
        session = await begin(talk, principal)
        assert await tools(talk, session, principal) == expected
        everything = {"a__read", "a__write", "b__drop", "search", "b__read"}
        for name in sorted(everything - set(expected)):
            refused = await result(post(talk, session, "tools/call", principal, name=name))
            assert refused["isError"] is True, name
        assert heard(children, "tools/call") == []
        for name in expected:
            assert "isError" not in await result(post(talk, session, "tools/call", principal, name=name))


async def test_the_relay_asks_what_the_site_exposes() -> None:
    async with endpoint(scripts(), SHOWN) as (talk, _):
        asked = talk.send("POST", purpose=Purpose.CONSENT, server=WHOLE_SITE)
        await asked.until_end()
        found = json.loads(asked.content)
        assert [(one["name"], one["effect"]) for one in found["tools"]] == [
            ("a__read", "read"),
            ("b__read", "read"),
        ]
        assert (found["prompts"], found["resources"]) == (0, 1)


async def test_a_slow_server_is_on_the_page_where_users_choose() -> None:
    there = scripts()
    there["b"].silent = {"initialize"}
    async with endpoint(there) as (talk, children):
        asked = talk.send("POST", purpose=Purpose.CONSENT, server=WHOLE_SITE)
        await asyncio.sleep(20)
        child = children.members["b"][0]
        child.answer(child.heard_of("initialize")[0], {"protocolVersion": "2025-11-25", "capabilities": ALL})
        await asked.until_end()
        assert [one["name"] for one in json.loads(asked.content)["tools"]] == [
            "a__read",
            "a__write",
            "b__read",
            "b__drop",
        ]


async def test_tools_of_a_server_that_comes_later_are_known_to_be_read_only() -> None:
    there = scripts()
    there["b"].refusal = ChildStartError("no")
    async with endpoint(there) as (talk, _):
        session = await begin(talk, READ_ONLY)
        assert await tools(talk, session, READ_ONLY) == ["a__read"]
        there["b"].refusal = None
        await asyncio.sleep(120)
        assert await tools(talk, session, READ_ONLY) == ["a__read", "b__read"]


async def test_only_the_first_session_waits_long_for_a_silent_server() -> None:
    there = scripts()
    there["b"].silent = {"initialize"}
    async with endpoint(there) as (talk, children):
        now = asyncio.get_running_loop().time
        begun = now()
        await begin(talk)
        assert 6 < now() - begun < 8
        begun = now()
        await begin(talk)
        assert now() - begun < 2
        child = children.members["b"][0]
        child.answer(child.heard_of("initialize")[0], {"protocolVersion": "2025-11-25", "capabilities": ALL})
        await talk.settle()
        begun = now()
        await begin(talk)
        assert 6 < now() - begun < 8, "it has been up since"


# Without one, and with another.


@pytest.mark.parametrize("purpose", [Purpose.MCP, Purpose.CONSENT, Purpose.SSE])
async def test_without_two_servers_there_is_no_such_endpoint_and_it_says_what_to_do(purpose: Purpose) -> None:
    async with talking() as talk:
        method = "GET" if purpose is Purpose.SSE else "POST"
        refused = talk.send(method, hello(), purpose=purpose, server=WHOLE_SITE)
        await refused.until_end()
        assert refused.status == 404
        assert b"two servers that expose something" in refused.content


async def test_nor_for_a_client_of_2026_07_28() -> None:
    async with talking() as talk:
        refused = modern.send(talk, modern.request(1, "tools/list"), server=WHOLE_SITE)
        await refused.until_end()
        assert refused.status == 404
        assert b"two servers that expose something" in refused.content


async def test_a_session_goes_on_with_what_another_policy_exposes() -> None:
    async with endpoint(scripts()) as (talk, children):
        session = await begin(talk)
        assert "a__write" in await tools(talk, session)
        whole = site_spec({"a": ("read",), "b": ("read",)})
        shown = {name: Expose.parse(("read",)) for name in ("a", "b")}
        servers = {name: spec(name) for name in ("a", "b")}
        talk.endpoint.reload({**servers, WHOLE_SITE: whole}, Gate({**shown, WHOLE_SITE: SiteView(whole)}))
        assert await tools(talk, session) == ["a__read", "b__read"]
        assert len(children.sites) == 2
        talk.endpoint.reload(servers, Gate(dict(shown)))
        refused = await post(talk, session, "tools/list").until_end()
        assert refused.status == 404


async def test_a_session_outlives_the_crash_of_a_server() -> None:
    async with endpoint(scripts()) as (talk, children):
        session = await begin(talk)
        children.members["a"][0].die()
        await talk.settle()
        assert await tools(talk, session) == ["a__read", "a__write", "b__read", "b__drop"]
        assert len(children.sites) == 1
        assert len(children.members["b"]) == 1


async def test_what_the_site_says_of_a_failure_names_the_exchange() -> None:
    there = scripts()
    there["a"].silent = {"tools/call", "prompts/get"}
    async with endpoint(there) as (talk, children):
        session = await begin(talk)
        call = post(talk, session, "tools/call", name="a__read")
        prompt = post(talk, session, "prompts/get", name="a__hi")
        await talk.settle()
        children.members["a"][0].die()
        meta = (await result(call))["_meta"]
        assert isinstance(meta, dict)
        assert meta["penstock/outcome"]["exchange"] == call.key
        error = (await prompt.json())["error"]
        assert isinstance(error, dict)
        assert (prompt.status, error["data"]["exchange"]) == (504, prompt.key)
