"""Logins under way: what a browser keeps of them is worth nothing elsewhere, later, or changed."""

from __future__ import annotations

import base64
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_relay.oauth import tokens
from penstock_relay.oauth.upstream import attempt
from penstock_relay.oauth.upstream.attempt import ATTEMPT_S, MAX_COOKIE, Attempt
from penstock_relay.oauth.upstream.sealing import KeySealer

NOW = 1000.0
SEALER = KeySealer(b"k" * 32)


@dataclass
class Kept:
    made: Attempt
    cookie: str


@pytest.fixture
def kept() -> Kept:
    made = attempt.begin("login", "/oauth/authorize?a=b", NOW)
    cookie = attempt.pack(made, SEALER, "browser")
    assert cookie is not None
    return Kept(made, cookie)


def test_what_is_kept_is_what_comes_back(kept: Kept) -> None:
    late = NOW + ATTEMPT_S - 1
    assert attempt.unpack(kept.cookie, SEALER, "browser", kept.made.state, late) == kept.made


def test_it_is_of_one_browser_one_state_one_relay_and_ten_minutes(kept: Kept) -> None:
    state = kept.made.state
    assert attempt.unpack(kept.cookie, SEALER, "other", state, NOW) is None
    assert attempt.unpack(kept.cookie, SEALER, "browser", state[:-1] + "!", NOW) is None
    assert attempt.unpack(kept.cookie, SEALER, "browser", "", NOW) is None
    assert attempt.unpack(kept.cookie, KeySealer(b"l" * 32), "browser", state, NOW) is None
    assert attempt.unpack(kept.cookie, SEALER, "browser", state, NOW + ATTEMPT_S) is None


def test_a_nonce_may_be_the_callers_and_everything_else_is_random() -> None:
    one, two = (attempt.begin("voucher", "/", NOW, nonce="mine") for _ in range(2))
    assert one.nonce == two.nonce == "mine"
    assert len({one.state, two.state, one.verifier, two.verifier}) == 4
    assert attempt.begin("login", "/", NOW).nonce != attempt.begin("login", "/", NOW).nonce
    assert tokens.proves(one.verifier, one.challenge)
    assert not tokens.proves(two.verifier, one.challenge)


def test_it_fits_into_a_cookie_or_is_not_kept() -> None:
    plain = attempt.begin("login", "/oauth/authorize?" + "redirect_uri=https%3A%2F%2Fclaude.ai&" * 200, NOW)
    cookie = attempt.pack(plain, SEALER, "browser")
    assert cookie is not None
    assert len(cookie) <= MAX_COOKIE
    noise = attempt.begin("login", "".join(tokens.secret() for _ in range(100)), NOW)
    assert attempt.pack(noise, SEALER, "browser") is None


@given(
    st.text(max_size=200) | st.binary(max_size=200).map(lambda data: base64.urlsafe_b64encode(data).decode())
)
def test_what_strangers_send_is_no_attempt(text: str) -> None:
    assert attempt.unpack(text, SEALER, "browser", "s", NOW) is None


def test_no_bit_of_it_can_be_changed(kept: Kept) -> None:
    raw = bytearray(base64.urlsafe_b64decode(kept.cookie + "=" * (-len(kept.cookie) % 4)))
    for place in range(len(raw)):
        raw[place] ^= 1
        text = base64.urlsafe_b64encode(raw).decode()
        assert attempt.unpack(text, SEALER, "browser", kept.made.state, NOW) is None
        raw[place] ^= 1
