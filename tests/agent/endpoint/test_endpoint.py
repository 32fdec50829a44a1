"""The way in: whole conversations, and the HTTP rules of the handshake era (2025-06-18 and 2025-11-25)."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from penstock.principal import Principal
from penstock_agent.endpoint import Limits
from penstock_agent.exchange import DoneReason
from penstock_agent.gate.gate import Gate
from tests.agent.endpoint.talk import BY_THE_BOOK, EVERYTHING, Json, Talk, hello, spec, talking
from tests.harness.fake_exchange import ALICE, FakeExchange

CALL: Json = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo"}}


async def test_a_client_initializes_calls_and_ends_its_session() -> None:
    async with talking() as talk:
        begun = talk.send("POST", hello(id="first"))
        child = await talk.children.number(1)
        asked = await child.heard("initialize")
        assert asked["params"] == hello()["params"]
        child.answer(asked, {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}})
        answer = await begun.json()
        assert answer["id"] == "first"
        assert answer["result"] == {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}}
        session = dict(begun.answered)["mcp-session-id"]
        tag, _, random = session.partition(".")
        assert (len(tag), len(random)) == (8, 43)

        ready = talk.note(session, "notifications/initialized")
        await ready.until_end()
        assert (ready.status, ready.content) == (202, b"")
        await child.heard("notifications/initialized")

        call = talk.call(7, session, arguments={"text": "hi"})
        heard = await child.heard("tools/call")
        assert heard["params"] == {"name": "echo", "arguments": {"text": "hi"}}
        child.answer(heard, {"content": [{"type": "text", "text": "hi"}]})
        assert await call.json() == {
            "jsonrpc": "2.0",
            "id": 7,
            "result": {"content": [{"type": "text", "text": "hi"}]},
        }
        assert "mcp-session-id" not in dict(call.answered)

        over = await talk.send("DELETE", session=session).until_end()
        assert (over.status, over.content) == (204, b"")
        assert (await talk.call(8, session).until_end()).status == 404
        await talk.settle()
        assert child.stopped


@pytest.mark.parametrize("version", ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"])
async def test_the_version_is_agreed_between_client_and_child(version: str) -> None:
    async with talking() as talk:
        session, child = await talk.session(version)
        call = talk.send("POST", CALL, session=session, version=version)
        child.answer(await child.heard("tools/call"))
        assert (await call.until_end()).status == 200


@pytest.mark.parametrize("header", ["2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05", None])
async def test_a_version_header_may_be_any_of_the_era(header: str | None) -> None:
    async with talking() as talk:
        session, child = await talk.session("2025-06-18")
        call = talk.send("POST", CALL, session=session, version=header)
        child.answer(await child.heard("tools/call"))
        assert (await call.until_end()).status == 200
        get = talk.send("GET", session=session, version=header)
        assert await get.until_head() == 200
        get.leave()


@pytest.mark.parametrize(
    ("body", "code", "id"),
    [
        (b"{", -32700, None),
        (b'{"jsonrpc":"2.0","id":4,"method":"tools/call","params":{"name":"echo","name":"rm"}}', -32700, 4),
        (b'{"jsonrpc":"2.0","id":4,"method":"ping","params":' + b'{"a":' * 70 + b"1" + b"}" * 71, -32700, 4),
        (b'{"jsonrpc":"2.0","id":4,"method":"ping","Method":"tools/call"}', -32600, 4),
        (b'{"jsonrpc":"2.0","id":4,"method":"tools/call","params":{"name":"echo","Name":"rm"}}', -32600, 4),
        (b'[{"jsonrpc":"2.0","id":4,"method":"ping"}]', -32600, None),
        (b'{"jsonrpc":"2.0","id":null,"method":"ping"}', -32600, None),
        (b'{"jsonrpc":"1.0","id":4,"method":"ping"}', -32600, 4),
        (b"\xff", -32700, None),
        (b"", -32700, None),
    ],
)
async def test_a_body_that_is_not_one_clean_message_is_refused_and_the_session_lives(
    body: bytes, code: int, id: int | None
) -> None:
    async with talking() as talk:
        session, child = await talk.session()
        wrong = talk.send("POST", body, session=session)
        answer = await wrong.json()
        assert wrong.status == 400
        assert answer["id"] == id
        assert isinstance(answer["error"], dict)
        assert answer["error"]["code"] == code
        assert child.heard_nothing
        call = talk.call(5, session)
        child.answer(await child.heard("tools/call"))
        assert (await call.json())["id"] == 5


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("PUT", {}, 405),
        ("POST", {"content-type": "text/plain"}, 415),
        ("POST", {"content-encoding": "gzip"}, 415),
        ("POST", {"accept": "application/json"}, 406),
        ("GET", {"accept": "application/json"}, 406),
        ("GET", {}, 400),
        ("DELETE", {}, 400),
        ("POST", {}, 400),
    ],
)
async def test_what_is_wrong_as_http_is_refused_before_the_body_counts(
    method: str, headers: dict[str, str], status: int
) -> None:
    async with talking(tolerance=BY_THE_BOOK) as talk:
        wrong = talk.send(method, CALL if method == "POST" else b"", headers=headers)
        assert "error" in await wrong.json()
        assert wrong.status == status
        if status == 405:
            assert dict(wrong.answered)["allow"] == "GET, POST, DELETE"


@pytest.mark.parametrize("name", ["mcp-session-id", "mcp-protocol-version"])
async def test_a_header_that_stands_twice_is_refused(name: str) -> None:
    async with talking() as talk:
        session, child = await talk.session()
        exchange = FakeExchange(
            "files",
            headers=(
                ("content-type", "application/json"),
                ("mcp-session-id", session),
                ("mcp-protocol-version", "2025-11-25"),
                (name, "2025-11-25"),
            ),
            body=json.dumps(CALL).encode(),
        )
        await talk.endpoint.serve(exchange)
        assert exchange.status == 400
        assert child.heard_nothing


async def test_an_unknown_foreign_or_ended_session_gives_the_same_bytes() -> None:
    async with talking(servers={"files": spec("files"), "crm": spec("crm")}) as talk:
        session, child = await talk.session()
        ended, _ = await talk.session()
        await talk.send("DELETE", session=ended).until_end()
        made_up = session[:-4] + "AAAA"
        same_person_elsewhere = replace(ALICE, client="another assistant")
        for method in ("POST", "GET", "DELETE"):
            refused = [
                talk.send(method, CALL, session=made_up),
                talk.send(method, CALL, session=ended),
                talk.send(method, CALL, session="nonsense"),
                talk.send(method, CALL, session=session, principal=Principal("https://idp.example", "bob")),
                talk.send(method, CALL, session=session, principal=replace(ALICE, issuer="https://other")),
                talk.send(method, CALL, session=session, principal=same_person_elsewhere),
                talk.send(method, CALL, session=session, server="crm"),
                talk.send(method, CALL, session=session, server="no-such"),
            ]
            answers = set()
            for exchange in refused:
                await exchange.until_end()
                answers.add((exchange.status, exchange.answered, exchange.content))
            assert len(answers) == 1
            assert answers.pop()[0] == 404
        assert child.heard_nothing
        call = talk.call(1, session)
        child.answer(await child.heard("tools/call"))
        assert (await call.until_end()).status == 200


async def test_a_changed_name_or_group_of_the_same_caller_is_the_same_session() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        renamed = replace(ALICE, name="Alice B.", groups=("new",))
        call = talk.send("POST", CALL, session=session, principal=renamed)
        child.answer(await child.heard("tools/call"))
        assert (await call.until_end()).status == 200


async def test_initialize_in_a_session_is_refused_and_in_an_unknown_one_not_found() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        assert (await talk.send("POST", hello(), session=session).until_end()).status == 400
        assert (await talk.send("POST", hello(), session="x.y").until_end()).status == 404
        assert child.heard_nothing
        assert len(talk.children.started) == 1


async def test_a_server_that_refuses_initialize_leaves_no_session() -> None:
    async with talking() as talk:
        begun = talk.send("POST", hello())
        child = await talk.children.number(1)
        asked = await child.heard("initialize")
        child.say({"jsonrpc": "2.0", "id": asked["id"], "error": {"code": -32602, "message": "no"}})
        answer = await begun.json()
        assert answer["error"] == {"code": -32602, "message": "no"}
        assert begun.status == 200
        assert "mcp-session-id" not in dict(begun.answered)
        await talk.settle()
        assert child.stopped
        assert talk.endpoint.status().sessions == 0


async def test_an_unknown_server_is_not_found() -> None:
    async with talking() as talk:
        assert (await talk.send("POST", hello(), server="nope").until_end()).status == 404


async def test_what_is_hidden_is_denied_in_words_before_the_child_hears_of_it() -> None:
    async with talking(("tool:read_*",)) as talk:
        session, child = await talk.session()
        call = talk.call(3, session, name="delete_all")
        answer = await call.json()
        assert call.status == 200
        result = answer["result"]
        assert isinstance(result, dict)
        assert result["isError"] is True
        assert "exposes no tool" in result["content"][0]["text"]
        outcome = result["_meta"]["penstock/outcome"]
        assert outcome == {"outcome": "denied", "exchange": call.key, "retry_safe": False}

        read = talk.call(4, session, "resources/read", uri="file:///etc/passwd")
        answer = await read.json()
        assert read.status == 200
        error = answer["error"]
        assert isinstance(error, dict)
        assert error["code"] == -32012
        assert error["data"] == {"outcome": "denied", "exchange": read.key, "retry_safe": False}
        assert child.heard_nothing


async def test_lists_show_only_what_is_exposed() -> None:
    async with talking(("tool:read_*",)) as talk:
        session, child = await talk.session()
        listing = talk.call(1, session, "tools/list")
        shown = b'{"name":"read_file","inputSchema":{"max":12345678901234567890123456789012345678901}}'
        child.answer_raw(
            await child.heard("tools/list"),
            b'{"tools":[%b,{"name":"rm"}],"nextCursor":"c","_meta":{"a":1}}' % shown,
        )
        await listing.until_end()
        assert (
            listing.content
            == b'{"jsonrpc":"2.0","id":1,"result":{"tools":[%b],"nextCursor":"c","_meta":{"a":1}}}' % shown
        )


async def test_nothing_is_exposed_without_an_entry() -> None:
    async with talking(()) as talk:
        session, child = await talk.session()
        listing = talk.call(1, session, "tools/list")
        child.answer(await child.heard("tools/list"), {"tools": [{"name": "a"}]})
        assert (await listing.json())["result"] == {"tools": []}
        ping = talk.call(2, session, "ping")
        child.answer(await child.heard("ping"))
        assert (await ping.json())["result"] == {}


async def test_a_caller_that_opens_too_many_sessions_loses_its_longest_idle_one() -> None:
    async with talking(limits=Limits(sessions_per_principal=2), tolerance=BY_THE_BOOK) as talk:
        oldest, first = await talk.session()
        _, second = await talk.session()
        _, other = await talk.session(principal=Principal("https://idp.example", "bob"))
        await talk.session()
        assert (await talk.call(1, oldest).until_end()).status == 404
        await talk.settle()
        assert first.stopped
        assert not second.stopped
        assert not other.stopped
        assert talk.endpoint.status().sessions == 3


async def test_a_caller_whose_sessions_are_all_in_use_is_refused_in_words() -> None:
    async with talking(limits=Limits(sessions_per_principal=1)) as talk:
        session, child = await talk.session()
        busy = talk.call(1, session)
        heard = await child.heard("tools/call")
        refused = talk.send("POST", hello())
        answer = await refused.json()
        assert refused.status == 503
        assert "retry-after" in dict(refused.answered)
        assert isinstance(answer["error"], dict)
        assert answer["error"]["code"] == -32010
        child.answer(heard)
        assert (await busy.until_end()).status == 200


async def test_an_agent_that_is_full_refuses_in_words() -> None:
    async with talking(limits=Limits(sessions=1)) as talk:
        await talk.session()
        refused = talk.send("POST", hello(), principal=Principal("https://idp.example", "bob"))
        await refused.until_end()
        assert refused.status == 503


async def test_a_session_that_nobody_uses_ends_and_one_with_a_stream_does_not() -> None:
    async with talking(limits=Limits(idle_timeout=100), tolerance=BY_THE_BOOK) as talk:
        idle, first = await talk.session()
        listened, second = await talk.session()
        get = talk.send("GET", session=listened)
        await get.until_head()
        await _pass(talk, 120)
        assert first.stopped
        assert not second.stopped
        assert (await talk.call(1, idle).until_end()).status == 404
        get.leave()
        await _pass(talk, 120)
        assert second.stopped


async def _pass(talk: Talk, seconds: float) -> None:
    """Let this much of the virtual time pass."""
    await talk.settle()
    await asyncio.sleep(seconds)
    await talk.settle()


async def test_a_server_that_leaves_the_configuration_takes_its_sessions_along() -> None:
    async with talking(servers={"files": spec("files"), "crm": spec("crm")}) as talk:
        _, child = await talk.session()
        gone, other = await talk.session(server="crm")
        call = talk.send("POST", CALL, session=gone, server="crm")
        await other.heard("tools/call")
        talk.endpoint.reload({"files": spec("files")}, Gate.of({"files": EVERYTHING}))
        result = (await call.json())["result"]
        assert isinstance(result, dict)
        assert result["_meta"]["penstock/outcome"]["outcome"] == "outcome_unknown"
        await talk.settle()
        assert other.stopped
        assert not child.stopped
        assert talk.children.forgotten == ["crm"]


async def test_a_changed_expose_list_holds_for_open_sessions_at_once() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        listing = talk.call(1, session, "tools/list")
        asked = await child.heard("tools/list")
        talk.endpoint.reload({"files": spec()}, Gate.of({"files": ("tool:a",)}))
        child.answer(asked, {"tools": [{"name": "a"}, {"name": "b"}]})
        assert (await listing.json())["result"] == {"tools": [{"name": "a"}]}
        denied = await talk.call(2, session, name="b").json()
        assert isinstance(denied["result"], dict)
        assert denied["result"]["isError"] is True
        assert not child.stopped


async def test_a_changed_command_replaces_the_child_between_calls_and_the_session_lives() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        call = talk.call(1, session)
        heard = await child.heard("tools/call")
        talk.endpoint.reload({"files": spec("files", "--new")}, Gate.of({"files": EVERYTHING}))
        await talk.settle()
        assert not child.stopped
        child.answer(heard, {"content": []})
        assert (await call.json())["result"] == {"content": []}
        await talk.settle()
        assert child.stopped
        assert talk.children.forgotten == ["files"]

        again = talk.call(2, session)
        second = await talk.children.number(2)
        assert second.spec.command == ("server", "--new")
        second.answer(await second.heard("initialize"), {"protocolVersion": "2025-11-25"})
        await second.heard("notifications/initialized")
        second.answer(await second.heard("tools/call"))
        assert (await again.until_end()).status == 200


async def test_whatever_fails_inside_ends_one_exchange_only(monkeypatch: pytest.MonkeyPatch) -> None:
    async with talking() as talk:
        session, child = await talk.session()
        broken = Gate({})
        monkeypatch.setattr(broken, "inbound", lambda *_: 1 / 0)
        talk.endpoint.reload({"files": spec()}, broken)
        call = await talk.call(1, session).until_end()
        assert call.failed == "the agent failed inside"
        talk.endpoint.reload({"files": spec()}, Gate.of({"files": EVERYTHING}))
        again = talk.call(2, session)
        child.answer(await child.heard("tools/call"))
        assert (await again.until_end()).status == 200


async def test_before_it_runs_and_while_it_stops_the_endpoint_starts_nothing() -> None:
    async with talking() as talk:
        endpoint = talk.endpoint
        session, child = await talk.session()
        call = talk.call(1, session)
        await child.heard("tools/call")
        get = talk.send("GET", session=session)
        await get.until_head()
    assert (await get.until_end()).ended or get.failed
    result = (await call.json())["result"]
    assert isinstance(result, dict)
    assert result["_meta"]["penstock/outcome"]["outcome"] == "outcome_unknown"
    late = FakeExchange(
        "files", headers=(("content-type", "application/json"),), body=json.dumps(hello()).encode()
    )
    await endpoint.serve(late)
    assert late.status == 503


async def test_status_says_what_happens_now() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        call = talk.call(1, session)
        heard = await child.heard("tools/call")
        child.say(b"junk")
        await talk.settle()
        status = talk.endpoint.status()
        assert (status.sessions, status.held_bytes) == (1, 0)
        assert status.servers["files"].calls == 1
        assert status.servers["files"].events == {"junk": 1}
        child.answer(heard)
        await call.until_end()


async def test_a_caller_that_is_gone_before_anything_is_answered_does_no_harm() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        gone = talk.send("POST", b"{", session=session)
        gone.leave(DoneReason.CLIENT_GONE)
        await talk.settle()
        call = talk.call(1, session)
        child.answer(await child.heard("tools/call"))
        assert (await call.until_end()).status == 200


async def test_a_client_that_listens_is_told_that_other_things_are_exposed() -> None:
    async with talking() as talk:
        begun = talk.send("POST", hello())
        child = await talk.children.number(1)
        offered: Json = {"tools": {"listChanged": True}, "prompts": {}, "resources": {"listChanged": True}}
        child.answer(
            await child.heard("initialize"), {"protocolVersion": "2025-11-25", "capabilities": offered}
        )
        await begun.until_end()
        session = dict(begun.answered)["mcp-session-id"]
        listening = talk.send("GET", session=session)
        await listening.until_head()
        talk.endpoint.reload({"files": spec()}, Gate.of({"files": EVERYTHING}))
        await talk.settle()
        assert listening.events() == [], "nothing has changed"
        talk.endpoint.reload({"files": spec()}, Gate.of({"files": ("tool:a",)}))
        told = [(await listening.event())["method"] for _ in range(2)]
        assert told == ["notifications/tools/list_changed", "notifications/resources/list_changed"]
        assert not child.stopped
