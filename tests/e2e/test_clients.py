"""Real clients, through the whole of Penstock, to real servers. None of them knows that Penstock is there."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from tests.clients.drivers import DRIVERS, SHOWS_PROGRESS, Arguments, program
from tests.harness.stack import Server, Stack

pytestmark = pytest.mark.e2e

ALL = ("*",)
BIN = Path(sys.executable).parent
SECRET_WORDS = "the gate at the foot of the dam\n"


@dataclass(frozen=True)
class Case:
    """A server, a tool of it, and a piece of the answer that only the real server can give."""

    server: str
    name: str  # what the server calls itself
    tool: str
    arguments: Arguments
    expected: str


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the servers serve: a text, and a git repository with one commit."""
    made = tmp_path_factory.mktemp("served")
    (made / "note.txt").write_text(SECRET_WORDS)
    who = ["-c", "user.name=Penstock", "-c", "user.email=tests@penstock.invalid"]
    for argv in (
        ["init", "-q"],
        ["add", "note.txt"],
        [*who, "commit", "-q", "-m", "One note about the gate"],
    ):
        subprocess.run(["git", "-C", str(made), *argv], check=True, timeout=30)
    return made


@pytest.fixture(scope="module")
def cases(folder: Path) -> dict[str, Case]:
    text = str(folder / "note.txt")
    listed = [
        Case("everything", "mcp-servers/everything", "echo", {"message": "water"}, "Echo: water"),
        Case("files", "secure-filesystem-server", "read_text_file", {"path": text}, SECRET_WORDS.strip()),
        Case("git", "mcp-git", "git_log", {"repo_path": str(folder)}, "One note about the gate"),
        Case(
            "time",
            "mcp-time",
            "convert_time",
            {"source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo"},
            "T21:00:00+09:00",
        ),
    ]
    return {case.server: case for case in listed}


@pytest.fixture(scope="module")
def stack(folder: Path) -> Iterator[Stack]:
    servers = {
        "everything": Server([*program("mcp-server-everything"), "stdio"], ALL),
        "files": Server([*program("mcp-server-filesystem"), str(folder)], ALL, write=[folder]),
        "git": Server([str(BIN / "mcp-server-git"), "--repository", str(folder)], ALL, write=[folder]),
        "time": Server([str(BIN / "mcp-server-time"), "--local-timezone", "UTC"], ALL),
    }
    with Stack(servers) as running:
        yield running


@pytest.mark.parametrize("server", ["everything", "files", "git", "time"])
@pytest.mark.parametrize("client", list(DRIVERS))
async def test_a_real_client_lists_and_calls_the_tools_of_a_real_server(
    client: str, server: str, stack: Stack, cases: dict[str, Case], tmp_path: Path
) -> None:
    case = cases[server]
    seen = await DRIVERS[client](stack.url(server), stack.token, case.tool, case.arguments, tmp_path)
    assert case.expected in seen.text
    assert not seen.is_error
    assert case.tool in seen.tools
    assert seen.server in ("", case.name)


@pytest.mark.parametrize("client", sorted(SHOWS_PROGRESS))
async def test_every_progress_notification_reaches_the_client_in_order(
    client: str, stack: Stack, tmp_path: Path
) -> None:
    arguments = {"duration": 0.2, "steps": 4}
    tool = "trigger-long-running-operation"
    seen = await DRIVERS[client](stack.url("everything"), stack.token, tool, arguments, tmp_path)
    assert seen.progress == [1, 2, 3, 4]


@pytest.mark.parametrize("client", list(DRIVERS))
async def test_what_a_server_refuses_comes_through_as_its_own_words(
    client: str, stack: Stack, tmp_path: Path
) -> None:
    arguments = {"path": "/etc/hostname"}
    seen = await DRIVERS[client](stack.url("files"), stack.token, "read_text_file", arguments, tmp_path)
    assert seen.is_error
    assert "Access denied" in seen.text


def test_without_a_token_no_client_gets_as_far_as_a_server(stack: Stack) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        answer = httpx2.post(
            stack.url("time"), headers=headers, json={"jsonrpc": "2.0", "id": 1, "method": "ping"}
        )
        assert answer.status_code == 401
        assert "www-authenticate" in answer.headers
