"""The agent's end of a unit: children over a socket, with processes that really run."""

from __future__ import annotations

import asyncio
import socket
import sys
from pathlib import Path

import pytest

from penstock_agent.children.child import ChildGone, ChildStartError
from penstock_agent.children.pool import Children
from penstock_agent.children.units.connection import UnitChild
from penstock_agent.children.units.spec import UnitSpec
from tests.agent.children.kit import EVIL, descriptors
from tests.harness.unit_host import SETTINGS, UnitHost

ECHO = ["cat"]


def evil(*mode: str) -> list[str]:
    return [sys.executable, "-I", "-S", EVIL, *mode]


async def test_lines_go_there_and_back(tmp_path: Path) -> None:
    with UnitHost(tmp_path, ECHO) as host:
        child = await UnitChild.start(host.spec())
        await child.send(b'{"id": 1}')
        await child.send(b"x" * 1_000_000)
        assert await child.receive() == b'{"id": 1}'
        assert await child.receive() == b"x" * 1_000_000
        await child.stop()
        assert host.instance().wait(20) == 0


async def test_each_child_is_an_instance_of_its_own(tmp_path: Path) -> None:
    with UnitHost(tmp_path, ECHO) as host:
        one, two = await UnitChild.start(host.spec()), await UnitChild.start(host.spec())
        await one.send(b"1")
        await two.send(b"2")
        assert (await two.receive(), await one.receive()) == (b"2", b"1")
        assert host.instance(0).pid != host.instance(1).pid
        await one.stop()
        await two.stop()


async def test_a_line_with_a_line_break_is_refused(tmp_path: Path) -> None:
    with UnitHost(tmp_path, ECHO) as host:
        child = await UnitChild.start(host.spec())
        with pytest.raises(ValueError, match="one line"):
            await child.send(b"a\nb")
        await child.stop()


async def test_one_that_ends_by_itself_is_gone_and_the_hint_names_its_journal(tmp_path: Path) -> None:
    with UnitHost(tmp_path, ["sh", "-c", "echo last; exit 3"]) as host:
        child = await UnitChild.start(host.spec())
        gone = asyncio.Event()
        child.when_gone(lambda _: gone.set())
        assert await child.receive() == b"last"
        with pytest.raises(ChildGone, match="server x ended; its last words are in the journal"):
            await child.receive()
        await gone.wait()
        assert not child.stopping
        assert child.hint == {"hint": "journalctl -u 'penstock-server-x@*' -n 50"}
        with pytest.raises(ChildGone):
            await child.send(b"{}")


async def test_stopping_ends_it_and_leaves_nothing_open(tmp_path: Path) -> None:
    with UnitHost(tmp_path, ["sleep", "1000"]) as host:
        before = descriptors()
        child = await UnitChild.start(host.spec())
        assert descriptors() > before
        await child.stop(0.01)
        assert child.stopping
        assert descriptors() == before
        with pytest.raises(ChildGone, match="stopped by the agent"):
            await child.receive()
        assert host.instance().wait(20) == 0


async def test_an_endless_line_is_bounded_as_it_is_of_a_process(tmp_path: Path) -> None:
    with UnitHost(tmp_path, ["sh", "-c", "yes | head -c 100000; sleep 100"]) as host:
        child = await UnitChild.start(host.spec())
        for _ in range(50_000):
            assert await child.receive() == b"y"
        await child.stop(0.01)


@pytest.mark.parametrize(
    ("settings", "token", "command", "words"),
    [
        ("0" * 32, None, ECHO, r"something else than its unit was made of.*servers harden x"),
        (SETTINGS, "b2" * 32, ECHO, r"does not take this agent's word.*servers harden x"),
        (SETTINGS, "", ECHO, r"holds no token.*servers harden x"),
        (SETTINGS, None, ["no-such-tool"], r"its program is not found.*absolute path"),
        (SETTINGS, None, ["/etc/passwd"], r"its program cannot be executed: Permission denied"),
    ],
    ids=["settings have changed", "another token", "no token", "no program", "not a program"],
)
async def test_an_instance_that_does_not_start_says_why_and_what_to_do(
    tmp_path: Path, settings: str, token: str | None, command: list[str], words: str
) -> None:
    with UnitHost(tmp_path, command, settings=settings) as host:
        if token is not None:
            host.token.write_text(token)
        before = descriptors()
        with pytest.raises(ChildStartError, match=words):
            await UnitChild.start(host.spec())
        assert descriptors() == before


async def test_without_a_socket_the_next_step_is_to_write_the_units(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("a1")
    spec = UnitSpec("x", tmp_path / "x.sock", SETTINGS, tmp_path / "token")
    with pytest.raises(ChildStartError, match=r"there is no .*x\.sock.*servers harden x"):
        await UnitChild.start(spec)
    with pytest.raises(ChildStartError, match=r"token2.*cannot be read.*servers harden x"):
        await UnitChild.start(UnitSpec("x", tmp_path / "x.sock", SETTINGS, tmp_path / "token2"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(spec.socket))
    with pytest.raises(ChildStartError, match=r"nothing listens.*systemctl status penstock-server-x\.socket"):
        await UnitChild.start(spec)


async def test_a_connection_that_is_closed_at_once_names_the_journal(tmp_path: Path) -> None:
    with UnitHost(tmp_path, ECHO) as host:
        (host.credentials / "token").unlink()
        host.credentials.rmdir()
        with pytest.raises(ChildStartError, match="cannot be read"):
            await UnitChild.start(host.spec())


async def test_an_instance_that_says_nothing_is_given_up(tmp_path: Path) -> None:
    path = tmp_path / "silent.sock"
    (tmp_path / "token").write_text("a1")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as silent:
        silent.bind(str(path))
        silent.listen()
        with pytest.raises(ChildStartError, match=r"did not start it within 0\.05 s.*journalctl"):
            await UnitChild.start(UnitSpec("x", path, SETTINGS, tmp_path / "token"), 0.05)


async def test_the_pool_counts_them_and_their_crashes_as_those_of_processes(tmp_path: Path) -> None:
    with UnitHost(tmp_path, evil("die")) as host:
        async with Children(2) as children:
            for failures in (1, 2):
                child = await children.start(host.spec())
                with pytest.raises(ChildGone):
                    await child.receive()
                assert children.counts()["x"].crashes_in_a_row == failures
            assert children.counts()["x"].running == 0


async def test_the_pool_stops_them_all_at_its_end(tmp_path: Path) -> None:
    with UnitHost(tmp_path, ECHO) as host:
        async with Children() as children:
            await children.start(host.spec())
            await children.start(host.spec())
            assert children.counts()["x"].running == 2
        assert [host.instance(n).wait(20) for n in (0, 1)] == [0, 0]
