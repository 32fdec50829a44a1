"""A toxic flow with real programs: a mail is read, and what would carry it out is refused; nobody else is."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.harness.caller import Caller
from tests.harness.stack import Server, Stack

pytestmark = pytest.mark.e2e

TOOL_SERVER = Path(__file__).parents[1] / "harness" / "tool_server.py"
#: The server's "echo" stands for reading a mail, its "count" for sending one, its "pid" for a search on site.
SENSITIVE = """
sensitive = ["tool:echo"]
[servers.mail.tools.pid.annotations]
readOnlyHint = true
openWorldHint = false
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("sent")
    command = [sys.executable, str(TOOL_SERVER), str(folder / "calls")]
    both = {name: Server(command, ("*",), write=[folder]) for name in ("files", "mail")}
    with Stack(both) as running:
        config = running.agent.config
        config.write_text(config.read_text() + SENSITIVE)  # "mail" is the last table
        running.agent.cli("expose", "files", "--all")  # which has the agent read it
        yield running


def sent(stack: Stack) -> int:
    """How often a server was asked to send something."""
    words = stack.agent.config.read_text().split('tool_server.py", "')[1]
    return Path(words.split('"')[0]).read_text().split().count("count")


def refused(text: str) -> bool:
    return "sensitive was read" in text and "Nothing was done" in text


async def test_who_has_read_a_mail_sends_nothing_and_the_others_do(stack: Stack) -> None:
    other = stack.issue_token("--name", "other")
    async with (
        asyncio.timeout(90),
        Caller(stack.url("mail"), stack.token) as mail,
        Caller(stack.url("files"), stack.token) as files,
        Caller(stack.url("mail"), other) as somebody,
    ):
        assert (await mail.tool("count")).text == "counted"
        assert (await mail.tool("echo", text="a mail")).text == '{"text": "a mail"}'
        before = sent(stack)
        told = await mail.tool("count")
        assert told.is_error
        assert "read from mail for you" in told.text
        assert refused((await files.tool("count")).text), "another server is another way out"
        async with Caller(stack.url("mail"), stack.token) as again:
            assert refused((await again.tool("count")).text), "nor is another session one"
        assert (await mail.tool("pid")).text.isdigit()
        assert sent(stack) == before
        assert (await somebody.tool("count")).text == "counted"
        assert sent(stack) == before + 1
    stack.agent.program.stop()
    stack.agent.start()
    async with asyncio.timeout(60), Caller(stack.url("files"), stack.token) as files:
        assert refused((await files.tool("count")).text), "a restart forgets nothing"
        listed = json.loads(stack.agent.cli("policy", "tainted", "--json").stdout)
        (person,) = listed["people"]
        assert (person["server"], listed["more"]) == ("mail", 0)
        assert stack.agent.cli("policy", "untaint", "nobody", check=False).returncode == 2
        assert refused((await files.tool("count")).text)
        stack.agent.cli("policy", "untaint", person["subject"])
        assert (await files.tool("count")).text == "counted", "at once, and in a session that was open"
        lines = stack.agent.cli("ledger", "show", "--json", "-n", "50").stdout.splitlines()
        (event,) = [one for one in map(json.loads, lines) if one.get("what") == "untainted"]
        assert event["about"]["subject"] == person["subject"]
        assert (await files.tool("echo", text="not from mail")).text
        assert stack.agent.cli("policy", "tainted").stdout == "Nothing sensitive was read lately.\n"
    shown = stack.agent.cli("ledger", "show", "--denied", "--json").stdout.splitlines()
    assert {json.loads(line)["rule"] for line in shown} == {"taint"}
    said = stack.agent.cli("policy", "explain", "--tainted", "--ask", "--as", "a", "mail", "pid")
    assert said.stdout.startswith("ALLOWED")
