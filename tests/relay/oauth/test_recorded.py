"""What users, clients and strangers do on the pages and endpoints, as the audit log says it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from penstock_relay.oauth.throttle import MAX_FAILURES
from penstock_relay.oauth.tokens import GRACE_S
from penstock_relay.store.audit import Audit
from tests.relay.oauth.test_account import change
from tests.relay.oauth.test_consent import with_git
from tests.relay.oauth.visiting import CALLBACK, DOCUMENT, Browser, Place, place, query

ALICE = {"kind": "user", "name": "alice"}
CLAUDE = {"kind": "client", "client": DOCUMENT, "user": "alice"}
STRANGER = {"kind": "stranger"}
READ = '{"tools":["read"],"others":true}'
WHERE = {"site": "oslo", "server": "files"}


async def log(here: Place) -> list[dict[str, Any]]:
    await here.store.audit.flush()
    return [entry.values() async for entry in here.store.audit.entries()]


async def said(here: Place, begun: int) -> list[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Kind, actor and fields of what was recorded after the first `begun` records."""
    found = []
    for each in (await log(here))[begun:]:
        about = each["about"]
        for name in ("expires_at", "first_at", "grant"):
            about.pop(name, None)
        found.append((each["kind"], each["actor"], about))
    return found


async def test_a_client_that_is_connected_and_disconnected_by_its_user(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        begun = len(await log(here))
        browser = Browser(here)
        status, _ = await here.redeem(await browser.code(query()))
        assert status == 200
        await browser.open("/oauth/grants")
        (grant,) = await here.store.grants.list()
        await browser.submit(grant=grant.id)
        client = {"client": DOCUMENT, "client_name": "Claude"}
        ended = {"user": "alice", "client": DOCUMENT, **WHERE}
        assert await said(here, begun) == [
            ("login", ALICE, {"method": "password"}),
            ("consent_allowed", ALICE, {**client, **WHERE, "allowed": READ}),
            ("grant_made", CLAUDE, {**ended, "allowed": READ}),
            ("grant_revoked", ALICE, ended),
        ]


async def test_a_client_that_is_not_allowed(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        browser = Browser(here)
        await browser.open("/oauth/authorize", query())
        await browser.log_in()
        begun = len(await log(here))
        await browser.submit(decision="deny")
        assert browser.answer["error"] == "access_denied"
        assert await said(here, begun) == [
            ("consent_denied", ALICE, {"client": DOCUMENT, "client_name": "Claude", **WHERE})
        ]


async def test_a_client_that_registers_refreshes_and_gives_its_grant_back(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        begun = len(await log(here))
        client = await here.register(token_endpoint_auth_method="none")
        assert await said(here, begun) == [
            (
                "client_registered",
                STRANGER,
                {"client": client["client_id"], "client_name": "Claude", "auth": "none"},
            )
        ]
        code = await Browser(here).code(query(client_id=client["client_id"]))
        _, found = await here.redeem(code, client_id=client["client_id"])
        begun = len(await log(here))
        _, found = await here.refresh(found["refresh_token"], client["client_id"])
        assert await said(here, begun) == []
        await here.post("/oauth/revoke", {"token": found["access_token"], "client_id": client["client_id"]})
        (ended,) = await said(here, begun)
        assert ended[:2] == (
            "grant_revoked", {"kind": "client", "client": client["client_id"], "user": "alice"},
        )  # fmt: skip
        assert "reason" not in ended[2]


async def test_a_stolen_code_and_a_stolen_refresh_token(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        browser = Browser(here)
        code = await browser.code(query())
        await here.redeem(code)
        begun = len(await log(here))
        assert (await here.redeem(code))[0] == 400
        _, found = await here.redeem(await browser.code(query()))
        await here.refresh(found["refresh_token"])
        here.now += GRACE_S
        assert (await here.refresh(found["refresh_token"]))[0] == 400
        ends = [each for each in await said(here, begun) if each[0] == "grant_revoked"]
        assert [(actor, about["reason"]) for _, actor, about in ends] == [
            (CLAUDE, "code_reused"),
            (CLAUDE, "refresh_token_reused"),
        ]


async def test_wrong_passwords_are_counted_by_user_and_no_other_name_is_kept(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        begun = len(await log(here))
        browser = Browser(here)
        for name, password in [("alice", "wrong"), ("alice", "worse"), ("hunter2", "x"), ("No Name!", "x")]:
            await browser.open("/oauth/grants")
            await browser.log_in(name, password)
        assert await said(here, begun) == [
            ("login_failed", STRANGER, {"user": "alice", "count": 2}),
            ("login_failed", STRANGER, {"count": 2}),
        ]
        assert "hunter2" not in "".join([str(each) for each in await log(here)])


async def test_guesses_that_are_not_judged_any_more_are_counted_too(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        begun = len(await log(here))
        browser = Browser(here)
        for _ in range(MAX_FAILURES + 3):
            await browser.open("/oauth/grants")
            await browser.log_in("bob", "wrong")
        assert await said(here, begun) == [
            ("login_failed", STRANGER, {"count": MAX_FAILURES}),
            ("login_throttled", STRANGER, {"count": 3}),
        ]


async def test_a_password_is_chosen_and_a_user_leaves(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        word = await here.add_user("bob", None)
        begun = len(await log(here))
        browser = Browser(here)
        await browser.open(f"/invite/{word}")
        await browser.submit(password="a long enough one", again="a long enough one")
        (chosen,) = await said(here, begun)
        assert chosen[:2] == ("password_set", {"kind": "user", "name": "bob"})
        assert (chosen[2]["user"], chosen[2]["state"]) == ("bob", {"from": "invited", "to": "active"})
        await browser.open("/oauth/grants")
        await browser.log_in("bob", "a long enough one")
        begun = len(await log(here))
        text = browser.page.body.decode()
        assert "/oauth/logout" in text
        page = browser.page
        browser.page = type(page)(200, page.body[text.index('<form method="post" action="/oauth/logout"') :])
        await browser.submit()
        assert await said(here, begun) == [("logout", {"kind": "user", "name": "bob"}, {})]


async def test_nobody_is_let_in_whose_login_cannot_be_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_: object, **__: object) -> None:
        raise OperationalError("INSERT", None, OSError("disk is full"))

    async with place(tmp_path) as here:
        browser = Browser(here)
        await browser.open("/oauth/grants")
        monkeypatch.setattr(Audit, "happened", full)
        assert (await browser.log_in()).status == 503
        assert "__Host-penstock-login" not in browser.cookies


async def test_no_secret_of_all_this_is_in_a_record(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        browser = Browser(here)
        client = await here.register(token_endpoint_auth_method="client_secret_post")
        proof = {"client_id": client["client_id"], "client_secret": client["client_secret"]}
        code = await browser.code(query(client_id=client["client_id"]))
        _, found = await here.redeem(code, **proof)
        await here.post("/oauth/revoke", {"token": found["refresh_token"], **proof})
        text = str(await log(here))
        secrets = [code, client["client_secret"], *browser.cookies.values(), CALLBACK]
        secrets += [found["access_token"][-43:], found["refresh_token"][-43:]]
        for secret in secrets:
            assert secret not in text


async def test_a_user_who_allows_other_tools_and_a_further_server(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        await with_git(here)
        browser = Browser(here)
        await browser.open("/oauth/authorize", query())
        await browser.log_in()
        begun = len(await log(here))
        await browser.submit(decision="allow", **{"t1.0": "on"})
        first, second = await said(here, begun)
        assert [(kind, actor, about["server"]) for kind, actor, about in (first, second)] == [
            ("consent_allowed", ALICE, "git"),
            ("consent_allowed", ALICE, "files"),
        ]
        await here.redeem(browser.answer["code"])
        begun = len(await log(here))
        await browser.open("/oauth/grants")
        await change(browser)
        await browser.submit(**{"t0.0": "", "t0.2": "on", "decision": "save"})
        ((kind, actor, about),) = await said(here, begun)
        assert (kind, actor) == ("grant_changed", ALICE)
        assert '"drop"' not in about["allowed"]["from"]
        assert '"tools":["drop"]' in about["allowed"]["to"]
