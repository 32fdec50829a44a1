"""The stack that end-to-end tests stand on: its programs can be cut off, killed and started again."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.drivers import python_legacy
from tests.harness import warm
from tests.harness.family import alive, descendants
from tests.harness.stack import Server, Stack, StackError, until

pytestmark = pytest.mark.e2e

DOCUMENTS = Path(__file__).parents[2] / "docs" / "demo" / "documents"
SERVER = Server([sys.executable, "-m", "penstock_agent.examples.docsearch", str(DOCUMENTS)], ["*"])

KILLED_RUN = """
import os, signal
from tests.harness.family import Keeper
Keeper().watch({pid})
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    # The commands, too, as a user starts them.
    with warm.cold(), Stack({"docs": SERVER}, fault_proxy=True) as running:
        yield running


async def call(stack: Stack) -> str:
    seen = await python_legacy(stack.url("docs"), stack.token, "search", {"query": "flood"}, stack.folder)
    return seen.text


async def test_calls_go_through_the_proxy_and_go_on_after_a_cut(stack: Stack) -> None:
    assert stack.proxy is not None
    assert "night-of-the-flood.md" in await call(stack)
    before = stack.proxy.accepted
    assert stack.proxy.cut() >= 1
    stack.proxy.wait(lambda proxy: proxy.accepted > before, 30)
    stack.agent.wait_linked()
    assert "night-of-the-flood.md" in await call(stack)


async def test_a_relay_that_is_killed_and_started_again_has_the_same_addresses(stack: Stack) -> None:
    url = stack.url("docs")
    stack.relay.kill()
    assert not stack.relay.running
    stack.start_relay()
    stack.agent.wait_linked()
    assert stack.url("docs") == url
    assert "night-of-the-flood.md" in await call(stack)


async def test_an_agent_that_is_killed_leaves_no_process_and_serves_again_when_started(stack: Stack) -> None:
    assert "night-of-the-flood.md" in await call(stack)
    family = descendants(stack.agent.program.pid)
    assert family, "the server's process and the keeper"
    stack.agent.program.kill()
    until("the end of the agent's processes", 10, lambda: not any(map(alive, family)))
    stack.agent.start()
    assert "night-of-the-flood.md" in await call(stack)


def test_a_command_that_fails_is_told_in_its_own_words_and_without_its_arguments(stack: Stack) -> None:
    with pytest.raises(StackError, match="status 2") as failed:
        stack.agent.cli("expose", "nothing-of-this-name")
    assert "nothing-of-this-name" in str(failed.value).partition("status 2")[2]


def test_a_program_that_does_not_come_up_is_told_with_the_end_of_its_log() -> None:
    with (
        pytest.raises(StackError, match=r"relay ended with status 2\n--- end of relay.log\n.*NATS_URL"),
        Stack({}, relay_env={"PENSTOCK_RELAY_NATS_URL": "nats://nowhere"}),
    ):
        pass


def test_what_a_killed_test_run_leaves_behind_is_ended() -> None:
    sleeper = subprocess.Popen(["sleep", "60"])
    run = [sys.executable, "-c", KILLED_RUN.format(pid=sleeper.pid)]
    subprocess.run(run, cwd=Path(__file__).parents[2], timeout=30, check=False)
    assert sleeper.wait(10) == -signal.SIGTERM
