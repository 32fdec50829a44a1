"""Login with a second factor: the code after the password, and one that has to be set up first."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from penstock_relay.audit import Kind
from penstock_relay.oauth.factor import totp
from penstock_relay.oauth.factor.step import STEP_S
from penstock_relay.oauth.factor.tries import MOST
from penstock_relay.oauth.organisation import Organisation
from penstock_relay.oauth.throttle import MAX_FAILURES, WINDOW_S
from penstock_relay.oauth.visit import FORM_S
from tests.harness.person import filled_in
from tests.relay.oauth.factor.phone import Phone, inside, set_up
from tests.relay.oauth.visiting import CALLBACK, HASH, PASSWORD, Browser, Place, opened, place, query

REQUIRED = Organisation(second_factor="required")
OFF = Organisation(second_factor="off")


async def asked(here: Place, path: str = "/oauth/authorize", about: str | None = None) -> Browser:
    """A browser of somebody who has given the right password."""
    browser = Browser(here)
    await browser.open(path, query() if about is None else about)
    await browser.log_in()
    return browser


@asynccontextmanager
async def reopened(folder: Path, now: float, organisation: Organisation) -> AsyncIterator[Place]:
    """The same store, under a relay with another setting."""
    async with opened(folder, organisation=organisation) as here:
        here.now = now
        yield here


def heading(browser: Browser) -> str:
    found = re.search(r"<h1>(.*?)</h1>", browser.page.body.decode())
    assert found is not None
    return found[1]


async def said(here: Place) -> list[dict[str, Any]]:
    await here.store.audit.flush()
    return [entry.values() async for entry in here.store.audit.entries()]


async def test_a_code_is_asked_after_the_password_and_leads_on_to_consent(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        phone = await set_up(here, Browser(here))
        browser = await asked(here)
        assert browser.page.status == 200
        assert heading(browser) == "Enter a code"
        text = browser.page.body.decode()
        assert 'inputmode="numeric" autocomplete="one-time-code"' in text
        assert "__Host-penstock-login" not in browser.cookies
        assert "__Host-penstock-device" not in browser.cookies
        assert not await inside(Browser(here, dict(browser.cookies)))
        await browser.submit(code=phone.code(here.now))
        assert b"to use files at oslo?" in browser.page.body
        await browser.submit(decision="allow")
        assert browser.left_for.startswith(CALLBACK + "?")
        status, _ = await here.redeem(browser.answer["code"])
        assert status == 200
        last = [each for each in await said(here) if each["kind"] == "login"][-1]
        assert last["about"] == {"method": "password_and_code"}


async def test_a_recovery_code_goes_into_the_same_field_and_is_used_up(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        phone = await set_up(here, Browser(here))
        for expected in (True, False):
            browser = await asked(here)
            await browser.submit(code=phone.recovery[3])
            assert await inside(browser) is expected
        kinds = [(each["kind"], each["about"]) for each in await said(here)]
        assert ("recovery_code_used", {"user": "alice", "left": 7}) in kinds
        assert ("login", {"method": "password_and_recovery_code"}) in kinds
        assert "factor_failed" in {kind for kind, _ in kinds}


async def test_a_code_that_was_seen_lets_nobody_else_in(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        phone = await set_up(here, Browser(here))
        code = phone.code(here.now)
        first, second = await asked(here), await asked(here)
        await first.submit(code=code)
        await second.submit(code=code)
        assert (await inside(first), await inside(second)) == (True, False)


async def test_of_many_browsers_that_send_one_code_at_once_one_is_let_in(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        home = Browser(here)
        phone = await set_up(here, home)
        known = {name: value for name, value in home.cookies.items() if name.endswith("device")}
        browsers = []
        for _ in range(4):
            browser = Browser(here, dict(known))
            await browser.open("/oauth/grants")
            await browser.log_in()
            browsers.append(browser)
        code = phone.code(here.now)
        await asyncio.gather(*(browser.submit(code=code) for browser in browsers))
        assert [await inside(browser) for browser in browsers].count(True) == 1


@pytest.mark.parametrize(("late", "good"), [(-61, False), (-30, True), (30, True), (61, False)])
async def test_the_phones_clock_may_be_wrong_by_one_step(tmp_path: Path, late: int, good: bool) -> None:
    async with place(tmp_path) as here:
        phone = await set_up(here, Browser(here))
        here.now += 300
        browser = await asked(here)
        await browser.submit(code=phone.code(here.now + late))
        assert await inside(browser) is good


async def test_a_wrong_code_can_be_corrected_and_is_recorded(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        phone = await set_up(here, Browser(here))
        browser = await asked(here)
        for wrong in (phone.wrong(here.now), "", "hello", "1" * 20):
            await browser.submit(code=wrong)
            assert browser.page.status == 401
            assert b'role="alert">The code is wrong' in browser.page.body
        await browser.submit(code=phone.code(here.now))
        assert await inside(browser)
        (failed,) = [each for each in await said(here) if each["kind"] == "factor_failed"]
        assert failed["actor"] == {"kind": "stranger"}
        assert {name: failed["about"][name] for name in ("user", "count")} == {"user": "alice", "count": 4}


async def test_the_step_is_good_in_its_browser_only(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        phone = await set_up(here, Browser(here))
        browser, other = await asked(here), Browser(here)
        await other.open("/oauth/authorize", query())
        other.page = browser.page
        await other.submit(code=phone.code(here.now))
        assert other.page.status == 400
        assert not await inside(other)
        await browser.submit(code=phone.code(here.now))  # which used nothing up
        assert b"to use files at oslo?" in browser.page.body


@pytest.mark.parametrize("changed", ["next", "name", "seal"])
async def test_the_step_is_good_for_its_user_and_its_request_only(tmp_path: Path, changed: str) -> None:
    async with place(tmp_path) as here:
        phone = await set_up(here, Browser(here))
        await here.add_user("bob")
        browser = await asked(here)
        other = {"next": "https://evil.example/", "name": "bob", "seal": "9999999999.x"}[changed]
        await browser.submit(code=phone.code(here.now), **{changed: other})
        assert browser.page.status == 400
        assert not browser.left_for
        assert not await inside(browser)


async def test_no_other_forms_seal_takes_the_place_of_the_passwords(tmp_path: Path) -> None:
    """The login page gives everybody a seal; for this step only the right password gives one."""
    async with place(tmp_path) as here:
        phone = await set_up(here, Browser(here))
        browser = Browser(here)
        await browser.open("/oauth/grants")
        seal = filled_in(browser.page.body.decode())["seal"]
        form = {"name": "alice", "next": "/oauth/grants", "seal": seal, "code": phone.code(here.now)}
        for path in ("/oauth/code", "/oauth/setup"):
            reply = await here.post(path, {**form, "key": totp.shown(phone.key)}, *browser._sent())
            assert reply.status == 400


async def test_the_step_takes_five_minutes_at_most_wrong_codes_included(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        phone = await set_up(here, Browser(here))
        browser, late = await asked(here), await asked(here)
        here.now += STEP_S - 1
        await late.submit(code=phone.wrong(here.now))
        assert late.page.status == 401
        await browser.submit(code=phone.code(here.now))
        assert await inside(browser)
        here.now += 31
        await late.submit(code=phone.code(here.now))
        assert late.page.status == 400
        assert not await inside(late)


@pytest.mark.parametrize("change", ["password", "disabled", "reset"])
async def test_what_happens_to_an_account_meanwhile_ends_the_step(tmp_path: Path, change: str) -> None:
    async with place(tmp_path) as here:
        phone = await set_up(here, Browser(here))
        browser = await asked(here)
        if change == "password":
            await here.store.users.invite("alice", b"w" * 32, here.now, here.now + 100)
            await here.store.users.accept(b"w" * 32, HASH[:-4] + "AAAA", here.now)
        elif change == "disabled":
            await here.store.users.disable("alice", here.now)
        else:
            await here.store.factors.reset("alice", here.now)
        await browser.submit(code=phone.code(here.now))
        assert browser.page.status == (401 if change == "reset" else 400)
        assert "__Host-penstock-login" not in browser.cookies


async def test_wrong_codes_are_few_and_a_new_login_gives_no_more(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        home = Browser(here)
        phone = await set_up(here, home)
        statuses = []
        browser = Browser(here)
        for _ in range(2):
            browser = await asked(here)
            for _ in range(4):
                await browser.submit(code=phone.wrong(here.now))
                statuses.append(browser.page.status)
        assert statuses == [401] * MOST + [429] * 3
        await browser.submit(code=phone.code(here.now))
        assert browser.page.status == 429
        kinds = {each["kind"]: each["about"] for each in await said(here)}
        assert (kinds["factor_failed"]["count"], kinds["factor_throttled"]["count"]) == (MOST, 4)
        # Where she has been before she has tries of her own.
        known = {name: value for name, value in home.cookies.items() if name.endswith("device")}
        own = Browser(here, known)
        await own.open("/oauth/grants")
        await own.log_in()
        await own.submit(code=phone.code(here.now))
        assert await inside(own)
        here.now += WINDOW_S
        browser = await asked(here)
        await browser.submit(code=phone.code(here.now))
        assert await inside(browser)


async def test_right_passwords_without_a_code_use_up_the_tries_of_the_password(tmp_path: Path) -> None:
    """So that whoever goes through passwords learns no more where there is a second factor."""
    async with place(tmp_path) as here:
        await set_up(here, Browser(here))
        statuses = [(await asked(here)).page.status for _ in range(MAX_FAILURES + 1)]
        assert statuses == [200] * MAX_FAILURES + [429]


async def test_a_factor_that_was_set_up_during_a_login_counts_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with place(tmp_path) as here:
        user = await here.store.users.find("alice")
        assert user is not None
        await set_up(here, Browser(here))

        async def as_it_was(name: str) -> object:
            return user

        monkeypatch.setattr(here.store.users, "find", as_it_was)
        browser = await asked(here)
        assert browser.page.status == 401
        assert "__Host-penstock-login" not in browser.cookies


# -- where everybody needs one -------------------------------------------------------------------------


async def test_where_it_is_required_it_is_set_up_before_consent(tmp_path: Path) -> None:
    async with place(tmp_path, organisation=REQUIRED) as here:
        browser = await asked(here)
        assert heading(browser) == "Set up a second factor"
        assert b'name="password"' not in browser.page.body
        assert "__Host-penstock-login" not in browser.cookies
        other = Browser(here, dict(browser.cookies))
        assert b'name="password"' in (await other.open("/oauth/authorize", query())).body
        phone = Phone()
        phone.read(browser)
        key = phone.key
        await browser.submit(code=phone.wrong(here.now))
        assert browser.page.status == 400
        assert b'role="alert"' in browser.page.body
        phone.read(browser)
        assert phone.key == key  # so that the entry in the app is good still
        await browser.submit(code=phone.code(here.now))
        phone.read(browser)
        assert len(phone.recovery) == 8
        found = re.search(r'<a class="main" href="/oauth/authorize\?([^"]*)"', browser.page.body.decode())
        assert found is not None
        await browser.open("/oauth/authorize", found[1].replace("&amp;", "&"))
        await browser.submit(decision="allow")
        assert (await here.redeem(browser.answer["code"]))[0] == 200
        here.now += 30
        again = await asked(here)
        assert heading(again) == "Enter a code"
        await again.submit(code=phone.code(here.now))
        assert b"to use files at oslo?" in again.page.body


async def test_who_was_logged_in_before_it_was_required_logs_in_again_and_applications_go_on(
    tmp_path: Path,
) -> None:
    async with place(tmp_path) as here:
        browser = Browser(here)
        _, found = await here.redeem(await browser.code(query()))
        assert await inside(browser)
        now = here.now
    async with reopened(tmp_path, now, REQUIRED) as here:
        assert not await inside(Browser(here, dict(browser.cookies)))
        status, _ = await here.refresh(found["refresh_token"])
        assert status == 200


async def test_the_page_that_sets_it_up_is_good_in_its_browser_and_for_ten_minutes(tmp_path: Path) -> None:
    async with place(tmp_path, organisation=REQUIRED) as here:
        browser, other = await asked(here), Browser(here)
        phone = Phone()
        phone.read(browser)
        await other.open("/oauth/grants")
        other.page = browser.page
        await other.submit(code=phone.code(here.now))
        assert other.page.status == 400
        await browser.submit(code=phone.code(here.now), key=totp.shown(b"k" * 20))
        assert browser.page.status == 400
        late = await asked(here)
        phone.read(late)
        here.now += FORM_S
        await late.submit(code=phone.code(here.now))
        assert late.page.status == 400
        assert await here.store.factors.find("alice") is None


async def test_of_two_who_set_it_up_at_once_one_is_let_in(tmp_path: Path) -> None:
    async with place(tmp_path, organisation=REQUIRED) as here:
        browsers = [await asked(here), await asked(here)]
        for browser in browsers:
            phone = Phone()
            phone.read(browser)
            await browser.submit(code=phone.code(here.now))
        assert [await inside(browser) for browser in browsers] == [True, False]


async def test_where_it_is_off_nobody_is_asked_and_those_that_there_are_are_kept(tmp_path: Path) -> None:
    async with place(tmp_path) as here:
        await set_up(here, Browser(here))
        now = here.now
    async with reopened(tmp_path, now, OFF) as here:
        browser = await asked(here)
        assert b"to use files at oslo?" in browser.page.body
        assert (await browser.open("/oauth/factor")).status == 404
        assert b"/oauth/factor" not in (await browser.open("/oauth/grants")).body
        assert await here.store.factors.find("alice") is not None


async def test_no_secret_of_all_this_is_in_a_record_or_a_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with place(tmp_path) as here:
        phone = await set_up(here, Browser(here))
        browser = await asked(here)
        await browser.submit(code=phone.wrong(here.now))
        await browser.submit(code=phone.recovery[0])
        assert await inside(browser)
        said_aloud = capsys.readouterr()
        text = str(await said(here)) + said_aloud.out + said_aloud.err
        assert Kind.FACTOR_ADDED.text in text
        secrets = [totp.shown(phone.key), phone.key.hex(), PASSWORD, *phone.recovery]
        secrets += [secret.replace(" ", "") for secret in secrets]
        for secret in secrets:
            assert secret not in text
