"""Arguments that stand in headers as well. The SDK, which reads the same specification, is the oracle."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp.shared.inbound import (
    find_invalid_x_mcp_header,
    mcp_param_headers,
    validate_mcp_param_headers,
    x_mcp_header_map,
)

from penstock_agent.catalogue.mirrored import MAX_MIRRORED, mirrored, objection

Json = dict[str, object]

SCHEMA: Json = {
    "type": "object",
    "properties": {
        "region": {"type": "string", "x-mcp-header": "Region"},
        "count": {"type": "integer", "x-mcp-header": "Count"},
        "dry": {"type": "boolean", "x-mcp-header": "Dry"},
        "inner": {"type": "object", "properties": {"deep": {"type": "string", "x-mcp-header": "Deep"}}},
        "free": {"type": "string"},
    },
}

values = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.integers(2**53, 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["eu", "é", " eu ", "42", "true", "", "=?base64?YQ==?="]),
    st.just([1]),
)
arguments = st.fixed_dictionaries(
    {},
    optional={
        "region": values,
        "count": values,
        "dry": values,
        "inner": st.one_of(values, st.fixed_dictionaries({}, optional={"deep": values})),
        "free": values,
    },
)
spelled = st.sampled_from(
    [
        "eu",
        "42",
        "42.0",
        "42.5",
        "4.2e1",
        "true",
        "1",
        "0",
        "-1",
        "",
        "=?base64?w6k=?=",
        "=?base64?x?=",
        "9007199254740993",
    ]
)
names = st.sampled_from(
    ["mcp-param-region", "mcp-param-count", "mcp-param-dry", "mcp-param-deep", "mcp-param-other"]
)


def ours(schema: Json, given_arguments: Json, headers: dict[str, str]) -> bool:
    wanted = mirrored(json.dumps(schema).encode())
    return objection(wanted, json.dumps(given_arguments).encode(), tuple(headers.items())) is None


def theirs(schema: Json, given_arguments: Json, headers: dict[str, str]) -> bool:
    return validate_mcp_param_headers(schema, given_arguments, headers) is None


@given(arguments, st.dictionaries(names, spelled, max_size=4), st.booleans())
def test_we_and_the_sdk_judge_headers_alike(
    given_arguments: Json, noise: dict[str, str], honest: bool
) -> None:
    right = {k.lower(): v for k, v in mcp_param_headers(x_mcp_header_map(SCHEMA), given_arguments).items()}
    headers = {**right, **({} if honest else noise)}
    assert ours(SCHEMA, given_arguments, headers) == theirs(SCHEMA, given_arguments, headers)
    if honest:
        assert ours(SCHEMA, given_arguments, headers)


tokens = st.sampled_from(["Region", "region", "X", "", "a b", "é", 1, None])
leaf = st.fixed_dictionaries(
    {},
    optional={
        "type": st.sampled_from(["string", "integer", "number", "object", ["string"]]),
        "x-mcp-header": tokens,
    },
)
schemas = st.recursive(
    leaf,
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "properties": st.dictionaries(st.sampled_from(["a", "b", "x-mcp-header"]), inner, max_size=2),
            "items": inner,
            "anyOf": st.lists(inner, max_size=2),
            "$defs": st.dictionaries(st.sampled_from(["d"]), inner, max_size=1),
            "default": inner,
        },
    ),
    max_leaves=6,
)


@given(schemas)
def test_we_and_the_sdk_see_the_same_headers_in_a_schema(schema: Json) -> None:
    expected = {} if find_invalid_x_mcp_header(schema) is not None else x_mcp_header_map(schema)
    found = {one.path: one.header for one in mirrored(json.dumps(schema).encode())}
    assert found == {path: f"mcp-param-{token.lower()}" for path, token in expected.items()}


def test_a_schema_without_headers_is_not_even_read() -> None:
    assert mirrored(b"{broken") == ()
    assert mirrored(None) == ()
    assert mirrored(b'{"x-mcp-header":broken') == ()


def test_too_many_headers_are_none() -> None:
    properties = {f"a{n}": {"type": "string", "x-mcp-header": f"A{n}"} for n in range(MAX_MIRRORED + 1)}
    assert mirrored(json.dumps({"properties": properties}).encode()) == ()


def test_a_header_that_stands_twice_says_nothing() -> None:
    wanted = mirrored(json.dumps(SCHEMA).encode())
    twice = (("mcp-param-region", "eu"), ("mcp-param-region", "eu"))
    assert "twice" in (objection(wanted, b'{"region":"eu"}', twice) or "")


def test_large_numbers_keep_their_last_digit() -> None:
    wanted = mirrored(json.dumps(SCHEMA).encode())
    assert (
        objection(wanted, b'{"count":9007199254740993}', (("mcp-param-count", "9007199254740993"),)) is None
    )
    assert (
        objection(wanted, b'{"count":9007199254740993}', (("mcp-param-count", "9007199254740992"),))
        is not None
    )


@pytest.mark.parametrize("raw", [None, b"{}", b"[]", b'"x"'])
def test_where_there_are_no_arguments_no_header_is_right(raw: bytes | None) -> None:
    wanted = mirrored(json.dumps(SCHEMA).encode())
    assert objection(wanted, raw, ()) is None
    assert objection(wanted, raw, (("mcp-param-region", "eu"),)) is not None


def test_an_objection_repeats_nothing_that_the_caller_sent() -> None:
    wanted = mirrored(json.dumps(SCHEMA).encode())
    said = objection(wanted, b'{"region":"secret"}', (("mcp-param-region", "other secret"),))
    assert said is not None
    assert "secret" not in said
