"""HTTP+SSE of 2024-11-05: what comes on the stream, what a message is told, and who outlives whom."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import pytest

from penstock.allowance import Allowance, Later
from penstock.principal import Principal
from penstock_agent.callers.trust import NotProven
from penstock_agent.endpoint import Endpoint, Limits
from penstock_agent.exchange import DoneReason, Purpose
from penstock_agent.gate.gate import Gate
from tests.agent.endpoint.talk import (
    AGENT,
    EVERYTHING,
    FakeChild,
    FakeChildren,
    Json,
    Talk,
    hello,
    spec,
    talking,
)
from tests.harness.fake_exchange import ALICE, FakeExchange

BOB = Principal("https://idp.example", "bob", client="assistant")
CALL: Json = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo"}}
WHERE = re.compile(r"/plant/files/messages\?sessionId=([a-z2-7]{8}\.[A-Za-z0-9_-]{43})")


@dataclass
class Client:
    """A client of HTTP+SSE: its stream, and the key under which it posts."""

    talk: Talk
    stream: FakeExchange
    principal: Principal
    key: str = ""
    taken: int = 0

    def post(
        self,
        message: Json | bytes,
        *,
        principal: Principal | None = None,
        key: str | None = None,
        server: str = "files",
        deadline: float = float("inf"),
    ) -> FakeExchange:
        return self.talk.send(
            "POST",
            message,
            session=key or self.key,
            principal=principal or self.principal,
            server=server,
            deadline=deadline,
            purpose=Purpose.MESSAGES,
        )

    def call(self, id: object, method: str = "tools/call", **params: object) -> FakeExchange:
        if method == "tools/call":
            params = {"name": "echo", "arguments": {}, **params}
        return self.post({"jsonrpc": "2.0", "id": id, "method": method, "params": params})

    def note(self, method: str, **params: object) -> FakeExchange:
        return self.post({"jsonrpc": "2.0", "method": method, "params": params})

    def events(self) -> list[tuple[str, bytes]]:
        found = []
        for block in filter(None, self.stream.content.split(b"\n\n")[:-1]):
            kind, data = block.split(b"\n")
            found.append((kind.removeprefix(b"event: ").decode(), data.removeprefix(b"data: ")))
        return found

    async def event(self) -> tuple[str, bytes]:
        await self.stream.until(lambda: len(self.events()) > self.taken)
        self.taken += 1
        return self.events()[self.taken - 1]

    async def message(self) -> Json:
        kind, data = await self.event()
        assert kind == "message"
        value = json.loads(data)
        assert isinstance(value, dict)
        return value

    async def messages(self, count: int) -> list[Json]:
        return [await self.message() for _ in range(count)]

    @property
    def silent(self) -> bool:
        """Whether all that came has been looked at."""
        return len(self.events()) == self.taken


def opening(talk: Talk, principal: Principal = ALICE, **changes: object) -> FakeExchange:
    given: dict[str, object] = {"principal": principal, "purpose": Purpose.SSE, **changes}
    return talk.send("GET", **given)  # type: ignore[arg-type]  # as the test says


async def opened(talk: Talk, principal: Principal = ALICE, slow: asyncio.Event | None = None) -> Client:
    """A stream that is open."""
    client = Client(talk, opening(talk, principal, slow=slow), principal)
    assert await client.stream.until_head() == 200
    assert client.stream.content_type == "text/event-stream"
    kind, data = await client.event()
    assert kind == "endpoint"
    found = WHERE.fullmatch(data.decode())
    assert found is not None, data
    client.key = found[1]
    return client


async def ready(
    talk: Talk, version: str = "2024-11-05", principal: Principal = ALICE
) -> tuple[Client, FakeChild]:
    """A session that is initialized, and its child."""
    count = len(talk.children.started)
    client = await opened(talk, principal)
    begun = client.post(hello(version))
    child = await talk.children.number(count + 1)
    child.answer(await child.heard("initialize"), {"protocolVersion": version, "capabilities": {}})
    assert (await client.message())["id"] == 0
    await accepted(begun)
    await accepted(client.note("notifications/initialized"))
    await child.heard("notifications/initialized")
    return client, child


async def accepted(exchange: FakeExchange) -> None:
    await exchange.until_end()
    assert (exchange.status, exchange.content) == (202, b"Accepted")
    assert exchange.content_type == "text/plain; charset=utf-8"


async def refused(exchange: FakeExchange) -> tuple[int | None, bytes]:
    await exchange.until_end()
    return exchange.status, exchange.content


@asynccontextmanager
async def a_session(
    version: str = "2024-11-05", *, limits: Limits | None = None, call_timeout: float = 120.0
) -> AsyncIterator[tuple[Talk, Client, FakeChild]]:
    async with talking(limits=limits, call_timeout=call_timeout) as talk:
        client, child = await ready(talk, version)
        yield talk, client, child
        client.stream.leave()


# -- what comes where


async def test_the_stream_says_first_where_to_post_and_costs_no_child_until_somebody_does() -> None:
    async with talking() as talk:
        client = await opened(talk)
        assert client.key.startswith(AGENT.tag + ".")
        await talk.settle()
        assert talk.children.started == []
        assert talk.endpoint.status().sessions == 1
        client.stream.leave()


@pytest.mark.parametrize("version", ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"])
async def test_whatever_version_the_child_answers_is_the_one_agreed_on(version: str) -> None:
    async with a_session(version) as (_, client, child):
        await accepted(client.call("a"))
        child.answer(await child.heard("tools/call"), {"content": []})
        assert await client.message() == {"jsonrpc": "2.0", "id": "a", "result": {"content": []}}


async def test_the_bytes_of_an_answer_are_the_childs() -> None:
    async with a_session() as (_, client, child):
        client.call(1)
        child.answer_raw(await child.heard(), b'{ "n": 1.0000000000000000000000001 }')
        assert (await client.event())[1].endswith(b'"result":{ "n": 1.0000000000000000000000001 }}')


async def test_everything_comes_on_the_stream_in_the_order_in_which_the_child_said_it() -> None:
    async with a_session() as (_, client, child):
        await accepted(client.call(1, _meta={"progressToken": "a"}))
        await accepted(client.call(2, _meta={"progressToken": "b"}))
        first, second = await child.heard(), await child.heard()
        child.note("notifications/message", level="info", data="x")
        child.note("notifications/progress", progressToken="b", progress=1)
        child.note("notifications/progress", progressToken="a", progress=1)
        child.answer(second, {"mine": 2})
        child.note("notifications/tools/list_changed")
        child.ask(7, "ping-like", x=1)
        child.answer(first, {"mine": 1})
        child.note("notifications/progress", progressToken="a", progress=2)  # too late
        child.note("notifications/message", level="info", data="y")
        said = [m.get("method") or m["id"] for m in await client.messages(8)]
        assert said == [
            "notifications/message", "notifications/progress", "notifications/progress", 2,
            "notifications/tools/list_changed", "ping-like", 1, "notifications/message",
        ]  # fmt: skip
        assert client.silent


async def test_what_the_child_asks_is_answered_by_a_post_and_an_answer_too_late_is_no_harm() -> None:
    async with a_session() as (talk, client, child):
        client.call(1)
        call = await child.heard()
        child.ask(1, "elicitation/create", message="Sure?")
        asked = await client.message()
        assert asked["params"] == {"message": "Sure?"}
        reply: Json = {"jsonrpc": "2.0", "id": asked["id"], "result": {"action": "accept"}}
        await accepted(client.post(reply))
        assert await child.heard() == {"jsonrpc": "2.0", "id": 1, "result": {"action": "accept"}}
        # Clients give up on their transport for good when a POST fails.
        await accepted(client.post(reply))
        await talk.settle()
        assert child.heard_nothing
        child.answer(call)
        assert (await client.message())["id"] == 1


async def test_a_cancelled_call_ends_in_the_child_and_is_not_spoken_of_again() -> None:
    async with a_session() as (_, client, child):
        await accepted(client.call(1))
        call = await child.heard()
        await accepted(client.note("notifications/cancelled", requestId=1, reason="enough"))
        told = await child.heard("notifications/cancelled")
        assert told["params"] == {"requestId": call["id"], "reason": "enough"}
        child.answer(call, {"late": True})
        client.call(2)
        child.answer(await child.heard(), {})
        assert (await client.message())["id"] == 2
        assert client.silent


async def test_a_call_whose_poster_has_gone_is_answered_on_the_stream() -> None:
    async with a_session() as (_, client, child):
        call = client.call(1)
        call.leave()
        child.answer(await child.heard(), {"here": True})
        assert (await client.message())["result"] == {"here": True}


# -- what is refused


async def test_what_is_hidden_is_denied_in_words_on_the_stream() -> None:
    async with talking(("tool:read_*",)) as talk:
        client, child = await ready(talk)
        await accepted(client.call(3, name="delete_all"))
        answer = await client.message()
        assert answer["id"] == 3
        assert isinstance(answer["result"], dict)
        assert answer["result"]["isError"] is True
        assert child.heard_nothing
        client.stream.leave()


async def test_the_rights_of_the_newest_message_count() -> None:
    async with a_session() as (_, client, child):
        less = replace(ALICE, allowance=Allowance(tools=("read",)))
        await accepted(client.post(CALL, principal=less))
        answer = await client.message()
        assert isinstance(answer["result"], dict)
        assert answer["result"]["isError"] is True
        await accepted(client.post(CALL))
        child.answer(await child.heard(), {})
        assert (await client.message())["result"] == {}


@pytest.mark.parametrize("body", [b"[]", b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]', b"{", b"\xff", b""])
async def test_what_is_not_one_message_is_refused_where_it_was_posted(body: bytes) -> None:
    async with a_session() as (talk, client, child):
        assert (await refused(client.post(body)))[0] == 400
        await talk.settle()
        assert client.silent
        assert child.heard_nothing


async def test_a_session_is_initialized_once_and_belongs_to_the_era_of_handshakes() -> None:
    async with a_session() as (_, client, child):
        await accepted(client.post(hello(id=5)))
        again = await client.message()
        assert again["id"] == 5
        assert "another event stream" in str(again["error"])
        await accepted(client.call(6, "server/discover"))
        error = (await client.message())["error"]
        assert isinstance(error, dict)
        assert error["code"] == -32022
        assert error["data"]["supported"] == ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"]
        assert child.heard_nothing


async def test_a_session_that_is_not_there_is_the_same_whatever_the_reason() -> None:
    servers = {"files": spec(), "notes": spec("notes")}
    async with talking(servers=servers) as talk:
        client, _ = await ready(talk)
        ended, _ = await ready(talk)
        ended.stream.leave()
        await talk.settle()
        streamable, _ = await talk.session()
        gone = await refused(client.post(CALL, key=client.key[:-1] + "~"))
        assert gone[0] == 404
        for stolen in (
            client.post(CALL, principal=BOB),
            client.post(CALL, principal=replace(ALICE, client="another")),
            client.post(CALL, server="notes"),
            ended.post(CALL),
            client.post(CALL, key=streamable),
        ):
            assert await refused(stolen) == gone
        client.stream.leave()


async def test_a_key_of_a_stream_opens_nothing_in_streamable_http() -> None:
    async with a_session() as (talk, client, child):
        never = await refused(talk.send("POST", CALL, session=client.key[:-1] + "~"))
        assert await refused(talk.send("POST", CALL, session=client.key)) == never
        for method in ("GET", "DELETE"):
            assert (await refused(talk.send(method, session=client.key)))[0] == 404
        client.call(1)
        child.answer(await child.heard(), {})
        assert (await client.message())["id"] == 1


async def test_a_message_without_its_session_or_with_two_is_refused() -> None:
    async with a_session() as (talk, client, _):
        none = talk.send("POST", CALL, purpose=Purpose.MESSAGES)
        assert (await refused(none))[0] == 400
        headers = (("content-type", "application/json"), ("mcp-session-id", client.key))
        two = FakeExchange("files", "POST", (*headers, headers[1]), b"{}", purpose=Purpose.MESSAGES)
        await talk.endpoint.serve(two)
        assert two.status == 400


@pytest.mark.parametrize(
    ("method", "purpose", "headers", "status"),
    [
        ("POST", Purpose.SSE, {}, 405),
        ("DELETE", Purpose.SSE, {}, 405),
        ("GET", Purpose.SSE, {"accept": "application/json"}, 406),
        ("GET", Purpose.MESSAGES, {}, 405),
        ("DELETE", Purpose.MESSAGES, {}, 405),
        ("POST", Purpose.MESSAGES, {"content-type": "text/plain"}, 415),
    ],
)
async def test_each_half_has_one_method(
    method: str, purpose: Purpose, headers: dict[str, str], status: int
) -> None:
    async with talking() as talk:
        exchange = talk.send(method, b"{}" if method == "POST" else b"", headers=headers, purpose=purpose)
        assert (await refused(exchange))[0] == status
        assert talk.endpoint.status().sessions == 0


async def test_an_unknown_server_has_no_stream() -> None:
    async with talking() as talk:
        assert (await refused(opening(talk, server="nope")))[0] == 404


class ProviderOnly:
    def challenge(self, server: str) -> str | None:
        return "c"

    async def admit(self, server: str, principal: Principal) -> None:
        if principal.proof != b"good":
            raise NotProven("Log in.")


async def test_a_caller_whom_the_site_does_not_believe_gets_no_stream_and_later_no_answer() -> None:
    async with talking(callers=ProviderOnly()) as talk:
        status, text = await refused(opening(talk))
        assert (status, b"Log in." in text) == (403, True)
        client, child = await ready(talk, principal=replace(ALICE, proof=b"good"))
        await accepted(client.post(CALL, principal=ALICE))
        assert "Log in." in str(await client.message())
        note: Json = {"jsonrpc": "2.0", "method": "notifications/roots/list_changed"}
        await accepted(client.post(note, principal=ALICE))
        assert child.heard_nothing
        client.stream.leave()


async def test_a_grant_of_read_only_tools_waits_for_their_marks() -> None:
    async with talking(limits=Limits(commit_after=1.0)) as talk:
        client, child = await ready(talk)
        await accepted(
            client.post(CALL, principal=replace(ALICE, allowance=Allowance(later=Later.READ_ONLY)))
        )
        assert "did not say which" in str(await client.message())
        assert child.heard_nothing
        client.stream.leave()


# -- who outlives whom


@pytest.mark.parametrize("reason", [r for r in DoneReason if r is not DoneReason.OK])
async def test_whatever_ends_the_stream_ends_the_session_and_its_child(reason: DoneReason) -> None:
    async with talking() as talk:
        client, child = await ready(talk)
        client.call(1)
        await child.heard("tools/call")
        client.stream.leave(reason)
        await talk.settle()
        assert child.stopped
        assert talk.endpoint.status().sessions == 0
        assert (await refused(client.post(CALL)))[0] == 404


async def test_two_hundred_streams_that_were_left_leave_nothing() -> None:
    async with talking() as talk:
        for number in range(200):
            client, child = await ready(talk) if number % 2 else (await opened(talk), None)
            client.stream.leave()
            await talk.settle()
            assert child is None or child.stopped
        assert talk.endpoint.status().sessions == 0
        assert len(talk.children.started) == 100


async def test_a_session_that_ends_on_site_ends_its_stream_with_what_it_still_had_to_say() -> None:
    async with talking() as talk:
        client, child = await ready(talk)
        client.call(1)
        await child.heard("tools/call")
        talk.endpoint.reload({}, Gate.of({}))
        answer = await client.message()
        assert answer["id"] == 1
        assert "outcome_unknown" in str(answer)
        await client.stream.until_end()
        assert client.stream.ended
        assert (await refused(client.post(CALL)))[0] == 404
        await talk.settle()
        assert child.stopped


async def test_a_child_that_dies_leaves_the_outcome_unknown_and_the_next_call_finds_another() -> None:
    async with a_session() as (talk, client, child):
        client.call(1)
        await child.heard("tools/call")
        child.die()
        assert "outcome_unknown" in str(await client.message())
        client.call(2)
        second = await talk.children.number(2)
        second.answer(await second.heard("initialize"), {"protocolVersion": "2024-11-05"})
        await second.heard("notifications/initialized")
        second.answer(await second.heard("tools/call"), {"again": True})
        assert (await client.message())["result"] == {"again": True}


async def test_a_child_that_dies_before_it_was_initialized_takes_the_stream_with_it() -> None:
    async with talking() as talk:
        client = await opened(talk)
        begun = client.post(hello())
        child = await talk.children.number(1)
        await child.heard("initialize")
        child.die()
        assert "right after it was started" in str(await client.message())
        await client.stream.until_end()
        await accepted(begun)


async def test_a_stream_ends_at_its_deadline() -> None:
    async with talking() as talk:
        stream = opening(talk, deadline=500.0)
        await stream.until_head()
        assert talk.endpoint.status().sessions == 1
        await stream.until(lambda: stream.ended)
        assert talk.endpoint.status().sessions == 0


async def test_a_session_with_an_open_stream_is_never_idle() -> None:
    async with a_session(limits=Limits(idle_timeout=60.0)) as (_, client, child):
        await asyncio.sleep(3600)
        client.call(1)
        child.answer(await child.heard(), {})
        assert (await client.message())["id"] == 1


async def test_an_endpoint_that_does_not_run_opens_no_stream() -> None:
    endpoint = Endpoint(AGENT, {"files": spec()}, Gate.of({"files": EVERYTHING}), FakeChildren())
    exchange = FakeExchange("files", "GET", (("accept", "text/event-stream"),), purpose=Purpose.SSE)
    await endpoint.serve(exchange)
    assert exchange.status == 503


async def test_an_agent_that_stops_waits_for_calls_and_tells_those_that_it_gives_up() -> None:
    async with talking() as talk, asyncio.TaskGroup() as tasks:
        stream = FakeExchange("files", "GET", (("accept", "text/event-stream"),), purpose=Purpose.SSE)
        serving = tasks.create_task(talk.endpoint.serve(stream))
        client = Client(talk, stream, ALICE)
        found = WHERE.fullmatch((await client.event())[1].decode())
        assert found is not None
        client.key = found[1]
        begun = client.post(hello())
        child = await talk.children.number(1)
        await child.heard("initialize")
        await accepted(begun)
        quiet = tasks.create_task(talk.endpoint.quiet())
        await talk.settle()
        assert not quiet.done()
        serving.cancel()
        await quiet
        assert "The session was ended" in stream.content.decode()
        assert stream.content.endswith(b"\n\n")
        await asyncio.wait([serving])
        assert talk.endpoint.status().sessions == 0
        await talk.endpoint.quiet()


# -- time, and bounds


async def test_a_call_that_takes_too_long_is_given_up_on_the_stream() -> None:
    async with a_session(call_timeout=20.0) as (_, client, child):
        await accepted(client.call(1))
        call = await child.heard()
        answer = await client.message()
        assert "outcome_unknown" in str(answer)
        told = await child.heard("notifications/cancelled")
        assert told["params"] == {"requestId": call["id"], "reason": "deadline"}
        client.call(2)
        child.answer(await child.heard(), {})
        assert (await client.message())["id"] == 2


async def test_the_deadline_of_its_message_is_that_of_a_call() -> None:
    async with a_session() as (_, client, child):
        now = asyncio.get_running_loop().time
        client.post(CALL, deadline=now() + 7)
        await child.heard()
        begun = now()
        await client.message()
        assert now() - begun == pytest.approx(7, abs=0.1)


async def test_a_child_that_does_not_answer_initialize_ends_the_stream_in_time() -> None:
    async with talking(call_timeout=20.0) as talk:
        client = await opened(talk)
        begun = client.post(hello())
        child = await talk.children.number(1)
        await child.heard("initialize")
        assert "did not answer initialize" in str(await client.message())
        await client.stream.until_end()
        await accepted(begun)


async def test_a_message_is_accepted_in_time_though_the_child_takes_nothing_yet() -> None:
    async with a_session() as (_, client, child):
        child.accepts.clear()
        now = asyncio.get_running_loop().time
        begun = now()
        await accepted(client.call(1))
        assert now() - begun == pytest.approx(15, abs=0.1)
        child.accepts.set()
        child.answer(await child.heard(), {"after": "all"})
        assert (await client.message())["result"] == {"after": "all"}


async def test_a_child_that_never_takes_a_message_has_not_executed_it() -> None:
    async with a_session() as (_, client, child):
        child.accepts.clear()
        await accepted(client.call(1))
        answer = await client.message()
        assert "not_executed" in str(answer)
        note = client.note("notifications/roots/list_changed")
        assert (await refused(note))[0] == 503
        child.accepts.set()


async def test_too_many_sessions_are_refused_with_the_time_to_come_back() -> None:
    async with talking(limits=Limits(sessions_per_principal=1)) as talk:
        client = await opened(talk)
        another = opening(talk)
        assert (await refused(another))[0] == 503
        assert dict(another.answered)["retry-after"]
        await talk.settle()
        assert talk.endpoint.status().sessions == 1
        client.stream.leave()


async def test_a_client_that_does_not_read_its_stream_is_taken_no_more_from() -> None:
    async with talking(limits=Limits(stream_events=3)) as talk:
        reading = asyncio.Event()
        reading.set()
        client = await opened(talk, slow=reading)
        reading.clear()
        statuses = [(await refused(client.call(n, "server/discover")))[0] for n in range(6)]
        assert statuses == [202, 202, 202, 503, 503, 503]
        reading.set()
        assert [m["id"] for m in await client.messages(3)] == [0, 1, 2]
        await accepted(client.call(9, "server/discover"))
        client.stream.leave()


async def test_requests_that_wait_for_their_answers_are_bounded_in_number_and_size() -> None:
    async with a_session(limits=Limits(calls_per_session=3)) as (_, client, child):
        for number in range(3):
            await accepted(client.call(number))
        status, text = await refused(client.call(3))
        assert (status, json.loads(text)["error"]["code"]) == (503, -32010)
        child.answer(await child.heard(), {})
        await client.message()
        await accepted(client.call(4))
    async with a_session() as (_, client, child):
        for number in range(5):
            await accepted(client.call(number, arguments={"x": "x" * 3_500_000}))
        assert (await refused(client.call(5)))[0] == 503
        for _ in range(5):
            child.answer(await child.heard(), {})
        await client.messages(5)
        await accepted(client.call(6))
        await accepted(client.note("notifications/cancelled", requestId=6))


async def test_what_a_client_leaves_unread_is_given_back() -> None:
    async with talking() as talk:
        reading = asyncio.Event()
        reading.set()
        client = await opened(talk, slow=reading)
        client.post(hello())
        child = await talk.children.number(1)
        child.answer(await child.heard("initialize"), {"protocolVersion": "2024-11-05"})
        await client.message()
        reading.clear()
        for number in range(4):
            client.call(number)
            child.answer(await child.heard(), {"x": "x" * 100_000})
        await talk.settle()
        assert talk.endpoint.status().held_bytes > 300_000
        client.stream.leave()
        reading.set()
        await talk.settle()
        assert talk.endpoint.status().held_bytes == 0
