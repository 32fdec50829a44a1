"""The site's rules and budgets, in each part of the endpoint."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import pytest

from penstock.principal import Principal
from penstock_agent.children.eras import Era
from penstock_agent.endpoint import Limits
from penstock_agent.exchange import DoneReason, Purpose
from penstock_agent.gate.gate import Gate
from penstock_agent.gate.policy.books import Books
from penstock_agent.gate.policy.rules import Policy
from penstock_agent.ledger.entries import Decision, Entry, Unrecorded
from tests.agent.endpoint.handshake.test_calls import outcome
from tests.agent.endpoint.handshake.test_httpsse import accepted, ready
from tests.agent.endpoint.modern import kit as modern
from tests.agent.endpoint.talk import EVERYTHING, FakeChild, Json, Talk, hello, spec, talking
from tests.agent.gate.policy.kit import rules
from tests.harness.fake_exchange import ALICE, FakeExchange

BOB = Principal("https://idp.example", "bob", client="assistant")
READS_TEXT = """
[[rules]]
name = "alice reads"
users = ["alice"]
allow = ["echo", "read_*", "resource:file:///a/**", "prompt:sum"]
[rules.arguments.echo]
text = { max_length = 3, optional = true }
"""
READS = rules(READS_TEXT)
ONE_AT_A_TIME = rules('[[rules]]\nname = "one"\nallow = ["*", "prompt:*"]\n[rules.budget]\nconcurrent = 1\n')
SMALL = rules(
    '[[rules]]\nname = "small"\nallow = ["*"]\n[rules.budget]\nmax_result = 40\nbytes_per_day = 60\n'
)
TOOLS = [{"name": name} for name in ("echo", "write", "read_a")]

_keys = itertools.count(1)


class Seen(Unrecorded):
    def __init__(self) -> None:
        self.entries: list[Entry] = []

    def record(self, entry: Entry, /) -> None:
        self.entries.append(entry)

    @property
    def last(self) -> tuple[str, str, str]:
        entry = self.entries[-1]
        assert isinstance(entry, Decision)
        return entry.verdict.value, entry.rule, entry.item


def keyed(exchange: FakeExchange) -> FakeExchange:
    """With a key of its own, as every exchange has."""
    exchange.key = f"{next(_keys):032x}-1"
    return exchange


def words(answer: Json) -> str:
    """Of a tool's error, or of another."""
    result = answer.get("result")
    return json.dumps(answer["error"] if result is None else result)


def is_over(answer: Json) -> bool:
    return "used up" in words(answer) and outcome(answer) == ("denied", False)


async def test_a_call_is_held_to_the_rules_and_the_ledger_says_by_which() -> None:
    ledger = Seen()
    async with talking(policies={"files": READS}, ledger=ledger) as talk:
        session, child = await talk.session()
        allowed = talk.call(1, session, arguments={"text": "abc"})
        child.answer(await child.heard("tools/call"), {"content": []})
        await allowed.json()
        assert ledger.last == ("allowed", 'rule "alice reads"', "tool:echo")
        long = await talk.call(2, session, arguments={"text": "abcd"}).json()
        assert outcome(long) == ("denied", False)
        assert "text must have 3 characters or elements at most, where it is given" in words(long)
        assert ledger.last == ("denied", 'rule "alice reads"', "tool:echo")
        hidden = await talk.call(3, session, name="write").json()
        assert "exposes no tool of that name" in words(hidden)
        assert ledger.last == ("denied", "rules", "tool:write")
        uses: list[tuple[str, dict[str, object]]] = [
            ("resources/read", {"uri": "file:///b"}),
            ("resources/subscribe", {"uri": "file:///b"}),
            ("prompts/get", {"name": "other"}),
            ("completion/complete", {"ref": {"type": "ref/prompt", "name": "other"}, "argument": {}}),
            ("x/unknown", {}),
        ]
        for method, params in uses:
            body: Json = {"jsonrpc": "2.0", "id": 4, "method": method, "params": params}
            refused = await talk.send("POST", body, session=session).json()
            assert outcome(refused) == ("denied", False), method
        assert child.heard_nothing


async def test_lists_show_what_some_rule_allows_the_caller() -> None:
    async with talking(policies={"files": READS}) as talk:
        for who, expected in ((ALICE, ["echo", "read_a"]), (BOB, [])):
            session, child = await talk.session(principal=who)
            body: Json = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
            listed = talk.send("POST", body, session=session, principal=who)
            child.answer(await child.heard("tools/list"), {"tools": TOOLS})
            result = (await listed.json())["result"]
            assert isinstance(result, dict)
            assert [tool["name"] for tool in result["tools"]] == expected


async def test_a_caller_who_may_use_nothing_does_not_hear_what_the_server_logs() -> None:
    async with talking(policies={"files": READS}) as talk:
        for who, heard in ((ALICE, 1), (BOB, 0)):
            session, child = await talk.session(principal=who)
            stream = talk.send("GET", session=session, principal=who)
            await stream.until_head()
            child.note("notifications/message", level="info", data="x")
            child.note("notifications/x/own", data="x")
            await talk.settle()
            assert len(stream.raw_events()) == 2 * heard
            child.note("notifications/tools/list_changed")
            await talk.settle()
            assert len(stream.raw_events()) == 2 * heard + 1


@pytest.mark.parametrize("era", [Era.DUAL, Era.HANDSHAKE])
async def test_the_same_for_requests_of_2026_07_28_and_over_the_bridge(era: Era) -> None:
    ledger = Seen()
    async with talking(policies={"files": READS}, ledger=ledger) as talk:
        first = modern.ask(talk, 1, name="write")
        await modern.probed(talk, era)
        assert "exposes no tool of that name" in words(await first.json())
        assert ledger.last == ("denied", "rules", "tool:write")
        long = await modern.ask(talk, 2, arguments={"text": "abcd"}).json()
        assert outcome(long) == ("denied", False)
        assert ledger.last == ("denied", 'rule "alice reads"', "tool:echo")
        other = modern.send(talk, modern.request(3, "tools/call", name="echo"), principal=BOB)
        assert outcome(await other.json()) == ("denied", False)
        unknown = await modern.ask(talk, 4, "x/unknown").until_end()
        assert unknown.status == 404


async def test_the_same_in_http_sse() -> None:
    async with talking(policies={"files": READS}) as talk:
        client, child = await ready(talk)
        await accepted(client.call(1, name="write"))
        await accepted(client.call(2, arguments={"text": "abcd"}))
        await talk.settle()
        said = [json.loads(data) for kind, data in client.events() if kind == "message"]
        assert [outcome(one) for one in said[-2:]] == [("denied", False)] * 2
        assert child.heard_nothing
        client.stream.leave()


async def test_each_call_of_a_batch_is_judged_and_counted() -> None:
    twice = rules('[[rules]]\nname = "r"\nallow = ["echo"]\n[rules.budget]\ncalls_per_day = 2\n')
    async with talking(policies={"files": twice}) as talk:
        session, child = await talk.session("2025-03-26")
        calls = [
            {"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": {"name": name}}
            for id, name in enumerate(["echo", "write", "echo", "echo"])
        ]
        batch = keyed(talk.send("POST", json.dumps(calls).encode(), session=session))
        for _ in range(2):
            child.answer(await child.heard("tools/call"), {"content": []})
        await batch.until_end()
        found = {one["id"]: one for one in json.loads(batch.content)}
        assert "isError" not in found[0]["result"]
        assert outcome(found[1]) == ("denied", False)
        assert is_over(found[3])
        assert child.heard_nothing


# Concurrency: all ways in which a call ends.


async def begun(talk: Talk, session: str, child: FakeChild) -> tuple[FakeExchange, Json]:
    """A call that takes the only place."""
    exchange = keyed(talk.call(1, session))
    heard = await child.heard("tools/call")
    refused = await keyed(talk.call(2, session)).json()
    assert is_over(refused)
    assert "1 call at a time" in words(refused)
    return exchange, heard


async def again(talk: Talk, session: str, child: FakeChild) -> None:
    """There is a place again, and only one."""
    call = keyed(talk.call(9, session))
    heard = await child.heard("tools/call")
    assert is_over(await keyed(talk.call(10, session)).json())
    child.answer(heard, {"content": []})
    assert "isError" not in words(await call.json())


async def test_a_place_is_free_after_an_answer_an_error_and_a_cancelling() -> None:
    async with talking(policies={"files": ONE_AT_A_TIME}) as talk:
        session, child = await talk.session()
        call, heard = await begun(talk, session, child)
        child.answer(heard, {"content": []})
        await call.json()
        call, heard = await begun(talk, session, child)
        child.say({"jsonrpc": "2.0", "id": heard["id"], "error": {"code": -1, "message": "no"}})
        await call.json()
        call, heard = await begun(talk, session, child)
        await talk.note(session, "notifications/cancelled", requestId=1).until_end()
        await call.until_end()
        await child.heard("notifications/cancelled")
        await again(talk, session, child)


async def test_a_place_is_free_after_junk_an_answer_too_large_and_a_deadline() -> None:
    async with talking(policies={"files": ONE_AT_A_TIME}, call_timeout=30.0) as talk:
        session, child = await talk.session()
        call, heard = await begun(talk, session, child)
        child.say(b'{"jsonrpc":"2.0","id":%b,"result":1,"error":1}' % json.dumps(heard["id"]).encode())
        await call.until_end()
        call, _ = await begun(talk, session, child)
        await talk.pass_time(31)
        await call.until_end()
        await child.heard("notifications/cancelled")
        await again(talk, session, child)


async def test_a_place_is_free_after_a_crash() -> None:
    async with talking(policies={"files": ONE_AT_A_TIME}) as talk:
        session, child = await talk.session()
        call, _ = await begun(talk, session, child)
        child.die()
        await call.until_end()
        next_one = keyed(talk.call(9, session))
        second = await talk.children.number(2)
        second.answer(await second.heard("initialize"), {"protocolVersion": "2025-11-25"})
        await second.heard("notifications/initialized")
        second.answer(await second.heard("tools/call"), {"content": []})
        assert "isError" not in words(await next_one.json())


async def test_a_place_is_free_after_the_session_has_ended() -> None:
    async with talking(policies={"files": ONE_AT_A_TIME}) as talk:
        session, child = await talk.session()
        call, _ = await begun(talk, session, child)
        await talk.send("DELETE", session=session).until_end()
        await call.until_end()
        session, child = await talk.session()
        await again(talk, session, child)


async def test_whose_connection_is_lost_still_has_a_call_that_runs() -> None:
    async with talking(policies={"files": ONE_AT_A_TIME}) as talk:
        session, child = await talk.session()
        call, heard = await begun(talk, session, child)
        await talk.pass_time(5)
        call.leave(DoneReason.CLIENT_GONE)
        await talk.pass_time(5)
        assert is_over(await keyed(talk.call(3, session)).json()), "in the handshake era it goes on"
        child.answer(heard, {"content": []})
        await talk.settle()
        await again(talk, session, child)


async def test_a_caller_who_is_revoked_gives_the_place_back() -> None:
    async with talking(policies={"files": ONE_AT_A_TIME}) as talk:
        session, child = await talk.session()
        call, _ = await begun(talk, session, child)
        await talk.pass_time(5)
        call.leave(DoneReason.REVOKED)
        await talk.pass_time(5)
        await child.heard("notifications/cancelled")
        await again(talk, session, child)


async def test_a_call_that_never_reaches_its_child_gives_the_place_back() -> None:
    async with talking(policies={"files": ONE_AT_A_TIME}, call_timeout=20.0) as talk:
        session, child = await talk.session()
        child.accepts.clear()
        stuck = keyed(talk.call(1, session))
        await talk.pass_time(21)
        await stuck.until_end()
        child.accepts.set()
        await again(talk, session, child)


async def test_two_sessions_and_two_applications_of_one_person_share_a_budget_and_others_do_not() -> None:
    async with talking(policies={"files": ONE_AT_A_TIME}) as talk:
        session, child = await talk.session()
        await begun(talk, session, child)
        other = replace(ALICE, client="another")
        for who, over in ((other, True), (BOB, False)):
            mine, own = await talk.session(principal=who)
            body: Json = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo"}}
            call = keyed(talk.send("POST", body, session=mine, principal=who))
            if not over:
                own.answer(await own.heard("tools/call"), {"content": []})
            assert is_over(await call.json()) is over


async def test_in_http_sse_a_call_runs_until_its_answer_not_until_it_is_accepted() -> None:
    async with talking(policies={"files": ONE_AT_A_TIME}) as talk:
        client, child = await ready(talk)
        await accepted(keyed(client.call(1)))
        heard = await child.heard("tools/call")
        await accepted(keyed(client.call(2)))
        child.answer(heard, {"content": []})
        await talk.settle()
        await accepted(keyed(client.call(3)))
        await child.heard("tools/call")
        said = [json.loads(data) for kind, data in client.events() if kind == "message"]
        assert [is_over(one) for one in said if one["id"] in (1, 2, 3)] == [True, False]
        client.stream.leave()


@pytest.mark.parametrize("reason", [DoneReason.CLIENT_GONE, DoneReason.REVOKED])
async def test_in_2026_07_28_who_goes_away_gives_the_place_back(reason: DoneReason) -> None:
    async with talking(policies={"files": ONE_AT_A_TIME}) as talk:
        child = await modern.started(talk)
        call = keyed(modern.ask(talk, 1))
        await child.heard("tools/call")
        assert is_over(await keyed(modern.ask(talk, 2)).json())
        await talk.pass_time(5)
        call.leave(reason)
        await talk.pass_time(5)
        await child.heard("notifications/cancelled")
        one = keyed(modern.ask(talk, 3))
        child.answer(await child.heard("tools/call"), {"resultType": "complete", "content": []})
        await one.json()
        crash = keyed(modern.ask(talk, 4))
        await child.heard("tools/call")
        child.die()
        assert outcome(await crash.json())[0] == "outcome_unknown"
        last = keyed(modern.ask(talk, 5))
        second = await modern.greeted(talk, len(talk.children.started) + 1)
        second.answer(await second.heard("tools/call"), {"resultType": "complete", "content": []})
        assert not is_over(await last.json())


async def test_over_the_bridge_a_call_that_waits_for_its_caller_leaves_its_place_to_the_next_round() -> None:
    async with talking(policies={"files": ONE_AT_A_TIME}) as talk:
        call = keyed(modern.ask(talk, 1))
        number = await modern.probed(talk, Era.HANDSHAKE)
        child = await talk.children.number(number)
        child.answer(await child.heard("initialize"), {"protocolVersion": "2025-11-25", "capabilities": {}})
        await child.heard("notifications/initialized")
        heard = await child.heard("tools/call")
        schema: Json = {"mode": "form", "message": "Sure?", "requestedSchema": {"type": "object"}}
        child.ask("q", "elicitation/create", **schema)
        await talk.pass_time(1)
        wanted = modern.result_of(await call.message())
        assert wanted["resultType"] == "input_required"
        requests = wanted["inputRequests"]
        assert isinstance(requests, dict)
        answers = {key: {"action": "accept", "content": {}} for key in requests}
        more = {"requestState": wanted["requestState"], "inputResponses": answers}
        second = keyed(modern.ask(talk, 2, **more))
        await child.heard()
        assert is_over(await keyed(modern.ask(talk, 3)).json())
        child.answer(heard, {"content": []})
        assert "used up" not in words(await second.message())
        third = keyed(modern.ask(talk, 4))
        child.answer(await child.heard("tools/call"), {"content": []})
        assert not is_over(await third.message())


# Sizes and days.


async def test_an_answer_that_is_too_large_is_an_error_with_its_size_and_the_limit() -> None:
    ledger = Seen()
    async with talking(policies={"files": SMALL}, ledger=ledger) as talk:
        session, child = await talk.session()
        large = keyed(talk.call(1, session))
        child.answer_raw(await child.heard("tools/call"), b'{"content":["%b"]}' % (b"x" * 40))
        answer = await large.json()
        assert outcome(answer) == ("outcome_unknown", False)
        assert "has 56 bytes, and this site lets out 40 bytes at most" in words(answer)
        assert "xxxx" not in words(answer)
        for id, over in ((2, False), (3, True)):
            call = keyed(talk.call(id, session))
            child.answer_raw(await child.heard("tools/call"), b'{"content":["%b"]}' % (b"x" * 20))
            answer = await call.json()
            assert ("in a day, 24 are left" in words(answer)) is over


async def test_the_same_in_2026_07_28() -> None:
    async with talking(policies={"files": SMALL}) as talk:
        child = await modern.started(talk)
        large = keyed(modern.ask(talk, 1))
        child.answer(await child.heard("tools/call"), {"resultType": "complete", "content": ["x" * 40]})
        assert "lets out 40 bytes at most" in words(await large.json())


async def test_a_day_that_is_used_up_begins_anew_at_midnight_and_outlives_the_agent() -> None:
    clock = [1_795_867_200.0]
    books, day = Books(), rules('[[rules]]\nname = "d"\nallow = ["*"]\n[rules.budget]\ncalls_per_day = 1\n')
    ledger = Seen()
    async with talking(policies={"files": day}, books=books, now=lambda: clock[0], ledger=ledger) as talk:
        session, child = await talk.session()
        call = keyed(talk.call(1, session))
        child.answer(await child.heard("tools/call"), {"content": []})
        await call.json()
        assert is_over(answer := await keyed(talk.call(2, session)).json())
        assert "2026-11-29T00:00:00Z, in 43200 s" in words(answer)
        assert ledger.last == ("over_budget", 'rule "d"', "tool:echo")
    later = Books()
    later.load(books.dump(clock[0]))
    async with talking(policies={"files": day}, books=later, now=lambda: clock[0]) as talk:
        session, child = await talk.session()
        assert is_over(await keyed(talk.call(1, session)).json())
        clock[0] += 43200
        call = keyed(talk.call(2, session))
        child.answer(await child.heard("tools/call"), {"content": []})
        assert not is_over(await call.json())


# The read-only profile, consent, reload.

READ_ONLY = rules("", 'profile = "read_only"')
MARKED = [{"name": "read_a", "annotations": {"readOnlyHint": True}}, {"name": "echo"}]


async def lists(talk: Talk, number: int) -> None:
    """A throw-away child tells what the server offers."""
    child = await talk.children.number(number)
    answer = {"protocolVersion": "2025-11-25", "capabilities": {"tools": {}}}
    child.answer(await child.heard("initialize"), answer)
    await child.heard("notifications/initialized")
    child.answer(await child.heard("tools/list"), {"tools": MARKED})


async def test_a_read_only_server_is_asked_which_tools_only_read() -> None:
    async with talking(policies={"files": READ_ONLY}) as talk:
        session, child = await talk.session()
        refused = talk.call(1, session)
        await lists(talk, 2)
        assert outcome(await refused.json()) == ("denied", False)
        allowed = talk.call(2, session, name="read_a")
        child.answer(await child.heard("tools/call"), {"content": []})
        assert "isError" not in words(await allowed.json())
        listed = talk.call(3, session, "tools/list")
        child.answer(await child.heard("tools/list"), {"tools": MARKED})
        assert "echo" not in words(await listed.json())


async def test_a_read_only_server_that_does_not_say_it_runs_nothing() -> None:
    async with talking(policies={"files": READ_ONLY}, limits=Limits(commit_after=1.0)) as talk:
        session, child = await talk.session()
        for method in ("tools/call", "tools/list"):
            refused = talk.call(1, session, method)
            await talk.pass_time(2)
            assert outcome(await refused.message()) == ("not_executed", True)
        assert child.heard_nothing


async def test_the_page_where_a_user_grants_shows_what_the_rules_allow_that_user() -> None:
    for who, names in ((ALICE, ["read_a", "echo"]), (BOB, [])):
        async with talking(policies={"files": READS}) as talk:
            asked = talk.send("POST", purpose=Purpose.CONSENT, principal=who)
            await lists(talk, 1)
            await asked.until_end()
            assert [tool["name"] for tool in json.loads(asked.content)["tools"]] == names


async def test_open_sessions_are_held_to_new_rules_and_told_when_lists_change() -> None:
    servers = {"files": spec("files"), "crm": spec("crm")}

    def gate(policy: Policy | None) -> Gate:
        return Gate.of(dict.fromkeys(servers, EVERYTHING), {} if policy is None else {"files": policy})

    async with talking(servers=servers) as talk:
        begun = talk.send("POST", hello())
        child = await talk.children.number(1)
        capabilities = {"tools": {"listChanged": True}}
        child.answer(
            await child.heard("initialize"), {"protocolVersion": "2025-11-25", "capabilities": capabilities}
        )
        await begun.until_end()
        session = dict(begun.answered)["mcp-session-id"]
        _, other = await talk.session(server="crm")
        stream = talk.send("GET", session=session)
        await stream.until_head()
        talk.endpoint.reload(servers, gate(READS))
        assert (await stream.event())["method"] == "notifications/tools/list_changed"
        assert outcome(await talk.call(1, session, name="write").json()) == ("denied", False)
        stricter = rules(READS_TEXT.replace("max_length = 3", "max_length = 1"))
        talk.endpoint.reload(servers, gate(stricter))
        await talk.settle()
        assert len(stream.raw_events()) == 1, "lists are as they were"
        assert outcome(await talk.call(2, session, arguments={"text": "ab"}).json()) == ("denied", False)
        assert len(talk.children.started) == 2
        assert not child.stopped
        assert not other.stopped, "the others notice nothing"
