"""What a user allowed, within the agent: the relay asks what there is, and calls are held to the grant."""

from __future__ import annotations

import json
from dataclasses import replace

from penstock.allowance import Allowance, Later
from penstock.principal import Principal
from penstock_agent.callers.trust import NotProven
from penstock_agent.endpoint import Limits
from penstock_agent.exchange import Purpose
from tests.agent.endpoint.talk import FakeChild, Talk, talking
from tests.harness.fake_exchange import ALICE

READS = replace(ALICE, allowance=Allowance(tools=("read",)))
READ_ONLY = replace(ALICE, allowance=Allowance(later=Later.READ_ONLY))
TOOLS = [{"name": "read", "annotations": {"readOnlyHint": True}}, {"name": "drop"}]


async def lists(talk: Talk, number: int = 1) -> FakeChild:
    """A throw-away child is asked for its lists, and tells."""
    child = await talk.children.number(number)
    answer = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}}
    child.answer(await child.heard("initialize"), answer)
    await child.heard("notifications/initialized")
    child.answer(await child.heard("tools/list"), {"tools": TOOLS})
    return child


async def test_the_relay_asks_what_is_exposed() -> None:
    async with talking(("tool:read",)) as talk:
        asked = talk.send("POST", purpose=Purpose.CONSENT)
        child = await lists(talk)
        await asked.until_end()
        assert asked.status == 200
        assert json.loads(asked.content) == {
            "tools": [{"name": "read", "effect": "read"}],
            "prompts": 0,
            "resources": 0,
        }
        assert child.stopped
        assert talk.endpoint.status().sessions == 0


async def test_asking_is_all_that_it_can_do() -> None:
    async with talking() as talk:
        call = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"drop"}}'
        asked = talk.send("POST", call, purpose=Purpose.CONSENT)
        child = await lists(talk)
        await asked.until_end()
        assert child.heard_nothing
        for method, server in (("GET", "files"), ("DELETE", "files"), ("POST", "other")):
            refused = talk.send(method, purpose=Purpose.CONSENT, server=server)
            await refused.until_end()
            assert refused.status == 404
        assert len(talk.children.started) == 1


async def test_a_server_that_cannot_say_is_503() -> None:
    async with talking() as talk:
        asked = talk.send("POST", purpose=Purpose.CONSENT)
        (await talk.children.number(1)).die()
        await asked.until_end()
        assert asked.status == 503


async def test_a_call_is_held_to_the_grant_that_it_comes_with() -> None:
    async with talking() as talk:
        session, child = await talk.session(principal=READS)
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "drop"}}
        refused = talk.send("POST", body, session=session, principal=READS)
        await refused.until_end()
        assert "did not allow it" in refused.content.decode()
        assert child.heard_nothing
        # The user allows more: the same session, from the next call on.
        more = replace(ALICE, allowance=Allowance(tools=("read", "drop")))
        allowed = talk.send("POST", body, session=session, principal=more)
        child.answer(await child.heard("tools/call"), {"content": []})
        await allowed.until_end()
        assert json.loads(allowed.content)["result"] == {"content": []}


async def test_each_answer_is_cut_to_the_grant_of_its_own_request() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        ask = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        limited = talk.send("POST", ask, session=session, principal=READS)
        first = await child.heard("tools/list")
        whole = talk.send("POST", {**ask, "id": 2}, session=session, principal=ALICE)
        second = await child.heard("tools/list")
        child.answer(first, {"tools": TOOLS})
        child.answer(second, {"tools": TOOLS})
        await limited.until_end()
        await whole.until_end()
        assert [tool["name"] for tool in json.loads(limited.content)["result"]["tools"]] == ["read"]
        assert [tool["name"] for tool in json.loads(whole.content)["result"]["tools"]] == ["read", "drop"]


async def test_all_read_only_tools_are_those_of_the_catalogue() -> None:
    async with talking() as talk:
        session, child = await talk.session(principal=READ_ONLY)
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "read"}}
        called = talk.send("POST", body, session=session, principal=READ_ONLY)
        await lists(talk, 2)
        child.answer(await child.heard("tools/call"), {"content": []})
        await called.until_end()
        assert "result" in json.loads(called.content)
        body["params"] = {"name": "drop"}
        refused = talk.send("POST", body, session=session, principal=READ_ONLY)
        await refused.until_end()
        assert "did not allow it" in refused.content.decode()


async def test_nothing_runs_while_it_is_not_known_what_only_reads() -> None:
    async with talking(limits=Limits(commit_after=0.01)) as talk:
        session, child = await talk.session(principal=READ_ONLY)
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "read"}}
        called = talk.send("POST", body, session=session, principal=READ_ONLY)
        await called.until_end()
        assert "did not say which those are" in called.content.decode()
        assert child.heard_nothing


class ProviderOnly:
    """Believes nobody whose proof is not "good"."""

    def challenge(self, server: str, /) -> str | None:
        return f"challenge of {server}"

    async def admit(self, server: str, principal: Principal, /) -> None:
        if principal.proof != b"good":
            raise NotProven("Log in.")


async def test_a_caller_whom_the_site_does_not_believe_reaches_nothing() -> None:
    async with talking(callers=ProviderOnly()) as talk:
        proven = replace(ALICE, proof=b"good")
        session, child = await talk.session(principal=proven)
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "read"}}
        refused = talk.send("POST", body, session=session)
        await refused.until_end()
        assert json.loads(refused.content)["result"]["isError"]
        assert b"Log in." in refused.content
        for method, status in (("GET", 403), ("DELETE", 403)):
            refused = talk.send(method, session=session)
            await refused.until_end()
            assert (refused.status, b"Log in." in refused.content) == (status, True)
        begun = talk.send("POST", {**body, "method": "initialize"})
        await begun.until_end()
        assert json.loads(begun.content)["error"]["code"] == -32012
        junk = talk.send("POST", b"junk")
        await junk.until_end()
        assert junk.status == 400
        assert child.heard_nothing
        assert len(talk.children.started) == 1


async def test_the_relay_is_told_what_the_login_has_to_sign() -> None:
    async with talking(callers=ProviderOnly()) as talk:
        asked = talk.send("POST", purpose=Purpose.CONSENT)
        await lists(talk)
        await asked.until_end()
        assert json.loads(asked.content)["challenge"] == "challenge of files"
