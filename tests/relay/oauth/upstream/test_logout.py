"""Somebody logs out at the company: who is believed, and what ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from penstock.jwt import BadToken
from penstock_relay.access import Access
from penstock_relay.oauth.upstream import logout
from penstock_relay.oauth.upstream.logout import EVENT, LogoutToken
from tests.relay.oauth.upstream.company import CLIENT, ISSUER, Company, Employee, connected, let_in, site
from tests.relay.oauth.visiting import Browser, query

NOW = 1000.0
GOOD: dict[str, Any] = {
    "iss": ISSUER, "aud": CLIENT, "iat": NOW, "exp": NOW + 120, "jti": "j", "events": {EVENT: {}},
    "sub": "anna",
}  # fmt: skip


def read(**changes: Any) -> LogoutToken:
    claims = {name: value for name, value in {**GOOD, **changes}.items() if value is not ...}
    return logout.read(claims, issuer=ISSUER, client_id=CLIENT, now=NOW)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, LogoutToken("anna", None, "j")),
        ({"sid": "s"}, LogoutToken("anna", "s", "j")),
        ({"sub": ..., "sid": "s"}, LogoutToken(None, "s", "j")),
        ({"aud": ["x", CLIENT]}, LogoutToken("anna", None, "j")),
        ({"exp": ...}, LogoutToken("anna", None, "j")),  # a draft of the specification had none
        ({"exp": NOW - 29}, LogoutToken("anna", None, "j")),
        ({"iat": NOW + 30}, LogoutToken("anna", None, "j")),
        ({"iat": NOW - 600}, LogoutToken("anna", None, "j")),
        ({"events": {EVENT: {"x": 1}, "other": {}}}, LogoutToken("anna", None, "j")),
    ],
)
def test_what_a_logout_token_says(changes: dict[str, Any], said: LogoutToken) -> None:
    assert read(**changes) == said


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"iss": ISSUER + "/"}, "issuer"),
        ({"iss": ...}, "issuer"),
        ({"aud": "other"}, "audience"),
        ({"aud": []}, "audience"),
        ({"aud": ...}, "audience"),
        ({"iat": ...}, "claims"),
        ({"iat": True}, "claims"),
        ({"iat": "1000"}, "claims"),
        ({"iat": float("inf")}, "claims"),
        ({"exp": None}, "claims"),
        ({"iat": NOW + 31}, "not_yet"),
        ({"iat": NOW - 601}, "expired"),
        ({"exp": NOW - 30}, "expired"),
        ({"events": ...}, "claims"),
        ({"events": {}}, "claims"),
        ({"events": [EVENT]}, "claims"),
        ({"events": {EVENT: True}}, "claims"),
        ({"nonce": "n"}, "claims"),
        ({"nonce": None}, "claims"),
        ({"jti": ...}, "missing"),
        ({"jti": ""}, "missing"),
        ({"sub": ...}, "missing"),
        ({"sub": "", "sid": ""}, "missing"),
        ({"sub": 7}, "claims"),
    ],
)
def test_what_is_no_logout_token(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(BadToken) as caught:
        read(**changes)
    assert caught.value.reason == reason


# -- what it does


async def logged_in(browser: Browser) -> bool:
    return b"You are " in (await browser.open("/oauth/grants")).body


async def test_who_logs_out_there_is_out_here_with_all_that_was_granted(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        name, found = await connected(here)
        browser = Employee(here)
        await browser.log_in_there()
        access = Access(here.store, clock=lambda: here.now)
        assert await access.principal(found["access_token"]) is not None
        reply = await here.log_out(here.company.logout_token())
        assert (reply.status, reply.body) == (200, b"")
        assert ("cache-control", "no-store") in reply.headers
        await access.poll()
        assert await access.principal(found["access_token"]) is None
        assert (await here.refresh(found["refresh_token"]))[0] == 400
        assert not await logged_in(browser)
        assert await here.store.logins.count(name, here.now) == 0
        # Nothing keeps the user from coming back.
        assert (await browser.log_in_there()).status == 200


async def test_a_code_that_was_given_before_the_logout_brings_nothing(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        browser, _ = await let_in(here)
        code = await browser.code(query())
        await here.log_out(here.company.logout_token())
        assert (await here.redeem(code))[0] == 400


async def test_nobody_else_is_logged_out(tmp_path: Path) -> None:
    people = {"anna": {"name": "Anna"}, "bo": {"name": "Bo"}}
    async with site(tmp_path, Company(people=people)) as here:
        _, found = await connected(here, "bo")
        own = Browser(here)
        await own.open("/oauth/grants")
        await own.log_in()
        assert (await here.log_out(here.company.logout_token())).status == 200
        assert (await here.log_out(here.company.logout_token(sub="alice"))).status == 200
        assert await logged_in(own)
        assert (await here.refresh(found["refresh_token"]))[0] == 200


@pytest.mark.parametrize("changes", [{"sid": "sid-1"}, {"sid": "sid-1", "sub": None}])
async def test_one_session_there_is_one_login_here(tmp_path: Path, changes: dict[str, Any]) -> None:
    async with site(tmp_path, logout_ends="sessions") as here:
        _, found = await connected(here)
        first = Employee(here)
        await first.log_in_there()
        here.company.sid = "sid-2"
        second = Employee(here)
        await second.log_in_there()
        assert (await here.log_out(here.company.logout_token(**changes))).status == 200
        assert (await logged_in(first), await logged_in(second)) == (False, True)
        assert (await here.refresh(found["refresh_token"]))[0] == 200


async def test_a_logout_token_is_obeyed_once(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        token = here.company.logout_token()
        assert (await here.log_out(token)).status == 200
        browser = Employee(here)
        await browser.log_in_there()
        assert (await here.log_out(token)).status == 400
        assert await logged_in(browser)


BAD: list[dict[str, Any]] = [
    {"header": {"alg": "none"}, "how": "nothing"},
    {"header": {"alg": "HS256"}, "how": "hmac:pem"},
    {"header": {"kid": "other"}, "how": "rsa-other"},
    {"how": "rsa-other"},
    {"header": {"typ": "at+jwt"}},
]


@pytest.mark.parametrize("wicked", BAD, ids=str)
async def test_what_the_provider_did_not_sign_logs_nobody_out(tmp_path: Path, wicked: dict[str, Any]) -> None:
    async with site(tmp_path) as here:
        _, found = await connected(here)
        for name, value in wicked.items():
            setattr(here.company, name, value)
        assert (await here.log_out(here.company.logout_token())).status == 400
        assert (await here.refresh(found["refresh_token"]))[0] == 200


async def test_an_id_token_logs_nobody_out(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        _, found = await connected(here)
        token = here.company.logout_token(typ="JWT", nonce="n", events=None, jti="x")
        assert (await here.log_out(token)).status == 400
        assert (await here.refresh(found["refresh_token"]))[0] == 200


async def test_what_is_no_token_at_all(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        other = here.company.logout_token(iss="https://evil.example")
        for text in ("", "x", "a.b.c", "x" * 9000, other):
            assert (await here.log_out(text)).status == 400
        assert (await here.post("/oauth/upstream/logout", {})).status == 400
        assert (await here.get("/oauth/upstream/logout")).status == 405
        assert not any("jwks" in url for _, url, _, _ in here.company.asked)  # strangers cause no fetch


async def test_while_the_keys_cannot_be_had_it_may_be_sent_again(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        token = here.company.logout_token()
        here.company.down = True
        assert (await here.log_out(token)).status == 503
        here.company.down = False
        here.wait(6)
        assert (await here.log_out(token)).status == 200
