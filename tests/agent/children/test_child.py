import asyncio
import contextlib
import json
import os
import random
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from penstock_agent.children import pipes
from penstock_agent.children.child import Child, ChildGone, ChildStartError, ProcessSpec
from penstock_agent.children.confinement.plan import Confinement
from penstock_agent.children.keeper import Keeper
from penstock_agent.children.lines import LINE_MAX, Oversize
from tests.agent.children.kit import Spec, dead_within, descriptors, groups_of, until

MIB = 1024 * 1024


async def last_words(child: Child) -> ChildGone:
    with pytest.raises(ChildGone) as gone:
        await child.receive()
    return gone.value


async def everything(child: Child) -> None:
    while True:
        await child.receive()


async def test_lines_go_in_and_come_out_as_they_are(spec: Spec, keeper: Keeper) -> None:
    child = await Child.start(spec("echo"), keeper)
    for line in (b"hello", b"\xff\x00binary", b'{"id":1,"x":' + b"9" * 40 + b"}", b"x" * MIB):
        await child.send(line)
        assert await child.receive() == line
    await child.stop()
    assert child.returncode == 0


async def test_a_line_with_a_line_break_in_it_is_refused(spec: Spec, keeper: Keeper) -> None:
    child = await Child.start(spec("echo"), keeper)
    for line in (b"a\nb", b"a\r", b"\n"):
        with pytest.raises(ValueError, match="line break"):
            await child.send(line)
    await child.send(b"still works")
    assert await child.receive() == b"still works"
    await child.stop()


async def test_a_child_sees_three_descriptors_its_environment_and_a_session_of_its_own(
    spec: Spec, keeper: Keeper, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PENSTOCK_AGENT_STATE_DIR", "/secret/state")
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/systemd/notify")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials")
    leaked = os.open("/etc/hostname", os.O_RDONLY)
    os.set_inheritable(leaked, True)
    wanted = spec("look")
    child = await Child.start(wanted, keeper)
    os.close(leaked)
    seen = json.loads(bytes_of(await child.receive()))
    assert sorted(seen["fds"]) == ["0", "1", "2"]
    assert all(target.startswith("pipe:") for target in seen["fds"].values())
    assert sorted(seen["environ"]) == sorted(f"{name}={value}" for name, value in wanted.env.items())
    assert seen["pid"] == seen["pgid"] == seen["sid"] == child.pid
    assert seen["cwd"] == str(tmp_path)
    assert seen["blocked"] == "0" * 16
    await child.stop()


async def test_no_signal_is_ignored_in_a_child(spec: Spec, keeper: Keeper) -> None:
    """The interpreter that launches it ignores SIGPIPE for itself; an ignored signal would stay so."""
    child = await Child.start(spec(command=("grep", "SigIgn", "/proc/self/status")), keeper)
    assert await child.receive() == b"SigIgn:\t" + b"0" * 16
    assert (await last_words(child)).returncode == 0


async def test_arguments_and_environment_arrive_byte_for_byte(keeper: Keeper, tmp_path: Path) -> None:
    arguments = ("", " ", "a b", "ü", "'\"$(x)", "\n", os.fsdecode(b"\xff"), "x" * 100_000)
    code = (
        "import sys,os; sys.stdout.buffer.write(repr([os.fsencode(a) for a in sys.argv[1:]]).encode()+b'\\n')"
    )
    child = await Child.start(
        ProcessSpec("args", (sys.executable, "-I", "-S", "-c", code, *arguments), {"E": "=\n="}, tmp_path),
        keeper,
    )
    assert await child.receive() == repr([os.fsencode(text) for text in arguments]).encode()
    assert isinstance(await last_words(child), ChildGone)


async def test_many_lines_come_in_order_and_none_is_missing(spec: Spec, keeper: Keeper) -> None:
    child = await Child.start(spec("many_lines", "200000"), keeper)
    for number in range(200_000):
        assert await child.receive() == b"%d" % number
    await child.stop()


async def test_a_child_that_nobody_listens_to_is_left_waiting(spec: Spec, keeper: Keeper) -> None:
    """Lines of 1 MiB without a receiver: a bounded number is held, and all of them come in the end."""
    child = await Child.start(spec("echo"), keeper)
    lines = [bytes([65 + number]) * MIB for number in range(16)]

    async with asyncio.TaskGroup() as tasks:

        async def send() -> None:
            for line in lines:
                await child.send(line)

        tasks.create_task(send())
        await until(lambda: child._stdout.paused)
        assert child._stdout.waiting <= pipes.OUTPUT_WAITING_MAX + MIB + pipes.READ_SIZE
        for line in lines:
            assert await child.receive() == line
    await child.stop()


async def test_sending_waits_for_a_child_that_does_not_read(spec: Spec, keeper: Keeper) -> None:
    child = await Child.start(spec("deaf"), keeper)
    sent = 0
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.2):
            while sent < 1000:
                await child.send(b"x" * (64 * 1024))
                sent += 1
    assert sent * 64 * 1024 <= pipes.INPUT_WAITING_MAX + 2 * 64 * 1024 + pipes.PIPE_SIZE
    assert child._stdin.waiting <= pipes.INPUT_WAITING_MAX + 64 * 1024 + 1
    await child.stop(grace_s=0.05)


async def test_a_waiting_sender_hears_of_the_end(spec: Spec, keeper: Keeper) -> None:
    child = await Child.start(spec("deaf"), keeper)
    await child.send(b"x" * (2 * MIB))
    async with asyncio.TaskGroup() as tasks:
        waiting = tasks.create_task(refused(child))
        await until(lambda: child._stdin._turn.locked())
        os.kill(child.pid, signal.SIGKILL)
        assert "SIGKILL" in str(await waiting)


async def refused(child: Child) -> ChildGone:
    with pytest.raises(ChildGone) as gone:
        await child.send(b"one more")
    return gone.value


async def test_a_sender_that_gives_up_leaves_no_torn_line(spec: Spec, keeper: Keeper) -> None:
    child = await Child.start(spec("echo"), keeper)
    chance = random.Random(2)
    accepted: list[bytes] = []
    os.kill(child.pid, signal.SIGSTOP)
    for number in range(40):
        line = b"%d:" % number + b"z" * chance.randrange(200_000)
        try:
            async with asyncio.timeout(0.001):
                await child.send(line)
            accepted.append(line)
        except TimeoutError:
            continue
    os.kill(child.pid, signal.SIGCONT)
    assert 0 < len(accepted) < 40
    for line in accepted:
        assert await child.receive() == line
    await child.stop()


async def test_two_receivers_are_a_mistake_that_is_told(spec: Spec, keeper: Keeper) -> None:
    child = await Child.start(spec("silent"), keeper)
    async with asyncio.TaskGroup() as tasks:
        first = tasks.create_task(last_words(child))
        await until(lambda: child._stdout._wake is not None)
        with pytest.raises(RuntimeError, match="two tasks"):
            await child.receive()
        await child.stop()
        assert "stopped by the agent" in str(await first)


async def test_a_receiver_that_gives_up_loses_no_line(spec: Spec, keeper: Keeper) -> None:
    child = await Child.start(spec("echo"), keeper)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await child.receive()
    await child.send(b"later")
    assert await child.receive() == b"later"
    await child.stop()


# Evil children.


async def test_junk_comes_line_by_line_and_the_child_stays_usable(spec: Spec, keeper: Keeper) -> None:
    child = await Child.start(spec("junk"), keeper)
    got = [await child.receive() for _ in range(6)]
    assert got[0] == b"Listening on stdio!"
    assert got[1] == b"\xff\xfe\x00j"
    assert got[5] == b'{"a":"\\ud800"}'
    await child.send(b"next")
    assert await child.receive() == b"next"
    await child.stop()


async def test_a_line_without_end_is_reported_and_held_no_longer(spec: Spec, keeper: Keeper) -> None:
    child = await Child.start(spec("endless"), keeper)
    assert await child.receive() == Oversize(LINE_MAX)
    assert child._stdout._framer.partial == 0
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await child.receive()
    await child.stop(grace_s=0.05)
    assert child.returncode == -signal.SIGTERM


async def test_a_line_of_100_mib_is_reported_and_the_next_line_is_received(
    spec: Spec, keeper: Keeper
) -> None:
    child = await Child.start(spec("long_line", "100"), keeper)
    assert await child.receive() == Oversize(LINE_MAX)
    await child.send(b"next")
    assert await child.receive() == b"next"
    await child.stop()


async def test_a_line_of_the_limit_is_received_whole(spec: Spec, keeper: Keeper) -> None:
    child = await Child.start(spec("long_line", "64"), keeper)
    line = await child.receive()
    assert isinstance(line, bytes)
    assert len(line) == LINE_MAX
    await child.stop()


async def test_a_child_that_dies_at_once_says_how(spec: Spec, keeper: Keeper) -> None:
    child = await Child.start(spec("die", "3"), keeper)
    gone = await last_words(child)
    assert gone.returncode == child.returncode == 3
    assert "server evil ended with status 3" in str(gone)
    assert str(await refused(child)) == str(gone)
    await child.stop()


async def test_whole_lines_written_before_a_death_are_delivered_and_half_a_line_is_not(
    spec: Spec, keeper: Keeper
) -> None:
    child = await Child.start(spec("die_mid_answer"), keeper)
    await child.send(b"go")
    assert await child.receive() == b'{"whole":1}'
    gone = await last_words(child)
    assert "was killed by SIGSEGV" in str(gone)
    assert gone.returncode == -signal.SIGSEGV
    assert str(await last_words(child)) == str(gone)


async def test_all_that_was_in_the_pipe_at_the_death_is_delivered(spec: Spec, keeper: Keeper) -> None:
    """More than one read's worth, written in one go by a process that ends at once."""
    code = "import os; os.set_blocking(1, True); os.write(1, b'line\\n' * 180000)"
    child = await Child.start(spec(command=(sys.executable, "-I", "-S", "-c", code)), keeper)
    for _ in range(180_000):
        assert await child.receive() == b"line"
    assert (await last_words(child)).returncode == 0


async def test_a_child_that_closes_its_output_is_ended(
    spec: Spec, keeper: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("penstock_agent.children.child.STOP_GRACE_S", 0.05)
    child = await Child.start(spec("close_output"), keeper)
    assert (await last_words(child)).returncode == -signal.SIGKILL


async def test_a_child_that_closes_its_input_is_told_apart_from_a_dead_one(
    spec: Spec, keeper: Keeper
) -> None:
    child = await Child.start(spec("close_input"), keeper)
    assert await child.receive() == b"closed"
    with pytest.raises(ChildGone, match="no longer reads") as gone:
        await child.send(b"anybody?")
    assert gone.value.returncode is None
    await child.stop(grace_s=0.05)


async def test_a_flood_of_stderr_does_not_disturb_the_answers(
    spec: Spec, keeper: Keeper, logged: list[str]
) -> None:
    child = await Child.start(spec("flood_stderr"), keeper)
    await until(lambda: len(logged) > 100)
    for number in range(50):
        await child.send(b"%d" % number)
        assert await child.receive() == b"%d" % number
    await child.stop()
    assert set(logged[:100]) == {"warning: the sky is falling"}
    assert logged[-1].startswith("suppressed ")
    assert sum(map(len, logged)) < 20 * 64 * 1024


async def test_stderr_goes_to_the_log_without_terminal_sequences(
    spec: Spec, keeper: Keeper, logged: list[str]
) -> None:
    child = await Child.start(spec("say", r"\x1b[2Jone\x1b[0m\ntwo\r\nlast words"), keeper)
    assert await child.receive() == b"said"
    await child.stop()
    assert logged == ["one", "two", "last words"]


# The end.


async def test_stopping_closes_the_input_first(spec: Spec, keeper: Keeper) -> None:
    child = await Child.start(spec("silent"), keeper)
    await child.stop()
    assert child.returncode == 0
    assert child.stopping


async def test_stopping_asks_with_sigterm_next(spec: Spec, keeper: Keeper) -> None:
    child = await Child.start(spec("polite"), keeper)
    assert await child.receive() == b"ready"
    await child.stop(grace_s=0.05)
    assert child.returncode == 7


async def test_stopping_kills_in_the_end(spec: Spec, keeper: Keeper) -> None:
    child = await Child.start(spec("stubborn"), keeper)
    assert await child.receive() == b"ready"
    await child.stop(grace_s=0.05)
    assert child.returncode == -signal.SIGKILL
    with pytest.raises(ChildGone, match="stopped by the agent"):
        await child.send(b"x")


async def test_stopping_twice_or_at_the_same_time_is_harmless(spec: Spec, keeper: Keeper) -> None:
    child = await Child.start(spec("polite"), keeper)
    assert await child.receive() == b"ready"
    await asyncio.gather(*(child.stop(grace_s=0.05) for _ in range(5)))
    await child.stop()
    assert child.returncode == 7


async def test_a_stop_that_is_cancelled_kills_at_once(spec: Spec, keeper: Keeper) -> None:
    child = await Child.start(spec("stubborn"), keeper)
    assert await child.receive() == b"ready"
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await child.stop(grace_s=60)
    await child.stop()
    assert child.returncode == -signal.SIGKILL


async def test_a_child_that_waits_for_a_reader_can_still_end_by_itself(spec: Spec, keeper: Keeper) -> None:
    child = await Child.start(spec("many_lines", "1000000"), keeper)
    await until(lambda: child._stdout.paused)
    await child.stop(grace_s=10)
    assert child.returncode == 0


@pytest.mark.parametrize("leader", ["stays", "leaves"])
async def test_grandchildren_end_with_the_child(spec: Spec, keeper: Keeper, leader: str) -> None:
    child = await Child.start(spec("family", leader), keeper)
    family = json.loads(bytes_of(await child.receive()))
    assert len(family) == 4
    if leader == "leaves":
        assert (await last_words(child)).returncode == 0
    else:
        await child.stop(grace_s=0.05)
    await until(lambda: not groups_of(child.pid))


async def test_a_grandchild_that_left_the_group_cannot_hold_up_the_end(spec: Spec, keeper: Keeper) -> None:
    """It keeps the pipe open and writes for ever; the child has ended all the same."""
    child = await Child.start(spec("escape"), keeper)
    first = await child.receive()
    await child.send(b"end")
    with pytest.raises(ChildGone, match="status 0"):
        await everything(child)
    assert dead_within(int(bytes_of(first)), 20), "its output is closed, so its next write ends it"


async def test_the_keeper_knows_the_children_that_live_and_no_others(spec: Spec, keeper: Keeper) -> None:
    """The number of a group that has ended may soon be somebody else's."""
    stopped, died, living = [await Child.start(spec(mode), keeper) for mode in ("silent", "die", "silent")]
    await start_error(keeper, spec(command=("no-such-tool",)))
    await stopped.stop()
    await last_words(died)
    assert keeper.groups == {living.pid}
    await living.stop()
    assert keeper.groups == frozenset()


async def test_whoever_asks_is_called_once_at_the_end(spec: Spec, keeper: Keeper) -> None:
    called: list[Child] = []
    child = await Child.start(spec("silent"), keeper)
    child.when_gone(called.append)
    await child.stop()
    assert called == [child]
    child.when_gone(called.append)
    assert called == [child, child]


# What cannot be started.


async def start_error(keeper: Keeper, spec: ProcessSpec) -> str:
    with pytest.raises(ChildStartError) as error:
        await Child.start(spec, keeper)
    return str(error.value)


async def test_a_command_that_is_not_in_path_is_told_with_the_path(keeper: Keeper, tmp_path: Path) -> None:
    text = await start_error(
        keeper, ProcessSpec("files", ("no-such-tool",), {"PATH": "/usr/bin:/bin"}, tmp_path)
    )
    assert text.startswith(
        "server files: command not found: no-such-tool is in no folder of PATH (/usr/bin:/bin)."
    )
    assert "Install it" in text


async def test_what_downloads_its_program_without_a_network_says_so_when_it_ends(
    keeper: Keeper, tmp_path: Path
) -> None:
    npx = tmp_path / "npx"
    npx.write_text("#!/bin/sh\nread line\nexit 1\n")
    npx.chmod(0o755)
    for network, hinted in ((False, True), (True, False)):
        child = await Child.start(
            ProcessSpec("s", (str(npx),), {}, tmp_path, Confinement(network=network)), keeper
        )
        assert child.hint == {}
        await child.send(b"end")
        with pytest.raises(ChildGone):
            await child.receive()
        assert ("npx downloads what it runs" in child.hint.get("hint", "")) is hinted


async def test_each_other_cause_is_told_in_its_own_words(keeper: Keeper, tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("text")
    (tmp_path / "script").write_text("#!/no/such/interpreter\n")
    (tmp_path / "script").chmod(0o755)
    (tmp_path / "noise").write_bytes(b"\x00\x01\x02")
    (tmp_path / "noise").chmod(0o755)
    env = {"PATH": str(tmp_path)}

    async def tried(*command: str, folder: Path = tmp_path) -> str:
        return await start_error(keeper, ProcessSpec("s", command, env, folder))

    assert "there is no /no/such/tool" in await tried("/no/such/tool")
    assert "may not be executed" in await tried("plain")
    assert "cannot be executed: Permission denied" in await tried("./plain")
    assert "must name an interpreter that exists" in await tried("script")
    assert "cannot be executed: Exec format error" in await tried("noise")
    assert "cannot be entered: No such file" in await tried("script", folder=tmp_path / "absent")
    assert "command is empty" in await tried()
    assert "command is empty" in await tried("")
    assert "zero byte" in await tried("a\0b")
    assert "half a character" in await tried("\ud800")
    assert "Argument list too long" in await tried(sys.executable, "x" * 3 * MIB)


async def test_a_folder_in_path_is_not_taken_for_the_command(keeper: Keeper, tmp_path: Path) -> None:
    (tmp_path / "a" / "tool").mkdir(parents=True)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "tool").symlink_to("/bin/echo")
    env = {"PATH": f"{tmp_path}/a:{tmp_path}/b"}
    child = await Child.start(ProcessSpec("s", ("tool", "found"), env, tmp_path), keeper)
    assert await child.receive() == b"found"
    assert (await last_words(child)).returncode == 0


async def test_a_start_that_is_cancelled_leaves_nothing(spec: Spec, keeper: Keeper) -> None:
    await (await Child.start(spec("silent"), keeper)).stop()
    before = descriptors()
    cancelled = 0
    for delay in (0.0, 0.0001, 0.001, 0.002, 0.004, 0.008):
        try:
            async with asyncio.timeout(delay):
                child = await Child.start(spec("silent"), keeper)
        except TimeoutError:
            cancelled += 1
        else:
            await child.stop()
        assert descriptors() == before
    assert cancelled > 0


async def test_fifty_starts_leave_no_descriptor_and_no_process(
    spec: Spec, keeper: Keeper, tmp_path: Path
) -> None:
    await (await Child.start(spec("silent"), keeper)).stop()
    before = descriptors()
    for _ in range(10):
        good = [await Child.start(spec(mode), keeper) for mode in ("echo", "die", "silent")]
        for command in (("no-such-tool",), ("/no/such/tool",)):
            await start_error(keeper, ProcessSpec("bad", command, {"PATH": "/bin"}, tmp_path))
        for child in good:
            await child.stop(grace_s=5)
            assert child.returncode is not None
            assert not groups_of(child.pid)
    assert descriptors() == before


async def test_a_start_without_descriptors_fails_in_words_and_leaves_none_open(
    spec: Spec, keeper: Keeper
) -> None:
    """With room for 0, 1, 2 … descriptors, until a start succeeds."""
    await (await Child.start(spec("silent"), keeper)).stop()
    before = descriptors()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    taken: list[int] = []
    failures = 0
    texts: set[str] = set()
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.dup(0))
        for _ in range(40):
            try:
                child = await Child.start(spec("silent"), keeper)
            except ChildStartError as error:
                texts.add(str(error))
                failures += 1
                os.close(taken.pop())
            else:
                await child.stop()
                break
        else:
            raise AssertionError("no start succeeded")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in taken:
            os.close(fd)
    assert failures > 8
    assert len(texts) == 1
    assert "Too many open files" in texts.pop()
    assert descriptors() == before


def bytes_of(line: bytes | Oversize) -> bytes:
    assert isinstance(line, bytes)
    return line


def test_the_launcher_ends_when_the_agent_dies_before_it_was_told_anything(tmp_path: Path) -> None:
    """And so it does in the middle of its instructions."""
    launcher = Path(pipes.__file__).with_name("launcher_main.py")
    witness = tmp_path / "ran"
    told = b"%d " % 1000 + str(tmp_path).encode() + b"\0" + b"2\0/bin/touch\0" + str(witness).encode() + b"\0"
    for given in (b"", b"12", b"100 ", told):
        done = subprocess.run(
            [sys.executable, "-I", "-S", launcher, "2"], input=given, capture_output=True, timeout=20
        )
        assert done.returncode == 0
        assert done.stdout == done.stderr == b""
    assert not witness.exists()
