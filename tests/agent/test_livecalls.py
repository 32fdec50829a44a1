"""What callers do at this moment, as the control socket tells it."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from penstock.principal import Principal
from penstock_agent import control
from penstock_agent.control import Peer
from penstock_agent.endpoint.approving import Approving
from penstock_agent.gate.approval import Call
from penstock_agent.ledger.entries import CannotRecord, Decision, Entry, Verdict
from penstock_agent.ledger.recorded import Recorded
from penstock_agent.livecalls import MAX_SUBJECT, MAX_TEXT, MOST, LiveCalls
from tests.harness.fake_exchange import FakeExchange

ALICE = Principal("https://idp", "alice", name="Alice A.", email="alice@example.com", client="assistant")


class Book:
    waits = False
    refuses: str | None = None

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.full = False

    def record(self, entry: Entry, /) -> None:
        if self.full:
            raise CannotRecord("the disk is full")
        self.entries.append(entry)

    async def synced(self) -> None: ...


class Site:
    def __init__(self) -> None:
        self.now = 1000.0
        self.book = Book()
        self.held: set[str] = set()
        self.live = LiveCalls(self.book, self.held, lambda: self.now)

    def begin(self, key: str, method: str = "POST", who: Principal = ALICE) -> Recorded:
        exchange = Recorded(FakeExchange("files", method, principal=who, key=key), self.book)
        self.live.begin(exchange)
        return exchange

    async def found(self) -> control.Calls:
        return msgspec.convert(await self.live.calls(Peer(0, 1), {}), control.Calls)


def decided(key: str, item: str = "tool:read", method: str = "tools/call", of: str = "") -> Decision:
    return Decision(key, "files", ALICE, method, Verdict.ALLOWED, "expose", item=item, of=of)


async def test_a_call_is_there_from_its_beginning_to_its_end_with_what_was_decided_and_sent() -> None:
    site = Site()
    call = site.begin("k1")
    (one,) = (await site.found()).calls
    assert (one.exchange, one.since, one.state, one.item) == ("k1", 1000.0, "running", "")
    assert (one.name, one.email, one.subject, one.client) == (
        "Alice A.", "alice@example.com", "alice", "assistant",
    )  # fmt: skip
    site.live.record(decided("k1", of="disk"))
    await call.head(200)
    await call.write(b"12345")
    (one,) = (await site.found()).calls
    assert (one.server, one.item, one.bytes) == ("disk", "tool:read", 5)
    assert len(site.book.entries) == 2, "the ledger has the decision and what left"
    site.live.end(call)
    assert (await site.found()).calls == []


async def test_what_only_listens_says_so_and_stands_behind_what_is_waited_for() -> None:
    site = Site()
    site.begin("k1", "GET")
    site.begin("k2")
    site.live.record(decided("k2", "", "subscriptions/listen"))
    site.now = 1005.0
    site.begin("k3")
    found = (await site.found()).calls
    assert [(one.exchange, one.state) for one in found] == [
        ("k3", "running"), ("k1", "listening"), ("k2", "listening"),
    ]  # fmt: skip
    assert found[2].item == "subscriptions/listen"


async def test_a_call_that_is_held_for_approval_says_so() -> None:
    approving = Approving()
    live = LiveCalls(Book(), approving.held)
    exchange = FakeExchange("files", key="k1")
    live.begin(Recorded(exchange, Book()))
    call = Call(ALICE, "files", "tool:write", "d1", b"{}", "rule")
    task = asyncio.get_running_loop().create_task(approving.approved(call, exchange))
    while not approving.held:
        await asyncio.sleep(0)
    assert [one["state"] for one in (await live.calls(Peer(0, 1), {}))["calls"]] == ["waiting"]  # type: ignore[attr-defined]  # a list
    approving.answer(approving.requests()[0].id, True, 0)
    await task
    assert [one["state"] for one in (await live.calls(Peer(0, 1), {}))["calls"]] == ["running"]  # type: ignore[attr-defined]  # a list


async def test_the_answer_is_bounded_in_number_and_text() -> None:
    site = Site()
    long = Principal("https://idp", "s" * 9000, name="\0" * 9000, email="e" * 9000, client="c" * 9000)
    for number in range(MOST + 7):
        site.begin(f"k{number}", who=long)
        site.live.record(decided(f"k{number}", "tool:" + "x" * 9000))
    found = await site.found()
    assert (len(found.calls), found.more) == (MOST, 7)
    one = found.calls[0]
    assert {len(text) for text in (one.name, one.email, one.client, one.item)} == {MAX_TEXT}
    assert len(one.subject) == MAX_SUBJECT
    assert len(msgspec.json.encode(found)) < control.MAX_ANSWER_BYTES / 4


async def test_what_the_ledger_does_not_take_was_not_decided() -> None:
    site = Site()
    site.begin("k1")
    site.book.full = True
    with pytest.raises(CannotRecord):
        site.live.record(decided("k1"))
    assert [one.item for one in (await site.found()).calls] == [""]


async def test_a_decision_about_what_is_over_leaves_nothing_behind() -> None:
    site = Site()
    site.live.end(site.begin("k1"))
    site.live.record(decided("k1"))
    assert (await site.found()).calls == []
    assert bool(site.live), "no ledger at all is what is false"
