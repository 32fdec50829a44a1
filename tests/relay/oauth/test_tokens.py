"""Tokens are recognised by form, PKCE is checked, and seals hold only what they were made for."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock_relay.oauth import tokens
from penstock_relay.oauth.tokens import Seal, parse, proves

SEAL = Seal(b"k" * 32)


@pytest.mark.parametrize("refresh", [True, False])
def test_a_token_is_its_id_and_a_secret_that_is_not_kept(refresh: bool) -> None:
    text, record = tokens.token("g", 1.0, 2.0, refresh=refresh)
    assert parse(text) == (refresh, record.public_id, record.secret_hash)
    assert text.split("_", 2)[2].encode() not in record.secret_hash
    assert len({tokens.token("g", 1.0, 2.0, refresh=refresh)[0] for _ in range(100)}) == 100


@given(st.text(max_size=100))
def test_anything_else_is_no_token(text: str) -> None:
    assert parse(text) is None
    assert parse(f"psa_{text}") is None


def test_pkce_as_the_rfc_has_it() -> None:
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    assert proves(verifier, "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM")
    assert not proves(verifier, "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cN")


@pytest.mark.parametrize("verifier", ["", "a" * 42, "a" * 129, "a" * 43 + " ", "ä" * 43])
def test_a_verifier_of_another_form_proves_nothing(verifier: str) -> None:
    made = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    assert not proves(verifier, made)


def test_a_seal_is_good_for_its_time_and_its_texts() -> None:
    sealed = SEAL.make(100.0, "consent", "browser", "alice", "query")
    assert SEAL.good(sealed, 99.0, "consent", "browser", "alice", "query")
    assert not SEAL.good(sealed, 100.0, "consent", "browser", "alice", "query")
    assert not SEAL.good(sealed, 99.0, "login", "browser", "alice", "query")
    assert not SEAL.good(sealed, 99.0, "consent", "another", "alice", "query")
    assert not Seal(b"x" * 32).good(sealed, 99.0, "consent", "browser", "alice", "query")


@given(st.lists(st.text(max_size=5), max_size=4), st.lists(st.text(max_size=5), max_size=4))
def test_no_two_lists_of_texts_share_a_seal(one: list[str], other: list[str]) -> None:
    assert SEAL.good(SEAL.make(9.0, *one), 1.0, *other) == (one == other)


@given(st.text(max_size=60))
def test_garbage_is_no_seal(text: str) -> None:
    assert not SEAL.good(text, 0.0, "x")


def test_the_end_of_a_seal_cannot_be_moved() -> None:
    mac = SEAL.make(100.0, "x").partition(".")[2]
    assert not SEAL.good(f"200.{mac}", 150.0, "x")
