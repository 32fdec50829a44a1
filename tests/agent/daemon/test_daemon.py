"""``penstock-agent run`` in this process, against a real tunnel listener: start, verbs, signals, the end."""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from pathlib import Path

import pytest

from penstock.tunnel.errors import CloseCode
from penstock.tunnel.frames import DoneReason
from penstock_agent import control, kept, state
from penstock_agent.config import Options, load
from penstock_agent.daemon import daemon
from penstock_agent.gate.expose import Item
from penstock_agent.gate.policy.books import Charge, Over
from penstock_agent.gate.policy.rules import Budget
from penstock_agent.problem import Exit, Problem
from penstock_relay.switchboard import OutcomeUnknown
from tests.agent.daemon.running import FILES, RULE, agent_of, joined, kill
from tests.harness.certs import Authority
from tests.harness.link_pair import until
from tests.harness.tunnel_listener import tunnel_listener
from tests.relay.switchboard.board import body

BOTH_LOOPS = True


# -- start ----------------------------------------------------------------------------------------


async def test_an_agent_that_has_not_joined_says_how_to(tmp_path: Path) -> None:
    config = tmp_path / "agent.toml"
    config.write_text("")
    config.chmod(0o600)
    with pytest.raises(state.NotJoined, match="penstock-agent join"):
        await daemon.run(load(Options(config, tmp_path / "state"), {}))


async def test_another_ca_that_cannot_be_read_is_a_problem_of_configuration(tmp_path: Path) -> None:
    async with tunnel_listener(tmp_path) as place:
        settings = await joined(place, tmp_path / "agent", 'ca_file = "/none.pem"\n')
        with pytest.raises(Problem, match=r"none\.pem") as caught:
            await daemon.run(settings)
        assert caught.value.status is Exit.USAGE


@pytest.mark.parametrize("own", [True, False])
async def test_another_ca_replaces_the_one_from_enrolment(tmp_path: Path, own: bool) -> None:
    async with tunnel_listener(tmp_path) as place, asyncio.TaskGroup() as tasks:
        trusted = tmp_path / "own.pem"
        trusted.write_bytes(place.ca.pem if own else Authority(tmp_path, "other").ca.read_bytes())
        settings = await joined(place, tmp_path / "agent", f'ca_file = "{trusted}"\n{FILES}')
        task = tasks.create_task(daemon.run(settings))
        path = control.socket_path(settings)
        await until(path.exists, "the control socket")
        if own:
            assert (await control.link(path, 5)).linked
        else:
            link = await control.link(path, 0)
            while not link.problem:
                link = await control.link(path, 0)
            assert "TLS inspection" in link.problem
        task.cancel()


async def test_a_second_agent_on_the_same_folder_is_refused_before_it_dials(tmp_path: Path) -> None:
    async with agent_of(tmp_path) as agent:
        with pytest.raises(Problem, match="already runs here"):
            await daemon.run(agent.settings)
        assert agent.place.switchboard.links._next == 2, "only the first has dialled"


async def test_the_service_manager_hears_of_every_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(tmp_path / "notify"))
    manager.setblocking(False)
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "20000")
    said: list[str] = []

    def hear() -> str:
        try:
            while True:
                said.extend(manager.recv(4096).decode().splitlines())
        except BlockingIOError:
            return "\n".join(said)

    with manager:
        async with agent_of(tmp_path) as agent:
            await until(lambda: "STATUS=linked to wss://" in hear(), "the link")
            assert hear().index("READY=1") < hear().index("STATUS=linked")
            await until(lambda: hear().count("WATCHDOG=1") > 2, "the watchdog")
            kill(signal.SIGHUP)
            await until(lambda: hear().count("READY=1") == 2, "the reload")
            assert "RELOADING=1" in said
            kill()
            assert await agent.task == Exit.DONE
        assert "STOPPING=1" in hear()


# -- verbs ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("wait", [0, -1, 0.01, "5", True, None, 1e300])
async def test_link_takes_any_time_for_a_wait(tmp_path: Path, wait: object) -> None:
    async with agent_of(tmp_path) as agent:
        await control.link(agent.control, 5)
        assert (await control.ask(agent.control, "link", wait_s=wait))["linked"] is True


async def test_what_people_have_used_is_kept_when_the_agent_stops(tmp_path: Path) -> None:
    budget = Charge("files", "r", Item.TOOL, "read", Budget(calls_per_day=1))
    async with agent_of(tmp_path, FILES + RULE) as agent:
        books = agent.endpoint.books
        now = time.time()
        books.take(("i", "alice"), [budget], now, now, runs=True)
        agent.task.cancel()
        await asyncio.wait([agent.task])
        again = kept.spent(agent.settings.state_dir)
        assert isinstance(again.take(("i", "alice"), [budget], now, now, runs=True), Over)


# -- the end --------------------------------------------------------------------------------------


async def test_calls_under_way_finish_before_a_stopping_agent_leaves(tmp_path: Path) -> None:
    async with agent_of(tmp_path) as agent, asyncio.TaskGroup() as tasks:
        [line] = agent.place.switchboard.links._lines.values()
        asking = agent.ask(tasks)
        await agent.endpoint.serving.get()
        kill()
        registry = agent.place.switchboard._registry
        await until(lambda: registry.pick("plant", "files", None) is None, "GOAWAY")
        assert not agent.task.done()
        agent.endpoint.answer.set()
        answer = await asking
        assert not isinstance(answer, Exception)
        assert not agent.task.done(), "the caller has not taken it all"
        assert len(await body(answer)) == 400_000
        answer.close(DoneReason.OK)
        assert await agent.task == Exit.DONE
        assert line.driver._websocket.close_code == CloseCode.GOING_AWAY
        assert not agent.control.exists()
        assert agent.endpoint.drained, "those who only listen were told"


async def test_a_stopping_agent_waits_for_answers_that_are_due_on_other_exchanges(tmp_path: Path) -> None:
    async with agent_of(tmp_path) as agent:
        agent.endpoint.none_left.clear()
        kill()
        registry = agent.place.switchboard._registry
        await until(lambda: registry.pick("plant", "files", None) is None, "GOAWAY")
        assert not agent.task.done()
        agent.endpoint.none_left.set()
        assert await agent.task == Exit.DONE


async def test_callers_of_what_does_not_finish_are_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon, "DRAIN", 0.05)
    async with agent_of(tmp_path) as agent, asyncio.TaskGroup() as tasks:
        asking = agent.ask(tasks)
        await agent.endpoint.serving.get()
        kill()
        error = await asking
        assert isinstance(error, OutcomeUnknown)
        assert "failed while the request ran" in str(error)
        assert await agent.task == Exit.DONE


async def test_a_second_signal_is_not_patient(tmp_path: Path) -> None:
    async with agent_of(tmp_path) as agent, asyncio.TaskGroup() as tasks:
        asking = agent.ask(tasks)
        await agent.endpoint.serving.get()
        before = asyncio.get_running_loop().time()
        kill(signal.SIGINT)
        registry = agent.place.switchboard._registry
        await until(lambda: registry.pick("plant", "files", None) is None, "GOAWAY")
        kill(signal.SIGINT)
        assert isinstance(await asking, OutcomeUnknown)
        assert await agent.task == Exit.DONE
        assert asyncio.get_running_loop().time() - before < daemon.DRAIN


async def test_an_agent_without_a_link_stops_at_once(tmp_path: Path) -> None:
    async with agent_of(tmp_path) as agent:
        await agent.place.close()
        await until(lambda: agent.place.switchboard.links.greeted == 0, "the end of the link")
        kill()
        assert await agent.task == Exit.DONE
