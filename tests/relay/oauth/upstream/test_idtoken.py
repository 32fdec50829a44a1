"""What an ID token must say; the table of what refuses a whole login is in test_login."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import pytest

from penstock.jwt import BadToken, Claims
from penstock_relay.oauth.upstream import idtoken

NOW = 1000.0


def claims(**changes: Any) -> Claims:
    usual: dict[str, Any] = {
        "issuer": "https://sso.example", "subject": "s", "audience": ("relay",), "expires": NOW + 60,
        "issued": NOW, "jti": "", "nonce": "n", "scopes": (), "groups": (), "name": "", "email": "",
        "email_verified": False, "azp": "", "extra": MappingProxyType({}),
    }  # fmt: skip
    return Claims(**{**usual, **changes})


def check(
    found: Claims, *, nonce: str | None = "n", access_token: str = "", algorithm: str = "RS256"
) -> None:
    idtoken.check(found, algorithm, client_id="relay", now=NOW, nonce=nonce, access_token=access_token)


def test_the_example_of_the_specification() -> None:
    # OpenID Connect Core 1.0, A.3 and A.4.
    token = "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y"
    assert idtoken.half_hash("RS256", token) == "77QmUPtjPfzWtF2AnpK9RQ"
    check(claims(extra={"at_hash": "77QmUPtjPfzWtF2AnpK9RQ"}), access_token=token)


@pytest.mark.parametrize(
    ("algorithm", "size"), [("RS256", 22), ("ES384", 32), ("PS512", 43), ("EdDSA", 43), ("Ed25519", 43)]
)
def test_the_hash_is_that_of_the_signature(algorithm: str, size: int) -> None:
    made = idtoken.half_hash(algorithm, "token")
    assert len(made) == size
    check(claims(extra={"at_hash": made}), access_token="token", algorithm=algorithm)
    with pytest.raises(BadToken):
        check(claims(extra={"at_hash": made}), access_token="another", algorithm=algorithm)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"azp": "other"}, "audience"),
        ({"audience": ("relay", "other")}, "audience"),
        ({"issued": None}, "expired"),
        ({"issued": NOW - 631}, "expired"),
        ({"nonce": ""}, "claims"),
        ({"nonce": "m"}, "claims"),
        ({"nonce": "é"}, "claims"),
        ({"extra": {"at_hash": None, "x": 1}}, None),
        ({"extra": {"at_hash": "é"}}, "claims"),
        ({"audience": ("relay", "other"), "azp": "relay"}, None),
        ({"azp": "relay"}, None),
        ({"issued": NOW - 629}, None),
    ],
)
def test_each_rule(changes: dict[str, Any], reason: str | None) -> None:
    if reason is None:
        check(claims(**changes))
        return
    with pytest.raises(BadToken) as caught:
        check(claims(**changes))
    assert caught.value.reason == reason


def test_a_refresh_brings_no_nonce() -> None:
    check(claims(nonce=""), nonce=None)
