"""The desk at which somebody on site answers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import msgspec
import pytest

from penstock.principal import Principal
from penstock_agent import control
from penstock_agent.approvals import MAX_ANSWER_SHOWN, MAX_SHOWN, Desk
from penstock_agent.control import Peer
from penstock_agent.endpoint.approving import Passed, Stopped
from penstock_agent.gate.approval import Call
from penstock_agent.ledger.entries import CannotRecord, Entry, Event
from penstock_agent.problem import Problem
from tests.harness.fake_exchange import FakeExchange

ALICE = Principal("https://idp", "alice", name="Alice A.", email="alice@example.com", client="assistant")
CALL = Call(ALICE, "files", "tool:write_file", "d1", b'{"path":"/a"}', 'rule "writes"')
ROOT = Peer(0, 1)


class Site:
    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.refuses: str | None = None
        self.announced: list[tuple[str, Mapping[str, object]]] = []
        self.desk = Desk(self, lambda what, about: self.announced.append((what, about)))

    def record(self, entry: Entry, /) -> None:
        if self.refuses is not None:
            raise CannotRecord("the disk is full")
        self.entries.append(entry)

    async def synced(self) -> None: ...

    async def verb(self, name: str, **args: object) -> control.Args:
        return await self.desk.handlers[name](ROOT, args)

    async def listed(self, **args: object) -> list[control.Approval]:
        return msgspec.convert(await self.verb("approvals", **args), control.Approvals).requests

    async def call(self, call: Call = CALL) -> tuple[asyncio.Task[Passed | Stopped], control.Approval]:
        coming = self.desk.approving.approved(call, FakeExchange(call.server))
        task = asyncio.get_running_loop().create_task(coming)
        while call.digest not in {one.arguments_hash for one in await self.listed()}:
            await asyncio.sleep(0)
        return task, next(one for one in await self.listed() if one.arguments_hash == call.digest)


async def test_who_asks_for_what_and_why_is_shown_and_announced() -> None:
    site = Site()
    call, waiting = await site.call()
    assert (waiting.state, waiting.name, waiting.email) == ("waiting", "Alice A.", "alice@example.com")
    assert (waiting.item, waiting.arguments, waiting.why) == (
        "tool:write_file",
        '{"path":"/a"}',
        'rule "writes"',
    )
    ((what, about),) = site.announced
    assert (what, about["id"], about["arguments"]) == ("approval_asked", waiting.id, "")
    await site.verb("deny", id=waiting.id)
    assert isinstance(await call, Stopped)


async def test_an_approval_is_in_the_ledger_before_it_lets_anything_pass() -> None:
    site = Site()
    call, waiting = await site.call()
    done = msgspec.convert(await site.verb("approve", id=waiting.id), control.Approval)
    assert (done.state, done.by_uid) == ("approved", 0)
    (event,) = site.entries
    assert isinstance(event, Event)
    assert (event.what, event.by_uid) == ("approval_approved", 0)
    assert event.about["arguments"] == "d1"
    assert await call == Passed(waiting.id)
    with pytest.raises(Problem, match="No such call waits"):
        await site.verb("approve", id=waiting.id)
    with pytest.raises(Problem, match="No such call waits"):
        await site.listed(id=waiting.id)


async def test_what_the_ledger_does_not_take_is_not_approved_but_denied_all_the_same() -> None:
    site = Site()
    call, waiting = await site.call()
    site.refuses = "full"
    with pytest.raises(Problem, match="nothing was approved: the disk is full"):
        await site.verb("approve", id=waiting.id)
    assert [one.state for one in await site.listed()] == ["waiting"]
    await site.verb("deny", id=waiting.id)
    assert isinstance(await call, Stopped)


async def test_an_answer_cannot_be_taken_back() -> None:
    site = Site()
    call, waiting = await site.call()
    assert isinstance(await call, Stopped)
    await site.verb("approve", id=waiting.id)
    with pytest.raises(Problem, match="has its answer already"):
        await site.verb("deny", id=waiting.id)


async def test_long_arguments_are_cut_in_a_list_and_the_list_stays_within_an_answer() -> None:
    site = Site()
    calls = [Call(ALICE, "files", "tool:write_file", d, b"x" * MAX_SHOWN, "rule") for d in ("d1", "d2")]
    tasks = [(await site.call(call))[0] for call in calls]
    listed = await site.listed()
    assert [(len(one.arguments), one.cut) for one in listed] == [(MAX_SHOWN // 2, True)] * 2
    (one,) = await site.listed(id=listed[0].id)
    assert (len(one.arguments), one.cut) == (MAX_SHOWN, False)
    for task in tasks:
        task.cancel()


async def test_an_answer_that_is_kept_is_shown_to_who_asks_for_it_and_to_nobody_else() -> None:
    site = Site()
    secret = "4111 1111 1111 1111"
    answer = secret.encode() + b"x" * MAX_ANSWER_SHOWN
    site.desk.approving.keep(
        Call(ALICE, "files", "answer of tool:read", "d", b"{}", "card (1)", answer=answer)
    )
    (one,) = await site.listed()
    assert (one.item, one.answer, one.answer_bytes) == ("answer of tool:read", "", len(answer))
    (whole,) = await site.listed(id=one.id)
    assert (whole.answer[:19], len(whole.answer)) == (secret, MAX_ANSWER_SHOWN)
    await site.verb("approve", id=one.id)
    assert secret not in repr(site.announced)
    assert secret not in repr(site.entries)
    assert isinstance(site.entries[0], Event)
