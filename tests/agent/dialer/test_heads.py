"""The head of a scripted ledger over real links to a real tunnel listener and its store."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from penstock.ledgerhead import to_frame
from penstock.tunnel.codec import Decoder
from penstock.tunnel.frames import DoneReason, Frame
from penstock.tunnel.frames import Ledger as LedgerFrame
from penstock.tunnel.link import Link
from penstock.tunnel.states import End
from penstock_agent.dialer import dialer as dialer_module
from penstock_agent.dialer import heads as heads_module
from penstock_agent.dialer import redial as redial_module
from penstock_agent.dialer.heads import Telling
from penstock_relay.store import Brought
from penstock_relay.switchboard import links as links_module
from tests.agent.dialer.dialling import Dialling, dialling, target_of
from tests.harness import wire
from tests.harness.ledgers import Ledger
from tests.harness.link_pair import AGENT, until
from tests.harness.tunnel_listener import TunnelListener, tunnel_listener
from tests.relay.switchboard.board import call


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FIRST", "CAP", "CAP_UNFINISHED"):
        monkeypatch.setattr(redial_module, name, 0.01)


async def stored(place: TunnelListener, n: int) -> None:
    await until(lambda: place.door.heads.counts.total() >= n, "the store")


def cut(place: TunnelListener) -> None:
    for line in list(place.switchboard.links._lines.values()):
        line.driver._websocket.transport.abort()


async def served(place: TunnelListener, agent: Dialling) -> None:
    """A call, from its beginning to its end: all that was said before it has been heard."""
    async with asyncio.TaskGroup() as tasks:
        asking = tasks.create_task(place.switchboard.exchange(call()))
        exchange = await agent.started.get()
        await exchange.head(200)
        await exchange.end()
        (await asking).close(DoneReason.OK)
    await agent.tunnel.idle.wait()


async def test_the_head_is_said_as_soon_as_there_is_a_link_and_comes_back(tmp_path: Path) -> None:
    ledger = Ledger(n=7)
    async with tunnel_listener(tmp_path) as place, dialling(target_of(place), ledger) as agent:
        await agent.linked()
        await until(lambda: bool(ledger.returned_heads), "the answer")
        assert ledger.returned_heads == [ledger.head(7)]
        assert await place.store.heads.current(AGENT) == ledger.head(7)


async def test_what_the_relay_has_is_heard_before_anything_is_said_or_asked(tmp_path: Path) -> None:
    order: list[str] = []

    class Telltale(Ledger):
        def current(self) -> None:
            order.append("asked")

        def returned(self, head: object) -> None:
            order.append("returned")

    async with tunnel_listener(tmp_path) as place:
        target = target_of(place)
        await place.store.heads.keep([(AGENT, Ledger().head(9))])
        async with dialling(target, Telltale()) as agent:
            await agent.linked()
            await served(place, agent)
            assert order == ["returned", "asked"]


async def test_a_ledger_that_was_put_back_is_told_its_newer_head_on_every_link(tmp_path: Path) -> None:
    ledger = Ledger(n=5, at_ms=2_000)
    async with tunnel_listener(tmp_path) as place:
        target = target_of(place)
        await place.store.heads.keep([(AGENT, ledger.head(9))])
        async with dialling(target, ledger) as agent:
            await agent.linked()
            await stored(place, 1)
            assert place.door.heads.counts == {Brought.ROLLED_BACK: 1}
            await until(lambda: len(ledger.returned_heads) == 2, "the answer")
            cut(place)
            await agent.linked(2)
            await until(lambda: len(ledger.returned_heads) == 4, "the answers")
            assert ledger.returned_heads == [ledger.head(9)] * 4


async def test_who_takes_an_agents_place_hears_the_last_head_of_the_old_ledger(tmp_path: Path) -> None:
    old, new = Ledger("old"), Ledger("new", n=1)
    async with tunnel_listener(tmp_path) as place:
        target = target_of(place)
        await place.store.heads.keep([(AGENT, old.head(9))])
        async with dialling(target, new) as agent:
            await agent.linked()
            await until(lambda: len(new.returned_heads) == 2, "the answer")
            assert new.returned_heads == [old.head(9), new.head(1)]
            assert [each.ordinal for each in await place.store.heads.list(every=True)] == [2, 1]


def greeted(version: int = 2) -> Link:
    """The agent's end of a link, up to WELCOME."""
    link = Link(End.AGENT, 1, 0.0)
    link.greet(replace(wire.hello("a1", 7), versions=(2, 1)))
    list(link.receive(replace(wire.welcome(b"o" * 16), version=version).encode(), 0.0))
    link.take(0.0)
    return link


def said(link: Link) -> list[int]:
    """The numbers of the heads that it has to send."""
    return [frame.n for _, frame in Decoder().feed(link.take(0.0)) if isinstance(frame, LedgerFrame)]


async def test_a_head_is_said_again_when_it_is_another_one_and_not_because_it_is_signed_anew() -> None:
    ledger, link = Ledger(n=1), greeted()
    telling = Telling(link, ledger)
    telling.tell()
    assert said(link) == []  # not begun
    telling.begin()
    telling.heard(to_frame(Ledger("old").head(9)))
    await asyncio.sleep(0)
    assert said(link) == [1]
    telling.tell()
    assert said(link) == [1]  # nobody has answered
    telling.heard(to_frame(ledger.head(1)))
    ledger.at_ms += 60_000
    telling.tell()
    assert said(link) == []
    ledger.n = 2
    telling.tell()
    assert said(link) == [2]
    telling.heard(to_frame(ledger.head(1)))  # an answer all the same: the relay has nothing newer
    telling.tell()
    ledger.n = None
    telling.tell()
    assert said(link) == []
    telling.end()
    telling.end()
    ledger.n = 3
    telling.tell()
    assert said(link) == []
    assert ledger.returned_heads == [Ledger("old").head(9), ledger.head(1), ledger.head(1)]


async def test_on_a_link_of_version_1_nothing_is_said() -> None:
    link = greeted(1)
    telling = Telling(link, Ledger(n=1))
    telling.begin()
    await asyncio.sleep(0)
    telling.tell()
    assert said(link) == []


async def test_a_minute_later_it_is_said_without_being_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(heads_module, "LEDGER_EVERY", 0.05)
    ledger = Ledger(n=1)
    async with tunnel_listener(tmp_path) as place, dialling(target_of(place), ledger) as agent:
        await agent.linked()
        await until(lambda: ledger.head(1) in ledger.returned_heads, "the answer")
        ledger.n = 2
        await until(lambda: ledger.head(2) in ledger.returned_heads, "the answer")


async def test_it_is_not_said_more_often_than_once_a_minute_but_at_the_stop(tmp_path: Path) -> None:
    ledger = Ledger(n=1)
    async with tunnel_listener(tmp_path) as place, dialling(target_of(place), ledger) as agent:
        await agent.linked()
        await stored(place, 1)
        ledger.n = 2
        await served(place, agent)
        assert place.door.heads.counts.total() == 1
        agent.tunnel.drain()
        agent.dialer.go_away()
        agent.dialer.say_heads()
        await agent.dialer.flushed()
        await stored(place, 2)
        assert await place.store.heads.current(AGENT) == ledger.head(2)
        await until(lambda: len(ledger.returned_heads) == 2, "the answer")
        agent.dialer.say_heads()
        await agent.dialer.flushed()
        assert place.door.heads.counts.total() == 2


async def test_what_was_not_answered_is_said_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads_module, "LEDGER_EVERY", 0.05)
    ledger = Ledger(n=1)
    async with tunnel_listener(tmp_path) as place:
        heard: list[Frame] = []

        class Forgetful:
            def arrived(self, _agent: object, _link: object, frame: Frame, _at: float) -> None:
                heard.append(frame)

            def gone(self, _link: object) -> None:
                pass

        monkeypatch.setattr(place.switchboard.links, "heads", Forgetful())
        async with dialling(target_of(place), ledger) as agent:
            await agent.linked()
            await until(lambda: len(heard) == 3, "three times")
            assert heard == [to_frame(ledger.head(1))] * 3
            monkeypatch.setattr(place.switchboard.links, "heads", place.door.heads)
            await until(lambda: len(ledger.returned_heads) == 1, "the answer")


async def test_without_a_ledger_nothing_is_said_and_what_is_stored_does_no_harm(tmp_path: Path) -> None:
    async with tunnel_listener(tmp_path) as place:
        target = target_of(place)
        await place.store.heads.keep([(AGENT, Ledger().head(9))])
        for heads in (None, Ledger()):
            async with dialling(target, heads) as agent:
                await agent.linked()
                await served(place, agent)
                agent.dialer.say_heads()
                await agent.dialer.flushed()
                assert agent.problems == []
        assert place.door.heads.counts.total() == 0


@pytest.mark.parametrize("older", ["agent", "relay"])
async def test_where_one_of_the_two_is_older_calls_work_and_nothing_is_said_of_ledgers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, older: str
) -> None:
    monkeypatch.setattr(dialer_module if older == "agent" else links_module, "VERSIONS", (1,))
    ledger = Ledger(n=1)
    async with tunnel_listener(tmp_path) as place:
        target = target_of(place)
        await place.store.heads.keep([(AGENT, ledger.head(9))])
        async with dialling(target, ledger) as agent:
            await agent.linked()
            await served(place, agent)
            agent.dialer.say_heads()
            await served(place, agent)
            assert agent.problems == []
            assert ledger.returned_heads == []
            assert place.door.heads.counts.total() == 0


@pytest.mark.parametrize(
    ("frames", "words"),
    [
        ([replace(to_frame(Ledger().head(9)), n=8)], "a ledger head that its ledger has not signed"),
        ([to_frame(Ledger().head(n)) for n in range(3)], "more ledger heads than were asked for"),
    ],
)
async def test_a_relay_that_makes_heads_up_or_sends_more_than_were_asked_for_is_left(
    tmp_path: Path, frames: list[LedgerFrame], words: str
) -> None:
    async with tunnel_listener(tmp_path) as place, dialling(target_of(place), Ledger()) as agent:
        await agent.linked()
        [line] = place.switchboard.links._lines.values()
        for frame in frames:
            line.link.control(frame)
        await agent.linked(2)
        assert words in agent.problems[0]
