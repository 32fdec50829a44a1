import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from penstock_agent.children import keeper as keeper_module
from penstock_agent.children.confinement import kernel
from penstock_agent.children.keeper import Keeper, KeeperError
from tests.agent.children.kit import dead_within, descriptors, until

WAIT_S = 20.0

Group = subprocess.Popen[bytes]


@pytest.fixture
def groups() -> Iterator[list[Group]]:
    """Three processes with groups of their own."""
    sleeping = [subprocess.Popen(["sleep", "3600"], start_new_session=True) for _ in range(3)]
    yield sleeping
    for process in sleeping:
        process.kill()
        process.wait()


LEAVES = """
import os, sys, time
sys.path.insert(0, sys.argv[1])
from launcher_main import make_namespaces
make_namespaces(0)
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        if os.fork():
            os._exit(0)
        os.write(1, b"%d\\n" % os.getpid())
        while sys.argv[2] == "hops":
            if os.fork():
                os._exit(0)
        time.sleep(3600)
    os.wait()
print("done", flush=True)
time.sleep(3600)
"""
"""A leader with a user namespace, and three that have left it; they may run away, each to a new number."""


@pytest.fixture
def left() -> Iterator[Callable[[str], tuple[Group, list[int]]]]:
    if not kernel.look().namespaces:
        pytest.skip("needs user namespaces")
    leaders: list[Group] = []

    def start(how: str) -> tuple[Group, list[int]]:
        folder = str(Path(keeper_module.__file__).parent)
        argv = [sys.executable, "-I", "-S", "-c", LEAVES, folder, how]
        leader = subprocess.Popen(argv, stdout=subprocess.PIPE, start_new_session=True)
        leaders.append(leader)
        assert leader.stdout is not None
        return leader, [int(line) for line in iter(leader.stdout.readline, b"done\n")]

    yield start
    for leader in leaders:
        leader.kill()
        leader.wait()
        assert leader.stdout is not None
        leader.stdout.close()


def namespace(pid: int) -> int:
    try:
        return os.stat(f"/proc/{pid}/ns/user").st_ino
    except OSError:
        return 0


def inhabitants(of: int) -> list[int]:
    """Who is alive in a user namespace."""
    pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    return [pid for pid in pids if namespace(pid) == of and not dead_within(pid, 0)]


def ended(group: Group) -> bool:
    """Waits for the end that is expected, without reaping."""
    return dead_within(group.pid, WAIT_S)


async def test_the_groups_that_are_registered_end_with_the_keeper_and_no_others(groups: list[Group]) -> None:
    keeper = await Keeper.start()
    for group in groups:
        await keeper.add(group.pid)
    keeper.remove(groups[1].pid)
    await keeper.close()
    assert ended(groups[0])
    assert ended(groups[2])
    assert groups[1].poll() is None
    assert keeper.pid is None


async def test_registering_many_groups_at_once_is_confirmed_for_each(groups: list[Group]) -> None:
    keeper = await Keeper.start()
    async with asyncio.TaskGroup() as tasks:
        for group in groups:
            tasks.create_task(keeper.add(group.pid))
    await keeper.close()
    assert all(ended(group) for group in groups)


async def test_a_keeper_that_dies_is_replaced_and_the_next_one_knows_all_groups(groups: list[Group]) -> None:
    keeper = await Keeper.start()
    await keeper.add(groups[0].pid)
    await keeper.add(groups[1].pid)
    for _ in range(3):
        first = keeper.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await until(lambda old=first: keeper.pid not in (old, None))  # type: ignore[misc]  # bound to this round
        await keeper.add(groups[2].pid)
        assert not any(dead_within(group.pid, 0) for group in groups)
        keeper.remove(groups[1].pid)
    await keeper.close()
    assert ended(groups[0])
    assert ended(groups[2])
    assert groups[1].poll() is None


async def test_a_group_whose_confirmation_died_with_a_keeper_is_confirmed_by_the_next(
    groups: list[Group],
) -> None:
    keeper = await Keeper.start()
    assert keeper.pid is not None
    await keeper.add(groups[0].pid)
    os.kill(keeper.pid, signal.SIGSTOP)
    async with asyncio.TaskGroup() as tasks:
        adding = tasks.create_task(keeper.add(groups[1].pid))
        await until(lambda: groups[1].pid in keeper._waiters)
        os.kill(keeper.pid, signal.SIGKILL)
        async with asyncio.timeout(WAIT_S):
            await adding
    await keeper.close()
    assert ended(groups[0])
    assert ended(groups[1])


@pytest.mark.parametrize("how", ["stay", "hops"])
async def test_what_has_left_a_group_ends_when_the_group_has_ended(
    left: Callable[[str], tuple[Group, list[int]]], how: str
) -> None:
    keeper = await Keeper.start()
    (leader, _), (other, others) = left(how), left("stay")
    its = namespace(leader.pid)
    for group in (leader, other):
        await keeper.add(group.pid)
        keeper.know(group.pid)
    leader.kill()
    assert ended(leader)
    keeper.remove(leader.pid)
    leader.wait()
    await until(lambda: list(keeper._held) == [namespace(other.pid)])
    assert inhabitants(its) == []
    assert not any(dead_within(pid, 0) for pid in (other.pid, *others))
    await keeper.close()


@pytest.mark.parametrize("told", [True, False])
async def test_what_has_left_a_group_ends_with_the_agent(
    left: Callable[[str], tuple[Group, list[int]]], told: bool
) -> None:
    """Also where the agent ended before it could say what has become of the group."""
    keeper = await Keeper.start()
    leader, pids = left("stay")
    await keeper.add(leader.pid)
    if told:
        keeper.know(leader.pid)
    await keeper.close()
    assert all(dead_within(pid, WAIT_S) for pid in pids)


async def test_a_keeper_that_dies_before_it_has_ended_all_leaves_them_to_the_next(
    left: Callable[[str], tuple[Group, list[int]]],
) -> None:
    keeper = await Keeper.start()
    leader, pids = left("stay")
    await keeper.add(leader.pid)
    first = keeper.pid
    assert first is not None
    os.kill(first, signal.SIGSTOP)
    leader.kill()
    assert ended(leader)
    keeper.remove(leader.pid)
    leader.wait()
    os.kill(first, signal.SIGKILL)
    await until(lambda: not keeper._held)
    assert keeper.pid not in (first, None)
    assert all(dead_within(pid, WAIT_S) for pid in pids)
    await keeper.close()


async def test_a_keeper_that_does_not_answer_is_replaced(
    groups: list[Group], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And it does not take its own end for the agent's when it wakes up: the groups live."""
    monkeypatch.setattr(keeper_module, "ANSWER_WAIT_S", 1.0)
    keeper = await Keeper.start()
    await keeper.add(groups[0].pid)
    stopped = keeper.pid
    assert stopped is not None
    os.kill(stopped, signal.SIGSTOP)
    await keeper.add(groups[1].pid)
    assert keeper.pid not in (stopped, None)
    assert not dead_within(groups[0].pid, 0)
    await keeper.close()
    assert ended(groups[0])


async def test_without_a_keeper_every_group_is_killed_and_none_is_taken(
    groups: list[Group], monkeypatch: pytest.MonkeyPatch
) -> None:
    keeper = await Keeper.start()
    await keeper.add(groups[0].pid)
    assert keeper.pid is not None
    with monkeypatch.context() as broken:
        broken.setattr(sys, "executable", "/no/such/python")
        os.kill(keeper.pid, signal.SIGKILL)
        await until(lambda: keeper.pid is None)
        assert ended(groups[0])
        keeper.remove(groups[0].pid)
        with pytest.raises(KeeperError, match="No such file"):
            await keeper.add(groups[1].pid)
    await keeper.add(groups[1].pid)
    await keeper.close()
    assert ended(groups[1])
    assert groups[2].poll() is None


async def test_a_keeper_that_ends_as_soon_as_it_starts_is_not_tried_for_ever(
    groups: list[Group], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    keeper = await Keeper.start()
    with pytest.raises(KeeperError, match="ends as soon as it is started"):
        await keeper.add(groups[0].pid)
    assert ended(groups[0])
    assert keeper.pid is None
    await keeper.close()


async def test_a_keeper_that_cannot_be_started_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    before = descriptors()
    with pytest.raises(KeeperError, match="No server can run without it"):
        await Keeper.start()
    assert descriptors() == before


async def test_after_closing_nothing_is_taken_and_closing_again_is_harmless(groups: list[Group]) -> None:
    keeper = await Keeper.start()
    await keeper.close()
    await keeper.close()
    with pytest.raises(KeeperError, match="stopping"):
        await keeper.add(groups[0].pid)
    keeper.remove(groups[0].pid)


async def test_a_keeper_that_does_not_end_by_itself_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper_module, "CLOSE_WAIT_S", 0.05)
    keeper = await Keeper.start()
    pid = keeper.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    await keeper.close()
    assert dead_within(pid, 0)


async def test_keepers_come_and_go_without_leaving_a_descriptor() -> None:
    await (await Keeper.start()).close()
    before = descriptors()
    for _ in range(5):
        keeper = await Keeper.start()
        assert keeper.pid is not None
        os.kill(keeper.pid, signal.SIGKILL)
        await keeper.close()
    assert descriptors() == before


async def test_the_keeper_holds_nothing_of_the_agent(groups: list[Group]) -> None:
    leaked = os.open("/etc/hostname", os.O_RDONLY)
    os.set_inheritable(leaked, True)
    keeper = await Keeper.start()
    await keeper.add(groups[0].pid)
    os.close(leaked)
    proc = Path("/proc", str(keeper.pid))
    assert sorted(os.listdir(proc / "fd")) == ["0", "1", "2"]
    assert (proc / "environ").read_bytes() == b""
    assert os.readlink(proc / "cwd") == "/"
    assert keeper.pid is not None
    assert os.getsid(keeper.pid) == keeper.pid
    await keeper.close()


def test_the_keeper_never_kills_its_own_group_or_every_process() -> None:
    """Lines that no agent writes; the program ends in order all the same."""
    program = str(Path(keeper_module.__file__).with_name("keeper_main.py"))
    code = (
        "import json, os, runpy, sys; killed = []; os.killpg = lambda group, number: killed.append(group); "
        "runpy.run_path(sys.argv[1], run_name='__main__'); print(json.dumps(sorted(killed)))"
    )
    lines = b"+0\n+1\n+4194000\n+4194001\n-4194001\n-77\n+%d\n" % os.getpgrp()
    done = subprocess.run(
        [sys.executable, "-c", code, program], input=lines, capture_output=True, check=True, timeout=WAIT_S
    )
    *answers, killed = done.stdout.decode().splitlines()
    assert answers[0] == "ready"
    assert json.loads(killed) == [4194000]
