"""Strangers at the authorization server: what they must not get, and whom they must not keep out."""

from __future__ import annotations

import html
import ipaddress
import re
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from penstock.http import first
from penstock_relay import passwords
from penstock_relay.oauth.limits import DOCUMENTS, REFUSALS, REGISTRATIONS
from penstock_relay.oauth.throttle import MAX_FAILURES
from penstock_relay.oauth.visit import DEVICE_S, LOGIN_S
from penstock_relay.oauth.web import Asked, Peer
from tests.relay.oauth.visiting import (
    CALLBACK,
    DOCUMENT,
    HASH,
    ORIGIN,
    PASSWORD,
    Browser,
    Place,
    document,
    place,
    query,
)

ME, STRANGER = Peer("198.51.100.1", shared=False), Peer("203.0.113.9", shared=False)
EVIL = "https://evil.example/cb?a=b"
REGISTRATION = b'{"redirect_uris":["https://a.example/cb"]}'


@pytest.fixture(autouse=True)
def cheap_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many are tried here; that they are hashed well is tested elsewhere."""
    monkeypatch.setattr(passwords, "verify", lambda kept, given: kept == HASH and given == PASSWORD)


# -- nobody is sent to a stranger's page by the relay --------------------------------------------------


FAULTS = [
    ({"response_type": "token"}, "unsupported_response_type"),
    ({"code_challenge": None}, "invalid_request"),
    ({"resource": None}, "invalid_target"),
    ({"prompt": "none"}, "interaction_required"),
    ({"state": "x" * 5000, "resource": None}, "invalid_target"),
]


@pytest.mark.parametrize("logged_in", [False, True])
@pytest.mark.parametrize(("changes", "error"), FAULTS)
async def test_a_registered_client_gets_no_redirect_without_a_click(
    tmp_path: Path, changes: dict[str, str | None], error: str, logged_in: bool
) -> None:
    async with place(tmp_path) as here:
        browser = Browser(here)
        if logged_in:
            await browser.open("/oauth/grants")
            await browser.log_in()
        client = await here.register(
            client_name="Notes", redirect_uris=[EVIL], token_endpoint_auth_method="none"
        )
        asked = query(client_id=client["client_id"], redirect_uri=EVIL, **changes)
        page = await browser.open("/oauth/authorize", asked)
        assert page.status == 400
        assert not browser.left_for
        assert first(page.headers, "location") is None
        assert first(page.headers, "refresh") is None
        text = page.body.decode()
        assert "calls itself" in text
        assert "<strong>https://evil.example</strong>" in text
        (link,) = re.findall(r'<a href="([^"]*)" rel="noreferrer">', text)
        onward = html.unescape(link)
        assert onward.startswith(EVIL + "&")
        answer = parse_qs(urlsplit(onward).query)
        assert (answer["error"], answer["iss"]) == ([error], [ORIGIN])
        assert answer.get("state") == (None if "state" in changes else ["s+t/a=te"])


async def test_a_document_proves_no_more_than_a_registration(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        url = "https://evil.example/client.json"
        here.shelf.documents[url] = document(url, "Claude", EVIL)
        browser = Browser(here)
        page = await browser.open(
            "/oauth/authorize", query(client_id=url, redirect_uri=EVIL, response_type="x")
        )
        assert page.status == 400
        assert not browser.left_for


async def test_a_program_on_the_users_machine_is_asked_for_a_click_too(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        client = await here.register(redirect_uris=["http://127.0.0.1/cb"], token_endpoint_auth_method="none")
        browser = Browser(here)
        asked = query(client_id=client["client_id"], redirect_uri="http://127.0.0.1:22/cb", resource=None)
        assert (await browser.open("/oauth/authorize", asked)).status == 400
        assert not browser.left_for


async def test_the_callback_of_a_named_assistant_is_told_at_once(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        browser = Browser(here)
        client = await here.register(token_endpoint_auth_method="none")
        for client_id in (DOCUMENT, client["client_id"]):
            browser.left_for = ""
            await browser.open("/oauth/authorize", query(client_id=client_id, resource=None))
            assert browser.left_for.startswith(CALLBACK + "?")
            assert browser.answer["error"] == "invalid_target"


async def test_who_says_no_to_a_stranger_has_clicked(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        client = await here.register(redirect_uris=[EVIL], token_endpoint_auth_method="none")
        browser = Browser(here)
        await browser.open("/oauth/authorize", query(client_id=client["client_id"], redirect_uri=EVIL))
        await browser.log_in()
        await browser.submit(decision="deny")
        assert browser.left_for.startswith(EVIL + "&error=access_denied&")
        assert (browser.answer["state"], browser.answer["iss"]) == ("s+t/a=te", ORIGIN)


# -- names ---------------------------------------------------------------------------------------------


async def test_a_name_that_may_be_read_as_an_assistants_is_warned_of_before_the_login_and_at_consent(
    tmp_path: Path,
) -> None:
    async with place(tmp_path) as here:
        client = await here.register(
            client_name="Claude - described by claude.ai",
            redirect_uris=[EVIL],
            token_endpoint_auth_method="none",
        )
        browser = Browser(here)
        asked = query(client_id=client["client_id"], redirect_uri=EVIL)
        for page in (await browser.open("/oauth/authorize", asked), await browser.log_in()):
            text = html.unescape(page.body.decode())
            assert "This name reads like one of Anthropic's, but the answer goes to evil.example" in text


async def test_the_login_page_says_that_a_name_is_what_a_client_calls_itself(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        page = await Browser(here).open("/oauth/authorize", query())
        assert b"An application that calls itself <q><bdi>Claude</bdi></q>" in page.body
        assert b"reads like" not in page.body


@pytest.mark.parametrize(
    "name", ["Cla\u3164ude", "\u2800", "Claude\ufe0f", "C\u115flaude", "a\u00a0b", "\U000e0041a"]
)
async def test_a_name_with_what_does_not_show_cannot_be_registered(tmp_path: Path, name: str) -> None:
    async with place(tmp_path) as here:
        body = b'{"redirect_uris":["https://a.example/cb"],"client_name":"%b"}' % name.encode()
        reply = await here.server.handle(Asked("POST", "/oauth/register", "", (), body))
        assert reply.status == 400


# -- one stranger does not use up what is everybody's --------------------------------------------------


async def test_a_stranger_who_registers_too_often_locks_nobody_else_out(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        here.peer = STRANGER
        for _ in range(REGISTRATIONS.burst):
            await here.register()
        reply = await here.server.handle(Asked("POST", "/oauth/register", "", (), REGISTRATION, STRANGER))
        assert reply.status == 429
        assert first(reply.headers, "retry-after") == "180"
        here.peer = ME
        await here.register()
        here.peer, here.now = STRANGER, here.now + 180
        await here.register()


async def test_a_stranger_who_has_too_many_documents_fetched_waits_and_others_do_not(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        here.peer = STRANGER
        for number in range(DOCUMENTS.burst):
            page = await here.get(
                "/oauth/authorize", query(client_id=f"https://h{number}.example/client.json")
            )
            assert page.status == 400
        page = await here.get("/oauth/authorize", query(client_id="https://more.example/client.json"))
        assert page.status == 429
        here.peer = ME
        assert (await here.get("/oauth/authorize", query())).status == 200


async def test_a_document_that_is_at_hand_costs_nothing(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        here.peer = ME
        here.shelf._copies.keep(DOCUMENT, document(), here.shelf._ticks())
        for _ in range(DOCUMENTS.burst * 2):
            assert (await here.get("/oauth/authorize", query())).status == 200


async def test_a_document_with_which_a_user_is_connected_is_kept_before_others(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        here.shelf._copies.keep(DOCUMENT, document(), here.shelf._ticks())
        code = await Browser(here).code(query())
        assert not here.shelf._copies.knows("claude.ai")
        assert (await here.redeem(code))[0] == 200
        assert here.shelf._copies.knows("claude.ai")


async def test_a_stranger_who_is_refused_tokens_too_often_is_not_heard_and_others_are(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        _, found = await here.redeem(await Browser(here).code(query()))
        here.peer = STRANGER
        for number in range(REFUSALS.burst):
            if number % 2:
                assert (await here.refresh("psr_x"))[0] == 400
            else:
                reply = await here.post("/oauth/revoke", {"token": "x", "client_id": "nobody"})
                assert reply.status == 401
        assert (await here.refresh(found["refresh_token"]))[0] == 429
        assert (await here.post("/oauth/revoke", {"token": "x", "client_id": "nobody"})).status == 429
        here.peer = ME
        status, found = await here.refresh(found["refresh_token"])
        assert status == 200
        here.peer, here.now = STRANGER, here.now + 6
        assert (await here.refresh(found["refresh_token"]))[0] == 200


async def test_what_succeeds_is_not_counted_as_refused(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        _, found = await here.redeem(await Browser(here).code(query()))
        here.peer = ME
        for _ in range(REFUSALS.burst + 5):
            status, found = await here.refresh(found["refresh_token"])
            assert status == 200


# -- logins --------------------------------------------------------------------------------------------


async def test_a_copied_cookie_is_worth_nothing_after_the_logout(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        alice, elsewhere = Browser(here), Browser(here)
        for browser in (alice, elsewhere):
            await browser.open("/oauth/grants")
            await browser.log_in()
        thief = Browser(here, dict(alice.cookies))
        assert b"You are alice" in (await thief.open("/oauth/grants")).body
        await alice.open("/oauth/grants")
        assert b"You are logged out" in (await alice.submit()).body
        assert b'name="password"' in (await thief.open("/oauth/grants")).body
        assert b"You are alice" in (await elsewhere.open("/oauth/grants")).body
        await alice.open("/oauth/grants")
        await alice.log_in()
        assert b"You are alice" in alice.page.body
        assert b'name="password"' in (await thief.open("/oauth/grants")).body


async def test_a_logout_is_remembered_as_long_as_the_cookie_would_be_good(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        alice = Browser(here)
        await alice.open("/oauth/grants")
        await alice.log_in()
        thief = Browser(here, dict(alice.cookies))
        await alice.submit()
        here.now += LOGIN_S - 1
        assert b'name="password"' in (await thief.open("/oauth/grants")).body
        here.now += 1
        assert b'name="password"' in (await thief.open("/oauth/grants")).body


async def lock(here: Place, peer: Peer | None = None) -> None:
    """A stranger guesses alice's password as often as he may."""
    if peer is not None:
        here.peer = peer
    stranger = Browser(here)
    await stranger.open("/oauth/grants")
    for _ in range(MAX_FAILURES):
        assert (await stranger.log_in("alice", "wrong")).status == 401
    assert (await stranger.log_in("alice", "wrong")).status == 429


async def test_the_owner_of_a_name_logs_in_where_he_did_before_whatever_strangers_do(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        alice = Browser(here)
        await alice.open("/oauth/grants")
        await alice.log_in()
        await alice.submit()  # logs out
        await lock(here)
        await alice.open("/oauth/grants")
        for _ in range(MAX_FAILURES - 1):
            assert (await alice.log_in("alice", "mistyped")).status == 401
        assert b"You are alice" in (await alice.log_in()).body
        another = Browser(here)
        await another.open("/oauth/grants")
        assert (await another.log_in()).status == 429  # a browser without the cookie is a stranger's


async def test_a_device_has_tries_of_its_own_and_no_more(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        alice = Browser(here)
        await alice.open("/oauth/grants")
        await alice.log_in()
        await alice.submit()
        await alice.open("/oauth/grants")
        for _ in range(MAX_FAILURES):
            assert (await alice.log_in("alice", "guess")).status == 401
        assert (await alice.log_in()).status == 429


@pytest.mark.parametrize("change", ["seal", "late", "another"])
async def test_a_device_cookie_is_for_one_name_and_180_days(tmp_path: Path, change: str) -> None:
    async with place(tmp_path) as here:
        await here.add_user("mallory")
        browser = Browser(here)
        await browser.open("/oauth/grants")
        await browser.log_in("mallory" if change == "another" else "alice")
        await browser.submit()
        cookie = "__Host-penstock-device"
        assert cookie in browser.cookies
        if change == "seal":
            browser.cookies[cookie] = browser.cookies[cookie][:-1] + "!"
        elif change == "late":
            here.now += DEVICE_S
        await lock(here)
        await browser.open("/oauth/grants")
        assert (await browser.log_in()).status == 429


async def test_the_device_cookie_is_kept_and_no_script_reads_it(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        browser = Browser(here)
        await browser.open("/oauth/grants")
        form = re.search(r'name="seal" value="([^"]*)"', browser.page.body.decode())
        assert form is not None
        fields = {
            "next": "/oauth/grants",
            "seal": form[1],
            "name": "alice",
            "password": "correct horse battery",
        }
        reply = await here.post("/oauth/login", fields, *browser._sent())
        (cookie,) = [value for name, value in reply.headers if name == "set-cookie" and "-device=" in value]
        for flag in (f"; Max-Age={int(DEVICE_S)}", "; Path=/", "; HttpOnly", "; Secure", "; SameSite=Lax"):
            assert flag in cookie


async def test_a_stranger_at_one_address_locks_a_name_at_no_other(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        await lock(here, STRANGER)
        here.peer = ME
        alice = Browser(here)
        await alice.open("/oauth/grants")
        assert b"You are alice" in (await alice.log_in()).body


async def test_a_network_of_ipv6_is_one_stranger(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        net = ipaddress.ip_network("2001:db8::/64")
        here.peer = Peer(str(net[1]), shared=False)
        await lock(here)
        here.peer = Peer(str(net[2]), shared=False)
        stranger = Browser(here)
        await stranger.open("/oauth/grants")
        assert (await stranger.log_in()).status == 429
