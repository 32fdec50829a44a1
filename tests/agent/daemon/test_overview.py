"""How the agent is, to whoever asks: administrator, service manager, relay."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.names import AgentId
from penstock.tunnel.frames import Notice
from penstock_agent import control
from penstock_agent.dialer import notices as noticing
from penstock_agent.endpoint.approving import Approving
from penstock_agent.ledger import disk
from penstock_agent.systemd import Notifier
from penstock_agent.withholding import Withholding
from tests.agent.daemon.running import agent_of, full_disk
from tests.harness.link_pair import until

BOTH_LOOPS = True


async def test_status_and_link_say_what_is(tmp_path: Path) -> None:
    async with agent_of(tmp_path) as agent:
        assert (await control.link(agent.control, 5)).public_url == "https://relay.example"
        status = await control.status(agent.control)
        assert (status.linked, status.site, status.replica, status.problem) == (True, "plant", "r1", "")
        assert [(server.name, server.expose) for server in status.servers] == [("files", ["*"])]
        await agent.place.close()
        await until(lambda: agent.place.switchboard.links.greeted == 0, "the end")
        link = await control.link(agent.control, 0)
        while link.linked:
            link = await control.link(agent.control, 0)
        assert link.problem


async def test_a_ledger_that_cannot_be_written_is_told_to_the_service_manager_and_to_who_asks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notices: list[str] = []
    monkeypatch.setattr(Notifier, "status", lambda _, text: notices.append(text))
    async with agent_of(tmp_path) as agent:
        with monkeypatch.context() as full:
            full.setattr(disk, "_write", full_disk)
            await control.pause(agent.control, "pause", "server", "files")
            assert "CANNOT BE WRITTEN (No space left on device)" in notices[-1]
            problem = (await control.status(agent.control)).ledger.problem
            assert problem == "No space left on device"


async def test_the_relay_is_told_how_much_waits_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(noticing, "NOTICE_EVERY", 0.02)
    monkeypatch.setattr(Withholding, "count", 0)
    monkeypatch.setattr(Approving, "waiting", 0)
    async with agent_of(tmp_path) as agent:
        name = AgentId("plant", (await control.status(agent.control)).agent)

        async def told(notice: Notice) -> None:
            await until(lambda: agent.place.door.notices.of(name) == notice, str(notice))

        await told(Notice(0, 0))
        monkeypatch.setattr(Withholding, "count", 3)
        await told(Notice(3, 0))
        monkeypatch.setattr(Approving, "waiting", 2)
        await told(Notice(3, 2))
        await control.pause(agent.control, "pause", "server", "files")
        await told(Notice(3, 2, paused=True))
        with monkeypatch.context() as full:
            full.setattr(disk, "_write", full_disk)
            await control.pause(agent.control, "resume", "server", "files")
            await told(Notice(3, 2, ledger_failing=True))
