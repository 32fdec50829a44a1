"""All conversations together: how they begin, how many there may be, and that none is left."""

from __future__ import annotations

import asyncio
import builtins
import subprocess
import sys
from pathlib import Path

import pytest

from penstock_agent.children.child import ChildStartError
from penstock_agent.remote import words
from penstock_agent.remote.headers import Header
from penstock_agent.remote.remotes import Remotes
from penstock_agent.remote.spec import RemoteSpec
from tests.agent.remote.kit import WAIT, Scripted, call, greet, line
from tests.harness.certs import Authority


async def start_error(spec: RemoteSpec) -> ChildStartError:
    async with Remotes() as remotes:
        with pytest.raises(ChildStartError) as failed:
            await remotes.start(spec)
        assert len(remotes) == 0
        return failed.value


async def test_conversations_are_counted_by_server_and_leave_by_being_stopped() -> None:
    async with Scripted() as server, Remotes() as remotes:
        one = await remotes.start(RemoteSpec("crm", server.url()))
        await remotes.start(RemoteSpec("crm", server.url()))
        await remotes.start(RemoteSpec("erp", server.url()))
        assert remotes.counts() == {"crm": 2, "erp": 1}
        await one.stop()
        await one.stop()
        assert len(remotes) == 2


async def test_at_the_end_every_conversation_is_left() -> None:
    async with Scripted() as server:
        async with Remotes() as remotes:
            channel = await remotes.start(RemoteSpec("crm", server.url()))
            await greet(channel, server)
            await channel.send(line(call()))
            asked = await server.heard()
        async with asyncio.timeout(WAIT):
            await asked.left.wait()
        with pytest.raises(ChildStartError, match="is stopping"):
            await remotes.start(RemoteSpec("crm", server.url()))


async def test_more_than_the_bound_are_refused_in_words() -> None:
    async with Scripted() as server, Remotes(1) as remotes:
        await remotes.start(RemoteSpec("crm", server.url()))
        with pytest.raises(ChildStartError, match="1 conversations with remote servers are open") as failed:
            await remotes.start(RemoteSpec("crm", server.url()))
        assert "as many conversations" in failed.value.told


async def test_a_server_that_is_not_there_is_for_callers_out_of_reach_and_for_the_log_named() -> None:
    async with Scripted() as server:
        url = server.url()
    error = await start_error(RemoteSpec("crm", url))
    assert url.removesuffix("/mcp") in str(error)
    assert "Check that it runs there" in str(error)
    assert error.told == words.OUT_OF_REACH.text
    assert "127.0.0.1" not in error.told


async def test_a_wrong_authority_is_named_with_the_setting(tmp_path: Path) -> None:
    from tests.agent.remote.test_web import serving

    ours, theirs = Authority(tmp_path, "ours"), Authority(tmp_path, "theirs")
    async with Scripted(serving(theirs)) as server:
        text = str(await start_error(RemoteSpec("crm", server.url(), ca_file=ours.ca)))
        assert "is not accepted" in text
        assert "ca_file" in text


async def test_secrets_that_cannot_be_read_keep_the_conversation_from_beginning(tmp_path: Path) -> None:
    own = (Header("Authorization", f"file:{tmp_path}/none"),)
    async with Scripted() as server:
        text = str(await start_error(RemoteSpec("crm", server.url(), headers=own)))
        assert "server crm: headers: " in text
        assert "cannot be read: No such file" in text


async def test_without_the_http_client_the_command_that_installs_it_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = builtins.__import__

    def without(name: str, *rest: object) -> object:
        if rest and name == "penstock_agent.remote" and "web" in (rest[2] or ()):  # type: ignore[operator]
            raise ImportError("No module named 'aiohttp'", name="aiohttp")
        return real(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", without)
    text = str(await start_error(RemoteSpec("crm", "http://127.0.0.1:1/mcp")))
    assert "pip install 'penstock[http]'" in text


async def test_a_server_that_ends_each_conversation_at_once_makes_the_next_one_wait() -> None:
    now = 0.0
    async with Scripted() as server, Remotes(clock=lambda: now, chance=lambda: 1.0) as remotes:
        for wait in (0.5, 1.0):
            channel = await remotes.start(RemoteSpec("crm", server.url()))
            channel.over = True
            await channel.stop()
            assert remotes.restart_delay("crm") == wait
        channel = await remotes.start(RemoteSpec("crm", server.url()))
        now = 3600.0
        channel.over = True  # a restart of the server after an hour is no fault
        await channel.stop()
        assert remotes.restart_delay("crm") == 0.0


async def test_another_configuration_waits_for_nothing() -> None:
    async with Scripted() as server, Remotes(chance=lambda: 1.0) as remotes:
        channel = await remotes.start(RemoteSpec("crm", server.url()))
        channel.over = True
        await channel.stop()
        assert remotes.restart_delay("crm") > 0
        remotes.forget("crm")
        assert remotes.restart_delay("crm") == 0.0


def test_what_is_known_of_a_server_shows_no_secret(tmp_path: Path) -> None:
    spec = RemoteSpec("crm", "http://crm/mcp", headers=(Header("Authorization", f"file:{tmp_path}/t"),))
    assert "s3cret" not in repr(spec)


def test_an_agent_without_such_servers_does_not_load_the_http_client() -> None:
    code = "import penstock_agent.cli.run, penstock_agent.daemon.daemon, sys; print('aiohttp' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "False\n"
