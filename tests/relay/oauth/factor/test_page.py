"""The page where a user turns the second factor on and off."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from penstock_relay.oauth.factor import totp
from penstock_relay.oauth.factor.tries import MOST
from penstock_relay.oauth.organisation import Organisation
from penstock_relay.oauth.throttle import MAX_FAILURES
from tests.relay.oauth.factor.phone import Phone, inside, set_up
from tests.relay.oauth.upstream.company import Employee, site
from tests.relay.oauth.visiting import PASSWORD, Browser, Place, place, query


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Place]:
    async with place(tmp_path) as found:
        yield found


async def at_the_page(here: Place) -> tuple[Browser, Phone]:
    """alice is logged in and looks at a key."""
    browser, phone = Browser(here), Phone()
    await browser.open("/oauth/grants")
    await browser.log_in()
    assert b"It is off" in browser.page.body
    await browser.open("/oauth/factor")
    phone.read(browser)
    return browser, phone


async def kinds(here: Place) -> list[str]:
    await here.store.audit.flush()
    return [entry.values()["kind"] async for entry in here.store.audit.entries()]


async def test_it_is_turned_on_with_password_and_code_and_shows_recovery_codes_once(here: Place) -> None:
    browser, phone = await at_the_page(here)
    text = browser.page.body.decode()
    assert totp.shown(phone.key) in text
    link = re.search(r'href="(otpauth://totp/[^"]*)"', text)
    assert link is not None
    assert link[1].replace("&amp;", "&") == totp.link(phone.key, "alice", "mcp.example.com")
    form = browser.page
    await browser.submit(password=PASSWORD, code=phone.code(here.now))
    phone.read(browser)
    assert len(phone.recovery) == 8
    assert ("cache-control", "no-store") in browser.page.headers
    browser.page = form
    await browser.submit(password=PASSWORD, code=phone.code(here.now))  # the page, loaded again
    assert b"It is on since" in browser.page.body
    assert b"have not used: 8" in browser.page.body
    assert phone.recovery[0].encode() not in browser.page.body
    assert b"It is on:" in (await browser.open("/oauth/grants")).body
    assert await kinds(here) == ["site_added", "user_added", "password_set", "access_added", "login",
                                 "factor_added"]  # fmt: skip


async def test_it_ends_the_logins_of_all_other_browsers(here: Place) -> None:
    other = Browser(here)
    await other.open("/oauth/grants")
    await other.log_in()
    browser = Browser(here)
    await set_up(here, browser)
    assert (await inside(browser), await inside(other)) == (True, False)


@pytest.mark.parametrize("wrong", ["password", "code", "seal", "key"])
async def test_it_stays_off_when_something_is_wrong(here: Place, wrong: str) -> None:
    browser, phone = await at_the_page(here)
    filled = {"password": PASSWORD, "code": phone.code(here.now)}
    others = {
        "password": "guessed", "code": phone.wrong(here.now), "seal": "9999999999.x",
        "key": totp.shown(b"k" * 20),
    }  # fmt: skip
    await browser.submit(**{**filled, wrong: others[wrong]})
    assert browser.page.status == 400
    assert await here.store.factors.find("alice") is None
    if wrong in filled:  # the same key is shown again, and it goes on from there
        await browser.submit(**filled)
        assert await here.store.factors.find("alice") is not None


@pytest.mark.parametrize("by", ["code", "recovery code"])
async def test_it_is_turned_off_with_password_and_a_code(here: Place, by: str) -> None:
    browser = Browser(here)
    phone = await set_up(here, browser)
    await browser.open("/oauth/factor")
    given = phone.code(here.now) if by == "code" else phone.recovery[0]
    await browser.submit(password=PASSWORD, code=given)
    assert b"It is off" in browser.page.body
    assert await here.store.factors.find("alice") is None
    assert await here.store.factors.recovery_left("alice") == 0
    assert (await kinds(here))[-1] == "factor_removed"
    other = Browser(here)
    await other.open("/oauth/grants")
    await other.log_in()
    assert await inside(other)


@pytest.mark.parametrize("wrong", ["password", "code", "seal", "used"])
async def test_it_stays_on_when_something_is_wrong(here: Place, wrong: str) -> None:
    browser = Browser(here)
    phone = await set_up(here, browser)
    await browser.open("/oauth/factor")
    filled = {"password": PASSWORD, "code": phone.code(here.now)}
    others = {
        "password": ("password", "guessed"), "code": ("code", phone.wrong(here.now)),
        "seal": ("seal", "9999999999.x"), "used": ("code", phone.code(here.now - 2 * totp.STEP_S)),
    }  # fmt: skip
    name, value = others[wrong]
    await browser.submit(**{**filled, name: value})
    assert browser.page.status == 400
    assert await here.store.factors.find("alice") is not None
    assert ("factor_failed" in await kinds(here)) == (wrong != "seal")


async def test_whoever_has_the_browser_cannot_guess_faster_than_at_the_login(here: Place) -> None:
    browser = Browser(here)
    phone = await set_up(here, browser)
    for _ in range(MOST + 1):
        await browser.open("/oauth/factor")
        await browser.submit(password=PASSWORD, code=phone.wrong(here.now))
    assert b"Too many wrong codes" in browser.page.body
    for _ in range(MAX_FAILURES):
        await browser.submit(password="guessed", code=phone.code(here.now))
        assert b"The password is wrong" in browser.page.body
    await browser.submit(password=PASSWORD, code=phone.code(here.now))
    assert b"Too many wrong passwords" in browser.page.body
    assert await here.store.factors.find("alice") is not None
    assert (await kinds(here)).count("factor_throttled") == 2


async def test_a_form_is_good_in_its_own_browser_only(here: Place) -> None:
    browser, phone = await at_the_page(here)
    other, _ = await at_the_page(here)
    other.page = browser.page
    await other.submit(password=PASSWORD, code=phone.code(here.now))
    assert other.page.status == 400
    assert await here.store.factors.find("alice") is None


async def test_a_form_to_turn_it_on_does_not_turn_it_off_or_the_other_way_round(here: Place) -> None:
    browser, phone = await at_the_page(here)
    await browser.submit(turn="off", password=PASSWORD, code=phone.code(here.now))
    assert browser.page.status == 400
    phone = await set_up(here, browser)
    await browser.open("/oauth/factor")
    await browser.submit(turn="on", key=totp.shown(b"k" * 20), password=PASSWORD, code=phone.code(here.now))
    assert browser.page.status == 400


async def test_where_it_is_required_turning_it_off_leads_to_another_one(tmp_path: Path) -> None:
    async with place(tmp_path, organisation=Organisation(second_factor="required")) as here:
        browser, phone = Browser(here), Phone()
        await browser.open("/oauth/factor")
        await browser.log_in()
        phone.read(browser)
        await browser.submit(code=phone.code(here.now))
        here.now += 60
        await browser.open("/oauth/factor")
        assert b"asks everybody for one" in browser.page.body
        await browser.submit(password=PASSWORD, code=phone.code(here.now))
        assert b"<h1>Log in</h1>" in browser.page.body
        await browser.log_in()
        assert b"<h1>Set up a second factor</h1>" in browser.page.body


async def test_who_is_not_logged_in_is_asked_to(here: Place) -> None:
    browser = Browser(here)
    await browser.open("/oauth/factor")
    assert b"<h1>Log in</h1>" in browser.page.body
    await browser.log_in()
    assert b"<h1>Set up a second factor</h1>" in browser.page.body


async def test_users_of_the_identity_provider_are_not_concerned(tmp_path: Path) -> None:
    async with site(tmp_path, organisation=Organisation(second_factor="required")) as there:
        browser = Employee(there)
        await browser.log_in_there()
        assert b"You are anna" in browser.page.body
        assert b"/oauth/factor" not in browser.page.body
        for reply in (
            await browser.open("/oauth/factor"),
            await there.post("/oauth/factor", {"turn": "on"}, *browser._sent()),
        ):
            assert reply.status == 404
            assert b"identity provider" in reply.body
        await browser.open("/oauth/authorize", query())
        assert b"second factor" not in browser.page.body
