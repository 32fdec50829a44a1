"""Large answers are looked through in a thread; the loop goes on."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator

import pytest

from penstock.envelope import Message, parse_child, request
from penstock_agent.children.lines import Oversize
from penstock_agent.endpoint import ahead
from penstock_agent.endpoint.ahead import LARGE, Ahead
from penstock_agent.gate.redaction.outgoing import Outcome, redacted
from penstock_agent.gate.redaction.rules import Redactor
from tests.agent.endpoint.modern.kit import ask, started
from tests.agent.endpoint.talk import Json, talking
from tests.agent.endpoint.test_redaction import BLOCK, MAIL, MASK, NO_MAIL, gate, ruled

MUCH: Json = {"content": [{"type": "text", "text": f"{MAIL} " + "plain words " * (LARGE // 8)}]}
CLEAN: Json = {"content": [{"type": "text", "text": f"{NO_MAIL} " + "plain words " * (LARGE // 8)}]}
CALL = request(b"7", "tools/call", b'{"name":"read_file"}')


class OneCall:
    """The only request that is under way."""

    def request(self, id: bytes | None) -> Message | None:
        return CALL if id == b'"c1"' else None


def line(id: str = "c1", result: Json = MUCH) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": id, "result": result}).encode()


def redactor() -> Redactor:
    return MASK.redactors["files"]


class Watched:
    """The looking through, which waits where a test says so."""

    def __init__(self) -> None:
        self.threads: list[int] = []
        self.goes_on = threading.Event()
        self.goes_on.set()
        self.begun = threading.Event()

    def __call__(self, redactor: Redactor, request: Message | None, message: Message) -> Outcome | None:
        self.threads.append(threading.get_ident())
        self.begun.set()
        assert self.goes_on.wait(30)
        return redacted(redactor, request, message)

    @property
    def in_the_loop(self) -> bool:
        return threading.get_ident() in self.threads


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    one = Watched()
    monkeypatch.setattr(ahead, "redacted", one)
    yield one
    one.goes_on.set()


@pytest.mark.parametrize(
    "said",
    [
        line(result={"content": []}),
        line("c2"),
        Oversize(LARGE * 2),
        b"{" * LARGE,
    ],
    ids=["small", "of nobody", "too long", "no message"],
)
async def test_what_is_small_or_answers_nothing_is_not_waited_for(said: bytes | Oversize) -> None:
    assert Ahead().look(redactor(), OneCall(), said) is None
    assert Ahead().look(None, OneCall(), line()) is None


async def test_what_was_found_is_used_once_and_with_the_callers_id(watched: Watched) -> None:
    one = Ahead()
    looking = one.look(redactor(), OneCall(), line())
    assert looking is not None
    await looking
    mine = parse_child(line("9"))
    out = one.redacted(redactor(), CALL, mine)
    assert out is not None
    assert out.message is not None
    assert (out.message.id, NO_MAIL.encode() in (out.message.result or b"")) == (b'"9"', True)
    assert not watched.in_the_loop
    assert one.redacted(redactor(), CALL, mine) is not None
    assert watched.in_the_loop, "it is not kept"


@pytest.mark.parametrize("what", ["request", "redactor", "message"])
async def test_what_was_found_for_another_is_not_taken(watched: Watched, what: str) -> None:
    one = Ahead()
    looking = one.look(redactor(), OneCall(), line())
    assert looking is not None
    await looking
    other = request(b"8", "tools/call", b'{"name":"read_file"}') if what == "request" else CALL
    by = BLOCK.redactors["files"] if what == "redactor" else redactor()
    message = parse_child(line(result={"content": []} if what == "message" else MUCH))
    one.redacted(by, other, message)
    assert watched.in_the_loop


async def test_others_are_served_while_a_large_answer_is_looked_through(watched: Watched) -> None:
    async with talking() as talk:
        ruled(talk, MASK)
        first, child = await talk.session()
        second, other = await talk.session()
        watched.goes_on.clear()
        large, small = talk.call(1, first), talk.call(2, second)
        child.answer(await child.heard("tools/call"), MUCH)
        await asyncio.to_thread(watched.begun.wait, 30)
        child.note("notifications/message", level="info", data="after it")
        other.answer(await other.heard("tools/call"), {"content": []})
        # The small answer is looked through in the loop, which must not wait in this test.
        watched.threads.clear()
        assert not large.ended
        watched.goes_on.set()
        assert (await small.json())["result"] == {"content": []}
        assert (await large.json())["result"] == CLEAN


async def test_a_caller_of_2026_gets_it_too(watched: Watched) -> None:
    async with talking() as talk:
        ruled(talk, MASK)
        child = await started(talk)
        watched.threads.clear()
        call = ask(talk, 1, name="read_file")
        child.answer(await child.heard("tools/call"), {"resultType": "complete", **MUCH})
        assert (await call.json())["result"] == {"resultType": "complete", **CLEAN}
        assert not watched.in_the_loop


async def test_rules_that_change_meanwhile_count(watched: Watched) -> None:
    async with talking() as talk:
        ruled(talk, MASK)
        session, child = await talk.session()
        watched.goes_on.clear()
        call = talk.call(1, session)
        child.answer(await child.heard("tools/call"), MUCH)
        await asyncio.to_thread(watched.begun.wait, 30)
        ruled(talk, gate({"find": ["email"], "action": "block"}))
        watched.goes_on.set()
        assert "what its rules do not let out" in json.dumps(await call.json())
