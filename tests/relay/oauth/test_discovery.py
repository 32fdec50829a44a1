"""Where an issuer's keys are, by its name."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from penstock.jwks import FetchError
from penstock_relay.oauth.discovery import Discovery, places

URL = "https://login.example/realms/main"
KEYS = "https://keys.example/jwks"
OPENID, OAUTH = (
    "https://login.example/realms/main/.well-known/openid-configuration",
    "https://login.example/.well-known/oauth-authorization-server/realms/main",
)


@dataclass
class Web:
    pages: dict[str, Any]
    asked: list[str] = field(default_factory=list)

    async def get(self, url: str, /) -> bytes:
        self.asked.append(url)
        page = self.pages.get(url)
        if page is None:
            raise FetchError("there is no such document")
        return page if isinstance(page, bytes) else json.dumps(page).encode()


def described(**more: Any) -> dict[str, Any]:
    return {"issuer": URL, "jwks_uri": KEYS, **more}


@pytest.mark.parametrize("place", [OPENID, OAUTH])
async def test_keys_are_found_by_either_kind_of_metadata(place: str) -> None:
    web = Web({place: described(), KEYS: b"{}"})
    assert await Discovery(web.get).keys(URL) == b"{}"
    assert web.asked == ([OPENID, KEYS] if place == OPENID else [OPENID, OAUTH, KEYS])


@pytest.mark.parametrize(
    ("issuer", "found"),
    [
        (URL, (OPENID, OAUTH)),
        (
            "https://t.auth0.example/",
            (
                "https://t.auth0.example/.well-known/openid-configuration",
                "https://t.auth0.example/.well-known/oauth-authorization-server",
            ),
        ),
    ],
)
def test_a_slash_at_the_end_is_not_doubled(issuer: str, found: tuple[str, ...]) -> None:
    assert places(issuer) == found


@pytest.mark.parametrize(
    "page",
    [
        described(issuer=URL + "/"),
        described(issuer="https://LOGIN.example/realms/main"),
        described(issuer="https://evil.example"),
        described(issuer=None),
        described(issuer=[URL]),
        described(jwks_uri=None),
        described(jwks_uri=7),
        described(jwks_uri="http://keys.example/jwks"),
        described(jwks_uri="file:///etc/passwd"),
        {},
        [],
        b"<html>",
        b'{"issuer":"x","issuer":"y"}',
    ],
)
async def test_metadata_that_is_not_the_issuers_own_leads_nowhere(page: Any) -> None:
    web = Web({OPENID: page, OAUTH: described(), KEYS: b"{}"})
    with pytest.raises(FetchError):
        await Discovery(web.get).keys(URL)
    assert web.asked == [OPENID]


async def test_an_issuer_that_is_away() -> None:
    with pytest.raises(FetchError):
        await Discovery(Web({}).get).keys(URL)
