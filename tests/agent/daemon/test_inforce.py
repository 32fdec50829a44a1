"""The file is read again while the agent runs: all of it, or nothing."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from pathlib import Path

import pytest

from penstock.envelope import parse_caller
from penstock.names import WHOLE_SITE
from penstock.principal import Principal
from penstock_agent import control
from penstock_agent.children.pool import Children
from penstock_agent.control import ControlError
from penstock_agent.gate.view import Denied
from tests.agent.daemon.running import FILES, RULE, SHARED, agent_of, kill
from tests.harness.link_pair import until

BOTH_LOOPS = True


async def test_reload_offers_what_the_file_says_now(tmp_path: Path) -> None:
    async with agent_of(tmp_path) as agent:
        assert agent.place.switchboard.lacks("plant", "more")
        agent.configure(FILES + FILES.replace("files", "more") + "[servers.shut]\n" + SHARED)
        answer = await control.ask(agent.control, "reload")
        assert answer == {"servers": ["files", "more", "shut"]}
        await until(lambda: not agent.place.switchboard.lacks("plant", "more"), "the offer")
        assert agent.place.switchboard.lacks("plant", "shut"), "nothing of it is exposed"
        assert agent.endpoint.reloads == [{"files", "more", "shut", WHOLE_SITE}], "two expose something"
        assert agent.endpoint.shared_by_all == {"shut"}
        assert (await control.status(agent.control)).whole_site == ["files", "more"]


async def test_how_many_children_wait_is_read_at_the_start_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Mapping[str, int]] = []
    monkeypatch.setattr(Children, "keep_warm", lambda _, settings: told.append(settings))
    async with agent_of(tmp_path, FILES + "warm = 2\n") as agent:
        agent.configure(FILES + "[servers.more]\nwarm = 0\n" + SHARED)
        await control.ask(agent.control, "reload")
        status = await control.status(agent.control)
        assert [(server.warm, server.children) for server in status.servers] == [(0, 0), (0, 0)]
    assert told == [{"files": 2}, {"more": 0}]


@pytest.mark.parametrize(
    "mistake",
    [
        RULE + RULE,
        RULE + 'approve = "sometimes"\n',
        RULE + "users = []\n",
        RULE + "[servers.files.rules.arguments.read]\npath = { matches = '(' }\n",
        'profile = "none"\n',
    ],
)
async def test_a_mistake_in_the_rules_keeps_all_as_it_was(tmp_path: Path, mistake: str) -> None:
    async with agent_of(tmp_path) as agent:
        agent.configure(FILES + RULE)
        await control.ask(agent.control, "reload")
        before, gate = list(agent.endpoint.reloads), agent.endpoint.gate
        agent.configure(FILES + mistake + FILES.replace("files", "more"))
        with pytest.raises(ControlError, match=r"servers\.files"):
            await control.ask(agent.control, "reload")
        kill(signal.SIGHUP)
        status = await control.status(agent.control)
        assert [server.name for server in status.servers] == ["files"]
        assert agent.endpoint.reloads == before
        assert agent.endpoint.gate is gate
        call = parse_caller(b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"write"}}')
        assert isinstance(gate.inbound("files", Principal("i", "alice"), call), Denied)


async def test_a_file_that_cannot_be_used_changes_nothing(tmp_path: Path) -> None:
    async with agent_of(tmp_path) as agent:
        agent.configure("servers = 7\n")
        with pytest.raises(ControlError, match="servers"):
            await control.ask(agent.control, "reload")
        kill(signal.SIGHUP)
        status = await control.status(agent.control)
        assert [server.name for server in status.servers] == ["files"]
        assert not agent.endpoint.reloads
        assert not agent.place.switchboard.lacks("plant", "files")
