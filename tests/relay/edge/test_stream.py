"""Answers on their way: at the caller's pace, alive in silence, and never cut off unnoticed."""

from __future__ import annotations

import asyncio
import json

import pytest

from penstock.http import EVENT_STREAM, KEEP_ALIVE
from penstock.tunnel.frames import DoneReason
from penstock_relay.edge.limits import Limits
from penstock_relay.switchboard import Answer, AnswerBroken, Call
from tests.harness.fake_switchboard import FakeAnswer, FakeSwitchboard
from tests.relay.edge.serving import CALL, LIST, WAIT, serving

EVENT = b'event: message\ndata: {"jsonrpc":"2.0","method":"notifications/progress"}\n\n'
MIB = 1024 * 1024


def giving(answer: FakeAnswer) -> FakeSwitchboard:
    async def script(call: Call) -> Answer:
        return answer

    return FakeSwitchboard(script)


def events(*chunks: bytes, complete: bool = False) -> FakeAnswer:
    return FakeAnswer(chunks, content_type=EVENT_STREAM, complete=complete)


async def closed(answer: FakeAnswer) -> list[DoneReason]:
    async with asyncio.timeout(WAIT):
        await answer.closed.wait()
    return answer.reasons


async def test_an_event_stream_begins_before_its_first_event_and_is_not_to_be_buffered() -> None:
    answer = events()
    async with serving(giving(answer)) as edge, edge.caller() as caller:
        caller.send()
        head = await caller.begin()
        assert head.status == 200
        assert head.headers["content-type"] == "text/event-stream"
        assert head.headers["cache-control"] == "no-cache, no-transform"
        assert head.headers["x-accel-buffering"] == "no"
        assert "server" not in head.headers
        answer.feed(EVENT)
        assert await caller.chunk() == EVENT
        answer.feed(EVENT[:10])
        assert await caller.chunk() == EVENT[:10]
        answer.feed(EVENT[10:])
        assert await caller.chunk() == EVENT[10:]
        answer.end()
        assert await caller.chunk() == b""
        assert (await closed(answer)) == [DoneReason.OK]
        assert edge.stats.by_class[2] == 1


@pytest.mark.parametrize("size", [1, 16 * 1024 + 1, 64 * 1024, 64 * 1024 + 1, 5 * MIB])
async def test_a_json_answer_arrives_whole_whatever_its_size(size: int) -> None:
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    answer = FakeAnswer([body[start : start + 16384] for start in range(0, size, 16384)])
    async with serving(giving(answer)) as edge, edge.caller() as caller:
        got = await caller.ask()
        assert got.body == body
        assert ("content-length" in got.headers) == (size <= 64 * 1024)
        assert (await closed(answer)) == [DoneReason.OK]
        assert (await caller.ask(method="PUT")).status == 405  # the connection is used again


async def test_silence_is_filled_with_comments_between_events_only() -> None:
    answer = events(EVENT)
    async with serving(giving(answer), limits=Limits(keep_alive_s=0.05)) as edge, edge.caller() as caller:
        caller.send()
        await caller.begin()
        assert await caller.chunk() == EVENT
        assert await caller.chunk() == KEEP_ALIVE
        assert await caller.chunk() == KEEP_ALIVE
        answer.feed(EVENT[:10])
        while (chunk := await caller.chunk()) == KEEP_ALIVE:
            pass
        assert chunk == EVENT[:10]
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.25):
                await caller.reader.readexactly(1)
        answer.feed(EVENT[10:])
        assert await caller.chunk() == EVENT[10:]
        assert await caller.chunk() == KEEP_ALIVE


async def test_a_stream_without_any_event_yet_is_kept_alive_as_well() -> None:
    async with serving(giving(events()), limits=Limits(keep_alive_s=0.05)) as edge, edge.caller() as caller:
        caller.send(method="GET")
        await caller.begin()
        assert await caller.chunk() == KEEP_ALIVE


@pytest.mark.parametrize(("sent", "start"), [(EVENT, b""), (EVENT[:30], b"\n\n"), (EVENT[:-1], b"\n\n")])
async def test_a_broken_event_stream_ends_with_words_for_its_request(sent: bytes, start: bytes) -> None:
    answer = events(sent)
    async with serving(giving(answer)) as edge, edge.caller() as caller:
        caller.send(CALL)
        await caller.begin()
        assert await caller.chunk() == sent
        answer.fail(AnswerBroken("The link was lost."))
        last = await caller.chunk()
        assert last.startswith(start + b"event: message\ndata: {")
        message = json.loads(last.removeprefix(start).removeprefix(b"event: message\ndata: "))
        assert message["id"] == 7
        assert message["result"]["isError"]
        assert message["result"]["content"] == [{"type": "text", "text": "The link was lost."}]
        assert message["result"]["_meta"]["penstock/outcome"]["exchange"] == answer.key
        assert await caller.chunk() == b""


async def test_a_broken_stream_that_nobody_waits_on_ends_between_events_and_is_cut_inside_one() -> None:
    for sent in (EVENT, EVENT[:30]):
        answer = events(sent)
        async with serving(giving(answer)) as edge, edge.caller() as caller:
            caller.send(method="GET")
            await caller.begin()
            assert await caller.chunk() == sent
            answer.fail(AnswerBroken(""))
            assert await caller.closed() == b"" if sent != EVENT else await caller.chunk() == b""


async def test_a_json_answer_that_breaks_before_the_caller_saw_any_of_it_is_an_unknown_outcome() -> None:
    answer = FakeAnswer([b'{"a":'], complete=False)
    answer.fail(AnswerBroken("The link was lost."))
    async with serving(giving(answer)) as edge:
        got = await edge.ask(LIST)
    assert got.status == 504
    assert json.loads(got.body)["error"]["message"] == "The link was lost."


async def test_a_json_answer_that_breaks_later_closes_the_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    answer = FakeAnswer([b"x" * 100_000], complete=False)
    async with serving(giving(answer)) as edge, edge.caller() as caller:
        caller.send()
        await caller.begin()
        assert len(await caller.chunk()) == 100_000
        answer.fail(AnswerBroken("The link was lost."))
        assert await caller.closed() == b""
    assert "request failed" not in caplog.text


async def test_a_broken_json_answer_cannot_be_taken_for_a_whole_one_in_http_1_0_either() -> None:
    answer = FakeAnswer([b"x" * 100_000], complete=False)
    async with serving(giving(answer)) as edge, edge.caller() as caller:
        caller.writer.write(caller.head(Content_Length="2").replace(b"HTTP/1.1", b"HTTP/1.0") + b"{}")
        await caller.begin()
        await caller.reader.readexactly(100_000)
        answer.fail(AnswerBroken("The link was lost."))
        with pytest.raises(ConnectionResetError):
            async with asyncio.timeout(WAIT):
                await caller.reader.read()


@pytest.mark.parametrize("answer_type", ["application/json", EVENT_STREAM])
async def test_a_caller_that_goes_closes_the_answer(answer_type: str) -> None:
    answer = FakeAnswer([b"x" * 100_000], content_type=answer_type, complete=False)
    async with serving(giving(answer)) as edge:
        async with edge.caller() as caller:
            caller.send()
            await caller.begin()
        assert DoneReason.CLIENT_GONE in await closed(answer)


async def test_a_caller_that_closes_its_side_only_is_gone_too() -> None:
    answer = events(EVENT)
    async with serving(giving(answer)) as edge, edge.caller() as caller:
        caller.send()
        await caller.begin()
        caller.writer.write_eof()
        assert DoneReason.CLIENT_GONE in await closed(answer)


@pytest.mark.parametrize("answer_type", ["application/json", EVENT_STREAM])
async def test_a_reader_that_takes_nothing_is_ended_and_little_was_taken_for_it(answer_type: str) -> None:
    answer = FakeAnswer([b"x" * 16384] * 1024, content_type=answer_type)
    limits = Limits(keep_alive_s=0.05, slow_s=0.3)
    async with serving(giving(answer), limits=limits) as edge, edge.caller(receive_buffer=16384) as caller:
        caller.send()
        await caller.begin()
        caller.stop_reading()
        assert (await closed(answer))[0] == DoneReason.TOO_SLOW
        assert answer.taken < 2 * MIB


async def test_a_reader_that_takes_something_all_the_time_gets_everything() -> None:
    answer = FakeAnswer([b"x" * 16384] * 256)
    limits = Limits(keep_alive_s=0.05, slow_s=0.3)
    async with serving(giving(answer), limits=limits) as edge, edge.caller(receive_buffer=65536) as caller:
        caller.send()
        await caller.begin()
        started = asyncio.get_running_loop().time()
        size = 0
        while chunk := await caller.chunk():
            size += len(chunk)
        assert size == 4 * MIB
        assert asyncio.get_running_loop().time() - started < WAIT / 3
        assert (await closed(answer)) == [DoneReason.OK]


async def test_a_silent_stream_whose_reader_has_everything_is_never_too_slow() -> None:
    answer = events(EVENT)
    limits = Limits(keep_alive_s=0.02, slow_s=0.05)
    async with serving(giving(answer), limits=limits) as edge, edge.caller() as caller:
        caller.send()
        await caller.begin()
        assert await caller.chunk() == EVENT
        for _ in range(10):
            assert await caller.chunk() == KEEP_ALIVE
        answer.end()
        assert await caller.chunk() == b""
