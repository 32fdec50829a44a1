"""Seals: what was sealed opens for its purpose with its key, and nothing else does."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from penstock_relay.oauth.upstream.sealing import KeySealer

SEALER = KeySealer(b"k" * 32)


@given(st.binary(max_size=100), st.text(max_size=20), st.text(max_size=20))
def test_it_opens_for_the_same_purpose_only(secret: bytes, purpose: str, other: str) -> None:
    kept = SEALER.seal(purpose, secret)
    assert SEALER.open(purpose, kept) == secret
    assert (SEALER.open(other, kept) == secret) is (other == purpose)
    assert KeySealer(b"l" * 32).open(purpose, kept) is None


def test_the_secret_does_not_show_and_no_two_are_alike() -> None:
    one, two = (SEALER.seal("p", b"a refresh token") for _ in range(2))
    assert one != two
    assert b"refresh" not in one
    assert SEALER.open("p", one[:-1]) is None


@given(st.binary(max_size=100))
def test_what_was_never_sealed_does_not_open(data: bytes) -> None:
    assert SEALER.open("p", data) is None
