"""Answers that wait on site for somebody to let them out, in each way that a caller has."""

from __future__ import annotations

import json

import pytest

from penstock.names import WHOLE_SITE
from penstock.principal import Principal
from penstock_agent.endpoint.approving import Approving
from penstock_agent.gate.approval import EXPIRY_S, MOST_ANSWER, MOST_OF_ONE, REMEMBERED_S, Request
from penstock_agent.gate.expose import Expose
from penstock_agent.gate.gate import Gate
from penstock_agent.gate.policy.taint import Taint
from penstock_agent.ledger.entries import Decision, Verdict
from penstock_agent.site.redacting import SiteRedactor
from penstock_agent.site.spec import SiteView
from tests.agent.endpoint.bridge.down.crossing import crossing, result
from tests.agent.endpoint.handshake.test_calls import outcome
from tests.agent.endpoint.handshake.test_httpsse import ready
from tests.agent.endpoint.modern.kit import ask, started
from tests.agent.endpoint.talk import EVERYTHING, FakeChild, Json, Talk, talking
from tests.agent.endpoint.test_redaction import BLOCK, CARD, MAIL, MASKED, NO_MAIL, RESULT, Book, gate, ruled
from tests.agent.site.kit import Script, endpoint, site_spec, tool
from tests.agent.site.test_redacting import made
from tests.agent.site.test_site_endpoint import begin, post
from tests.agent.site.test_site_endpoint import result as site_result
from tests.harness.fake_exchange import ALICE, FakeExchange

ASK = gate({"find": ["card"], "action": "ask"}, {"find": ["email"]})
LET_OUT: Json = {"content": [{"type": "text", "text": f"{NO_MAIL} pays with {CARD}"}]}


class Site:
    """The people on site, and the time there."""

    def __init__(self, talk: Talk) -> None:
        self.later = 0.0
        self.announced: list[Request] = []
        self.approving = talk.endpoint._shared.approving = Approving(
            on_asked=self.announced.append, clock=lambda: self.later
        )

    @property
    def waiting(self) -> Request:
        (one,) = self.approving.requests()
        return one

    def answer(self, approved: bool) -> None:
        self.approving.answer(self.waiting.id, approved, 1000)


async def kept(call: FakeExchange, child: FakeChild, answer: Json = RESULT) -> str:
    """Let a call run; what its caller is told."""
    child.answer(await child.heard("tools/call"), answer)
    told = await call.json()
    assert outcome(told) == ("denied", False)
    text = json.dumps(told)
    assert CARD not in text
    assert MAIL not in text
    return text


def decided(book: Book) -> Decision:
    return [one for one in book.entries if isinstance(one, Decision)][-1]


async def test_the_answer_waits_on_site_and_the_same_call_collects_it_once() -> None:
    async with talking() as talk:
        book, site = ruled(talk, ASK), Site(talk)
        session, child = await talk.session()
        told = await kept(talk.call(1, session, arguments={"a": 1, "b": 2}), child)
        assert "The call has run, and its answer waits for approval on site" in told
        assert "(card number)" in told
        call = site.waiting.call
        assert (call.server, call.item, call.arguments) == (
            "files",
            "answer of tool:echo",
            b'{"a": 1, "b": 2}',
        )
        assert call.why == 'redaction, action = "ask": card (1), email (1)'
        assert CARD in call.answer.decode()
        assert CARD not in repr(site.announced)
        assert book.masked == [("tool:echo", "ask", {"card": 1, "email": 1})]

        again = await talk.call(2, session, arguments={"b": 2, "a": 1}).json()
        assert "still waits for approval" in json.dumps(again)
        assert (decided(book).verdict, decided(book).approval) == (Verdict.WAITING, site.waiting.id)
        id = site.waiting.id
        site.answer(True)
        collected = await talk.call(3, session, arguments={"b": 2, "a": 1}).json()
        assert (collected["id"], collected["result"]) == (3, LET_OUT)
        assert (decided(book).verdict, decided(book).approval) == (Verdict.ALLOWED, id)
        assert child.heard_nothing
        assert site.approving.requests() == []

        await kept(talk.call(4, session, arguments={"a": 1, "b": 2}), child)
        assert site.waiting.id != id


async def test_it_is_collected_by_who_waits_when_it_is_approved() -> None:
    async with talking() as talk:
        ruled(talk, ASK)
        site = Site(talk)
        session, child = await talk.session()
        await kept(talk.call(1, session), child)
        first, second = talk.call(2, session), talk.call(3, session)
        await talk.settle()
        site.answer(True)
        texts = [json.dumps(await one.json()) for one in (first, second)]
        assert sum(CARD in text for text in texts) == 1
        assert sum("collected by another equal call" in text for text in texts) == 1
        assert child.heard_nothing


async def test_what_is_collected_may_be_sensitive_and_to_collect_it_carries_nothing_out() -> None:
    async with talking() as talk:
        _, site = ruled(talk, gate({"find": ["card"], "action": "ask"}, {"find": ["email"]})), Site(talk)
        shared = talk.endpoint._shared
        session, child = await talk.session()
        shared.gate.taint = Taint({"files": Expose.parse(["echo"])}, lasts=60)
        await kept(talk.call(1, session), child)
        first = shared.tainting.marks.of((ALICE.issuer, ALICE.subject), 0.0)
        assert first is not None
        site.answer(True)
        assert (await talk.call(2, session).json())["result"] == LET_OUT
        again = shared.tainting.marks.of((ALICE.issuer, ALICE.subject), 0.0)
        assert again is not None
        assert again.until > first.until


async def test_it_is_nobody_elses_and_of_no_other_call() -> None:
    async with talking() as talk:
        ruled(talk, ASK)
        site = Site(talk)
        session, child = await talk.session()
        await kept(talk.call(1, session), child)
        site.answer(True)
        other = talk.call(2, session, arguments={"x": 1})
        child.answer(await child.heard("tools/call"), {"content": []})
        assert (await other.json())["result"] == {"content": []}
        bob = Principal("https://idp.example", "bob", client="assistant")
        his, hers = await talk.session(principal=bob)
        body: Json = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tools/call",
            "params": {"name": "echo", "arguments": {}},
        }
        asked = talk.send("POST", body, session=his, principal=bob)
        hers.answer(await hers.heard("tools/call"), {"content": []})
        assert CARD not in str(await asked.json())
        assert CARD in str(await talk.call(3, session).json())


async def test_a_denial_is_told_once_and_then_the_call_runs_anew() -> None:
    async with talking() as talk:
        ruled(talk, ASK)
        site = Site(talk)
        session, child = await talk.session()
        await kept(talk.call(1, session), child)
        site.answer(False)
        told = json.dumps(await talk.call(2, session).json())
        assert "does not let the answer of this call out" in told
        assert child.heard_nothing
        await kept(talk.call(3, session), child)


@pytest.mark.parametrize(
    ("answered", "words"),
    [(None, "not approved and collected in time"), (True, "collected in time"), (False, "does not let")],
)
async def test_what_was_not_collected_in_time_is_gone_and_the_call_is_not_run_unasked(
    answered: bool | None, words: str
) -> None:
    async with talking() as talk:
        ruled(talk, ASK)
        site = Site(talk)
        session, child = await talk.session()
        await kept(talk.call(1, session), child)
        if answered is not None:
            site.answer(answered)
        site.later = EXPIRY_S
        assert site.approving.requests() == []
        assert words in json.dumps(await talk.call(2, session).json())
        assert child.heard_nothing
        await kept(talk.call(3, session), child)
        site.later += EXPIRY_S + REMEMBERED_S
        await kept(talk.call(4, session), child)


async def test_what_the_rules_of_now_do_not_let_out_stays_though_it_was_approved() -> None:
    async with talking() as talk:
        book, site = ruled(talk, ASK), Site(talk)
        session, child = await talk.session()
        await kept(talk.call(1, session), child)
        site.answer(True)
        talk.endpoint._shared.gate = BLOCK
        assert "its rules do not let out" in json.dumps(await talk.call(2, session).json())
        assert decided(book).verdict is Verdict.DENIED
        talk.endpoint._shared.gate = gate({"find": ["card", "email"]})
        assert (await talk.call(3, session).json())["result"] == MASKED
        assert child.heard_nothing


async def test_rules_that_find_more_than_was_approved_keep_it() -> None:
    async with talking() as talk:
        site, asks = Site(talk), {"find": ["card"], "action": "ask"}
        ruled(talk, gate(asks))
        session, child = await talk.session()
        child_says: Json = RESULT
        await kept(talk.call(1, session), child, child_says)
        site.answer(True)
        talk.endpoint._shared.gate = gate(asks, {"find": ["email"], "action": "ask"})
        assert "rules have changed since" in json.dumps(await talk.call(2, session).json())
        talk.endpoint._shared.gate = gate(asks)
        assert (await talk.call(3, session).json())["result"] == RESULT


async def test_what_cannot_be_recorded_is_neither_kept_nor_handed_out() -> None:
    async with talking() as talk:
        book, site = ruled(talk, ASK), Site(talk)
        session, child = await talk.session()
        book.full = True
        call = talk.call(1, session)
        child.answer(await child.heard("tools/call"), RESULT)
        assert "could not be recorded" in json.dumps(await call.json())
        assert site.approving.requests() == []


async def test_what_is_too_large_or_too_much_is_not_kept_and_its_caller_told() -> None:
    async with talking() as talk:
        ruled(talk, gate({"find": ["card"], "action": "ask"}))
        site = Site(talk)
        session, child = await talk.session()
        large: Json = {"content": [{"type": "text", "text": CARD}], "data": "\x01" * (MOST_ANSWER // 6)}
        call = talk.call(1, session)
        child.answer(await child.heard("tools/call"), large)
        assert "of this kind or size" in json.dumps(await call.json())
        assert site.approving.requests() == []
        for number in range(MOST_OF_ONE + 1):
            call = talk.call(number, session, arguments={"n": number})
            child.answer(await child.heard("tools/call"), RESULT)
            told = json.dumps(await call.json())
            assert ("of this kind or size" in told) is (number == MOST_OF_ONE)
            assert CARD not in told


async def test_errors_and_parts_of_something_longer_are_blocked() -> None:
    async with talking() as talk:
        ruled(talk, ASK)
        site = Site(talk)
        session, child = await talk.session()
        call = talk.call(1, session)
        heard = await child.heard("tools/call")
        child.say({"jsonrpc": "2.0", "id": heard["id"], "error": {"code": 1, "message": CARD}})
        assert "of this kind or size" in json.dumps(await call.json())
        call = talk.call(2, session, task={"ttl": 1000})
        child.answer(await child.heard("tools/call"), RESULT)
        assert "of this kind or size" in json.dumps(await call.json())
        assert site.approving.requests() == []


async def test_a_caller_of_2026_07_28_collects_it_too() -> None:
    async with talking() as talk:
        ruled(talk, ASK)
        site = Site(talk)
        child = await started(talk)
        await kept(ask(talk, 1), child, {"resultType": "complete", **RESULT})
        site.answer(True)
        assert (await ask(talk, 2).json())["result"] == {"resultType": "complete", **LET_OUT}
        assert child.heard_nothing
        call = ask(talk, 3)
        child.answer(await child.heard("tools/call"), {"resultType": "input_required", "requestState": CARD})
        assert (await call.json())["result"] is not None  # what both ends know it by is not looked at


async def test_a_caller_of_2026_07_28_of_an_older_server_collects_it_too() -> None:
    async with crossing() as there:
        there._shared.gate = ASK
        call = there.tool()
        child = await there.begun()
        child.answer(await child.heard("tools/call"), RESULT)
        assert "waits for approval on site" in json.dumps(await result(call))
        (waiting,) = there._shared.approving.requests()
        there._shared.approving.answer(waiting.id, True, 0)
        found = await result(there.tool())
        assert (found["content"], found["resultType"]) == (LET_OUT["content"], "complete")
        assert child.heard_nothing


async def test_it_comes_on_the_stream_of_http_sse() -> None:
    async with talking() as talk:
        ruled(talk, ASK)
        site = Site(talk)
        client, child = await ready(talk)
        client.call(1)
        child.answer(await child.heard("tools/call"), RESULT)
        assert "waits for approval on site" in json.dumps(await client.message())
        site.answer(True)
        client.call(2)
        collected = await client.message()
        assert (collected["id"], collected["result"]) == (2, LET_OUT)
        assert child.heard_nothing
        client.stream.leave()


async def test_through_the_whole_site_it_is_collected_there() -> None:
    scripts = {"a": Script(tools=[tool("read_x")])}
    rules = {"a": made({"find": ["card"], "action": "ask"})}
    async with endpoint(scripts) as (talk, children):
        site, shared = Site(talk), talk.endpoint._shared
        whole = site_spec(dict.fromkeys(scripts, EVERYTHING))
        redactor = SiteRedactor.of(whole, rules)
        assert redactor is not None
        shared.gate = Gate(
            {"a": Expose.parse(EVERYTHING), WHOLE_SITE: SiteView(whole)}, {**rules, WHOLE_SITE: redactor}
        )
        session = await begin(talk)
        call = {"name": "a__read_x", "arguments": {"t": CARD}}
        assert "waits for approval" in str(
            await site_result(post(talk, session, "tools/call", ALICE, **call))
        )
        assert (site.waiting.call.item, site.waiting.call.server) == ("answer of tool:a__read_x", WHOLE_SITE)
        site.answer(True)
        assert CARD in str(await site_result(post(talk, session, "tools/call", ALICE, **call)))
        ran = [
            one
            for members in children.members.values()
            for each in members
            for one in each.heard_of("tools/call")
        ]
        assert len(ran) == 1
