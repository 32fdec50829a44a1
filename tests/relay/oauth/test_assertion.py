"""Assertions of clients: which prove who sent them. What is wrong with a token as such is in test_jwt.py."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.jwk import parse
from penstock.jwt import BadToken
from penstock_relay.oauth import assertion
from penstock_relay.oauth.assertion import MAX_LIFE_S, MAX_OF_ONE, MAX_SEEN, TYPE, Seen, TooManyAssertions
from tests.harness.signing import NOW, key_set, token

CLIENT = "https://chatgpt.com/oauth/client.json"
ENDPOINT, ISSUER = "https://mcp.example.com/oauth/token", "https://mcp.example.com"


def made(key: str = "ec", header: dict[str, Any] | None = None, **more: Any) -> str:
    usual: dict[str, Any] = {"iss": CLIENT, "sub": CLIENT, "aud": ENDPOINT, "jti": "1", "exp": NOW + 60}
    return token(key, header, **{**usual, **more})


def check(text: str, seen: Seen | None = None, now: float = NOW, **more: Any) -> None:
    keys = parse(key_set("ec", "rsa", "ed"))
    assertion.check(text, CLIENT, keys, (ENDPOINT, ISSUER), seen or Seen(), now, **more)


def refused(text: str, seen: Seen | None = None, now: float = NOW, **more: Any) -> str:
    with pytest.raises(BadToken) as caught:
        check(text, seen, now, **more)
    return caught.value.reason


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"aud": ISSUER},
        {"aud": [ENDPOINT]},
        {"aud": [ISSUER, ENDPOINT]},
        {"iat": None},
        {"exp": NOW + MAX_LIFE_S + 30},
        {"exp": NOW - 29},
        {"header": {"typ": "client-authentication+jwt"}},
        {"header": {"typ": None}},
        {"key": "rsa"},
        {"key": "ed"},
    ],
    ids=str,
)
def test_a_good_assertion(more: dict[str, Any]) -> None:
    check(made(**more))


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"iss": "https://evil.example/client.json"}, "issuer"),
        ({"sub": "https://evil.example/client.json"}, "claims"),
        ({"aud": "https://other.example/oauth/token"}, "audience"),
        ({"aud": ENDPOINT + "/"}, "audience"),
        ({"aud": ISSUER + "/"}, "audience"),
        ({"aud": [ENDPOINT, "https://other.example"]}, "audience"),
        ({"aud": []}, "audience"),
        ({"exp": NOW + MAX_LIFE_S + 31}, "life"),
        ({"exp": NOW - 30}, "expired"),
        ({"jti": None}, "missing"),
        ({"jti": ""}, "claims"),
        ({"exp": None}, "missing"),
        ({"aud": None}, "missing"),
        ({"sub": None}, "missing"),
        ({"iss": None}, "missing"),
        ({"header": {"typ": "at+jwt"}}, "type"),
        ({"header": {"alg": "HS256"}}, "algorithm"),
        ({"header": {"alg": "none"}}, "algorithm"),
        ({"header": {"kid": "stranger"}}, "key_unknown"),
        ({"header": {"jwk": {}}}, "header"),
        ({"key": "stranger", "header": {"kid": "rsa"}}, "signature"),
    ],
    ids=str,
)
def test_an_assertion_that_proves_nothing(more: dict[str, Any], reason: str) -> None:
    assert refused(made(**more)) == reason


def test_a_client_that_names_its_algorithm_uses_no_other() -> None:
    check(made("ec"), algorithms=("ES256",))
    assert refused(made("rsa"), algorithms=("ES256",)) == "algorithm"


def test_an_assertion_is_good_once() -> None:
    seen = Seen()
    check(made(), seen)
    assert refused(made(), seen) == "replayed"
    assert refused(made(exp=NOW + 61), seen) == "replayed"  # the same name, signed again
    check(made(jti="2"), seen)


def test_it_is_remembered_for_as_long_as_it_could_be_shown() -> None:
    seen = Seen()
    check(made(), seen)
    last = NOW + 89.9  # its end and what clocks may differ
    assert refused(made(), seen, last) == "replayed"
    assert refused(made(), seen, NOW + 90) == "expired"


def test_names_are_of_one_client() -> None:
    seen = Seen()
    assert seen.first("one", "1", NOW + 60, NOW)
    assert seen.first("two", "1", NOW + 60, NOW)
    assert not seen.first("one", "1", NOW + 60, NOW)


def test_one_that_cannot_be_remembered_is_not_accepted() -> None:
    seen = Seen()
    for number in range(MAX_OF_ONE):
        assert seen.first("busy", str(number), NOW + 60, NOW)
    with pytest.raises(TooManyAssertions):
        seen.first("busy", "one more", NOW + 60, NOW)
    assert not seen.first("busy", "0", NOW + 60, NOW)
    assert seen.first("other", "1", NOW + 60, NOW)
    assert seen.first("busy", "one more", NOW + 120, NOW + 60)  # room again


def test_all_clients_together_have_a_bound() -> None:
    seen = Seen()
    for number in range(MAX_SEEN):
        seen.first(f"client-{number % 8}", str(number), NOW + 60, NOW)
    with pytest.raises(TooManyAssertions):
        seen.first("another", "1", NOW + 60, NOW)
    assert seen.first("another", "1", NOW + 120, NOW + 60)


def test_what_a_request_presents() -> None:
    form = {"client_assertion_type": TYPE, "client_assertion": "a.b.c"}
    assert assertion.presented(form) == "a.b.c"
    assert assertion.presented({**form, "client_assertion_type": "saml2-bearer"}) is None
    assert assertion.presented({"client_assertion_type": TYPE}) is None
    assert assertion.claimed(made()) == CLIENT
    assert assertion.claimed("nonsense") is None
