"""The administrator stops something: what runs ends, and what comes is refused in words."""

from __future__ import annotations

import pytest

from penstock_agent.exchange import Purpose
from penstock_agent.gate.pause import Entry, Kind, Paused
from tests.agent.endpoint.handshake.test_calls import outcome
from tests.agent.endpoint.modern.kit import BOB, ask, error_of, request, send, started
from tests.agent.endpoint.talk import hello, spec, talking

EVERYTHING = Paused((Entry(Kind.EVERYTHING),))
FILES = Paused((Entry(Kind.SERVER, "files"),))
ALICES = Paused((Entry(Kind.CALLER, "alice"),))


@pytest.mark.parametrize("paused", [EVERYTHING, FILES, ALICES])
async def test_calls_and_streams_end_and_nothing_begins_until_it_is_resumed(paused: Paused) -> None:
    async with talking() as talk:
        session, child = await talk.session()
        call = talk.call(1, session)
        await child.heard("tools/call")
        listening = talk.send("GET", session=session)
        await listening.until_head()
        assert talk.endpoint.pause(paused) == 1
        assert outcome(await call.json()) == ("outcome_unknown", False)
        await listening.until_end()
        await talk.settle()
        assert child.stopped
        refused = await talk.send("POST", hello()).json()
        assert "administrator has stopped" in str(error_of(refused)["message"])
        assert outcome(await talk.call(2, session).json()) == ("denied", False)
        get = talk.send("GET", session=session)
        assert (await get.until_end()).status == 403
        for purpose in (Purpose.SSE, Purpose.MESSAGES):
            assert (await talk.send("GET", purpose=purpose).until_end()).status == 403
        page = talk.send("POST", purpose=Purpose.CONSENT)
        assert (await page.until_end()).status == 503
        assert len(talk.children.started) == 1

        assert talk.endpoint.pause(Paused()) == 0
        again = talk.call(3, session)
        second = await talk.children.number(2)
        second.answer(await second.heard("initialize"), {"protocolVersion": "2025-11-25"})
        await second.heard("notifications/initialized")
        second.answer(await second.heard("tools/call"), {"content": []})
        assert (await again.json())["result"] == {"content": []}


@pytest.mark.parametrize("paused", [EVERYTHING, FILES, ALICES])
async def test_the_same_for_requests_of_2026_07_28(paused: Paused) -> None:
    async with talking() as talk:
        child = await started(talk)
        call = ask(talk, 1)
        await child.heard("tools/call")
        listen = ask(talk, 2, "subscriptions/listen", None, notifications={"toolsListChanged": True})
        await child.heard("subscriptions/listen")
        assert talk.endpoint.pause(paused) == (2 if paused is ALICES else 1)
        assert outcome(await call.json()) == ("outcome_unknown", False)
        await listen.until_end()
        refused = await ask(talk, 3).json()
        assert outcome(refused) == ("denied", False)


async def test_others_notice_nothing() -> None:
    async with talking(servers={"files": spec("files"), "crm": spec("crm")}) as talk:
        _, alices = await talk.session()
        bobs, child = await talk.session(principal=BOB, server="crm")
        talk.endpoint.pause(Paused((Entry(Kind.SERVER, "files"), Entry(Kind.CALLER, "alice"))))
        await talk.settle()
        assert (alices.stopped, child.stopped) == (True, False)
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo"}}
        call = talk.send("POST", body, session=bobs, principal=BOB, server="crm")
        child.answer(await child.heard("tools/call"), {"content": []})
        assert (await call.json())["result"] == {"content": []}


async def test_of_a_process_that_several_share_only_their_part_ends() -> None:
    async with talking() as talk:
        talk.endpoint.reload({"files": spec()}, talk.endpoint._shared.gate, None, {"files"})
        child = await started(talk)
        mine, theirs = ask(talk, 1), send(talk, request(1, "tools/call", name="echo"), principal=BOB)
        await child.heard("tools/call")
        heard = await child.heard("tools/call")
        talk.endpoint.pause(ALICES)
        assert outcome(await mine.json()) == ("outcome_unknown", False)
        child.answer(heard, {"content": []})
        assert (await theirs.json())["result"] == {"content": []}


async def test_a_request_that_waits_for_its_process_is_not_given_to_it_any_more() -> None:
    async with talking() as talk:
        session, first = await talk.session(principal=BOB)
        first.die()
        await talk.settle()
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "echo"}}
        waits = talk.send("POST", body, session=session, principal=BOB)
        second = await talk.children.number(2)
        asked = await second.heard("initialize")
        talk.endpoint.pause(Paused((Entry(Kind.CALLER, "bob"),)))
        second.answer(asked, {"protocolVersion": "2025-11-25"})
        result = await waits.json()
        assert outcome(result)[0] in ("denied", "not_executed")
