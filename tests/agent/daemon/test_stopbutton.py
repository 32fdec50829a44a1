"""The stop button of a running agent: in force, kept, and found again."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from penstock.names import WHOLE_SITE
from penstock_agent import control, pausing
from penstock_agent.daemon import configured, daemon
from penstock_agent.site.spec import SiteSpec
from tests.agent.daemon.running import FILES, agent_of, full_disk
from tests.harness.link_pair import until

BOTH_LOOPS = True


async def test_what_is_paused_is_in_force_shown_kept_and_found_again(tmp_path: Path) -> None:
    async with agent_of(tmp_path, FILES + FILES.replace("files", "more")) as agent:
        done = await control.pause(agent.control, "pause", "server", "files")
        assert (done.changed, done.ended, [each.what for each in done.entries]) == (
            True, 2, ["the server files"],
        )  # fmt: skip
        assert agent.endpoint.paused == pausing.load(agent.settings.state_dir)
        assert agent.endpoint.reloads == [{"files", "more", WHOLE_SITE}]
        assert [each.by_uid for each in (await control.status(agent.control)).paused] == [os.getuid()]
        assert not (await control.pause(agent.control, "pause", "server", "files")).changed
        await control.pause(agent.control, "pause", "everything", "")
        assert (await control.pause(agent.control, "resume", "server", "files")).changed
        with pytest.raises(control.ControlError, match="Say what"):
            await control.ask(agent.control, "pause", kind="who")
        for kind, name in (("server", ""), ("everything", "files")):
            with pytest.raises(control.ControlError, match="have a name"):
                await control.pause(agent.control, "pause", kind, name)
        kept = pausing.load(agent.settings.state_dir)
        assert [each.what for each in kept.entries] == ["everything"]
        agent.task.cancel()
        await asyncio.wait([agent.task])
        async with asyncio.TaskGroup() as tasks:
            again = tasks.create_task(daemon.run(agent.settings))
            await until(lambda: agent.control.exists() and agent.endpoint.paused == kept, "another life")
            again.cancel()


async def test_a_disk_that_takes_nothing_keeps_the_stop_button_from_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with agent_of(
        tmp_path, FILES + FILES.replace("files", "more") + FILES.replace("files", "third")
    ) as agent:
        with monkeypatch.context() as full:
            full.setattr(pausing, "write_atomic", full_disk)
            full.setattr(configured, "spec", full_disk)
            with pytest.raises(control.ControlError, match="No space left"):
                await control.pause(agent.control, "pause", "server", "files")
            assert agent.endpoint.paused.servers == {"files"}
            site = agent.endpoint.specs[WHOLE_SITE]
            assert isinstance(site, SiteSpec)
            assert [member.name for member in site.members] == ["more", "third"]
        await control.pause(agent.control, "pause", "server", "files")
        assert pausing.load(agent.settings.state_dir).servers == {"files"}
