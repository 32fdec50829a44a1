"""Text in headers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mcp.shared.inbound import decode_header_value, encode_header_value

from penstock_agent.catalogue.headervalue import decoded


@given(st.text(max_size=20))
def test_what_a_client_encodes_comes_back(text: str) -> None:
    assert decoded(encode_header_value(text)) == text


@given(st.text("=?base64YQ/w+A", max_size=24))
def test_we_and_the_sdk_read_alike(value: str) -> None:
    for candidate in (value, f"=?base64?{value}?="):
        assert decoded(candidate) == decode_header_value(candidate)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("us-west1", "us-west1"),
        ("=?base64?SGVsbG8sIOS4lueVjA==?=", "Hello, 世界"),
        ("=?base64?IHBhZGRlZCA=?=", " padded "),
        ("=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?=", "=?base64?literal?="),
        ("a\tb", "a\tb"),
        ("=?BASE64?YQ==?=", "=?BASE64?YQ==?="),
        ("=?base64?YR==?=", None),
        ("=?base64?YQ?=", None),
        ("=?base64?/w==?=", None),
        ("é", None),
        ("a\x00", None),
        ("a\x7f", None),
    ],
)
def test_examples(value: str, text: str | None) -> None:
    assert decoded(value) == text
