"""What is decided about requests: here, the calls that somebody on site has to let pass. What rules, pins and
budgets decide is in tests of their own.
"""

from __future__ import annotations

import asyncio
import json

from penstock_agent.endpoint.approving import HOLD_S
from penstock_agent.gate.approval import Request
from penstock_agent.gate.gate import Gate
from penstock_agent.gate.pause import Entry, Kind, Paused
from penstock_agent.ledger.entries import CannotRecord, Decision
from penstock_agent.ledger.entries import Entry as Said
from tests.agent.endpoint.handshake.test_calls import outcome
from tests.agent.endpoint.talk import EVERYTHING, Json, Talk, talking
from tests.agent.endpoint.test_policy import Seen, keyed, words
from tests.agent.gate.policy.kit import rules

ASKS = rules(
    '[[rules]]\nname = "writes"\nallow = ["write*", "prompt:*"]\napprove = "always"\n'
    "[rules.budget]\ncalls_per_day = 1\n"
    '[[rules]]\nname = "reads"\nallow = ["echo"]\n'
)
DONE: Json = {"content": []}


def approving(talk: Talk) -> list[Request]:
    return talk.endpoint._shared.approving.requests()


def answer(talk: Talk, approved: bool = True) -> str:
    (request,) = approving(talk)
    talk.endpoint._shared.approving.answer(request.id, approved, 0)
    return request.id


async def until_asked(talk: Talk) -> Request:
    while not approving(talk):
        await asyncio.sleep(0)
    return approving(talk)[0]


def decisions(ledger: Seen) -> list[tuple[str, str, str]]:
    said: list[Said] = ledger.entries
    return [
        (one.verdict.value, one.rule, one.approval)
        for one in said
        if isinstance(one, Decision) and one.method == "tools/call"
    ]


async def test_a_call_waits_for_approval_and_is_carried_out_once() -> None:
    ledger = Seen()
    async with talking(policies={"files": ASKS}, ledger=ledger) as talk:
        session, child = await talk.session()
        call = keyed(talk.call(1, session, name="write", arguments={"path": "/a"}))
        request = await until_asked(talk)
        assert (request.call.server, request.call.item) == ("files", "tool:write")
        assert (request.call.arguments, request.call.why) == (b'{"path": "/a"}', 'rule "writes"')
        assert child.heard_nothing
        id = answer(talk)
        child.answer(await child.heard("tools/call"), DONE)
        assert (await call.json())["result"] == DONE
        assert decisions(ledger) == [("allowed", 'rule "writes"', id)]
        assert approving(talk) == []


async def test_who_does_not_wait_so_long_comes_back_for_it_with_its_members_in_any_order() -> None:
    ledger = Seen()
    async with talking(policies={"files": ASKS}, ledger=ledger) as talk:
        session, child = await talk.session()
        loop = asyncio.get_running_loop()
        began = loop.time()
        told = await keyed(talk.call(1, session, name="write", arguments={"a": 1, "b": 2})).json()
        assert loop.time() - began >= HOLD_S
        assert outcome(told) == ("not_executed", True)
        assert "waits for approval on site" in words(told)
        id = answer(talk)
        call = keyed(talk.call(2, session, name="write", arguments={"b": 2, "a": 1}))
        child.answer(await child.heard("tools/call"), DONE)
        await call.json()
        assert decisions(ledger) == [("waiting", 'rule "writes"', id), ("allowed", 'rule "writes"', id)]


async def test_a_denial_ends_it_and_other_tools_need_none() -> None:
    ledger = Seen()
    async with talking(policies={"files": ASKS}, ledger=ledger) as talk:
        session, child = await talk.session()
        call = keyed(talk.call(1, session, name="write", arguments={}))
        await until_asked(talk)
        id = answer(talk, approved=False)
        told = await call.json()
        assert outcome(told) == ("denied", False)
        assert "has denied this call" in words(told)
        free = keyed(talk.call(2, session, name="echo", arguments={}))
        child.answer(await child.heard("tools/call"), DONE)
        await free.json()
        assert decisions(ledger) == [("denied", 'rule "writes"', id), ("allowed", 'rule "reads"', "")]


async def test_prompts_and_the_uses_of_others_wait_too() -> None:
    async with talking(policies={"files": ASKS}) as talk:
        session, child = await talk.session()
        body: Json = {"jsonrpc": "2.0", "id": 1, "method": "prompts/get", "params": {"name": "sum"}}
        told = await keyed(talk.send("POST", body, session=session)).json()
        assert "waits for approval" in words(told)
        assert approving(talk)[0].call.item == "prompt:sum"
        assert child.heard_nothing


async def test_what_else_the_server_acts_upon_is_shown_and_approved_with_the_arguments() -> None:
    async with talking(policies={"files": ASKS}) as talk:
        session, child = await talk.session()
        params: Json = {"name": "write", "arguments": {"path": "/a"}, "_meta": {"progressToken": 1}}
        for number, task in enumerate((None, {"ttl": 5})):
            body: Json = {"jsonrpc": "2.0", "id": number, "method": "tools/call"}
            body["params"] = params if task is None else {**params, "task": task}
            await keyed(talk.send("POST", body, session=session)).json()
        shown = [request.call.arguments for request in approving(talk)]
        assert shown[0] == b'{"path": "/a"}'
        assert json.loads(shown[1]) == {"name": "write", "arguments": {"path": "/a"}, "task": {"ttl": 5}}
        completion: Json = {"jsonrpc": "2.0", "id": 9, "method": "completion/complete"}
        completed = {"name": "x", "value": "y"}
        completion["params"] = {"ref": {"type": "ref/prompt", "name": "sum"}, "argument": completed}
        await keyed(talk.send("POST", completion, session=session)).json()
        assert json.loads(approving(talk)[2].call.arguments)["argument"] == completed
        assert child.heard_nothing


async def test_what_is_paused_or_ruled_out_while_it_waits_is_not_carried_out() -> None:
    async with talking(policies={"files": ASKS}) as talk:
        session, child = await talk.session()
        call = keyed(talk.call(1, session, name="write", arguments={}))
        await until_asked(talk)
        stricter = rules('[[rules]]\nname = "reads"\nallow = ["echo"]\n')
        servers = talk.endpoint._shared.servers
        talk.endpoint.reload(servers, Gate.of(dict.fromkeys(servers, EVERYTHING), {"files": stricter}))
        answer(talk)
        assert outcome(await call.json()) == ("denied", False)
        assert child.heard_nothing


async def test_the_stop_button_is_stronger_than_an_approval() -> None:
    ledger = Seen()
    async with talking(policies={"files": ASKS}, ledger=ledger) as talk:
        session, child = await talk.session()
        call = keyed(talk.call(1, session, name="write", arguments={}))
        await until_asked(talk)
        talk.endpoint._shared.paused = Paused((Entry(Kind.EVERYTHING),))
        answer(talk)
        assert "has stopped" in words(await call.json())
        assert child.heard_nothing
        assert [rule for _, rule, _ in decisions(ledger)] == ["paused"]


async def test_a_call_is_counted_when_it_is_carried_out_and_not_while_it_waits() -> None:
    async with talking(policies={"files": ASKS}) as talk:
        session, child = await talk.session()
        for number in range(2):
            told = await keyed(talk.call(number, session, name="write", arguments={})).json()
            assert "waits for approval" in words(told)
        answer(talk)
        call = keyed(talk.call(3, session, name="write", arguments={}))
        child.answer(await child.heard("tools/call"), DONE)
        await call.json()
        call = keyed(talk.call(4, session, name="write", arguments={}))
        await until_asked(talk)
        answer(talk)
        assert "used up" in words(await call.json())


class Full(Seen):
    refuses: str | None = "The ledger is full."

    def record(self, entry: Said, /) -> None:
        raise CannotRecord


async def test_what_cannot_be_recorded_goes_no_further() -> None:
    ledger = Full()
    ledger.refuses = None
    async with talking() as talk:
        session, child = await talk.session()
        talk.endpoint._shared.ledger = ledger
        told = await keyed(talk.call(1, session)).json()
        assert outcome(told) == ("not_executed", True)
        assert "could not be recorded" in words(told)
        ledger.refuses = "The ledger is full."
        told = await keyed(talk.call(2, session)).json()
        assert "The ledger is full." in words(told)
        assert child.heard_nothing
