"""Codes of a key and the time."""

from __future__ import annotations

from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_relay.oauth.factor import totp

KEY = b"12345678901234567890"
"""Of RFC 6238, appendix B."""


@pytest.mark.parametrize(
    ("now", "code"),
    [
        (59, "287082"),
        (1111111109, "081804"),
        (1111111111, "050471"),
        (1234567890, "005924"),
        (2000000000, "279037"),
        (20000000000, "353130"),
    ],
)
def test_codes_are_those_of_the_standard(now: int, code: str) -> None:
    """The last six of the eight digits of appendix B."""
    assert totp.code(KEY, totp.step_at(now)) == code
    assert totp.step_of(KEY, code, now) == now // 30


@pytest.mark.parametrize("drift", range(-3, 4))
def test_a_clock_may_be_wrong_by_one_step(drift: int) -> None:
    now = 1_800_000_010.0
    step = totp.step_at(now)
    found = totp.step_of(KEY, totp.code(KEY, step + drift), now)
    assert found == (step + drift if abs(drift) <= 1 else None)


def test_at_the_beginning_of_time_there_is_no_step_before() -> None:
    assert totp.step_of(KEY, totp.code(KEY, 0), 0.0) == 0


@given(st.text(max_size=30))
def test_what_is_no_code_is_of_no_step(text: str) -> None:
    assert totp.step_of(KEY, f"x{text}", 59.0) is None
    assert totp.step_of(b"other key of 20 byte", text, 59.0) in (None, 0, 1, 2)


@given(st.binary(min_size=totp.KEY_BYTES, max_size=totp.KEY_BYTES))
def test_a_key_is_shown_in_groups_of_four_and_read_again(key: bytes) -> None:
    text = totp.shown(key)
    assert [len(each) for each in text.split(" ")] == [4] * 8
    assert totp.read(text) == key


@given(st.text(max_size=60))
def test_what_is_no_key_is_none(text: str) -> None:
    key = totp.read(text)
    assert key is None or len(key) == totp.KEY_BYTES


@pytest.mark.parametrize("host", ["mcp.example.com", "127.0.0.1:8080", "[::1]:8080"])
@pytest.mark.parametrize("user", ["alice", "a.b+c@example.com"])
def test_the_link_names_relay_user_and_key(host: str, user: str) -> None:
    parts = urlsplit(totp.link(KEY, user, host))
    assert (parts.scheme, parts.netloc) == ("otpauth", "totp")
    issuer, name = parts.path.removeprefix("/").split(":")  # the only colon that is not encoded
    assert (unquote(issuer), unquote(name)) == (host, user)
    assert parse_qs(parts.query) == {
        "secret": ["GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"], "issuer": [host],
    }  # fmt: skip
