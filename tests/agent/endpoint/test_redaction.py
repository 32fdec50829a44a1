"""What the site takes out of answers, in each way that a server's words take to a caller."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from penstock.envelope import parse_child, request
from penstock_agent.endpoint import outbound
from penstock_agent.gate.expose import Expose
from penstock_agent.gate.gate import Gate
from penstock_agent.gate.redaction.settings import RedactSettings, rules
from penstock_agent.ledger.entries import CannotRecord, Entry, Masked
from tests.agent.endpoint.bridge.down.crossing import crossing, result
from tests.agent.endpoint.handshake.test_calls import outcome
from tests.agent.endpoint.modern.kit import ask, started
from tests.agent.endpoint.talk import EVERYTHING, Json, Talk, spec, talking
from tests.harness.fake_exchange import ALICE

CARD, MAIL = "4111 1111 1111 1111", "bob@example.com"
NO_CARD, NO_MAIL = "[card number removed on site]", "[e-mail address removed on site]"
RESULT: Json = {"content": [{"type": "text", "text": f"{MAIL} pays with {CARD}"}]}
MASKED: Json = {"content": [{"type": "text", "text": f"{NO_MAIL} pays with {NO_CARD}"}]}


class Book:
    """A ledger that can be full."""

    refuses: str | None = None

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.full = False

    def record(self, entry: Entry, /) -> None:
        if self.full and isinstance(entry, Masked):
            raise CannotRecord
        self.entries.append(entry)

    async def synced(self) -> None:
        """At once."""

    @property
    def masked(self) -> list[tuple[str, str, dict[str, int]]]:
        return [(one.item, one.action, one.found) for one in self.entries if isinstance(one, Masked)]


def gate(*tables: Mapping[str, object]) -> Gate:
    made = rules(tuple(RedactSettings.model_validate(table) for table in tables))
    return Gate({"files": Expose.parse(EVERYTHING)}, {} if made is None else {"files": made})


MASK = gate({"find": ["card", "email"]})
BLOCK = gate({"find": ["card"], "action": "block"}, {"find": ["email"]})


def ruled(talk: Talk, by: Gate) -> Book:
    book = Book()
    talk.endpoint._shared.ledger = book
    talk.endpoint.reload({"files": spec()}, by)
    return book


async def test_a_session_gets_results_errors_and_notifications_without_what_is_found() -> None:
    async with talking() as talk:
        book = ruled(talk, MASK)
        session, child = await talk.session()
        call = talk.call(1, session, _meta={"progressToken": MAIL})
        heard = await child.heard("tools/call")
        token = heard["params"]["_meta"]["progressToken"]  # type: ignore[index]
        child.note("notifications/progress", progressToken=token, progress=1, message=f"asking {MAIL}")
        child.note("notifications/message", level="info", data=CARD)
        child.ask(7, "elicitation/create", message=f"Is {MAIL} right?")
        child.answer(heard, RESULT)
        messages = (await call.until_end()).events()
        text = json.dumps(messages)
        assert messages[-1]["result"] == MASKED
        assert {one.get("method") for one in messages} >= {"notifications/progress", "elicitation/create"}
        assert f"asking {NO_MAIL}" in text
        assert f"Is {NO_MAIL} right?" in text
        assert CARD not in text
        assert text.count(MAIL) == 1  # the caller's own token
        failed = talk.call(2, session)
        child.say(
            {
                "jsonrpc": "2.0",
                "id": (await child.heard("tools/call"))["id"],
                "error": {"code": 1, "message": MAIL},
            }
        )
        assert (await failed.json())["error"] == {"code": 1, "message": NO_MAIL}
        assert ("tool:echo", "mask", {"card": 1, "email": 1}) in book.masked
        assert ("", "mask", {"email": 1}) in book.masked
        assert {one.server for one in book.entries if isinstance(one, Masked)} == {"files"}


async def test_a_caller_of_2026_07_28_gets_the_same() -> None:
    async with talking() as talk:
        book = ruled(talk, MASK)
        child = await started(talk)
        call = ask(talk, 1, "tools/call", {"progressToken": "p"})
        heard = await child.heard("tools/call")
        token = heard["params"]["_meta"]["progressToken"]  # type: ignore[index]
        child.note("notifications/progress", progressToken=token, progress=1, message=MAIL)
        child.answer(heard, {"resultType": "complete", **RESULT})
        messages = (await call.until_end()).events()
        assert messages[-1]["result"] == {"resultType": "complete", **MASKED}
        assert NO_MAIL in str(messages[0]["params"])
        assert [found for _, _, found in book.masked] == [{"email": 1}, {"card": 1, "email": 1}]


async def test_a_caller_of_2026_07_28_of_an_older_server_gets_the_same() -> None:
    async with crossing() as there:
        there._shared.gate = MASK
        call = there.tool()
        child = await there.begun()
        child.answer(await child.heard("tools/call"), RESULT)
        assert (await result(call))["content"] == MASKED["content"]


@pytest.mark.parametrize("modern", [False, True])
async def test_a_blocked_answer_is_told_in_words_and_its_notifications_do_not_leave(modern: bool) -> None:
    async with talking() as talk:
        book = ruled(talk, BLOCK)
        if modern:
            child = await started(talk)
            call = ask(talk, 1)
        else:
            session, child = await talk.session()
            call = talk.call(1, session)
        heard = await child.heard("tools/call")
        child.note("notifications/message", level="info", data=CARD)
        child.answer(heard, RESULT)
        answer = await call.json()
        assert outcome(answer) == ("denied", False)
        text = json.dumps(answer)
        assert "(card number)" in text
        assert "The request has run" in text
        assert CARD not in text
        assert MAIL not in text
        assert call.key in text
        assert ("tool:echo", "block", {"card": 1, "email": 1}) in book.masked


async def test_what_a_server_asks_is_refused_where_it_is_blocked() -> None:
    async with talking() as talk:
        ruled(talk, BLOCK)
        _, child = await talk.session()
        child.ask(7, "elicitation/create", message=f"Is {CARD} right?")
        refused = await child.heard()
        assert refused["id"] == 7
        assert "does not let this request out" in str(refused["error"])


async def test_what_cannot_be_recorded_does_not_leave() -> None:
    async with talking() as talk:
        book = ruled(talk, MASK)
        book.full = True
        session, child = await talk.session()
        call = talk.call(1, session)
        child.answer(await child.heard("tools/call"), RESULT)
        answer = await call.json()
        assert "could not be recorded" in json.dumps(answer)
        assert MAIL not in json.dumps(answer)


async def test_lists_and_servers_without_rules_are_left_alone() -> None:
    async with talking() as talk:
        book = ruled(talk, MASK)
        session, child = await talk.session()
        listed = talk.call(1, session, "tools/list")
        tools = {"tools": [{"name": "mail", "description": f"Mails {MAIL}."}]}
        child.answer(await child.heard("tools/list"), tools)
        assert (await listed.json())["result"] == tools
        ruled(talk, gate())
        call = talk.call(2, session)
        child.answer(await child.heard("tools/call"), RESULT)
        assert (await call.json())["result"] == RESULT
        assert book.masked == []


async def test_an_answer_of_before_is_held_to_the_rules_of_now() -> None:
    async with talking() as talk:
        shared = talk.endpoint._shared
        ruled(talk, MASK)
        told = parse_child(json.dumps({"jsonrpc": "2.0", "id": 1, "result": RESULT}).encode())
        asked = request(b"1", "tools/call", b'{"name":"echo"}')
        out = outbound.let_out(shared, "files", ALICE, asked, told, "key")
        assert out is not None
        assert json.loads(out.result or b"") == MASKED
