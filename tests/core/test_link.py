"""The driver of a link, over real websockets and TLS on the loopback, on both event loops."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from websockets.asyncio.client import ClientConnection
from websockets.asyncio.server import ServerConnection

from penstock import link as link_module
from penstock.link import TCP_NOTSENT_LOWAT, Driver, Ended, now
from penstock.tunnel.codec import Decoder
from penstock.tunnel.errors import CloseCode
from penstock.tunnel.fields import Key
from penstock.tunnel.frames import Data, Frame, Ping
from penstock.tunnel.limits import BATCH, HEARTBEAT, MAX_MESSAGE
from penstock.tunnel.link import Link
from penstock.tunnel.states import End
from tests.harness.link_pair import Meeting, descriptors, hello, kernel_takes, meeting, until

BOTH_LOOPS = True


class Bulk:
    """A sender that never has nothing to send."""

    frame = Data(Key(b"b" * 16, 1), 0, b"x" * 16 * 1024, False).encode()

    def pump(self, link: Link) -> tuple[bytes, bool]:
        return self.frame, True


class Carried:
    """A driver at work on the server's end of a connection; a test holds the other end."""

    def __init__(
        self,
        server: ServerConnection,
        client: ClientConnection,
        deliver: Callable[[bytes, float], None] | None = None,
    ) -> None:
        self.server = server
        self.client = client
        self.link = Link(End.RELAY, 1, now())
        self.takes = 0
        self.gone: list[Ended] = []
        self.driver = Driver(self.link, server, deliver or self._deliver, self._taken)
        self._decoder = Decoder()

    def _deliver(self, data: bytes, at: float) -> None:
        for _ in self.link.receive(data, at):
            pass

    def _taken(self) -> None:
        self.takes += 1

    async def run(self) -> Ended:
        return await self.driver.run(self.gone.append)

    async def message(self) -> list[Frame]:
        """The frames of the next message."""
        data = await self.client.recv()
        assert isinstance(data, bytes)
        return [frame for _, frame in self._decoder.feed(data)]

    async def greeted(self) -> None:
        await self.client.send(hello().encode())
        await until(lambda: self.link.hello is not None, "HELLO")

    async def closed(self) -> tuple[int, str]:
        """What the other end was told at the end."""
        await self.client.wait_closed()
        return self.client.close_code or 0, self.client.close_reason or ""


async def turns(number: int) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


@asynccontextmanager
async def carrying(
    place: Meeting, deliver: Callable[[bytes, float], None] | None = None
) -> AsyncIterator[tuple[Carried, asyncio.Task[Ended]]]:
    carried = Carried(*await place.pair(), deliver)
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        task = tasks.create_task(carried.run())
        try:
            yield carried, task
        finally:
            carried.driver.stop()
            carried.client.transport.abort()


async def test_the_frames_of_one_turn_of_the_loop_leave_in_one_message(tmp_path: Path) -> None:
    async with meeting(tmp_path) as place, carrying(place) as (carried, _):
        await carried.greeted()
        loop = asyncio.get_running_loop()
        for token in range(1, 6):
            loop.call_soon(carried.link.control, Ping(token))
        assert await carried.message() == [Ping(token) for token in range(1, 6)]


async def test_the_kernel_is_asked_to_hold_little_that_is_not_sent(tmp_path: Path) -> None:
    async with meeting(tmp_path) as place, carrying(place) as (carried, _):
        sock: socket.socket = carried.server.transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, TCP_NOTSENT_LOWAT) == BATCH


async def test_nothing_is_taken_for_a_peer_that_does_not_read_and_a_small_frame_overtakes_the_rest(
    tmp_path: Path,
) -> None:
    async with meeting(tmp_path) as place, carrying(place) as (carried, _):
        await carried.greeted()
        carried.link.ready(Bulk())
        await until(lambda: carried.takes > 20 and not kernel_takes(carried.server), "a full pipe")
        await turns(50)  # what was on its way into the transport has arrived there
        carried.link.control(Ping(7))
        before = carried.takes
        for _ in range(before):
            assert not isinstance((await carried.message())[0], Ping)
        assert (await carried.message())[0] == Ping(7)


async def test_take_is_not_called_before_the_kernel_wants_more(tmp_path: Path) -> None:
    async with meeting(tmp_path) as place, carrying(place) as (carried, _):
        await carried.greeted()
        carried.link.ready(Bulk())
        await until(lambda: not kernel_takes(carried.server), "a full pipe")
        kernel = link_module._Kernel(carried.server)
        async with asyncio.TaskGroup() as tasks:
            before = carried.takes
            asking = tasks.create_task(kernel.writable())
            await turns(50)
            # It may have had room for a moment; then the link, which waits for the same, has used that.
            assert not asking.done() or kernel_takes(carried.server) or carried.takes > before
            while not asking.done():
                await carried.message()
        kernel.close()


async def test_what_waits_for_the_kernel_can_still_be_overtaken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with meeting(tmp_path) as place, carrying(place) as (carried, _):
        await carried.greeted()
        full = asyncio.Event()
        monkeypatch.setattr(carried.driver._kernel, "writable", full.wait)
        carried.link.ready(Bulk())
        await turns(50)
        assert carried.takes == 0
        carried.link.control(Ping(7))
        full.set()
        assert (await carried.message())[0] == Ping(7)


async def test_frames_leave_again_once_the_peer_reads(tmp_path: Path) -> None:
    async with meeting(tmp_path) as place, carrying(place) as (carried, _):
        await carried.greeted()
        carried.link.ready(Bulk())
        await until(lambda: carried.takes > 20 and not kernel_takes(carried.server), "a full pipe")
        stalled = carried.takes
        while carried.takes < stalled + 20:
            await carried.message()


@pytest.mark.parametrize(
    ("message", "code", "theirs"),
    [
        ("text", CloseCode.MALFORMED, "a text message on a link"),
        (b"\x00\x00\x00\x00\xee\x00\x00\x00\x00\x00", CloseCode.MALFORMED, None),
        (b"\x00" * (MAX_MESSAGE + 1), 1009, None),
        (Ping(1).encode(), CloseCode.WRONG_STATE, "PING is not legal while greeting"),
    ],
    ids=["text", "garbage", "oversize", "out-of-order"],
)
async def test_a_peer_that_breaks_the_rules_is_told_which_by_the_close_code(
    tmp_path: Path, message: str | bytes, code: int, theirs: str | None
) -> None:
    async with meeting(tmp_path) as place, carrying(place) as (carried, task):
        await carried.client.send(message)
        told = await carried.closed()
        ended = await task
        assert (ended.code, ended.ours, told[0]) == (code, True, code)
        assert theirs in (None, told[1])
        assert carried.gone == [ended]


async def test_an_overdue_link_is_closed(tmp_path: Path) -> None:
    async with meeting(tmp_path) as place, carrying(place) as (carried, task):
        await carried.greeted()
        carried.link.heartbeat = 0.02
        carried.driver._beats_anew.set()
        assert (await carried.closed())[0] == CloseCode.OVERDUE
        assert (await task).code == CloseCode.OVERDUE


async def test_a_heartbeat_that_gets_shorter_counts_from_then_on(tmp_path: Path) -> None:
    async with meeting(tmp_path) as place:

        def shorten(data: bytes, at: float) -> None:
            for _ in carried.link.receive(data, at):
                pass
            carried.link.heartbeat = 0.05

        async with carrying(place, shorten) as (carried, _):
            await turns(20)  # the first look at the clock was taken
            await carried.client.send(hello().encode())
            async with asyncio.timeout(5):  # half of the first heartbeat
                assert await carried.message() == [Ping(1)]


async def test_a_link_on_which_nothing_is_said_after_the_greeting_pings_in_time(tmp_path: Path) -> None:
    async with meeting(tmp_path) as place, carrying(place) as (carried, _):
        await turns(20)  # the first look at the clock was taken: it waits 25 s for the greeting
        carried.link._spoke -= HEARTBEAT
        await carried.client.send(hello().encode())
        async with asyncio.timeout(5):
            assert await carried.message() == [Ping(1)]


async def test_a_link_that_is_not_greeted_does_not_keep_the_loop_busy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with meeting(tmp_path) as place, carrying(place) as (carried, task):
        ticks = 0
        tick = carried.link.tick

        def counting(at: float) -> None:
            nonlocal ticks
            ticks += 1
            tick(at)

        monkeypatch.setattr(carried.link, "tick", counting)
        carried.link.heartbeat = 0.04  # due at once, and again until it is overdue 0.1 s later
        carried.driver._beats_anew.set()
        assert (await task).code == CloseCode.OVERDUE
        assert 1 <= ticks <= 30


async def test_a_peer_that_vanishes_ends_the_link_as_broken(tmp_path: Path) -> None:
    async with meeting(tmp_path) as place, carrying(place) as (carried, task):
        await carried.greeted()
        carried.client.transport.abort()
        assert await task == Ended(1006, "the connection broke", ours=False)


async def test_what_a_peer_writes_beside_its_close_code_is_not_repeated(tmp_path: Path) -> None:
    async with meeting(tmp_path) as place, carrying(place) as (carried, task):
        await carried.client.close(CloseCode.CREDIT, "s3cret\nlines")
        assert await task == Ended(CloseCode.CREDIT, "closed by the peer: credit", ours=False)


async def test_a_close_code_of_another_version_is_passed_on(tmp_path: Path) -> None:
    async with meeting(tmp_path) as place, carrying(place) as (carried, task):
        await carried.client.close(4999, "")
        assert await task == Ended(4999, "closed by the peer: 4999", ours=False)


async def test_stop_ends_a_link_once_with_its_code(tmp_path: Path) -> None:
    async with meeting(tmp_path) as place, carrying(place) as (carried, task):
        carried.driver.stop(CloseCode.TOO_MANY, "one too many")
        carried.driver.stop()
        assert await carried.closed() == (CloseCode.TOO_MANY, "one too many")
        ended = await task
        carried.driver.stop()
        assert carried.gone == [ended] == [Ended(CloseCode.TOO_MANY, "one too many", ours=True)]


async def test_a_text_that_is_too_long_for_a_close_frame_is_cut_between_characters(tmp_path: Path) -> None:
    async with meeting(tmp_path) as place, carrying(place) as (carried, _):
        carried.driver.stop(CloseCode.TOO_MANY, "å" * 500)
        assert await carried.closed() == (CloseCode.TOO_MANY, "å" * 60)


async def test_a_program_that_ends_says_so(tmp_path: Path) -> None:
    async with meeting(tmp_path) as place, carrying(place) as (carried, task):
        await carried.greeted()
        task.cancel()
        assert (await carried.closed())[0] == CloseCode.GOING_AWAY
        await asyncio.wait((task,))
        assert task.cancelled()
        assert [ended.code for ended in carried.gone] == [CloseCode.GOING_AWAY]


async def test_a_fault_of_ours_costs_the_link_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(data: bytes, at: float) -> None:
        raise KeyError("s3cret")

    async with meeting(tmp_path) as place, carrying(place, fail) as (carried, task):
        await carried.client.send(hello().encode())
        assert await carried.closed() == (1011, "KeyError at this end")
        assert (await task).code == 1011
    assert [record.levelname for record in caplog.records if "link_failed" in str(record.msg)] == ["ERROR"]


async def test_the_end_is_told_before_a_peer_that_does_not_answer_the_closing_handshake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link_module, "CLOSE_TIMEOUT", 0.1)
    async with meeting(tmp_path) as place, carrying(place) as (carried, task):
        await carried.greeted()
        carried.link.ready(Bulk())
        await until(lambda: carried.takes > 20 and not kernel_takes(carried.server), "a full pipe")
        carried.driver.stop()
        await until(lambda: bool(carried.gone), "the end")
        assert not task.done()
        await task


async def test_flushed_returns_when_all_was_handed_over(tmp_path: Path) -> None:
    async with meeting(tmp_path) as place, carrying(place) as (carried, _):
        await carried.greeted()
        carried.link.control(Ping(3))
        await carried.driver.flushed()
        assert not carried.link.pending
        assert carried.takes == 1
        await carried.driver.flushed()
        assert await carried.message() == [Ping(3)]


async def test_nobody_waits_to_flush_a_link_that_has_ended(tmp_path: Path) -> None:
    async with meeting(tmp_path) as place, carrying(place) as (carried, task):
        await carried.greeted()
        carried.link.ready(Bulk())
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(carried.driver.flushed())
            await until(lambda: carried.takes > 2, "traffic")
            carried.driver.stop()
            await waiting
        assert carried.link.pending
        await carried.driver.flushed()
        carried.client.transport.abort()
        await task


async def test_a_connection_that_is_gone_already_ends_the_link(tmp_path: Path) -> None:
    async with meeting(tmp_path) as place:
        server, client = await place.pair()
        server.transport.abort()
        before = Carried(server, client)
        await server.wait_closed()
        after = Carried(server, client)
        for carried in (before, after):
            async with asyncio.timeout(5):
                assert (await carried.run()).code == 1006


async def test_fifty_links_leave_no_task_and_no_descriptor(tmp_path: Path) -> None:
    async with meeting(tmp_path) as place:
        before = tasks = 0
        for number in range(51):
            async with carrying(place) as (carried, task):
                await carried.greeted()
                carried.link.ready(Bulk())
                await carried.message()
                if number % 3 == 0:
                    carried.client.transport.abort()
                    await task
                elif number % 3 == 1:
                    carried.driver.stop()
                    await task
            if number == 0:
                await until(lambda: len(asyncio.all_tasks()) <= 3, "the tasks of the first link")
                before, tasks = descriptors(), len(asyncio.all_tasks())
        await until(lambda: descriptors() <= before, "the descriptors")
        assert len(asyncio.all_tasks()) <= tasks
