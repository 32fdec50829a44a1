"""A user connects a client: the whole conversation, and everything that must not work."""

from __future__ import annotations

import asyncio
import base64
import re
from pathlib import Path
from urllib.parse import quote

import pytest

from penstock.http import first
from penstock_relay.access import Access
from penstock_relay.oauth import tokens
from penstock_relay.oauth.limits import ALL_REGISTRATIONS
from penstock_relay.oauth.organisation import ABSOLUTE_S, ACCESS_S, IDLE_S
from penstock_relay.oauth.tokens import CODE_S, GRACE_S
from penstock_relay.oauth.web import Asked
from penstock_relay.store import Ended
from tests.relay.oauth.visiting import CALLBACK, DOCUMENT, ORIGIN, RESOURCE, Browser, document, place, query


async def test_a_client_with_a_document_of_its_own_is_connected(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        browser = Browser(here)
        login = await browser.open("/oauth/authorize", query())
        assert login.status == 200
        assert b"Claude" in login.body
        consent = await browser.log_in()
        text = consent.body.decode()
        assert "claude.ai" in text
        assert "files" in text
        assert "You have never connected this application before." in text
        await browser.submit(decision="allow")
        assert browser.left_for.startswith(CALLBACK + "?")
        assert (browser.answer["state"], browser.answer["iss"]) == ("s+t/a=te", ORIGIN)
        status, found = await here.redeem(browser.answer["code"])
        assert status == 200
        assert found["token_type"] == "Bearer"
        assert found["expires_in"] == ACCESS_S

        access = Access(here.store, clock=lambda: here.now)
        grant = await access.principal(found["access_token"])
        assert grant is not None
        assert (grant.site, grant.server, grant.only_here, grant.member) == ("oslo", "files", True, True)
        who = grant.principal
        assert (who.issuer, who.subject, who.email, who.client) == (
            "penstock", "alice", "alice@example.com", DOCUMENT,
        )  # fmt: skip
        assert await access.principal(found["refresh_token"]) is None
        here.now += ACCESS_S
        assert await access.principal(found["access_token"]) is None


async def test_a_client_that_registered_is_connected_with_and_without_a_secret(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        browser = Browser(here)
        public = await here.register(token_endpoint_auth_method="none")
        code = await browser.code(query(client_id=public["client_id"]))
        assert (await here.redeem(code, client_id=public["client_id"]))[0] == 200

        posting = await here.register(token_endpoint_auth_method="client_secret_post")
        code = await browser.code(query(client_id=posting["client_id"]))
        assert (await here.redeem(code, client_id=posting["client_id"]))[0] == 401
        given = {"client_id": posting["client_id"], "client_secret": posting["client_secret"]}
        assert (await here.redeem(code, **given))[0] == 200

        basic = await here.register()
        assert basic["token_endpoint_auth_method"] == "client_secret_basic"
        code = await browser.code(query(client_id=basic["client_id"]))
        pair = f"{quote(basic['client_id'])}:{quote(basic['client_secret'])}"
        header = ("authorization", "Basic " + base64.b64encode(pair.encode()).decode())
        form = {"grant_type": "authorization_code", "code": code, "code_verifier": "v" * 50}
        assert (await here.token(("authorization", "Basic AAAA"), **form))[0] == 401
        assert (await here.token(header, **form))[0] == 200


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"code_challenge": None}, "invalid_request"),
        ({"code_challenge_method": "plain"}, "invalid_request"),
        ({"code_challenge_method": None}, "invalid_request"),
        ({"resource": None}, "invalid_target"),
        ({"resource": "https://other.example/oslo/files/mcp"}, "invalid_target"),
        ({"prompt": "none"}, "interaction_required"),
        ({"request": "e30"}, "request_not_supported"),
        ({"response_mode": "fragment"}, "invalid_request"),
    ],
)
async def test_a_client_is_told_what_is_wrong_and_by_whom(
    tmp_path: Path, changes: dict[str, str | None], error: str
) -> None:
    async with place(tmp_path) as here:
        browser = Browser(here)
        await browser.open("/oauth/authorize", query(**changes))
        assert browser.left_for.startswith(CALLBACK + "?")
        assert (browser.answer["error"], browser.answer["iss"]) == (error, ORIGIN)
        assert browser.answer["state"] == "s+t/a=te"


@pytest.mark.parametrize(
    "asked",
    [
        query(redirect_uri="https://evil.example/cb"),
        query(redirect_uri=CALLBACK + "/"),
        query(redirect_uri="https://CLAUDE.ai/api/mcp/auth_callback"),
        query(client_id="nobody"),
        query(client_id="https://unknown.example/client.json"),
        query(client_id=None),
        query() + "&state=twice",
        "%FF=%FF",
    ],
)
async def test_a_request_whose_callback_is_not_proven_leads_nowhere(tmp_path: Path, asked: str) -> None:
    async with place(tmp_path) as here:
        browser = Browser(here)
        page = await browser.open("/oauth/authorize", asked)
        assert page.status == 400
        assert not browser.left_for


async def test_a_user_who_says_no_is_believed(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        browser = Browser(here)
        await browser.open("/oauth/authorize", query())
        await browser.log_in()
        await browser.submit(decision="deny")
        assert browser.answer["error"] == "access_denied"
        assert "code" not in browser.answer


@pytest.mark.parametrize("resource", [f"{ORIGIN}/oslo/mail/mcp", f"{ORIGIN}/nowhere/files/mcp"])
async def test_who_may_not_use_a_server_is_not_told_whether_there_is_one(
    tmp_path: Path, resource: str
) -> None:
    async with place(tmp_path) as here:
        browser = Browser(here)
        await browser.open("/oauth/authorize", query(resource=resource))
        page = await browser.log_in()
        assert page.status == 403
        assert not browser.left_for
        assert b"oslo" not in page.body
        assert b"nowhere" not in page.body


async def test_a_consent_page_is_worth_nothing_in_another_browser_or_for_another_request(
    tmp_path: Path,
) -> None:
    async with place(tmp_path) as here:
        alice, thief = Browser(here), Browser(here)
        for browser in (alice, thief):
            await browser.open("/oauth/authorize", query())
        await here.add_user("mallory")
        await alice.log_in()
        await thief.log_in("mallory")
        for page, sender in ((alice.page, thief), (alice.page, Browser(here))):
            sender.page = page
            assert (await sender.submit(decision="allow")).status == 400
            assert not sender.left_for
        await alice.open("/oauth/authorize", query())
        assert (await alice.submit(decision="allow", query=query(state="another"))).status == 400
        await alice.open("/oauth/authorize", query())
        here.now += 600
        assert (await alice.submit(decision="allow")).status == 400
        assert not alice.left_for


async def test_the_pages_cannot_be_framed_or_scripted_and_lead_only_to_the_client(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        browser = Browser(here)
        await browser.open("/oauth/authorize", query())
        page = await browser.log_in()
        policy = first(page.headers, "content-security-policy") or ""
        assert "frame-ancestors 'none'" in policy
        assert "default-src 'none'" in policy
        assert "form-action 'self' https://claude.ai;" in policy
        assert first(page.headers, "x-frame-options") == "DENY"
        assert first(page.headers, "cache-control") == "no-store"
        assert b"<script" not in page.body


async def test_what_a_client_calls_itself_is_text(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        here.shelf.documents[DOCUMENT] = document(DOCUMENT, "<b>Bank</b>")
        page = await Browser(here).open("/oauth/authorize", query())
        assert b"<b>Bank" not in page.body
        assert b"&lt;b&gt;Bank" in page.body


async def test_cookies_belong_to_this_host_and_to_no_script(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        reply = await here.get("/oauth/authorize", query())
        (cookie,) = [value for name, value in reply.headers if name == "set-cookie"]
        assert cookie.startswith("__Host-penstock-browser=")
        for flag in ("; Path=/", "; HttpOnly", "; Secure", "; SameSite=Lax"):
            assert flag in cookie
        assert "Domain" not in cookie


async def test_a_wrong_password_an_unknown_user_and_one_without_a_password_read_the_same(
    tmp_path: Path,
) -> None:
    async with place(tmp_path) as here:
        await here.add_user("bob", None)
        said = set()
        for name in ("alice", "nobody", "bob"):
            browser = Browser(here)
            await browser.open("/oauth/authorize", query())
            page = await browser.log_in(name, "wrong")
            assert page.status == 401
            said.add(page.body.count(b"The user name or the password is wrong."))
        assert said == {1}


async def test_guessing_is_slowed_down_for_the_name_that_is_guessed(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        browser = Browser(here)
        await browser.open("/oauth/authorize", query())
        for _ in range(10):
            assert (await browser.log_in("alice", "wrong")).status == 401
        assert (await browser.log_in()).status == 429
        here.now += 900
        await browser.open("/oauth/authorize", query())
        assert b"Allow" in (await browser.log_in()).body


async def test_guesses_that_come_at_once_are_counted_before_they_are_judged(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        browsers = [Browser(here) for _ in range(14)]
        for browser in browsers:
            await browser.open("/oauth/authorize", query())
        async with asyncio.TaskGroup() as tasks:
            tries = [tasks.create_task(browser.log_in("alice", "wrong")) for browser in browsers]
        assert sorted(task.result().status for task in tries) == [401] * 10 + [429] * 4


@pytest.mark.parametrize("name", ["", "é", "a b", "x" * 65, "alice\n;"])
async def test_what_is_no_name_is_wrong_and_not_remembered(tmp_path: Path, name: str) -> None:
    async with place(tmp_path) as here:
        browser = Browser(here)
        await browser.open("/oauth/authorize", query())
        for _ in range(11):
            assert (await browser.log_in(name, "wrong")).status == 401


async def test_no_cookie_of_another_host_is_read_as_one_of_ours(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        await here.add_user("mallory")
        thief = Browser(here)
        await thief.open("/oauth/grants")
        await thief.log_in("mallory")
        ours = [f"{name}={value}" for name, value in thief.cookies.items()]
        alice = Browser(here)
        await alice.open("/oauth/grants")
        await alice.log_in()
        mine = "; ".join(f"{name}={value}" for name, value in alice.cookies.items())
        for foreign in (
            f"x=1 {' '.join(ours)}",
            f'x="{"; ".join(ours)}"',
            "j={}",
            'q="',
            "z=\u00e9",
            "path=1",
        ):
            for header in (f"{foreign}; {mine}", f"{mine}; {foreign}"):
                page = await here.get("/oauth/grants", "", ("cookie", header))
                assert page.status == 200
                assert b"You are mallory" not in page.body


@pytest.mark.parametrize("value", ['"a\\015\\012X: y"', '"a\\073 Domain=x"', "\udcff", "a", "x" * 44])
async def test_a_browser_cookie_that_is_not_ours_is_replaced(tmp_path: Path, value: str) -> None:
    async with place(tmp_path) as here:
        reply = await here.get("/oauth/grants", "", ("cookie", f"__Host-penstock-browser={value}"))
        (cookie,) = [set_to for name, set_to in reply.headers if name == "set-cookie"]
        assert re.fullmatch(r"__Host-penstock-browser=[A-Za-z0-9_-]{43}", cookie.partition(";")[0])
        assert "\r" not in cookie


async def test_a_client_stays_connected_while_its_document_cannot_be_had(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        _, found = await here.redeem(await Browser(here).code(query()))
        here.shelf.documents.clear()
        status, found = await here.refresh(found["refresh_token"])
        assert status == 200
        form = {"grant_type": "refresh_token", "refresh_token": found["refresh_token"]}
        assert (await here.token(client_id=DOCUMENT, client_secret="x", **form))[0] == 401
        assert (await here.token(("authorization", "Basic \u00e9"), **form))[0] == 401


# -- codes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "changes",
    [
        {"code_verifier": "w" * 50},
        {"code_verifier": ""},
        {"redirect_uri": CALLBACK + "x"},
        {"code": "another"},
        {"resource": f"{ORIGIN}/oslo/mail/mcp"},
    ],
)
async def test_a_code_is_for_who_asked_and_what_was_asked(tmp_path: Path, changes: dict[str, str]) -> None:
    async with place(tmp_path) as here:
        code = await Browser(here).code(query())
        status, found = await here.redeem(**{"code": code, **changes})
        assert status == 400
        assert found["error"] in ("invalid_grant", "invalid_target")
        assert (await here.redeem(code))[0] == 200


async def test_a_code_is_not_for_another_client_and_not_for_later(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        browser = Browser(here)
        code = await browser.code(query())
        other = await here.register(token_endpoint_auth_method="none")
        assert (await here.redeem(code, client_id=other["client_id"]))[1]["error"] == "invalid_grant"
        here.now += CODE_S
        assert (await here.redeem(code))[1]["error"] == "invalid_grant"


async def test_of_100_redemptions_at_once_one_wins_and_the_replay_ends_what_it_won(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        code = await Browser(here).code(query())
        async with asyncio.TaskGroup() as tasks:
            tries = [tasks.create_task(here.redeem(code)) for _ in range(100)]
        won = [found for status, found in (task.result() for task in tries) if status == 200]
        assert len(won) == 1
        access = Access(here.store, clock=lambda: here.now)
        assert await access.principal(won[0]["access_token"]) is None


# -- refresh ------------------------------------------------------------------------------------------


async def test_a_refresh_token_is_replaced_and_its_reuse_ends_the_grant(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        _, first_pair = await here.redeem(await Browser(here).code(query()))
        status, second = await here.refresh(first_pair["refresh_token"])
        assert status == 200
        assert second["refresh_token"] != first_pair["refresh_token"]
        here.now += GRACE_S - 1
        assert (await here.refresh(first_pair["refresh_token"]))[0] == 200  # the answer may have been lost
        here.now += 2
        assert (await here.refresh(first_pair["refresh_token"]))[1]["error"] == "invalid_grant"
        assert (await here.refresh(second["refresh_token"]))[1]["error"] == "invalid_grant"
        access = Access(here.store, clock=lambda: here.now)
        assert await access.principal(second["access_token"]) is None


async def test_a_grant_ends_when_it_is_not_used_and_in_any_case(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        browser = Browser(here)
        _, idle = await here.redeem(await browser.code(query()))
        here.now += IDLE_S
        assert (await here.refresh(idle["refresh_token"]))[0] == 400
        _, found = await here.redeem(await Browser(here).code(query()))
        ends = here.now + ABSOLUTE_S
        while here.now < ends - IDLE_S / 2:
            here.now += IDLE_S / 2
            status, found = await here.refresh(found["refresh_token"])
            assert status == (200 if here.now < ends else 400)
        here.now = ends
        assert (await here.refresh(found["refresh_token"]))[0] == 400


async def test_another_client_cannot_refresh_or_revoke(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        _, found = await here.redeem(await Browser(here).code(query()))
        other = (await here.register(token_endpoint_auth_method="none"))["client_id"]
        assert (await here.refresh(found["refresh_token"], other))[1]["error"] == "invalid_grant"
        reply = await here.post("/oauth/revoke", {"token": found["refresh_token"], "client_id": other})
        assert reply.status == 200  # RFC 7009: it is told nothing
        assert (await here.refresh(found["refresh_token"]))[0] == 200


@pytest.mark.parametrize("kind", ["access_token", "refresh_token"])
async def test_a_client_that_revokes_a_token_ends_the_grant(tmp_path: Path, kind: str) -> None:
    async with place(tmp_path) as here:
        _, found = await here.redeem(await Browser(here).code(query()))
        reply = await here.post("/oauth/revoke", {"token": found[kind], "client_id": DOCUMENT})
        assert reply.status == 200
        access = Access(here.store, clock=lambda: here.now)
        assert await access.principal(found["access_token"]) is None
        assert (await here.refresh(found["refresh_token"]))[0] == 400


# -- people come and go --------------------------------------------------------------------------------


async def test_who_loses_the_membership_finds_nothing_there_and_cannot_refresh(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        _, found = await here.redeem(await Browser(here).code(query()))
        await here.store.memberships.remove("alice", "oslo", "files")
        access = Access(here.store, clock=lambda: here.now)
        grant = await access.principal(found["access_token"])
        assert grant is not None
        assert not grant.member
        assert (await here.refresh(found["refresh_token"]))[1]["error"] == "invalid_grant"


async def test_a_user_who_is_disabled_is_out_everywhere(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        browser = Browser(here)
        _, found = await here.redeem(await browser.code(query()))
        assert await here.store.users.disable("alice", here.now) == Ended(logins=1, grants=1, tokens=2)
        access = Access(here.store, clock=lambda: here.now)
        assert await access.principal(found["access_token"]) is None
        assert (await here.refresh(found["refresh_token"]))[0] == 400
        assert b'name="password"' in (await browser.open("/oauth/authorize", query())).body
        assert (await browser.log_in()).status == 401


async def test_a_user_sees_and_ends_what_was_granted(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        browser = Browser(here)
        _, found = await here.redeem(await browser.code(query()))
        page = await browser.open("/oauth/grants")
        assert b"Claude" in page.body
        page = await browser.submit()
        assert b"There are none." in page.body
        assert (await here.refresh(found["refresh_token"]))[0] == 400
        await browser.submit()  # the only form left: log out
        assert b'name="password"' in (await browser.open("/oauth/grants")).body


async def test_nobody_ends_the_grant_of_another(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        _, found = await here.redeem(await Browser(here).code(query()))
        (grant,) = await here.store.grants.list(user="alice")
        await here.add_user("mallory")
        browser = Browser(here)
        await browser.open("/oauth/grants")
        await browser.log_in("mallory")
        seal = browser.page.body.decode().partition('name="seal" value="')[2].partition('"')[0]
        await here.post("/oauth/grants", {"grant": grant.id, "seal": seal}, *browser._sent())
        assert (await here.refresh(found["refresh_token"]))[0] == 200


# -- invitations ---------------------------------------------------------------------------------------


async def test_an_invitation_sets_the_password_once(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        word = await here.add_user("carol", None)
        browser = Browser(here)
        assert b"carol" in (await browser.open(f"/invite/{word}")).body
        assert (await browser.submit(password="short", again="short")).status == 400
        assert b"not the same" in (await browser.submit(password="a long enough one", again="b")).body
        done = await browser.submit(password="a long enough one", again="a long enough one")
        assert done.status == 200
        assert (await browser.open(f"/invite/{word}")).status == 404
        await browser.open("/oauth/grants")
        assert b"connected applications" in (await browser.log_in("carol", "a long enough one")).body


async def test_who_sets_a_new_password_is_logged_out_elsewhere(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        browser = Browser(here)
        await browser.open("/oauth/grants")
        await browser.log_in()
        word = tokens.secret()
        await here.store.users.invite("alice", tokens.digest(word), here.now, here.now + 100)
        other = Browser(here)
        await other.open(f"/invite/{word}")
        await other.submit(password="a long enough one", again="a long enough one")
        assert b'name="password"' in (await browser.open("/oauth/grants")).body


# -- the rest ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/.well-known/oauth-protected-resource/oslo/files/mcp", 200),
        ("GET", "/.well-known/oauth-protected-resource", 200),
        ("GET", "/.well-known/oauth-protected-resource/nonsense", 404),
        ("GET", "/.well-known/oauth-authorization-server", 200),
        ("GET", "/.well-known/openid-configuration", 200),
        ("POST", "/.well-known/openid-configuration", 405),
        ("OPTIONS", "/oauth/token", 204),
        ("OPTIONS", "/oauth/consent", 405),
        ("GET", "/oauth/token", 405),
        ("POST", "/oauth/register", 400),
        ("POST", "/token", 400),
        ("GET", "/invite/nonsense", 404),
        ("GET", "/oauth/nothing", 404),
    ],
)
async def test_every_path_has_an_answer(tmp_path: Path, method: str, path: str, status: int) -> None:
    async with place(tmp_path) as here:
        reply = await here.server.handle(Asked(method, path, ""))
        assert reply.status == status


async def test_programs_in_pages_of_any_origin_may_read_what_is_for_programs(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        for path in ("/.well-known/oauth-authorization-server", "/.well-known/oauth-protected-resource"):
            assert first((await here.get(path)).headers, "access-control-allow-origin") == "*"
        for path in ("/oauth/authorize", "/oauth/grants"):
            assert first((await here.get(path)).headers, "access-control-allow-origin") is None


async def test_registrations_are_limited_and_those_nobody_used_are_purged(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        kept = await here.register(token_endpoint_auth_method="none")
        for _ in range(ALL_REGISTRATIONS.burst - 1):
            await here.register(token_endpoint_auth_method="none")
        reply = await here.server.handle(
            Asked("POST", "/oauth/register", "", (), b'{"redirect_uris":["https://a.example/cb"]}')
        )
        assert reply.status == 429
        assert int(first(reply.headers, "retry-after") or "") == 8  # 3600 s for 500
        code = await Browser(here).code(query(client_id=kept["client_id"]))
        assert (await here.redeem(code, client_id=kept["client_id"]))[0] == 200
        assert await here.store.clients.purge(here.now + 1) == ALL_REGISTRATIONS.burst - 1
        assert await here.store.clients.find(kept["client_id"]) is not None


async def test_the_resource_may_be_asked_for_as_it_was_typed(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        code = await Browser(here).code(query(resource=RESOURCE + "/"))
        assert (await here.redeem(code, resource=RESOURCE + "/"))[0] == 200
