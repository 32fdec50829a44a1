"""Exchanges on their way to the endpoint: on record, and refused while the agent falls."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from penstock_agent import control
from penstock_agent.daemon.intake import Intake
from penstock_agent.dialer.served import Served
from penstock_relay.switchboard import OutcomeUnknown
from tests.agent.daemon.running import FILES, agent_of
from tests.agent.ledger.book import chained, records
from tests.relay.switchboard.board import body

BOTH_LOOPS = True


async def test_what_happens_and_what_leaves_is_in_the_ledger(tmp_path: Path) -> None:
    async with agent_of(tmp_path) as agent, asyncio.TaskGroup() as tasks:
        asked = agent.ask(tasks)
        agent.endpoint.answer.set()
        answer = await asked
        assert not isinstance(answer, Exception)
        await body(answer)
        await control.pause(agent.control, "pause", "server", "files")
        await control.pause(agent.control, "resume", "server", "files")
        agent.configure(FILES.replace('["*"]', '["read_*"]'))
        await control.ask(agent.control, "reload")
        status = (await control.status(agent.control)).ledger
        agent.task.cancel()
        await asyncio.wait([agent.task])
    state_dir = agent.settings.state_dir
    said = records(state_dir)
    assert chained(state_dir)
    assert 0 < status.records < len(said)
    assert status.problem == ""
    left = [each for each in said if each["kind"] == "sent"]
    assert sum(int(str(each["bytes"])) for each in left) == 400_000
    events = [(each["what"], each.get("by_uid", -1)) for each in said if each["kind"] == "event"]
    uid = os.getuid()
    assert events == [
        ("started", -1),
        ("paused", uid),
        ("resumed", uid),
        ("configuration_read_again", uid),
        ("exposed", uid),
        ("hidden", uid),
        ("stopped", -1),
    ]
    assert said[-1]["kind"] == "head"


async def test_what_starts_while_the_agent_falls_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its group of tasks takes nothing more, and that must not end the link with an error of its own."""
    start = Intake.start

    def late(self: Intake, exchange: Served) -> None:
        with monkeypatch.context() as falling:
            falling.setattr(self.tasks, "_aborting", True)
            start(self, exchange)

    monkeypatch.setattr(Intake, "start", late)
    async with agent_of(tmp_path) as agent, asyncio.TaskGroup() as tasks:
        assert isinstance(await agent.ask(tasks), OutcomeUnknown)
        assert agent.place.switchboard.links.greeted == 1
        assert agent.endpoint.serving.empty()
