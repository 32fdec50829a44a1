"""What the ledger learns from the endpoint: every decision, and whose request is answered where."""

from __future__ import annotations

import pytest

from penstock_agent.exchange import Purpose
from penstock_agent.ledger.entries import CannotRecord, Decision, Entry, Verdict
from tests.agent.endpoint.handshake.test_httpsse import ready
from tests.agent.endpoint.talk import Json, talking


class Book:
    """Entries, as they come; a full one takes none."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.full = False
        self.refuses: str | None = None

    def record(self, entry: Entry, /) -> None:
        if self.full:
            raise CannotRecord
        self.entries.append(entry)

    async def synced(self) -> None:
        """At once."""

    def decisions(self, method: str) -> list[Decision]:
        return [each for each in self.entries if isinstance(each, Decision) and each.method == method]


def request(id: int, name: str = "echo", **arguments: object) -> Json:
    params = {"name": name, "arguments": arguments}
    return {"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}


# -- decisions ----------------------------------------------------------------------------------------


async def test_what_is_allowed_is_recorded_before_the_server_hears_of_it() -> None:
    book = Book()
    async with talking(ledger=book) as talk:
        session, child = await talk.session()
        call = talk.send("POST", request(7, text="x"), session=session, key="call")
        heard = await child.heard("tools/call")
        [entry] = book.decisions("tools/call")
        assert (entry.exchange, entry.verdict, entry.item, entry.id) == (
            "call",
            Verdict.ALLOWED,
            "tool:echo",
            "7",
        )
        assert len(entry.arguments) == 64
        child.answer(heard)
        await call.until_end()


async def test_what_is_denied_is_recorded_with_the_rule() -> None:
    book = Book()
    async with talking(("tool:echo",), ledger=book) as talk:
        session, _ = await talk.session()
        await talk.send("POST", request(7, "erase"), session=session).until_end()
        [entry] = book.decisions("tools/call")
        assert (entry.verdict, entry.rule, entry.item) == (Verdict.DENIED, "expose", "tool:erase")


async def test_a_call_that_cannot_be_recorded_is_not_made_and_the_caller_reads_that() -> None:
    book = Book()
    async with talking(ledger=book) as talk:
        session, child = await talk.session()
        book.full = True
        answer = await talk.call(7, session).json()
        assert "could not be recorded in the site's ledger" in str(answer)
        assert child.heard_nothing


async def test_while_the_ledger_refuses_nothing_new_begins_and_what_runs_may_end() -> None:
    book = Book()
    async with talking(ledger=book) as talk:
        session, child = await talk.session()
        running = talk.call(1, session)
        heard = await child.heard("tools/call")
        book.refuses = "The site cannot record."
        assert "The site cannot record." in str(await talk.call(2, session).json())
        child.answer(heard, {"content": []})
        assert (await running.json())["result"] == {"content": []}


async def test_while_it_refuses_no_page_shows_what_is_exposed() -> None:
    book = Book()
    book.refuses = "no"
    async with talking(ledger=book) as talk:
        asked = await talk.send("POST", purpose=Purpose.CONSENT).until_end()
        assert asked.status == 503


# -- whose request is answered ------------------------------------------------------------------------


async def test_an_answer_that_is_fetched_later_names_the_exchange_of_its_call() -> None:
    async with talking() as talk:
        session, child = await talk.session()
        call = talk.send("POST", request(1), session=session, key="call")
        heard = await child.heard("tools/call")
        await call.until_head()
        await talk.settle()
        call.leave()
        await talk.settle()
        child.answer(heard, {"kept": True})
        last = call.ids()[0]
        assert last is not None
        back = talk.send("GET", session=session, headers={"last-event-id": last}, key="back")
        await back.until_end()
        assert {answers for answers, _ in call.answering} == {""}
        assert {answers for answers, _ in back.answering} == {"call"}
        again = talk.send("GET", session=session, headers={"last-event-id": last}, key="again")
        await again.until_end()
        assert {answers for answers, _ in again.answering} == {"call"}


async def test_on_a_stream_of_http_sse_each_answer_names_the_exchange_that_it_was_asked_with() -> None:
    async with talking() as talk:
        client, child = await ready(talk)
        client.stream.answering.clear()
        posts = [
            talk.send("POST", request(id), session=client.key, purpose=Purpose.MESSAGES, key=f"post-{id}")
            for id in (1, 2)
        ]
        heard = [await child.heard("tools/call") for _ in posts]
        child.answer(heard[1], {"which": 2})
        child.note("notifications/message", level="info", data="hello")
        child.answer(heard[0], {"which": 1})
        await client.messages(3)
        said = {answers: data for answers, data in client.stream.answering}
        assert b'"which": 2' in said["post-2"]
        assert b'"which": 1' in said["post-1"]
        assert b"notifications/message" in said.pop(next(key for key in said if "post" not in key))
        for post in posts:
            assert {answers for answers, _ in post.answering} == {""}
        client.stream.leave()


@pytest.mark.parametrize("name", ["erase", "echo"])
async def test_a_refusal_on_such_a_stream_names_it_too(name: str) -> None:
    async with talking(("tool:echo",)) as talk:
        client, child = await ready(talk)
        client.stream.answering.clear()
        talk.send("POST", request(1, name), session=client.key, purpose=Purpose.MESSAGES, key="post")
        if name == "echo":
            child.answer(await child.heard("tools/call"))
        await client.message()
        assert [answers for answers, _ in client.stream.answering] == ["post"]
        client.stream.leave()
