"""Answers that clients in the field cannot take as they are."""

from __future__ import annotations

import msgspec
import pytest

from penstock.envelope import Kind, Message, request
from penstock_agent.endpoint.failures import Failure
from penstock_agent.endpoint.manners import Manners
from penstock_agent.tolerance import Tolerance

LONG = b"x" * 200_000
CALL = request(b"1", "tools/call", b'{"name":"echo"}')


def manners(client: str = "claude-ai", offered: bytes = b'{"tools":{}}', **off: bool) -> Manners:
    found = Manners(Tolerance(**off))
    hello = request(b"0", "initialize", b'{"clientInfo":{"name":"%b"}}' % client.encode())
    found.begun(hello, b'{"capabilities":%b}' % offered)
    return found


def texts(*sizes: int, kind: str = "text") -> Message:
    content = [{"type": kind, "text": "ä" * size} for size in sizes]
    result = msgspec.json.encode({"content": content, "more": 1})
    return Message(Kind.RESPONSE, b"1", None, None, result, None)


def error(code: object) -> Message:
    return Message(Kind.ERROR, b"1", None, None, None, msgspec.json.encode({"code": code, "message": "m"}))


@pytest.mark.parametrize("client", ["claude-ai", "Anthropic", "Anthropic/ClaudeAI"])
def test_a_result_above_the_clients_limit_is_an_error_with_size_and_limit(client: str) -> None:
    failure = manners(client).settle(CALL, texts(100_000, 50_001))
    assert isinstance(failure, Failure)
    assert "150001 characters" in failure.text
    assert "at most 150000" in failure.text
    assert "has run" in failure.text
    status, body = failure.answer(CALL, "k")
    assert status == 200
    assert b'"isError":true' in body


@pytest.mark.parametrize(
    ("who", "request_", "answer"),
    [
        (manners(), CALL, texts(150_000)),
        (manners(), CALL, texts(200_000, kind="image")),
        (manners("claude-code"), CALL, texts(200_000)),
        (manners("unknown"), CALL, texts(200_000)),
        (manners(limit_results=False), CALL, texts(200_000)),
        (Manners(Tolerance()), CALL, texts(200_000)),
        (manners(), request(b"1", "resources/read", None), texts(200_000)),
        (
            manners(),
            CALL,
            Message(Kind.RESPONSE, b"1", None, None, b'{"content":"%b"}' % (b"x" * 200_000), None),
        ),
    ],
)
def test_every_other_result_is_passed_as_it_is(who: Manners, request_: Message, answer: Message) -> None:
    assert who.settle(request_, answer) is answer


@pytest.mark.parametrize("method", ["prompts/list", "resources/list", "resources/templates/list"])
@pytest.mark.parametrize("code", [-32603, -32602, 0, "x"])
def test_a_list_that_is_not_offered_is_a_method_not_found_whatever_the_server_says(
    method: str, code: object
) -> None:
    settled = manners().settle(request(b"1", method, None), error(code))
    assert isinstance(settled, Message)
    assert settled.error == b'{"code":-32601,"message":"Method not found"}'
    assert settled.id == b"1"


@pytest.mark.parametrize(
    ("who", "method", "answer"),
    [
        (manners(), "tools/list", error(-32603)),
        (manners(), "tools/call", error(-32603)),
        (manners(), "prompts/list", error(-32601)),
        (manners(), "prompts/list", Message(Kind.RESPONSE, b"1", None, None, b'{"prompts":[]}', None)),
        (manners(tidy_lists=False), "prompts/list", error(-32603)),
        (Manners(Tolerance()), "prompts/list", error(-32603)),
        (manners(offered=b"[]"), "prompts/list", error(-32603)),
    ],
)
def test_every_other_error_is_the_servers_own(who: Manners, method: str, answer: Message) -> None:
    assert who.settle(request(b"1", method, None), answer) is answer
