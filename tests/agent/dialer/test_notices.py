"""What waits on site over links in memory and over real ones, to a real tunnel listener and its store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from penstock.tunnel.codec import Decoder
from penstock.tunnel.frames import DoneReason, Frame, Notice
from penstock.tunnel.link import Link
from penstock.tunnel.states import End
from penstock_agent.dialer import dialer as dialer_module
from penstock_agent.dialer import notices as notices_module
from penstock_agent.dialer import redial as redial_module
from penstock_agent.dialer.notices import MOST, Noticing, notice_of
from penstock_relay.switchboard import links as links_module
from tests.agent.dialer.dialling import Dialling, dialling, target_of
from tests.harness import wire
from tests.harness.link_pair import AGENT, until
from tests.harness.tunnel_listener import TunnelListener, tunnel_listener
from tests.relay.switchboard.board import call

CALM, WITHHELD = Notice(0, 0), Notice(1, 0)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FIRST", "CAP", "CAP_UNFINISHED"):
        monkeypatch.setattr(redial_module, name, 0.01)


class Desk:
    """Says what it is told to say, and counts how often it was asked."""

    def __init__(self, says: Notice = CALM) -> None:
        self.says = says
        self.asked = 0

    def __call__(self) -> Notice:
        self.asked += 1
        return self.says

    async def is_asked(self) -> None:
        """Once more, and what it said then has been dealt with."""
        before = self.asked
        await until(lambda: self.asked > before + 1, "the question")


def greeted(version: int = 2) -> Link:
    """The agent's end of a link, up to WELCOME."""
    link = Link(End.AGENT, 1, 0.0)
    link.greet(replace(wire.hello("a1", 7), versions=(2, 1)))
    list(link.receive(replace(wire.welcome(b"o" * 16), version=version).encode(), 0.0))
    link.take(0.0)
    return link


def said(link: Link) -> list[Frame]:
    return [frame for _, frame in Decoder().feed(link.take(0.0))]


async def heard(place: TunnelListener, notice: Notice | None) -> None:
    await until(lambda: place.door.notices.of(AGENT) == notice, f"{notice}")


async def stored(place: TunnelListener, notice: Notice) -> None:
    async with asyncio.timeout(5):
        while [each.notice for each in (await place.store.notices.list()).values()] != [notice]:
            await asyncio.sleep(0.01)


async def served(place: TunnelListener, agent: Dialling) -> None:
    """A call, from its beginning to its end: all that was said before it has been heard."""
    async with asyncio.TaskGroup() as tasks:
        asking = tasks.create_task(place.switchboard.exchange(call()))
        exchange = await agent.started.get()
        await exchange.head(200)
        await exchange.end()
        (await asking).close(DoneReason.OK)
    await agent.tunnel.idle.wait()


@pytest.mark.parametrize(("count", "shown"), [(0, 0), (3, 3), (MOST, MOST), (MOST + 1, MOST)])
def test_a_count_that_does_not_fit_is_the_largest_that_does(count: int, shown: int) -> None:
    notice = notice_of(count, count, ledger_failing=True, paused=False)
    assert notice == Notice(shown, shown, ledger_failing=True)
    notice.encode()


async def test_it_is_said_at_once_and_again_only_when_it_is_another_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(notices_module, "NOTICE_EVERY", 0.0)
    desk, link = Desk(), greeted()
    noticing = Noticing(link, desk)
    noticing.begin()
    assert said(link) == [CALM]
    await desk.is_asked()
    assert said(link) == []
    desk.says = WITHHELD
    await desk.is_asked()
    assert said(link) == [WITHHELD]
    noticing.end()
    noticing.end()
    asked, desk.says = desk.asked, CALM
    for _ in range(10):
        await asyncio.sleep(0)
    assert said(link) == []
    assert desk.asked == asked


async def test_what_changes_within_seconds_is_said_once_as_it_is_then() -> None:
    desk, link = Desk(), greeted()
    noticing = Noticing(link, desk)
    noticing.begin()
    assert said(link) == [CALM]
    for count in range(1, 100):
        desk.says = Notice(count, 0)
        await asyncio.sleep(0)
    assert said(link) == []
    noticing._say(desk)  # the seconds are over
    assert said(link) == [Notice(99, 0)]
    noticing.end()


@pytest.mark.parametrize(("version", "desk"), [(1, Desk()), (2, None)])
async def test_on_a_link_of_version_1_or_with_nobody_to_ask_nothing_is_said(
    version: int, desk: Callable[[], Notice] | None
) -> None:
    link = greeted(version)
    noticing = Noticing(link, desk)
    noticing.begin()
    assert said(link) == []
    noticing.end()


async def test_the_relay_has_what_is_so_now_and_has_it_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notices_module, "NOTICE_EVERY", 0.02)
    desk = Desk()
    async with tunnel_listener(tmp_path) as place, dialling(target_of(place), notices=desk) as agent:
        await agent.linked()
        await heard(place, CALM)
        desk.says = Notice(3, 1, ledger_failing=True, paused=True)
        await heard(place, desk.says)
        await stored(place, desk.says)
        desk.says = CALM
        await heard(place, CALM)
        assert agent.problems == []


async def test_each_link_says_it_anew(tmp_path: Path) -> None:
    desk = Desk(WITHHELD)
    async with tunnel_listener(tmp_path) as place, dialling(target_of(place), notices=desk) as agent:
        await agent.linked()
        await heard(place, WITHHELD)
        for line in list(place.switchboard.links._lines.values()):
            line.driver._websocket.transport.abort()
        await heard(place, None)
        await agent.linked(2)
        await heard(place, WITHHELD)


@pytest.mark.parametrize("older", ["agent", "relay"])
async def test_where_one_of_the_two_is_older_calls_work_and_nothing_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, older: str
) -> None:
    monkeypatch.setattr(dialer_module if older == "agent" else links_module, "VERSIONS", (1,))
    async with (
        tunnel_listener(tmp_path) as place,
        dialling(target_of(place), notices=Desk(WITHHELD)) as agent,
    ):
        await agent.linked()
        await served(place, agent)
        assert agent.problems == []
        assert place.door.notices.of(AGENT) is None


async def test_a_relay_that_sends_one_is_left(tmp_path: Path) -> None:
    async with tunnel_listener(tmp_path) as place, dialling(target_of(place), notices=Desk()) as agent:
        await agent.linked()
        [line] = place.switchboard.links._lines.values()
        line.link.control(WITHHELD)
        await agent.linked(2)
        assert "NOTICE is not legal while open" in agent.problems[0]
