"""Key sets of others: which of their keys are used, and for what."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock import jwk
from penstock.jwk import MAX_KEYS, BadKeys, KeySet
from tests.harness.signing import b64, key_set, number, private, public_jwk


def parsed(*listed: object) -> KeySet:
    return jwk.parse(json.dumps({"keys": list(listed)}).encode())


def passed_over(key: object) -> bool:
    """Whether it is left out of a set that has another, good key."""
    return [found.kid for found in parsed(key, public_jwk("ec")).keys] == ["ec"]


@pytest.mark.parametrize(
    ("name", "algorithms"),
    [
        ("rsa", ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")),
        ("ec", ("ES256",)),
        ("ec384", ("ES384",)),
        ("ed", ("Ed25519", "EdDSA")),
    ],
)
def test_the_kind_of_key_says_what_it_verifies(name: str, algorithms: tuple[str, ...]) -> None:
    (found,) = jwk.parse(key_set(name)).keys
    assert (found.kid, found.algorithms) == (name, algorithms)


@pytest.mark.parametrize(
    ("name", "alg"), [("rsa", "PS384"), ("rsa", "RS256"), ("ec", "ES256"), ("ed", "EdDSA")]
)
def test_a_key_that_names_its_algorithm_verifies_no_other(name: str, alg: str) -> None:
    (found,) = parsed(public_jwk(name, alg=alg)).keys
    assert found.algorithms == (alg,)


def told(key: object) -> str:
    """A test's name, the same in every run: keys are made anew each time, so no part of them is in it."""
    if not isinstance(key, dict):
        return json.dumps(key)
    return " ".join(f"{name}={value}" if len(str(value)) < 12 else name for name, value in key.items())


@pytest.mark.parametrize(
    "key",
    [
        public_jwk("rsa", alg="ES256"),
        public_jwk("rsa", alg="HS256"),
        public_jwk("rsa", alg="none"),
        public_jwk("rsa", alg=None),
        public_jwk("rsa", use="enc"),
        public_jwk("rsa", use=None),
        public_jwk("rsa", key_ops=["encrypt"]),
        public_jwk("rsa", key_ops=[]),
        public_jwk("rsa", kid=7),
        public_jwk("rsa", d="AQAB"),
        public_jwk("rsa", n=7),
        public_jwk("rsa", n=""),
        public_jwk("rsa", n="!!!!"),
        public_jwk("rsa", n=None),
        public_jwk("rsa", kty="EC"),
        public_jwk("rsa", kty=None),
        public_jwk("rsa", e=number(1)),
        public_jwk("rsa", e=number(2)),
        public_jwk("rsa", e=number(2**33 + 1)),
        public_jwk("rsa", e=number(2**1024 + 1)),
        public_jwk("weak"),
        public_jwk("rsa", n=b64(b"\xff" * 1025)),
        public_jwk("ec", x=b64(bytes(32))),
        public_jwk("ec", crv="P-384"),
        public_jwk("ec", crv="secp256k1"),
        public_jwk("ec", y=None),
        public_jwk("ed", crv="X25519"),
        public_jwk("ed", x="AAAA"),
        {"kty": "oct", "k": "c2VjcmV0", "kid": "shared"},
        {"kty": "oct", "k": "c2VjcmV0", "kid": "shared", "alg": "RS256"},
        {"kty": "AKP", "alg": "ML-DSA-44", "pub": "AA"},
        {},
        [],
        "key",
        7,
        None,
    ],
    ids=told,
)
def test_a_key_that_cannot_verify_for_us_is_passed_over(key: object) -> None:
    assert passed_over(key)


@pytest.mark.parametrize("key_ops", ["verify", 7, None, {"verify": 1}])
def test_operations_of_another_form_do_no_harm(key_ops: object) -> None:
    assert passed_over(public_jwk("rsa", key_ops=key_ops))


def test_members_that_nobody_knows_do_no_harm() -> None:
    (found,) = parsed(public_jwk("rsa", use="sig", key_ops=["verify"], x5c=["MIIB"], issuer="x", k="s")).keys
    assert found.kid == "rsa"


def test_what_is_no_secret_is_not_kept() -> None:
    (found,) = parsed(public_jwk("rsa")).keys
    assert not found.public.is_private
    assert found.public.public_key == private("rsa").public_key()


@pytest.mark.parametrize(
    "data",
    [
        b"", b"[]", b"{}", b"null", b'{"keys":{}}', b'{"keys":[]}', b'{"keys":[7]}', b"\xff",
        b'{"keys":[],"keys":[{}]}', b'{"keys":' + b"[" * 100 + b"]" * 100 + b"}",
        b'{"keys":[' + b",".join([b"{}"] * (MAX_KEYS + 1)) + b"]}",
    ],
)  # fmt: skip
def test_a_set_that_cannot_be_used(data: bytes) -> None:
    with pytest.raises(BadKeys) as caught:
        jwk.parse(data)
    assert str(caught.value).startswith("It ")


def test_a_key_is_found_by_name_and_algorithm() -> None:
    found = jwk.parse(key_set("rsa", "rsa-2", "ec"))
    assert [key.kid for key in found.for_token("rsa", "RS256")] == ["rsa"]
    assert found.for_token("rsa", "ES256") == ()
    assert found.for_token("nobody", "RS256") == ()
    assert [key.kid for key in found.for_token(None, "ES256")] == ["ec"]
    assert found.for_token(None, "RS256") == ()  # two that could: no guessing
    assert (found.holds("ec"), found.holds("x"), found.holds(None)) == (True, False, True)


@given(st.binary(max_size=80))
def test_bytes_are_a_set_or_refused(data: bytes) -> None:
    with pytest.raises(BadKeys):
        jwk.parse(data)


_values: Any = st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.lists(st.text(max_size=4))


@given(st.dictionaries(st.sampled_from(["kty", "n", "e", "x", "y", "crv", "alg", "use", "key_ops"]), _values))
def test_a_damaged_key_is_passed_over_or_good(more: dict[str, Any]) -> None:
    for key in parsed({**public_jwk("rsa"), **more}, public_jwk("ec")).keys:
        assert key.algorithms
        assert not key.public.is_private
