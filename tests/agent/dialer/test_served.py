"""Exchanges as the endpoint sees them, against a real origin over a link in memory."""

from __future__ import annotations

import asyncio
from hashlib import sha256

import pytest

from penstock.link import now
from penstock.principal import Principal
from penstock.tunnel import frames
from penstock.tunnel.frames import DoneReason as Done
from penstock.tunnel.frames import Method, Purpose, Welcome
from penstock.tunnel.limits import ORPHANED
from penstock.tunnel.link import Link
from penstock.tunnel.origin import Origin
from penstock.tunnel.origin_exchange import Answered, OriginEvent, OutcomeUnknown, Request
from penstock.tunnel.origin_exchange import Exchange as OriginExchange
from penstock.tunnel.states import End
from penstock_agent.dialer import served as served_module
from penstock_agent.dialer.served import BUFFERED, Served, Tunnel
from penstock_agent.exchange import DoneReason, ExchangeGone
from tests.harness.link_pair import WAIT, hello, until

MIB = 1024 * 1024


class Ends:
    """A tunnel of the agent and an origin, with at most one link between them."""

    def __init__(self) -> None:
        self.started: list[Served] = []
        self.tunnel = Tunnel(self.started.append)
        self.tunnel.offer(["files"])
        self.origin = Origin(b"b" * 16)
        self.events: list[OriginEvent] = []
        self._numbers = 0
        self.up()

    def up(self) -> None:
        self._numbers += 1
        self.agent_link = Link(End.AGENT, self._numbers, now())
        self.relay_link = Link(End.RELAY, self._numbers, now())
        self.agent_link.greeted = lambda link, welcome: self.tunnel.link_up(link)
        self.agent_link.greet(hello(epoch=self.tunnel.epoch))
        self.pump()
        self.relay_link.admit(Welcome(1, "r1", self.origin.boot, 1, "", 10_000, 1, 1, 1))
        self.origin.link_up(self.relay_link, "a1", self.tunnel.epoch, now())
        self.pump()

    def cut(self, at: float | None = None) -> None:
        self.agent_link.close()
        self.relay_link.close()
        self.tunnel.link_gone(self.agent_link)
        self.origin.link_gone(self.relay_link.number, now() if at is None else at)

    def pump(self) -> None:
        while self.agent_link.pending or self.relay_link.pending:
            if data := self.agent_link.take(now()):
                self.tunnel.dispatch()
                self.origin.receive(self.relay_link, data, now())
            if data := self.relay_link.take(now()):
                self.tunnel.receive(self.agent_link, data, now())
            self.events += self.origin.events()

    def request(
        self, *, method: Method = Method.POST, claims: bytes | None = None, body: bytes = b"{}"
    ) -> OriginExchange:
        who = Principal("penstock", "svc:test").dump() if claims is None else claims
        content = frames.Principal.pack(who)
        return self.origin.open(
            Request(
                "plant", "files", method, Purpose.MCP, (("accept", "*/*"),), body,
                sha256(content).digest(), content, 5000,
            ),
            self.relay_link.number,
            None,
        )  # fmt: skip

    def open(self, *, method: Method = Method.POST) -> tuple[Served, OriginExchange]:
        exchange = self.request(method=method)
        self.pump()
        return self.started[-1], exchange

    def take(self, exchange: OriginExchange, size: int) -> None:
        """The caller takes `size` bytes of the answer."""
        self.origin.taken(exchange, size, now())
        self.pump()


@pytest.fixture
async def ends() -> Ends:
    return Ends()


async def test_an_exchange_is_what_the_origin_opened(ends: Ends) -> None:
    before = asyncio.get_running_loop().time()
    served, exchange = ends.open()
    assert (served.server, served.method, served.body, served.purpose) == (
        "files", "POST", b"{}", Purpose.MCP
    )  # fmt: skip
    assert served.headers == (("accept", "*/*"),)
    assert served.principal == Principal("penstock", "svc:test")
    assert served.key == str(exchange.key)
    assert before + 4 < served.deadline <= asyncio.get_running_loop().time() + 5
    assert not served.ended


async def test_one_who_calls_again_is_the_same_object_and_another_is_not(ends: Ends) -> None:
    """Whoever looks things up by who calls does not compare them name by name, call after call."""
    first, again = ends.open()[0], ends.open()[0]
    assert again.principal is first.principal
    ends.request(claims=Principal("penstock", "svc:other").dump())
    ends.pump()
    assert ends.started[-1].principal == Principal("penstock", "svc:other")


async def test_a_call_is_counted_until_its_origin_has_the_answer(ends: Ends) -> None:
    served, _ = ends.open()
    assert (ends.tunnel.calls, ends.tunnel.idle.is_set(), ends.tunnel.exchanges) == (1, False, 1)
    await served.head(200)
    await served.end()
    assert served.ended
    assert ends.tunnel.calls == 1, "its last word has not left yet"
    ends.pump()
    assert (ends.tunnel.calls, ends.tunnel.idle.is_set(), ends.tunnel.exchanges) == (0, True, 0)
    assert isinstance(ends.events[-1], Answered)
    assert await served.gone() is DoneReason.OK


async def test_streams_that_only_listen_are_not_counted(ends: Ends) -> None:
    ends.open(method=Method.GET)
    assert (ends.tunnel.calls, ends.tunnel.idle.is_set(), ends.tunnel.exchanges) == (0, True, 1)


async def test_a_writer_waits_above_one_mib_and_goes_on_with_credit(ends: Ends) -> None:
    served, exchange = ends.open()
    await served.head(200)
    async with asyncio.timeout(WAIT):
        await served.write(b"x" * BUFFERED)  # just as much as may wait
        ends.pump()
    async with asyncio.timeout(WAIT), asyncio.TaskGroup() as tasks:
        writing = tasks.create_task(served.write(b"y" * MIB))
        for _ in range(20):
            ends.pump()
            await asyncio.sleep(0)
        assert not writing.done()
        taken = 0
        while not writing.done():
            more = exchange.answer.received - taken
            taken += more
            ends.take(exchange, more)
            await asyncio.sleep(0)
        assert taken < 2 * MIB, "the writer went on before all was taken"


@pytest.mark.parametrize("reason", [Done.CLIENT_GONE, Done.DEADLINE, Done.TOO_SLOW])
async def test_whoever_waits_hears_that_the_caller_is_gone(ends: Ends, reason: Done) -> None:
    served, exchange = ends.open()
    await served.head(200)

    async def write() -> DoneReason:
        try:
            await served.write(b"x" * 2 * MIB)
        except ExchangeGone as error:
            return error.reason
        raise AssertionError("it was written")

    async with asyncio.timeout(WAIT), asyncio.TaskGroup() as tasks:
        waiting = [
            tasks.create_task(write()),
            tasks.create_task(served.gone()),
            tasks.create_task(served.gone()),
        ]
        await asyncio.sleep(0)
        waiting[1].cancel()
        ends.origin.done(exchange, reason)
        ends.pump()
        assert await waiting[0] == await waiting[2] == DoneReason(reason)
    for late in (served.head(200), served.write(b"x"), served.end()):
        with pytest.raises(ExchangeGone):
            await late
    served.fail("too late")
    assert await served.gone() == DoneReason(reason)
    assert ends.tunnel.idle.is_set()


async def test_a_writer_that_is_cancelled_leaves_the_others_waiting(ends: Ends) -> None:
    served, exchange = ends.open()
    await served.head(200)
    async with asyncio.timeout(WAIT), asyncio.TaskGroup() as tasks:
        first = tasks.create_task(served.write(b"x" * 2 * MIB))
        second = tasks.create_task(served.write(b"y"))
        await asyncio.sleep(0)
        first.cancel()
        for _ in range(5):
            await asyncio.sleep(0)
        assert first.cancelled()
        assert not second.done()
        ends.pump()
        taken = 0
        while not second.done():
            more = exchange.answer.received - taken
            taken += more
            ends.take(exchange, more)
            await asyncio.sleep(0)


async def test_a_failure_is_said_once_and_frees_a_writer(ends: Ends) -> None:
    served, _ = ends.open()
    await served.head(200)
    async with asyncio.timeout(WAIT), asyncio.TaskGroup() as tasks:
        writing = tasks.create_task(served.write(b"x" * 2 * MIB))
        await asyncio.sleep(0)
        served.fail("the child died")
        served.fail("again")
        await writing
    assert served.ended
    ends.pump()
    assert isinstance(ends.events[-1], OutcomeUnknown)
    assert ends.tunnel.idle.is_set()


async def test_a_failure_after_the_end_is_nothing(ends: Ends) -> None:
    served, _ = ends.open()
    await served.head(200)
    await served.end()
    served.fail("no answer was given")
    ends.pump()
    assert isinstance(ends.events[-1], Answered)


async def test_an_answer_survives_a_cut(ends: Ends) -> None:
    served, _ = ends.open()
    ends.cut()
    await served.head(200)
    await served.write(b"x")
    await served.end()
    assert ends.tunnel.calls == 1
    ends.up()
    assert isinstance(ends.events[-1], Answered)
    assert ends.tunnel.idle.is_set()


async def test_an_origin_that_does_not_come_back_for_120_s_is_lost(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    served, _ = ends.open()
    ends.cut()
    cut_at = now()
    monkeypatch.setattr(served_module, "now", lambda: cut_at + ORPHANED - 1)
    ends.tunnel._wake()
    assert ends.tunnel.exchanges == 1
    monkeypatch.setattr(served_module, "now", lambda: cut_at + ORPHANED + 1)
    ends.tunnel._wake()
    assert await served.gone() is DoneReason.ORIGIN_LOST
    assert (ends.tunnel.exchanges, ends.tunnel.calls) == (0, 0)


async def test_the_alarm_for_lost_origins_rings_by_itself(ends: Ends) -> None:
    ends.tunnel._agent._orphaned = 0.05
    served, _ = ends.open()
    ends.cut()
    async with asyncio.timeout(WAIT):
        assert await served.gone() is DoneReason.ORIGIN_LOST


async def test_the_alarm_is_set_for_a_boot_that_is_lost_behind_a_living_link(ends: Ends) -> None:
    ends.tunnel._agent._orphaned = 0.05
    served, _ = ends.open()
    ends.relay_link.control(frames.Lost(ends.origin.boot))
    ends.pump()
    async with asyncio.timeout(WAIT):
        assert await served.gone() is DoneReason.ORIGIN_LOST


async def test_a_principal_that_cannot_be_read_fails_its_exchange_only(ends: Ends) -> None:
    ends.request(claims=b"not json")
    ends.request()
    ends.pump()
    assert len(ends.started) == 1
    assert [type(event) for event in ends.events] == [OutcomeUnknown]
    assert ends.tunnel.calls == 1


async def test_a_call_that_is_taken_back_in_the_same_breath_does_not_start(ends: Ends) -> None:
    exchange = ends.request()
    data = ends.relay_link.take(now())
    ends.origin.done(exchange, Done.CLIENT_GONE)
    ends.tunnel.receive(ends.agent_link, data + ends.relay_link.take(now()), now())
    assert not ends.started
    assert ends.tunnel.exchanges == 0
    assert ends.tunnel.idle.is_set()


async def test_what_is_offered_meanwhile_is_told_once_the_link_is_greeted(ends: Ends) -> None:
    ends.cut()
    link = Link(End.AGENT, 9, now())
    link.greet(hello(epoch=ends.tunnel.epoch))
    link.take(now())
    ends.tunnel.offer(["files", "more"])
    assert not link.pending
    ends.tunnel.link_up(link)
    assert link.pending


async def test_nothing_starts_while_the_agent_drains(ends: Ends) -> None:
    ends.tunnel.drain()
    ends.request()
    ends.pump()
    assert not ends.started
    await until(lambda: ends.tunnel.idle.is_set())
