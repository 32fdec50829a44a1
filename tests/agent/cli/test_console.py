"""penstock-agent console, as a process of its own: its link, its end, and to whom it gives none."""

from __future__ import annotations

import asyncio
import fcntl
import importlib.util
import json
import os
import pty
import signal
import sys
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from typer.testing import CliRunner

from penstock_agent.cli import app
from tests.harness.console_site import ConsoleSite


@pytest.fixture
def site(tmp_path: Path) -> ConsoleSite:
    return ConsoleSite(tmp_path)


def options(site: ConsoleSite) -> list[str]:
    folder = site.settings.state_dir
    return ["--config", str(folder / "agent.toml"), "--state-dir", str(folder)]


@asynccontextmanager
async def started(site: ConsoleSite, *arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.subprocess.create_subprocess_exec(  # no file is kept from it
        sys.executable,
        "-c",
        "from penstock_agent.cli import main; main()",
        "console",
        *arguments,
        *options(site),
        stdout=asyncio.subprocess.PIPE,
        stdin=asyncio.subprocess.DEVNULL,
        env={**os.environ, "DISPLAY": ""},
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def link_of(process: asyncio.subprocess.Process) -> str:
    assert process.stdout is not None
    text = b""
    while not text.endswith(b"}\n"):
        text += await process.stdout.readline()
    return str(json.loads(text)["url"])


async def test_its_link_leads_in_on_loopback_and_ctrl_c_ends_it(site: ConsoleSite) -> None:
    async with site.open(), started(site, "--json") as process, aiohttp.ClientSession() as http:
        url, _, code = (await link_of(process)).partition("#")
        assert url.startswith("http://127.0.0.1:")
        origin = url.removesuffix("/enter")
        async with http.post(
            url, data={"code": code}, headers={"Origin": origin}, allow_redirects=False
        ) as answer:
            assert answer.status == 303
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 0


async def test_a_person_is_told_what_the_link_is_and_how_it_ends(site: ConsoleSite) -> None:
    async with site.open(), started(site, "--no-open") as process:
        assert process.stdout is not None
        text = ""
        while "Ctrl-C ends it" not in text:
            text += (await process.stdout.readline()).decode()
        assert "works once, within two minutes" in text
        assert "  http://127.0.0.1:" in text
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
        assert b"The console has ended." in await process.stdout.read()


@pytest.mark.parametrize("foreground", [True, False], ids=["foreground", "background"])
async def test_enter_on_its_terminal_prints_another_link(site: ConsoleSite, foreground: bool) -> None:
    ours, theirs = pty.openpty()

    async def until(word: str, text: str = "") -> str:
        while word not in text:
            text += (await asyncio.to_thread(os.read, ours, 4096)).decode()
        return text

    async with site.open():
        process = await asyncio.subprocess.create_subprocess_exec(
            sys.executable,
            "-c",
            "from penstock_agent.cli import main; main()",
            "console",
            *options(site),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            preexec_fn=(lambda: fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)) if foreground else None,
            env={**os.environ, "DISPLAY": "", "WAYLAND_DISPLAY": ""},
        )
        said = await until("Ctrl-C ends it.")
        assert "From another machine" in said
        if foreground:
            said = await until("is in.", said)
            os.write(ours, b"\n")
            assert (await until("/enter#", "")).partition("#")[2] not in said
        process.send_signal(signal.SIGHUP)
        assert await process.wait() == 0
        rest = await until("The console has ended.", "" if foreground else said)
        assert ("Enter prints" in rest) is False
    os.close(ours)
    os.close(theirs)


def test_without_an_agent_there_is_no_console(site: ConsoleSite) -> None:
    done = CliRunner().invoke(app, ["console", "--json", *options(site)])
    assert done.exit_code == 1
    assert "The agent does not run" in done.output


def test_without_its_packages_it_names_the_command_that_installs_them(
    site: ConsoleSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    done = CliRunner().invoke(app, ["console", "--json", *options(site)])
    assert done.exit_code == 1
    assert "pip install 'penstock[console]'" in done.output


async def test_whom_the_agent_does_not_answer_gets_no_console(site: ConsoleSite) -> None:
    site.stranger = "Only root and the user that runs the agent may ask it anything."
    async with site.open(), started(site, "--json") as process:
        assert process.stdout is not None
        assert json.loads(await process.stdout.read())["error"]["text"] == site.stranger
        assert await process.wait() == 1
