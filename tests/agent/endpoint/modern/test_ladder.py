"""What a modern request must say. The SDK's own ladder is the oracle."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from mcp.shared.inbound import (
    ERROR_CODE_HTTP_STATUS,
    InboundLadderRejection,
    classify_inbound_request,
    find_duplicated_routing_header,
)

from penstock.envelope import VERSION_KEY, parse_caller
from penstock_agent.endpoint.meta import CAPABILITIES
from penstock_agent.endpoint.modern.ladder import STATUS, check, repeated

VERSION = "2026-07-28"
GOOD: dict[str, object] = {VERSION_KEY: VERSION, CAPABILITIES: {}}


def body(method: object, params: object) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}


def ours(message: dict[str, object], *headers: tuple[str, str]) -> int | None:
    rejection = check(parse_caller(json.dumps(message).encode()), headers)
    return None if rejection is None else rejection.code


def theirs(message: dict[str, object], *headers: tuple[str, str]) -> int | None:
    if find_duplicated_routing_header(headers) is not None:
        return -32020
    versions = [VERSION, *(value for name, value in headers if name == "mcp-protocol-version")]
    found = classify_inbound_request(message, headers=dict(headers), supported_modern_versions=versions)
    return found.code if isinstance(found, InboundLadderRejection) else None


def encoded(text: str) -> str:
    return f"=?base64?{base64.b64encode(text.encode()).decode()}?="


NAME_OF = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
METHODS = [*NAME_OF, "tools/list", "server/discover", "x/y"]
WORDS = ["a", "A", "", "é", "=?base64?YQ==?=", " a ", "tools/call"]
SPELLED = [
    "a", "A", "", "=?base64?YQ==?=", "=?base64?YR==?=", "=?base64?YQ?=", "=?BASE64?YQ==?=", "=?base64?/w==?=",
    "=?base64??=", encoded("é"), encoded(" a "), encoded("=?base64?YQ==?="), "tools/call",
]  # fmt: skip

metas: st.SearchStrategy[object] = st.one_of(
    st.just(GOOD),
    st.fixed_dictionaries(
        {},
        optional={
            VERSION_KEY: st.sampled_from([VERSION, "2025-11-25", "", None, 1]),
            CAPABILITIES: st.sampled_from([{}, {"roots": {}}, None]),
            "progressToken": st.just(1),
        },
    ),
    st.sampled_from([None, 1, [], "x"]),
)


@st.composite
def requests(draw: st.DrawFn) -> tuple[dict[str, object], list[tuple[str, str]]]:
    method = draw(st.sampled_from(METHODS))
    params: dict[str, object] = {}
    if draw(st.integers(0, 9)):
        params["_meta"] = draw(metas)
    name = draw(st.sampled_from([*WORDS, *WORDS, None, 5]))
    if draw(st.booleans()):
        params[NAME_OF.get(method, "name")] = name
    message = body(method, params)
    headers = [("mcp-protocol-version", draw(st.sampled_from([VERSION, VERSION, VERSION, "2099-01-01"])))]
    if draw(st.integers(0, 9)):
        headers.append(("mcp-method", draw(st.sampled_from([method, method, method, *METHODS]))))
    if draw(st.integers(0, 3)):
        fitting = [name, encoded(name)] if isinstance(name, str) and name.isascii() else []
        headers.append(("mcp-name", draw(st.sampled_from([*fitting, *fitting, *SPELLED]))))
    if not draw(st.integers(0, 9)):
        headers.append(draw(st.sampled_from(headers)))
    return message, headers


@given(requests())
@example((body("tools/call", {"name": "a", "_meta": GOOD}), []))
def test_we_and_the_sdk_judge_alike(drawn: tuple[dict[str, object], list[tuple[str, str]]]) -> None:
    message, headers = drawn
    params = message["params"]
    assert isinstance(params, dict)
    key = NAME_OF.get(str(message["method"]))
    named = key is None or params.get(key) is not None
    if not named and any(name == "mcp-name" for name, _ in headers):
        return  # where the body names nothing and the header does, we are stricter: see below
    assert ours(message, *headers) == theirs(message, *headers)


def test_the_statuses_are_those_of_the_sdk() -> None:
    assert dict(STATUS) == dict(ERROR_CODE_HTTP_STATUS)


RIGHT = (("mcp-protocol-version", VERSION), ("mcp-method", "tools/call"), ("mcp-name", "a"))


def test_what_says_the_same_in_both_places_passes() -> None:
    assert ours(body("tools/call", {"name": "a", "_meta": GOOD}), *RIGHT) is None


def test_a_name_in_the_headers_alone_is_a_mismatch() -> None:
    assert ours(body("tools/call", {"_meta": GOOD}), *RIGHT) == -32020
    assert ours(body("tools/call", {"name": None, "_meta": GOOD}), *RIGHT) == -32020
    assert ours(body("tools/call", {"_meta": GOOD}), *RIGHT[:2]) is None, "the server misses it"


def test_characters_that_no_header_has_are_a_mismatch_even_if_the_body_has_them() -> None:
    headers = (*RIGHT[:2], ("mcp-name", "é"))
    assert ours(body("tools/call", {"name": "é", "_meta": GOOD}), *headers) == -32020


@pytest.mark.parametrize("method", ["tasks/get", "tasks/update", "tasks/cancel"])
def test_methods_of_tasks_name_their_task(method: str) -> None:
    message = body(method, {"taskId": "t", "_meta": GOOD})
    headers = (("mcp-protocol-version", VERSION), ("mcp-method", method))
    assert ours(message, *headers, ("mcp-name", "t")) is None
    assert ours(message, *headers, ("mcp-name", "u")) == -32020
    assert ours(message, *headers) == -32020


@pytest.mark.parametrize("name", ["mcp-protocol-version", "mcp-method", "mcp-name"])
def test_a_header_that_stands_twice_is_named(name: str) -> None:
    rejection = repeated(((name, "x"), (name, "x")))
    assert rejection is not None
    assert name in rejection.text
    assert rejection.status == 400


def test_a_rejection_repeats_nothing_that_the_caller_sent() -> None:
    message = body("tools/call", {"name": "secret-1", "_meta": GOOD})
    rejection = check(parse_caller(json.dumps(message).encode()), (*RIGHT[:2], ("mcp-name", "secret-2")))
    assert rejection is not None
    assert "secret" not in rejection.text
    assert b"secret" not in rejection.answer(b"1")
