"""Malformed, smuggled, endless and slow requests on a real socket: one answer at most, then the end."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress

import pytest
from aiohttp import http_parser

from penstock.http import EVENT_STREAM
from penstock_relay.edge.connection import NoParser, quiet_logger, require_parser
from penstock_relay.edge.limits import Limits
from penstock_relay.switchboard import Answer, Call
from tests.harness.fake_switchboard import FakeAnswer, FakeSwitchboard
from tests.relay.edge.serving import LIST, WAIT, serving

QUICK = Limits(linger_s=0.05, header_s=0.2, idle_s=0.5, body_s=0.3, body_start_s=0.2, body_rate=1_000_000)
SECOND = b"GET /bergen/secret/mcp HTTP/1.1\r\nHost: smuggled\r\n\r\n"
GOOD = (
    b"Authorization: Bearer good\r\nAccept: application/json, text/event-stream\r\n"
    b"Content-Type: application/json\r\n"
)


def request(line: bytes = b"POST /oslo/files/mcp HTTP/1.1", headers: bytes = GOOD, *more: bytes) -> bytes:
    return b"\r\n".join([line, b"Host: HOST", headers.removesuffix(b"\r\n"), *more, b"", b""])


CHUNKED = request(b"POST /oslo/files/mcp HTTP/1.1", GOOD, b"Transfer-Encoding: chunked")
LENGTH = b"Content-Length: 2"
POST = b"POST /oslo/files/mcp HTTP/1.1"
ALWAYS_400: dict[str, bytes] = {
    "length and chunked": request(POST, GOOD, LENGTH, b"Transfer-Encoding: chunked") + b"0\r\n\r\n" + SECOND,
    "chunked and length": request(POST, GOOD, b"Transfer-Encoding: chunked", LENGTH) + b"0\r\n\r\n" + SECOND,
    "two lengths": request(POST, GOOD, LENGTH, b"Content-Length: 3") + b"{}" + SECOND,
    "two equal lengths": request(POST, GOOD, LENGTH, LENGTH) + b"{}" + SECOND,
    "length with a sign": request(POST, GOOD, b"Content-Length: +2") + b"{}" + SECOND,
    "length in hexadecimal": request(POST, GOOD, b"Content-Length: 0x2") + b"{}" + SECOND,
    "length as a list": request(POST, GOOD, b"Content-Length: 2, 2") + b"{}" + SECOND,
    "huge length": request(POST, GOOD, b"Content-Length: 99999999999999999999") + b"{}",
    "chunked twice": request(POST, GOOD, b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked")
    + b"0\r\n\r\n"
    + SECOND,
    "chunked not last": request(POST, GOOD, b"Transfer-Encoding: chunked, identity") + b"0\r\n\r\n" + SECOND,
    "unknown coding": request(POST, GOOD, b"Transfer-Encoding: xchunked") + b"0\r\n\r\n" + SECOND,
    "compressed coding": request(POST, GOOD, b"Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n" + SECOND,
    "space before the colon": request(POST, GOOD, b"Transfer-Encoding : chunked") + b"0\r\n\r\n" + SECOND,
    "chunked in 1.0": request(b"POST /oslo/files/mcp HTTP/1.0", GOOD, b"Transfer-Encoding: chunked")
    + b"0\r\n\r\n"
    + SECOND,
    "bare line feeds": request(POST, GOOD, LENGTH).replace(b"\r\n", b"\n") + b"{}" + SECOND,
    "one bare line feed": request(POST, GOOD, b"A: b\nX: y", LENGTH) + b"{}" + SECOND,
    "bare carriage return": request(POST, GOOD, b"A: b\rX: y", LENGTH) + b"{}" + SECOND,
    "folded header": request(POST, GOOD, b"A: b\r\n c", LENGTH) + b"{}" + SECOND,
    "null in a header": request(POST, GOOD, b"A: b\0c", LENGTH) + b"{}" + SECOND,
    "header without a name": request(POST, GOOD, b": b", LENGTH) + b"{}" + SECOND,
    "header without a colon": request(POST, GOOD, b"abc", LENGTH) + b"{}" + SECOND,
    "two hosts": request(POST, GOOD, b"Host: other", LENGTH) + b"{}" + SECOND,
    "no host": request(POST, GOOD, LENGTH).replace(b"Host: HOST\r\n", b"") + b"{}" + SECOND,
    "no host in 1.0": request(b"POST /oslo/files/mcp HTTP/1.0", GOOD, LENGTH).replace(b"Host: HOST\r\n", b""),
    "host with a path": request(POST, GOOD, LENGTH).replace(b"Host: HOST", b"Host: a/../HOST?y") + b"{}",
    "two tokens": request(POST, GOOD, b"Authorization: Bearer other", LENGTH) + b"{}" + SECOND,
    "absolute target": request(b"POST http://HOST/oslo/files/mcp HTTP/1.1", GOOD, LENGTH) + b"{}" + SECOND,
    "unknown version": request(b"POST /oslo/files/mcp HTTP/1.2", GOOD, LENGTH) + b"{}" + SECOND,
    "no version": b"GET /oslo/files/mcp\r\n\r\n" + SECOND,
    "connect": b"CONNECT HOST HTTP/1.1\r\nHost: HOST\r\n\r\n" + SECOND,
    "upgrade to a websocket": request(
        b"GET /oslo/files/mcp HTTP/1.1", GOOD, b"Connection: Upgrade", b"Upgrade: websocket"
    )
    + SECOND,
    "upgrade with a body": request(POST, GOOD, b"Connection: Upgrade", b"Upgrade: websocket", LENGTH)
    + b"{}"
    + SECOND,
    "upgrade to HTTP/2": request(POST, GOOD, b"Connection: Upgrade", b"Upgrade: h2c", LENGTH)
    + b"{}"
    + SECOND,
    "preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": bytes.fromhex("160301020001000001fc0303") + bytes(300),
    "get with a body": request(b"GET /oslo/files/mcp HTTP/1.1", GOOD, LENGTH) + b"{}" + SECOND,
    "65 headers": request(POST, GOOD, *[b"X: y"] * 61, LENGTH) + b"{}" + SECOND,
    "a header of 9 KiB": request(POST, GOOD, b"X: " + b"y" * 9000, LENGTH) + b"{}" + SECOND,
    "20 KiB of headers": request(POST, GOOD, *[b"X: " + b"y" * 4000] * 5, LENGTH) + b"{}" + SECOND,
    "a target of 9 KiB": request(b"POST /" + b"o" * 9000 + b" HTTP/1.1", GOOD, LENGTH) + b"{}" + SECOND,
    "announced trailers": request(POST, GOOD, b"Transfer-Encoding: chunked", b"Trailer: x")
    + b"2\r\n{}\r\n0\r\nx: y\r\n\r\n",
    "trailers": CHUNKED + b"2\r\n{}\r\n0\r\nx: y\r\n\r\n",
    "a trailer that looks like the end": CHUNKED + b"2\r\n{}\r\n0\r\nx: 0\r\n\r\n",
    "a chunk extension at the end": CHUNKED + b"2\r\n{}\r\n0;x=y\r\n\r\n",
    "a chunk size that is none": CHUNKED + b"zz\r\n{}\r\n0\r\n\r\n" + SECOND,
    "a chunk longer than its size": CHUNKED + b"2\r\n{}}\r\n0\r\n\r\n" + SECOND,
    "a chunk size with a sign": CHUNKED + b"+2\r\n{}\r\n0\r\n\r\n" + SECOND,
    "a chunk size in underscores": CHUNKED + b"0_2\r\n{}\r\n0\r\n\r\n" + SECOND,
    "a chunk that ends in a line feed": CHUNKED + b"2\n{}\n0\n\n" + SECOND,
}


@pytest.mark.parametrize("name", ALWAYS_400)
@pytest.mark.parametrize("split", [False, True], ids=["whole", "in pieces"])
async def test_a_malformed_request_gets_400_once_and_the_connection_ends(name: str, split: bool) -> None:
    async with serving(limits=Limits(linger_s=0.05)) as edge:
        data = ALWAYS_400[name].replace(b"HOST", b"127.0.0.1:%d" % edge.port)
        async with edge.caller() as caller:
            step = len(data) if not split else 1 if len(data) < 1000 else 700
            with suppress(ConnectionError):  # it may end before we have said everything
                for start in range(0, len(data), step):
                    caller.writer.write(data[start : start + step])
                    await caller.writer.drain()
                    await asyncio.sleep(0)
            answers = await caller.until_closed()
        # A connection that is reset while we are still writing may lose the answer on its way.
        assert [answer.status for answer in answers] in ([400], [400][: not split])
        assert edge.switchboard.calls == []
        for answer in answers:
            assert b"smuggled" not in answer.body
            assert "server" not in answer.headers


async def test_a_chunked_request_that_does_not_wait_for_its_answer_is_refused() -> None:
    async with serving(limits=Limits(linger_s=0.05)) as edge:
        data = CHUNKED + b"2\r\n{}\r\n0\r\n\r\n" + SECOND
        answers = await edge.raw(data.replace(b"HOST", b"127.0.0.1:%d" % edge.port))
        assert [answer.status for answer in answers] == [400]
        assert edge.switchboard.calls == []


async def test_chunks_are_read_whatever_their_sizes() -> None:
    async with serving() as edge, edge.caller() as caller:
        caller.writer.write(CHUNKED.replace(b"HOST", b"127.0.0.1:%d" % edge.port))
        for piece in (b"1\r\n{\r\n", b'0009\r\n"jsonrpc"', b"\r\n", b"1;x=y\r\n:\r\n", b"0\r\n", b"\r\n"):
            caller.writer.write(piece)
            await caller.writer.drain()
            await asyncio.sleep(0)
        assert (await caller.response()).body == b'{"jsonrpc":'
        assert (await caller.ask()).status == 200  # and the connection is used again


async def test_one_request_behind_another_is_answered_in_turn() -> None:
    async with serving() as edge, edge.caller() as caller:
        for _ in range(3):
            caller.send()
        assert [(await caller.response()).status for _ in range(3)] == [200, 200, 200]


async def test_many_requests_behind_one_that_is_being_answered_end_the_connection() -> None:
    async def never(call: Call) -> Answer:
        await asyncio.Event().wait()
        raise AssertionError

    switchboard = FakeSwitchboard(never)
    async with serving(switchboard) as edge, edge.caller() as caller:
        caller.send()
        async with asyncio.timeout(WAIT):
            while not switchboard.calls:
                await asyncio.sleep(0)
        for _ in range(20):
            caller.send()
        assert await caller.closed() == b""
        async with asyncio.timeout(WAIT):
            await switchboard.cancelled.wait()


@pytest.mark.parametrize(
    "sent", [b"", b"POST /oslo/files/mcp HT", b"POST /oslo/files/mcp HTTP/1.1\r\nHost: x\r\n"]
)
async def test_headers_that_do_not_come_end_the_connection(sent: bytes) -> None:
    async with serving(limits=QUICK) as edge, edge.caller() as caller:
        caller.writer.write(sent)
        answer = await caller.closed()
        assert answer.startswith(b"HTTP/1.1 408 ") if sent else answer == b""


async def test_headers_that_drip_end_the_connection_although_each_byte_is_in_time() -> None:
    async with serving(limits=QUICK) as edge, edge.caller() as caller:
        started = asyncio.get_running_loop().time()
        data = iter(b"POST /oslo/files/mcp HTTP/1.1\r\n" + b"X: y\r\n" * 100)
        while not caller.reader.at_eof():
            caller.writer.write(bytes([next(data)]))
            try:
                async with asyncio.timeout(0.02):
                    assert (await caller.reader.read(100)).startswith((b"HTTP/1.1 408 ", b""))
            except TimeoutError:
                continue
            except ConnectionResetError:
                break
        assert asyncio.get_running_loop().time() - started < WAIT / 3


async def test_half_a_request_behind_an_answer_that_is_under_way_does_not_disturb_it() -> None:
    answer = FakeAnswer([b"data: 1\n\n"], content_type=EVENT_STREAM, complete=False)

    async def script(call: Call) -> Answer:
        return answer

    async with serving(FakeSwitchboard(script), limits=QUICK) as edge, edge.caller() as caller:
        caller.send()
        await caller.begin()
        assert await caller.chunk() == b"data: 1\n\n"
        caller.writer.write(b"POST /oslo")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(2 * QUICK.header_s):
                await caller.reader.readexactly(1)
        answer.feed(b"data: 2\n\n")
        assert await caller.chunk() == b"data: 2\n\n"


async def test_the_second_request_of_a_connection_has_the_same_deadline() -> None:
    async with serving(limits=QUICK) as edge, edge.caller() as caller:
        assert (await caller.ask()).status == 200
        caller.writer.write(b"POST /oslo")
        assert (await caller.closed()).startswith(b"HTTP/1.1 408 ")


async def test_an_idle_connection_ends() -> None:
    async with serving(limits=QUICK) as edge, edge.caller() as caller:
        assert (await caller.ask()).status == 200
        assert await caller.closed() == b""


async def test_a_body_that_stops_coming_gets_408_and_the_connection_ends() -> None:
    async with serving(limits=QUICK) as edge, edge.caller() as caller:
        caller.writer.write(caller.head(Content_Length="100") + b"{")
        answers = await caller.until_closed()
        assert [answer.status for answer in answers] == [408]
        assert answers[0].headers["connection"] == "close"
        assert edge.stats.request_bytes == 0


async def test_headers_above_the_bound_that_never_end_get_400() -> None:
    async with serving() as edge, edge.caller() as caller:
        caller.writer.write(b"POST /oslo/files/mcp HTTP/1.1\r\n" + (b"X: " + b"y" * 4000 + b"\r\n") * 10)
        assert (await caller.closed()).startswith(b"HTTP/1.1 400 ")


async def test_connections_above_the_limit_are_turned_away_and_counted_out_again() -> None:
    async with serving(limits=Limits(connections=2)) as edge:
        async with edge.caller() as first, edge.caller() as second:
            assert (await first.ask()).status == 200
            assert (await second.ask()).status == 200
            async with edge.caller() as third:
                turned = await third.response()
                assert turned.status == 503
                assert turned.headers["retry-after"] == "10"
                assert await third.closed() == b""
            assert edge.stats.connections == 2
            assert (await first.ask()).status == 200
        async with asyncio.timeout(WAIT):
            while edge.stats.connections:
                await asyncio.sleep(0)
        assert (await edge.ask()).status == 200


async def test_no_byte_of_a_request_is_logged(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    async def fails(call: Call) -> Answer:
        raise RuntimeError("canary-failure")

    caplog.set_level(logging.DEBUG)
    async with serving(FakeSwitchboard(fails)) as edge:
        host = b"127.0.0.1:%d" % edge.port
        for data in (
            b"canary-line\r\n\r\n",
            b"GET /canary-path?canary-query HTTP/1.1\r\nHost: canary-host\r\nConnection: close\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\ncanary header: canary-value\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: x\r\nX: canary\0value\r\n\r\n",
            CHUNKED.replace(b"HOST", host) + b"canary-size\r\ncanary-body",
            request(POST, b"Authorization: Bearer canary-token\r\n", LENGTH, b"Connection: close").replace(
                b"HOST", host
            )
            + b"{}",
            request(POST, GOOD, b"Content-Length: 11", b"Connection: close").replace(b"HOST", host)
            + b"canary-body",
        ):
            await edge.raw(data)
        answer = await edge.ask(b'{"canary-json":1}', mcp_session_id="canary-session")
        assert answer.status == 500
        assert b"canary" not in answer.body
        assert edge.stats.by_class[5] == 2
    logged = caplog.text + "".join(capfd.readouterr())
    assert "canary" not in logged
    assert "RuntimeError" in logged


def test_whatever_the_library_logs_is_reduced_to_the_kind_of_the_problem(
    caplog: pytest.LogCaptureFixture,
) -> None:
    try:
        raise ValueError("canary")
    except ValueError:
        quiet_logger().exception("error at %s", "canary")
    assert "canary" not in caplog.text
    assert "ValueError" in caplog.text


def test_the_edge_does_not_start_without_the_strict_parser(monkeypatch: pytest.MonkeyPatch) -> None:
    require_parser()
    monkeypatch.setattr(http_parser, "HttpRequestParser", http_parser.HttpRequestParserPy)
    with pytest.raises(NoParser, match="C parser"):
        require_parser()


async def test_a_client_that_waits_for_100_continue_is_told_to_go_on() -> None:
    async with serving() as edge, edge.caller() as caller:
        caller.writer.write(caller.head(Content_Length=str(len(LIST)), Expect="100-continue"))
        assert (await caller.begin()).status == 100
        caller.writer.write(LIST)
        assert (await caller.response()).body == LIST


async def test_a_client_that_would_be_refused_is_not_told_to_send_its_body() -> None:
    async with serving() as edge, edge.caller() as caller:
        caller.writer.write(
            caller.head(Content_Length="9", Expect="100-continue", Authorization="Bearer bad")
        )
        assert (await caller.begin()).status == 401
