"""The dialer against a real tunnel listener, on both event loops."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
from websockets.asyncio.server import ServerConnection

from penstock import link as link_module
from penstock import refusal as refusal_module
from penstock.names import AgentId
from penstock.refusal import REVOKED
from penstock.tunnel.errors import CloseCode
from penstock.tunnel.frames import DoneReason, GoAwayReason, Offer, Ping
from penstock_agent.dialer import dialer as dialer_module
from penstock_agent.dialer import redial as redial_module
from penstock_agent.dialer.redial import Redial
from penstock_relay.switchboard.links import Links
from tests.agent.dialer.dialling import dialling, target_of
from tests.harness.link_pair import AGENT, descriptors, until
from tests.harness.tunnel_listener import TunnelListener, tunnel_listener
from tests.relay.switchboard.board import body, call

BOTH_LOOPS = True


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long between attempts."""
    for name in ("FIRST", "CAP", "CAP_UNFINISHED"):
        monkeypatch.setattr(redial_module, name, 0.01)


async def test_a_link_says_who_is_linked_and_carries_calls(tmp_path: Path) -> None:
    async with tunnel_listener(tmp_path) as place, dialling(target_of(place)) as agent:
        status = await agent.linked()
        assert (status.public_url, status.replica, status.problem) == ("https://relay.example", "r1", "")
        async with asyncio.TaskGroup() as tasks:
            asking = tasks.create_task(place.switchboard.exchange(call()))
            served = await agent.started.get()
            await served.head(200)
            await served.write(b"x" * 300_000)
            await served.end()
            answer = await asking
        assert await body(answer) == b"x" * 300_000
        answer.close(DoneReason.OK)
        await agent.tunnel.idle.wait()


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (None, "The link to the relay broke."),
        (CloseCode.GOING_AWAY, "stopping or restarting"),
        (CloseCode.VERSION, "no protocol version in common"),
        (CloseCode.IDENTITY, "under another name"),
        (CloseCode.TOO_MANY, "running twice"),
        (CloseCode.DUPLICATE, "copy of this agent's state folder"),
        (CloseCode.MALFORMED, "The link to the relay broke."),
    ],
)
async def test_every_end_is_told_in_words_and_followed_by_another_link(
    tmp_path: Path, code: CloseCode | None, words: str
) -> None:
    async with tunnel_listener(tmp_path) as place, dialling(target_of(place)) as agent:
        await agent.linked()
        [line] = place.switchboard.links._lines.values()
        if code is None:
            line.driver._websocket.transport.abort()
        else:
            line.driver.stop(code)
        await agent.linked(2)
        [problem] = agent.problems
        assert words in problem


async def test_a_relay_that_breaks_the_rules_is_named_as_the_cause(tmp_path: Path) -> None:
    async with tunnel_listener(tmp_path) as place, dialling(target_of(place)) as agent:
        await agent.linked()
        [line] = place.switchboard.links._lines.values()
        line.link.control(Offer(b"d" * 32, ()))
        await agent.linked(2)
        assert "did not keep to the protocol (OFFER is not legal while open)" in agent.problems[0]


async def test_a_relay_that_says_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def silent(self: Links, websocket: ServerConnection, *_: object) -> None:
        await websocket.wait_closed()

    monkeypatch.setattr(Links, "serve", silent)
    monkeypatch.setattr(dialer_module, "HANDSHAKE", 0.05)
    async with tunnel_listener(tmp_path) as place, dialling(target_of(place)) as agent:
        assert "no WELCOME in time" in await agent.problem()


async def test_a_relay_that_comes_back_is_found_again(tmp_path: Path) -> None:
    async with tunnel_listener(tmp_path) as place, asyncio.TaskGroup() as tasks:
        port = place.port
        await place.close()
        async with dialling(target_of(place)) as agent:
            assert "No connection to localhost" in await agent.problem()
            await place.open(tasks, port)
            await agent.linked()
            await place.close()
            await until(lambda: not agent.dialer.status.linked, "the end")
            await place.open(tasks, port)
            await agent.linked(2)
        await place.close()


# -- certificates that the relay does not take -----------------------------------------------------


async def revoke(place: TunnelListener) -> None:
    await place.store.agents.revoke(AGENT, 1000.0)


async def test_what_the_relay_says_to_a_refused_link_is_told_and_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redial_module, "REFUSED", (0.01, 0.01))
    async with tunnel_listener(tmp_path) as place:
        target = target_of(place)
        await revoke(place)
        async with dialling(target) as agent:
            assert "The relay's operator has revoked this agent." in await agent.problem()
            await until(lambda: len(agent.refused) > 2, "more attempts")
            refused = agent.refused[0]
            assert refused is not None
            assert refused.reason == REVOKED
            assert refused.statement.startswith("-----BEGIN X509 CRL-----")


@pytest.mark.parametrize("body", ["", "no", '{"type":"refused","reason":"revoked","text":"\x1b[2J"}'])
async def test_a_refusal_that_is_none_is_a_403_like_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str
) -> None:
    monkeypatch.setattr(refusal_module, "encode", lambda _: body)
    async with tunnel_listener(tmp_path) as place:
        target = target_of(place)
        await revoke(place)
        async with dialling(target) as agent:
            assert "does not accept this agent's certificate (403)" in await agent.problem()
            assert agent.refused == []


async def test_a_certificate_that_ends_the_handshake_is_told_without_words_and_another_is_tried_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FIRST", "CAP"):
        monkeypatch.setattr(redial_module, name, 3600.0)
    monkeypatch.setattr(random, "random", lambda: 1.0)
    async with tunnel_listener(tmp_path) as place:
        sign = place.ca.sign_agent
        with monkeypatch.context() as past:
            past.setattr(
                place.ca, "sign_agent", lambda csr, agent, now: sign(csr, agent, now - 30 * 86_400.0)
            )
            expired = target_of(place)
        good = place.context(place.certificate(AgentId("plant", AGENT.agent + "2")))
        async with dialling(expired) as agent:
            await until(lambda: bool(agent.refused), "the first attempt")
            assert agent.refused == [None]
            agent.dialer.use(good)
            await until(lambda: place.switchboard.links.opened > 1, "a link that TLS lets through")


async def test_a_relay_that_closes_as_revoked_is_asked_what_it_meant_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("FIRST", "CAP"):
        monkeypatch.setattr(redial_module, name, 3600.0)
    monkeypatch.setattr(random, "random", lambda: 1.0)
    monkeypatch.setattr(dialer_module, "ASK_WHY", 0.01)
    async with tunnel_listener(tmp_path) as place, dialling(target_of(place)) as agent:
        await agent.linked()
        [line] = place.switchboard.links._lines.values()
        line.driver.stop(CloseCode.REVOKED)
        await agent.linked(2)
        assert "holds this agent's certificate for revoked" in agent.problems[0]


# -- moving ---------------------------------------------------------------------------------------


async def test_goaway_dials_another_link_while_the_old_one_lives_on(tmp_path: Path) -> None:
    async with tunnel_listener(tmp_path) as place, dialling(target_of(place)) as agent:
        await agent.linked()
        [old] = place.switchboard.links._lines.values()
        old.link.go_away(GoAwayReason.RESTART, 10)
        await until(lambda: place.switchboard.links.greeted == 2, "another link")
        await agent.linked(2)
        old.driver.stop()
        await until(lambda: place.switchboard.links.greeted == 1, "the end of the old one")
        await until(lambda: len(agent.dialer._drivers) == 1, "the same at the agent")
        assert agent.dialer.status.linked
        assert not agent.problems


async def test_no_spread_keeps_an_agent_away_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialer_module, "SPREAD", 0.02)
    monkeypatch.setattr(random, "random", lambda: 1.0)
    async with tunnel_listener(tmp_path) as place, dialling(target_of(place)) as agent:
        await agent.linked()
        [old] = place.switchboard.links._lines.values()
        old.link.go_away(GoAwayReason.RESTART, 2**32 - 1)
        await agent.linked(2)


async def test_a_relay_that_sends_every_link_away_does_not_collect_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with tunnel_listener(tmp_path) as place, dialling(target_of(place)) as agent:
        waits: list[int] = []
        after = Redial.after

        def spy(self: Redial, stood: float | None) -> Redial:
            waits.append(self.failures)
            return after(self, stood)

        monkeypatch.setattr(Redial, "after", spy)
        place.switchboard.links.drain(0)
        most = 0
        while agent.dialer._numbers < 2 * dialer_module.LINKS:
            most = max(most, len(agent.dialer._drivers))
            await asyncio.sleep(0)
        assert most <= dialer_module.LINKS + 1
        assert waits[-1] > dialer_module.LINKS, "each counts as one that did not stand"


async def test_only_a_link_that_stood_for_30_s_starts_the_waits_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = 0.0
    monkeypatch.setattr(dialer_module, "now", lambda: link_module.now() + ahead)
    counts: list[int] = []
    after = Redial.after

    def spy(self: Redial, stood: float | None) -> Redial:
        redial = after(self, stood)
        counts.append(redial.failures)
        return redial

    monkeypatch.setattr(Redial, "after", spy)
    async with tunnel_listener(tmp_path) as place, dialling(target_of(place)) as agent:
        for number, later in enumerate((0.0, 0.0, 31.0, 0.0), 1):
            await agent.linked(number)
            [line] = place.switchboard.links._lines.values()
            ahead += later
            line.driver.stop()
            await until(lambda: not agent.dialer._drivers, "the end")
        await agent.linked(5)
    assert counts[:4] == [1, 2, 1, 2]


# -- stopping -------------------------------------------------------------------------------------


async def test_the_end_of_the_dialer_is_the_end_of_its_links(tmp_path: Path) -> None:
    async with tunnel_listener(tmp_path) as place:
        async with dialling(target_of(place)) as agent:
            await agent.linked()
            [line] = place.switchboard.links._lines.values()
        assert not agent.dialer._drivers
        await until(lambda: not place.switchboard.links._lines, "the end at the relay")
        assert line.driver._websocket.close_code == CloseCode.GOING_AWAY
        before = descriptors()
        for _ in range(10):
            async with dialling(target_of(place)) as agent:
                await agent.linked()
        await until(lambda: descriptors() <= before, "the descriptors")


async def test_a_dialer_that_is_cancelled_at_any_turn_leaves_nothing(tmp_path: Path) -> None:
    async with tunnel_listener(tmp_path) as place:
        async with dialling(target_of(place)) as agent:
            await agent.linked()
        await until(lambda: not place.switchboard.links._lines)
        before = descriptors()
        target = target_of(place)
        for turns in range(0, 120, 3):
            async with dialling(target):
                for _ in range(turns):
                    await asyncio.sleep(0)
        await until(lambda: descriptors() <= before, "the descriptors")
        await until(lambda: not place.switchboard.links._lines, "the links at the relay")


async def test_flushing_outlives_a_link_that_ends_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with tunnel_listener(tmp_path) as place, dialling(target_of(place)) as agent:
        await agent.linked()
        [old] = place.switchboard.links._lines.values()
        old.link.go_away(GoAwayReason.RESTART, 0)
        await until(lambda: len(agent.dialer._up) == 2, "another link")
        agent.dialer.go_away()
        first, _ = agent.dialer._drivers.values()
        monkeypatch.setattr(first._kernel, "writable", asyncio.Event().wait)
        first.link.control(Ping(1))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(agent.dialer.flushed())
            await asyncio.sleep(0)
            first.stop()
