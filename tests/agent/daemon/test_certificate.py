"""The running agent and its certificate: renewed under a standing link, refused, revoked, over real TLS."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from penstock import refusal
from penstock.refusal import Refusal
from penstock.tunnel.errors import CloseCode
from penstock.tunnel.frames import DoneReason
from penstock_agent import control, state
from penstock_agent.config import Settings
from penstock_agent.control import ControlError
from penstock_agent.daemon import daemon
from penstock_agent.dialer import redial as redial_module
from penstock_agent.problem import Exit, Problem
from penstock_agent.renewal import renewer as renewer_module
from penstock_agent.renewal.renew import renew
from penstock_agent.renewal.renewer import Clock
from penstock_agent.renewal.verdict import Revoked
from penstock_relay import standing as standing_module
from penstock_relay.door import admission as admission_module
from penstock_relay.store import Lineage, Standing, Successor
from penstock_relay.switchboard import links as links_module
from tests.agent.daemon.running import Agent, agent_of, joined
from tests.harness.link_pair import until
from tests.harness.tunnel_listener import DAY, TunnelListener, tunnel_listener
from tests.relay.switchboard.board import body

BOTH_LOOPS = True
POLL_S = admission_module.POLL_S


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits long between attempts."""
    for name in ("FIRST", "CAP", "CAP_UNFINISHED"):
        monkeypatch.setattr(redial_module, name, 0.01)
    monkeypatch.setattr(redial_module, "REFUSED", (0.02, 0.02))
    monkeypatch.setattr(redial_module, "WAITING", (0.01, 0.01))
    monkeypatch.setattr(admission_module, "POLL_S", 0.05)


@asynccontextmanager
async def running(place: TunnelListener, settings: Settings) -> AsyncIterator[asyncio.Task[int | Problem]]:
    """The agent at work; the result of its task is how it ended."""

    async def run() -> int | Problem:
        try:
            return await daemon.run(settings)
        except Problem as problem:
            return problem

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(run())
        try:
            yield task
        finally:
            task.cancel()


def in_the_past(place: TunnelListener, monkeypatch: pytest.MonkeyPatch, days: float) -> None:
    sign = place.ca.sign_agent
    monkeypatch.setattr(place.ca, "sign_agent", lambda csr, agent, now: sign(csr, agent, now - days * DAY))


async def generation(agent: Agent) -> int:
    [found] = await agent.place.store.agents.list()
    return found.generation


def another_link(agent: Agent) -> bool:
    board = agent.place.switchboard
    return board.links.opened > 2 and len(board.links._lines) == board.links.greeted == 1


async def test_a_renewal_touches_no_call_under_way_and_the_link_is_replaced_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(links_module, "RETIRE", 0.05)
    monkeypatch.setattr(links_module, "RETIRE_SPREAD_MS", 0)
    async with agent_of(tmp_path) as agent, asyncio.TaskGroup() as tasks:
        [line] = agent.place.switchboard.links._lines.values()
        asking = agent.ask(tasks)
        await agent.endpoint.serving.get()
        before = await control.status(agent.control)
        answer = await control.renew(agent.control, 10)
        after = await control.status(agent.control)
        assert after.linked
        assert (answer.generation, await generation(agent)) == (2, 2)
        assert answer.certificate_expires == after.certificate_expires > before.certificate_expires - 1
        assert time.time() + 2 * DAY < after.renews_at < time.time() + 4 * DAY
        assert after.renewal_problem == ""
        await until(lambda: another_link(agent), "one link, and another than before")
        [again] = agent.place.switchboard.links._lines.values()
        assert again.serial == f"{state.load(agent.settings.state_dir).certificate.serial_number:x}"
        assert again.serial != line.serial
        # Its request went over the first link; its answer comes over the second.
        agent.endpoint.answer.set()
        done = await asking
        assert not isinstance(done, Exception)
        assert len(await body(done)) == 400_000
        done.close(DoneReason.OK)


async def test_one_that_comes_of_age_is_renewed_without_being_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with tunnel_listener(tmp_path) as place:
        in_the_past(place, monkeypatch, 3.5)
        settings = await joined(place, tmp_path / "agent")
        monkeypatch.undo()
        old = state.load(settings.state_dir)
        async with running(place, settings):
            await until(lambda: state.load(settings.state_dir).certificate != old.certificate, "the renewal")
            await until(lambda: place.switchboard.links.greeted == 1, "the link")


async def test_an_agent_that_was_off_for_weeks_renews_first_and_then_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with tunnel_listener(tmp_path) as place:
        settings = await joined(place, tmp_path / "agent")
        with monkeypatch.context() as past:
            in_the_past(place, past, 50)
            await renew(settings.state_dir, None)
        async with running(place, settings):
            await until(lambda: place.switchboard.links.greeted == 1, "the link")
            assert state.load(settings.state_dir).expires.timestamp() > time.time()


async def test_a_certificate_that_only_the_relay_holds_for_over_is_renewed_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # This machine's clock is slow by 30 days, so by its own reckoning all is well.
    async with tunnel_listener(tmp_path) as place:
        settings = await joined(place, tmp_path / "agent")
        with monkeypatch.context() as past:
            in_the_past(place, past, 30)
            old = (await renew(settings.state_dir, None)).joined
        real = time.time
        slow = Clock(wall=lambda: real() - 29.5 * DAY)
        monkeypatch.setattr(renewer_module, "Clock", lambda: slow)
        async with running(place, settings):
            await until(lambda: state.load(settings.state_dir).certificate != old.certificate, "the renewal")
            await until(lambda: place.switchboard.links.greeted == 1, "the link")


# -- refused --------------------------------------------------------------------------------------


async def test_a_revoked_agent_loses_its_link_and_stops_with_status_3_within_5_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admission_module, "POLL_S", POLL_S)
    async with tunnel_listener(tmp_path) as place:
        settings = await joined(place, tmp_path / "agent")
        mine = state.load(settings.state_dir)
        async with running(place, settings) as task:
            await until(lambda: place.switchboard.links.greeted == 1, "the link")
            began = time.monotonic()
            await place.store.agents.revoke(mine.id, time.time())
            ended = await task
            assert time.monotonic() - began < 5
        assert isinstance(ended, Revoked)
        assert ended.status is Exit.REFUSED
        assert "the relay's operator has revoked it" in str(ended)
        # Started again, it hears the same.
        async with running(place, settings) as task:
            assert isinstance(await task, Revoked)


async def test_a_relay_that_only_says_revoked_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_statement(*_: object) -> Refusal:
        return Refusal(refusal.REVOKED, "Believe me.", "")

    async with tunnel_listener(tmp_path) as place:
        settings = await joined(place, tmp_path / "agent")
        mine = state.load(settings.state_dir)
        await place.store.agents.revoke(mine.id, time.time())
        monkeypatch.setattr(standing_module, "_revoked", no_statement)
        async with running(place, settings) as task:
            await until(lambda: caplog.text.count("revocation_not_believed") > 2, "more attempts")
            assert not task.done()
            monkeypatch.setattr(standing_module, "_revoked", _other_serial(place))
            before = caplog.text.count("about another certificate")
            await until(lambda: caplog.text.count("about another certificate") > before + 1, "more attempts")
            assert not task.done()


def _other_serial(place: TunnelListener) -> object:
    def revoked(lineage: Lineage, serial: str, *_: object) -> Refusal:
        statement = place.ca.revocation(int(serial, 16) + 1, time.time(), time.time(), replaced=False)
        return Refusal(refusal.REVOKED, "It was revoked.", statement)

    return revoked


async def test_a_close_code_alone_ends_nothing(tmp_path: Path) -> None:
    async with agent_of(tmp_path) as agent:
        [line] = agent.place.switchboard.links._lines.values()
        line.driver.stop(CloseCode.REVOKED, "or so says the relay")
        await until(lambda: agent.place.switchboard.links._next == 3, "another link")
        await agent.linked()
        assert not agent.task.done()


async def test_an_unknown_agent_goes_on_asking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(_: str) -> None:
        return None

    async with tunnel_listener(tmp_path) as place:
        settings = await joined(place, tmp_path / "agent")
        path = control.socket_path(settings)
        with monkeypatch.context() as restored:
            restored.setattr(place.store.certificates, "lineage", nothing)  # from an older backup
            async with running(place, settings) as task:
                await until(path.exists, "the control socket")
                while "no record of this agent's certificate" not in (await control.status(path)).problem:
                    await asyncio.sleep(0)
                assert not task.done()
                with pytest.raises(ControlError, match="no record"):
                    await control.renew(path, 10)
                restored.undo()  # and from a newer one
                assert (await control.link(path, 5)).linked


async def test_an_agent_that_waits_for_approval_says_so_and_links_once_it_has_it(tmp_path: Path) -> None:
    async with tunnel_listener(tmp_path) as place:
        await place.store.sites.add("plant", 1.0, require_approval=True)
        settings = await joined(place, tmp_path / "agent")
        mine = state.load(settings.state_dir)
        async with running(place, settings):
            path = control.socket_path(settings)
            await until(path.exists, "the control socket")
            while "waits for approval" not in (status := await control.status(path)).problem:
                await asyncio.sleep(0)
            assert mine.fingerprint in status.problem
            assert place.switchboard.links.greeted == 0
            digest = bytes.fromhex(mine.fingerprint.removeprefix("sha256:"))
            await place.store.agents.approve(mine.id, digest, time.time())
            assert (await control.link(path, 5)).linked


async def test_a_locked_agent_loses_its_link_and_says_which_command_helps(tmp_path: Path) -> None:
    async with agent_of(tmp_path) as agent:
        mine = state.load(agent.settings.state_dir)
        await control.renew(agent.control, 10)
        old = f"{mine.certificate.serial_number:x}"
        copied = Successor("beef", bytes(32), time.time() + DAY)
        standing, _ = await agent.place.store.certificates.renew(old, copied, time.time(), linked=True)
        assert standing is Standing.FORKED
        await until(lambda: agent.place.switchboard.links.greeted == 0, "the end of the link")
        command = f"penstock-relay agent invite plant --replace {mine.id.agent}"
        while command not in (await control.status(agent.control)).problem:
            await asyncio.sleep(0)
        assert not agent.task.done()


async def test_a_renewal_behind_the_agents_back_is_made_good(tmp_path: Path) -> None:
    # By the command, where it could not find the running agent's socket.
    async with agent_of(tmp_path) as agent:
        [line] = agent.place.switchboard.links._lines.values()
        await renew(agent.settings.state_dir, None)
        line.driver.stop(CloseCode.GOING_AWAY)
        await until(lambda: another_link(agent), "another link")
        [found] = await agent.place.store.agents.list()
        assert found.lock is None
        assert found.generation == 3
