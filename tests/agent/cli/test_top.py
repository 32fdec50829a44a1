"""penstock-agent top: once, and on a terminal until a key is pressed."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import pty
import select
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from penstock_agent.cli import app
from tests.agent.ledger.book import decision, ledger

WAIT_S = 60


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "agent.toml").write_text("")

    async def write() -> None:
        with ledger(tmp_path) as writer:
            writer.record(decision())

    asyncio.run(write())
    return tmp_path


def options(site: Path) -> list[str]:
    return ["--config", str(site / "agent.toml"), "--state-dir", str(site)]


def test_without_an_agent_it_says_so_and_shows_what_was_decided(site: Path) -> None:
    done = CliRunner().invoke(app, ["top", "--once", *options(site)])
    assert done.exit_code == 1
    assert "The agent does not run" in done.output
    assert "Alice Example" in done.output


def test_the_facts_as_json(site: Path) -> None:
    done = CliRunner().invoke(app, ["top", "--json", *options(site)])
    facts = json.loads(done.output)
    assert (done.exit_code, facts["status"]) == (1, None)
    assert [one["item"] for one in facts["decisions"]] == ["tool:read_file"]


@pytest.mark.parametrize(
    ("key", "status"), [(b"q", 0), (b"\x03", 130), (b"", 0)], ids=["q", "Ctrl-C", "SIGTERM"]
)
def test_on_a_terminal_it_goes_on_until_it_is_ended_and_leaves_the_terminal_as_it_was(
    site: Path, key: bytes, status: int
) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    before = termios.tcgetattr(theirs)
    with subprocess.Popen(
        [sys.executable, "-c", "from penstock_agent.cli import main; main()", "top", *options(site)],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**os.environ, "TERM": "xterm"},
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(theirs, termios.TIOCSCTTY, 0),
    ) as process:
        shown, pressed, deadline = b"", False, time.monotonic() + WAIT_S
        while process.poll() is None and time.monotonic() < deadline:
            if select.select([ours], [], [], 0.1)[0]:
                shown += os.read(ours, 65536)
            if b"Decided" in shown and not pressed:
                pressed = True
                if key:
                    os.write(ours, key)
                else:
                    process.terminate()
        process.kill()
        assert process.wait() == status
    assert termios.tcgetattr(theirs) == before
    assert b"Alice Example" in shown
    os.close(ours)
    os.close(theirs)
