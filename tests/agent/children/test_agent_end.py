"""No process of a child's group is left after any end of the agent."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.agent.children.kit import dead_within, groups_of

LITTLE_AGENT = str(Path(__file__).with_name("little_agent.py"))

WAIT_S = 20.0


@contextmanager
def little_agent(when: str, folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], list[int]]]:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    agent = subprocess.Popen([sys.executable, LITTLE_AGENT, when, folder], stdout=subprocess.PIPE, env=env)
    assert agent.stdout is not None
    try:
        yield agent, json.loads(agent.stdout.readline())
    finally:
        agent.kill()
        agent.wait()
        agent.stdout.close()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGABRT, signal.SIGINT])
def test_every_process_of_every_group_ends_with_the_agent(number: signal.Signals, tmp_path: Path) -> None:
    with little_agent("running", tmp_path) as (agent, pids):
        assert len(set(pids)) == 10
        assert not any(dead_within(pid, 0) for pid in pids)
        agent.send_signal(number)
        agent.wait(WAIT_S)
        left = [pid for pid in pids if not dead_within(pid, WAIT_S)]
        assert left == []


def test_a_signal_to_the_agent_s_whole_group_does_not_end_the_keeper_first(tmp_path: Path) -> None:
    """What a terminal does on ^C, and a service manager that signals every process."""
    with little_agent("running", tmp_path) as (agent, pids):
        keeper, *children = pids
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(keeper, number)
        assert os.getpgid(keeper) == keeper
        assert not dead_within(keeper, 0)
        agent.kill()
        assert all(dead_within(pid, WAIT_S) for pid in (keeper, *children))


@pytest.mark.parametrize("when", ["before_the_keeper_knows", "before_the_child_is_told"])
def test_an_agent_killed_before_the_child_was_told_leaves_no_trace_of_it(when: str, tmp_path: Path) -> None:
    with little_agent(when, tmp_path) as (agent, (group,)):
        assert agent.wait(WAIT_S) == -signal.SIGKILL
        assert dead_within(group, WAIT_S)
        assert groups_of(group) == []
        assert not (tmp_path / "ran").exists()


def test_an_agent_killed_the_moment_that_the_child_was_told_leaves_no_process(tmp_path: Path) -> None:
    for _ in range(5):
        with little_agent("when_the_child_is_told", tmp_path) as (agent, (group,)):
            assert agent.wait(WAIT_S) == -signal.SIGKILL
            assert dead_within(group, WAIT_S)
            assert groups_of(group) == []
