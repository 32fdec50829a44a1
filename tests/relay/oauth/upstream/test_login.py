"""Somebody logs in at the company's identity provider, and everything that must not let anybody in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from penstock.http import first
from penstock_relay.access import Access
from penstock_relay.oauth.upstream.login import CALLBACK, Arrival, UpstreamLogin
from penstock_relay.oauth.upstream.standing import Rules
from penstock_relay.oauth.web import Asked, Reply
from penstock_relay.store import GroupMembership, Membership
from tests.relay.oauth.upstream.company import (
    ANNA,
    BACK,
    CLIENT,
    ISSUER,
    Company,
    Employee,
    Site,
    asked_of,
    connected,
    let_in,
    link,
    site,
)
from tests.relay.oauth.visiting import DOCUMENT, Browser, place, query


async def logged_in(browser: Browser) -> bool:
    return b"You are " in (await browser.open("/oauth/grants")).body


# -- the way there and back


async def test_an_employee_connects_a_client_and_is_who_the_company_says(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        await here.store.memberships.add(GroupMembership("staff", "oslo", "files", here.now))
        browser = Employee(here)
        page = await browser.open("/oauth/authorize", query())
        assert b"Log in with single sign-on" in page.body
        assert b'name="password"' in page.body
        consent = await browser.log_in_there(query())
        assert b"Claude" in consent.body
        await browser.submit(decision="allow")
        status, found = await here.redeem(browser.answer["code"])
        assert status == 200
        grant = await Access(here.store, clock=lambda: here.now).principal(found["access_token"])
        assert grant is not None
        assert grant.member
        who = grant.principal
        assert (who.issuer, who.subject, who.name) == (ISSUER, "anna", "Anna Berg")
        assert (who.email, who.groups, who.client) == ("anna@example.com", ("staff",), DOCUMENT)
        # A site is asked for its tools in the name of the same caller.
        asker = here.sites.asked[0][0]
        assert (asker.identity, asker.groups) == (who.identity, who.groups)


async def test_what_the_provider_is_asked_for(tmp_path: Path) -> None:
    async with site(tmp_path, prompt="login", scopes=("openid", "offline_access")) as here:
        first_url, second_url = [await Employee(here).to_company() for _ in range(2)]
        asked, other = asked_of(first_url), asked_of(second_url)
        assert (asked["response_type"], asked["client_id"], asked["redirect_uri"]) == ("code", CLIENT, BACK)
        assert (asked["scope"], asked["prompt"]) == ("openid offline_access", "login")
        assert asked["code_challenge_method"] == "S256"
        for secret in ("state", "nonce", "code_challenge"):
            assert len(asked[secret]) == 43
            assert asked[secret] != other[secret]
        assert len({asked["state"], asked["nonce"], asked["code_challenge"]}) == 3


async def test_the_attempt_is_in_a_cookie_of_this_host_that_no_script_reads(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        browser = Employee(here)
        await browser.open("/oauth/grants")
        path, _, asked = link(browser.page).partition("?")
        reply = await here.get(path, asked, *browser._sent())
        assert reply.status == 303
        assert first(reply.headers, "referrer-policy") == "no-referrer"
        (cookie,) = [value for name, value in reply.headers if "penstock-upstream" in value]
        assert cookie.startswith("__Host-penstock-upstream=")
        for flag in ("; Path=/", "; HttpOnly", "; Secure", "; SameSite=Lax", "; Max-Age=600"):
            assert flag in cookie
        location = asked_of(first(reply.headers, "location") or "")
        for secret in (location["nonce"], location["state"], "/oauth/grants"):
            assert secret not in cookie


async def test_the_login_page_leads_where_no_form_may(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        page = await Employee(here).open("/oauth/grants")
        policy = first(page.headers, "content-security-policy") or ""
        assert "form-action 'self';" in policy
        assert ISSUER not in policy  # the way there is a link


@pytest.mark.parametrize("changed", ["next", "seal", "browser"])
async def test_the_button_works_in_its_browser_and_for_its_page_only(tmp_path: Path, changed: str) -> None:
    async with site(tmp_path) as here:
        browser = Employee(here)
        await browser.open("/oauth/grants")
        url = link(browser.page)
        if changed == "next":
            url = url.replace("next=%2Foauth%2Fgrants", "next=https%3A%2F%2Fevil.example")
        elif changed == "seal":
            url = url[:-1]
        else:
            browser = Employee(here)
        assert (await browser.open_url(url)).status == 400
        assert not browser.left_for


async def test_an_answer_is_worth_nothing_in_another_browser(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        anna, thief = Employee(here), Employee(here)
        answer = here.company.log_in(await anna.to_company(query()))
        await thief.to_company(query())  # has begun a login of its own
        for browser in (thief, Employee(here)):
            page = await browser.come_back(answer)
            assert page.status == 400
            assert b"did not begin in this browser" in page.body
            assert not await logged_in(browser)
        # And an attacker cannot log a victim in as somebody else.
        assert (await anna.come_back(here.company.log_in(await thief.to_company(query())))).status == 400


async def test_a_cookie_moved_to_another_browser_opens_nothing(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        anna, thief = Employee(here), Employee(here)
        answer = here.company.log_in(await anna.to_company())
        await thief.to_company()
        thief.cookies["__Host-penstock-upstream"] = anna.cookies["__Host-penstock-upstream"]
        assert (await thief.come_back(answer)).status == 400
        assert (await anna.come_back(answer)).status == 200


async def test_an_answer_counts_once(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        browser = Employee(here)
        answer = here.company.log_in(await browser.to_company())
        kept = browser.cookies["__Host-penstock-upstream"]
        assert (await browser.come_back(answer)).status == 200
        assert browser.cookies["__Host-penstock-upstream"] == ""
        browser.cookies["__Host-penstock-upstream"] = kept
        assert (await browser.come_back(answer)).status == 400
        # Nor does one that failed stay.
        browser = Employee(here)
        await browser.to_company()
        assert browser.cookies["__Host-penstock-upstream"]
        assert (await browser.come_back("state=another")).status == 400
        assert browser.cookies["__Host-penstock-upstream"] == ""


async def test_a_login_that_takes_too_long_is_begun_again(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        browser = Employee(here)
        url = await browser.to_company()
        here.wait(599)
        answer = here.company.log_in(url)
        here.wait(1)
        assert (await browser.come_back(answer)).status == 400


async def test_another_replica_finishes_what_this_one_began(tmp_path: Path) -> None:
    async with site(tmp_path) as here, site(tmp_path / "other") as there:
        browser = Employee(here)
        answer = here.company.log_in(await browser.to_company())
        there.company._codes = here.company._codes
        browser.place = there
        assert (await browser.come_back(answer)).status == 200


async def test_a_request_that_is_too_long_for_a_cookie_is_refused_in_words(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        browser = Employee(here)
        from random import Random

        state = "".join(
            Random(7).choices("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", k=4096)
        )
        await browser.open("/oauth/authorize", query(state=state))
        page = await browser.open_url(link(browser.page))
        assert page.status == 400
        assert b"too long" in page.body


# -- what must not let anybody in


async def test_the_answer_of_another_provider_is_not_taken_for_this_ones(tmp_path: Path) -> None:
    for metadata, changes, status in [
        ({}, {"iss": "https://evil.example"}, 400),
        ({}, {"iss": ISSUER + "/"}, 400),
        ({}, {"iss": ""}, 400),  # it says that it names itself, so it does
        ({"authorization_response_iss_parameter_supported": None}, {"iss": ""}, 200),
        ({"authorization_response_iss_parameter_supported": None}, {"iss": "https://evil.example"}, 400),
    ]:
        folder = tmp_path / f"{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        async with site(folder, Company(metadata=metadata)) as here:
            browser = Employee(here)
            page = await browser.log_in_there(**changes)
            assert page.status == status, (metadata, changes)
            if status == 400:
                assert not any(url.endswith("/token") for _, url, _, _ in here.company.asked)


BAD: list[dict[str, Any]] = [
    {"id_token": {"nonce": "another"}},
    {"id_token": {"nonce": None}},
    {"id_token": {"aud": "another"}},
    {"id_token": {"aud": [CLIENT, "another"]}},
    {"id_token": {"aud": [CLIENT, "another"], "azp": "another"}},
    {"id_token": {"azp": "another"}},
    {"id_token": {"iss": "https://evil.example"}},
    {"id_token": {"iss": ISSUER + "/"}},
    {"id_token": {"exp": 999_000}},
    {"id_token": {"exp": None}},
    {"id_token": {"iat": None}},
    {"id_token": {"iat": 999_000}},
    {"id_token": {"iat": 1_000_100}},
    {"id_token": {"sub": None}},
    {"id_token": {"sub": ""}},
    {"id_token": {"at_hash": "AAAAAAAAAAAAAAAAAAAAAA"}},
    {"id_token": {"at_hash": 1}},
    {"header": {"alg": "none"}, "how": "nothing"},
    {"header": {"alg": "HS256"}, "how": "hmac:pem"},
    {"header": {"alg": "PS256"}, "how": "PS256"},
    {"header": {"kid": "other"}, "how": "rsa-other"},
    {"how": "rsa-other"},
    {"header": {"typ": "logout+jwt"}},
    {"header": {"typ": "at+jwt"}},
    {"metadata": {"issuer": ISSUER + "/"}},
    {"userinfo": {"sub": "bo"}},
    {"userinfo": {"sub": None}},
]


@pytest.mark.parametrize("wicked", BAD, ids=str)
async def test_what_the_provider_did_not_say_to_us_lets_nobody_in(
    tmp_path: Path, wicked: dict[str, Any]
) -> None:
    async with site(tmp_path, Company(**wicked)) as here:
        browser = Employee(here)
        await browser.open("/oauth/grants")
        page = await browser.open_url(link(browser.page))
        if browser.left_for:
            page = await browser.come_back(here.company.log_in(browser.left_for))
        assert page.status in (400, 503)
        assert not await logged_in(browser)
        assert [user.name for user in await here.store.users.list()] == ["alice"]


@pytest.mark.parametrize(
    "good",
    [
        {"id_token": {"aud": [CLIENT]}},
        {"id_token": {"aud": [CLIENT, "another"], "azp": CLIENT}},
        {"id_token": {"at_hash": None}},
        {"header": {"typ": None}},
        {"short": False},
        {"metadata": {"userinfo_endpoint": None}},
        {"metadata": {"token_endpoint_auth_methods_supported": ["client_secret_post"]}},
    ],
    ids=str,
)
async def test_what_providers_may_do_otherwise(tmp_path: Path, good: dict[str, Any]) -> None:
    async with site(tmp_path, Company(**good)) as here:
        browser = Employee(here)
        assert (await browser.log_in_there()).status == 200
        assert await logged_in(browser)


async def test_the_relay_proves_itself_where_and_how_the_provider_says(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        await Employee(here).log_in_there()
        ((_, _, form, headers),) = [each for each in here.company.asked if each[1].endswith("/token")]
        assert headers["Authorization"].startswith("Basic ")
        assert "client_secret" not in form
    posting = Company(metadata={"token_endpoint_auth_methods_supported": ["client_secret_post"]})
    (tmp_path / "2").mkdir()
    async with site(tmp_path / "2", posting) as here:
        await Employee(here).log_in_there()
        ((_, _, form, headers),) = [each for each in here.company.asked if each[1].endswith("/token")]
        assert headers == {}
        assert (form["client_id"], bool(form["client_secret"])) == (CLIENT, True)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("access_denied", b"does not let you use this relay"),
        ("server_error", b"(server_error)"),
        ("<b>x</b>", b"(unknown)"),
        ("x" * 41, b"(unknown)"),
    ],
)
async def test_who_is_not_let_in_there_is_told_so_here(tmp_path: Path, error: str, words: bytes) -> None:
    async with site(tmp_path) as here:
        browser = Employee(here)
        page = await browser.log_in_there(error=error, code="")
        assert page.status == 403
        assert words in page.body
        assert b"<b>" not in page.body
        assert not await logged_in(browser)


async def test_a_code_that_is_none_lets_nobody_in(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        for code in ("", "another"):
            assert (await Employee(here).log_in_there(code=code)).status == 400


async def test_a_provider_that_cannot_be_reached_is_said_to_be(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        browser = Employee(here)
        answer = here.company.log_in(await browser.to_company())
        here.company.down = True
        page = await browser.come_back(answer)
        assert page.status == 503
        assert b"cannot be reached" in page.body
        other = Employee(here)
        await other.open("/oauth/grants")
        await other.log_in()  # alice has a password here, and is not kept out
        assert await logged_in(other)


# -- who is who


async def test_users_come_in_as_users_of_their_own(tmp_path: Path) -> None:
    people = {
        "anna": ANNA,
        "mallory": {**ANNA, "name": "Mallory"},  # the provider says it is verified, too
        "eve": {"name": "Eve", "email": "alice@example.com", "email_verified": False},
        "alice": {"name": "Alice", "email": "alice@example.com", "email_verified": True},
    }
    async with site(tmp_path, Company(people=people)) as here:
        for subject in people:
            assert (await Employee(here, subject=subject).log_in_there()).status == 200
        users = {user.subject: user for user in await here.store.users.list()}
        assert users["anna"].name == "anna@example.com"
        assert users["mallory"].name.startswith("user-")
        assert (users["eve"].name[:5], users["eve"].email) == ("user-", "")
        # alice of the company is not alice of the relay, who may use a server.
        assert users["alice"].name == "alice@example.com"
        assert not await here.store.memberships.allows("alice@example.com", "oslo", "files")
        own = users[None]
        assert (own.name, own.issuer) == ("alice", None)


async def test_groups_are_those_of_the_last_login(tmp_path: Path) -> None:
    async with site(tmp_path, groups_claim="realm_access.roles", name_claim="display") as here:
        await here.store.memberships.add(GroupMembership("ops", "oslo", None, here.now))
        here.company.people["anna"] = {"display": "A. Berg", "realm_access": {"roles": ["ops", 7, ""]}}
        await Employee(here).log_in_there()
        (anna,) = [user for user in await here.store.users.list() if user.issuer]
        assert (anna.full_name, anna.email) == ("A. Berg", "")
        assert await here.store.memberships.allows(anna.name, "oslo", "files")
        here.company.people["anna"] = {"display": "A. Berg", "realm_access": {}}
        await Employee(here).log_in_there()
        assert not await here.store.memberships.allows(anna.name, "oslo", "files")


async def test_a_disabled_user_does_not_come_in_again(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        browser, name = await let_in(here)
        await here.store.users.disable(name, here.now)
        assert not await logged_in(browser)
        page = await browser.log_in_there()
        assert page.status == 403
        assert b"disabled your account" in page.body
        assert not await logged_in(browser)
        await here.store.users.enable(name)
        assert (await browser.log_in_there()).status == 200


async def test_a_login_lasts_no_longer_than_what_the_provider_said(tmp_path: Path) -> None:
    async with site(tmp_path, max_age="1h") as here:
        browser, _ = await let_in(here)
        here.wait(3599)
        assert await logged_in(browser)
        here.wait(1)
        assert not await logged_in(browser)


async def test_without_local_accounts_there_is_one_way_in(tmp_path: Path) -> None:
    async with site(tmp_path, local=False) as here:
        browser = Employee(here)
        page = await browser.open("/oauth/authorize", query())
        assert b"password" not in page.body
        assert link(page)
        form = {"name": "alice", "password": "correct horse battery", "next": "/", "seal": "x"}
        assert (await here.post("/oauth/login", form)).status == 404
        word = await here.add_user("bob", None)
        assert (await here.get(f"/invite/{word}")).status == 404
        assert (await browser.log_in_there()).status == 200


async def test_a_user_whose_accounts_do_not_count_any_more_is_out(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        own = Browser(here)
        await own.open("/oauth/grants")
        await own.log_in()
        anna, _ = await let_in(here)
        assert await logged_in(own)
        _door(here)._visits._accepts = Rules(local_accounts=False, issuer=ISSUER).accepts
        assert (await logged_in(own), await logged_in(anna)) == (False, True)
        _door(here)._visits._accepts = Rules(issuer="https://new.example").accepts
        assert (await logged_in(own), await logged_in(anna)) == (True, False)


# -- what others sign with a nonce of their own


async def test_a_nonce_of_the_callers_is_signed_and_handed_on(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        arrived: list[Arrival] = []

        async def further(arrival: Arrival, now: float) -> Reply:
            arrived.append(arrival)
            return Reply(200, b"further")

        door = _door(here)
        door._purposes = {"voucher": further}
        browser = Employee(here)
        await browser.open("/oauth/grants")
        visitor = await door._visits.visitor(_asked(browser), here.now)
        nonce = "n" * 43
        reply = await door.begin(visitor, "/oauth/consent", here.now, purpose="voucher", nonce=nonce)
        await browser._follow(reply)
        assert asked_of(browser.left_for)["nonce"] == nonce
        page = await browser.come_back(here.company.log_in(browser.left_for))
        assert page.body == b"further"
        (arrival,) = arrived
        assert (arrival.attempt.onward, arrival.attempt.nonce) == ("/oauth/consent", nonce)
        assert (arrival.user.subject, arrival.id_token.count(".")) == ("anna", 2)
        assert await logged_in(browser)
        # A purpose that nobody registered is only a login.
        door._purposes = {}
        await browser._follow(await door.begin(visitor, "/oauth/grants", here.now, purpose="voucher"))
        browser.cookies["__Host-penstock-browser"] = visitor.browser
        assert (await browser.come_back(here.company.log_in(browser.left_for))).status == 200


def _door(here: Site) -> UpstreamLogin:
    door = getattr(here.server._routes["GET", CALLBACK], "__self__", None)
    assert isinstance(door, UpstreamLogin)
    return door


def _asked(browser: Employee) -> Asked:
    return Asked("GET", "/oauth/grants", "", browser._sent())


async def test_the_routes_are_there_only_with_a_provider(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        for path in ("login", "callback", "logout"):
            assert (await here.get(f"/oauth/upstream/{path}")).status == 404
        assert b"single sign-on" not in (await here.get("/oauth/grants")).body


async def test_a_member_by_name_connects_too(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        name, found = await connected(here)
        assert found["token_type"] == "Bearer"
        await here.store.memberships.remove(name, "oslo", "files")
        assert (await here.refresh(found["refresh_token"]))[0] == 400
        await here.store.memberships.add(Membership(name, "oslo", None, here.now))
        assert (await here.refresh(found["refresh_token"]))[0] == 200
