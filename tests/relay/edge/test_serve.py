"""The public listener as a task: it starts, tells where it is, stops, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest
import uvloop

from penstock.http import EVENT_STREAM
from penstock.tunnel.frames import DoneReason
from penstock_relay.edge.limits import Limits
from penstock_relay.edge.serve import serve_edge
from penstock_relay.edge.stats import Stats
from penstock_relay.switchboard import Answer, Call
from tests.harness.fake_switchboard import FakeAccess, FakeAnswer, FakeSwitchboard
from tests.relay.edge.serving import CALL, LIST, WAIT, serving

LOOPS = pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
EVENT = b"data: 1\n\n"


def both(call: Call) -> FakeAnswer:
    """A stream that stays open for a call, an answer at once for everything else."""
    if call.body == CALL:
        return FakeAnswer([EVENT], content_type=EVENT_STREAM, complete=False)
    return FakeAnswer([b"x" * 300_000])


async def script(call: Call) -> Answer:
    return both(call)


@LOOPS
def test_it_serves_and_stops_on_either_event_loop(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def main() -> None:
        async with serving(FakeSwitchboard(script), limits=Limits(keep_alive_s=0.05)) as edge:
            async with edge.caller() as caller:
                assert len((await caller.ask(LIST)).body) == 300_000
                large = b"x" * 4 * 1024 * 1024
                assert len((await caller.ask(large)).body) == 300_000
                assert edge.switchboard.calls[-1].body == large
                caller.send(CALL)
                await caller.begin()
                assert await caller.chunk() == EVENT
                assert await caller.chunk() == b": keep-alive\n\n"
            assert [answer.status for answer in await edge.raw(b"nonsense\r\n\r\n")] == [400]
        assert asyncio.all_tasks() == {asyncio.current_task()}

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())


@LOOPS
def test_a_slow_reader_is_ended_on_either_event_loop(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def main() -> None:
        answer = FakeAnswer([b"x" * 16384] * 1024)

        async def slowly(call: Call) -> Answer:
            return answer

        limits = Limits(keep_alive_s=0.05, slow_s=0.2)
        async with (
            serving(FakeSwitchboard(slowly), limits=limits) as edge,
            edge.caller(receive_buffer=16384) as caller,
        ):
            caller.send()
            await caller.begin()
            caller.stop_reading()
            async with asyncio.timeout(WAIT):
                await answer.closed.wait()
            assert answer.reasons[0] == DoneReason.TOO_SLOW
            assert answer.taken < 2 * 1024 * 1024

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())


@LOOPS
def test_connections_are_bounded_on_either_event_loop(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def main() -> None:
        async with serving(limits=Limits(connections=1)) as edge, edge.caller() as caller:
            assert (await caller.ask()).status == 200
            async with edge.caller() as turned:
                assert (await turned.response()).status == 503

    with asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(main())


async def test_stopping_gives_every_caller_a_last_word_and_takes_no_time() -> None:
    async def waits_for_ever(call: Call) -> Answer:
        if call.body == CALL:
            return both(call)
        await asyncio.Event().wait()
        raise AssertionError

    async with (
        serving(FakeSwitchboard(waits_for_ever)) as edge,
        edge.caller() as streaming,
        edge.caller() as waiting,
        edge.caller() as idle,
        edge.caller() as slow,
    ):
        streaming.send(CALL)
        await streaming.begin()
        assert await streaming.chunk() == EVENT
        waiting.send(LIST)
        slow.writer.write(slow.head(Content_Length="10") + b"{")
        async with asyncio.timeout(WAIT):
            while edge.stats.in_flight < 3:
                await asyncio.sleep(0)
        started = asyncio.get_running_loop().time()
        edge.task.cancel()
        last = await streaming.chunk()
        assert json.loads(last.partition(b"data: ")[2])["result"]["isError"]
        assert b"stopped" in last
        assert await streaming.chunk() == b""
        unknown = await waiting.response()
        assert unknown.status == 504
        assert (await slow.response()).status == 503
        assert await idle.closed() == b""
        with pytest.raises(asyncio.CancelledError):
            await edge.task
        assert asyncio.get_running_loop().time() - started < 0.9


async def test_an_address_that_is_taken_is_an_error_at_once() -> None:
    async with serving() as edge:
        with pytest.raises(OSError, match="in use"):
            await serve_edge(
                "127.0.0.1",
                edge.port,
                listening=lambda host, port: f"http://{host}:{port}",
                switchboard=FakeSwitchboard(),
                access=FakeAccess(),
                stats=Stats(),
            )


async def test_the_public_url_decides_the_host_and_loopback_still_answers() -> None:
    async with serving(public_url="https://mcp.example.com") as edge:
        assert (await edge.ask(host="mcp.example.com", origin="https://mcp.example.com")).status == 200
        assert (await edge.ask()).status == 200
        assert (await edge.ask(host="mcp.example.com:8443")).status == 421
        assert (await edge.ask(origin=f"http://127.0.0.1:{edge.port}")).status == 403


async def test_a_client_that_comes_back_is_given_no_last_word_when_the_relay_stops() -> None:
    first = b"event: message\nid: a.b\nretry: 3000\ndata: \n\n"

    async def primed(call: Call) -> Answer:
        return FakeAnswer([first], content_type=EVENT_STREAM, complete=False)

    async with serving(FakeSwitchboard(primed)) as edge, edge.caller() as caller:
        caller.send(CALL)
        await caller.begin()
        assert await caller.chunk() == first
        edge.task.cancel()
        assert await caller.chunk() == b""
        with pytest.raises(asyncio.CancelledError):
            await edge.task
