"""A person with a real browser: invited, logs in, consents, sees what is connected, disconnects, logs out.

Over https with a certificate of this run's CA, so that cookies, policies and redirects are those of a relay
behind a reverse proxy. Every page is looked at by `look`, in each way that people use browsers.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from dataclasses import dataclass
from typing import Any, Final

import pytest

from penstock_relay.oauth.factor import totp
from penstock_relay.oauth.factor.step import WRONG
from tests.browser.pages import TURN_OFF, TURN_ON, Pages
from tests.harness.assistants import Assistant, ChatGPT, Claude, Refused
from tests.harness.chromium import DESKTOP, PHONE, Chromium, Hand, Keyboard
from tests.harness.internet import BACK, CHATGPT_CALLBACK, CLAUDE_CALLBACK, ORIGIN
from tests.harness.town import PASSWORD, Town

pytestmark = pytest.mark.e2e

GRANTS: Final = f"{ORIGIN}/oauth/grants"
CONNECT_S: Final = 60


@dataclass(frozen=True)
class Way:
    """How a person uses a browser."""

    user: str
    size: tuple[int, int]
    hand: type[Hand]
    scripts: bool
    make: type[ChatGPT] | type[Claude]
    callback: str


WAYS: Final = {
    "mouse, desktop": Way("mary", DESKTOP, Hand, True, ChatGPT, CHATGPT_CALLBACK),
    "keyboard, phone, no scripts": Way("kurt", PHONE, Keyboard, False, Claude, CLAUDE_CALLBACK),
}


def look(browser: Chromium, status: str = "") -> None:
    """What must hold on every page. `status`: the console tells of every page that is no 200."""
    complaints = [text for text in browser.complaints() if not (status and f"status of {status}" in text)]
    assert not complaints
    html = browser.driver.find_element("tag name", "html")
    assert html.get_attribute("lang") == "en"
    assert browser.title.endswith(" · Penstock")
    assert len(browser.all("h1")) == 1
    assert [each.role for each in browser.all("main")] == ["main"]
    levels = [int(each.raw.tag_name[1]) for each in browser.all("h1, h2, h3, h4")]
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels)), levels
    for control in browser.controls():
        assert control.name, f"a {control.role} without a name"
    assert browser.overflow() <= 0, "it scrolls sideways"
    if browser.scripts:  # without them axe cannot work
        assert browser.violations() == []


@pytest.mark.parametrize("way", WAYS)
async def test_a_person_is_invited_connects_and_leaves(town: Town, browser: Chromium, way: str) -> None:
    how = WAYS[way]
    browser.screen(how.size)
    browser.run_scripts(how.scripts)
    pages = Pages(browser, how.hand(browser))
    link = town.invite(how.user)
    browser.open(link)
    look(browser)
    assert how.user in pages.heading
    pages.choose_password(PASSWORD, "another one altogether")
    look(browser, "400")
    assert pages.alerts == ["The two passwords are not the same."]
    pages.choose_password(PASSWORD)
    look(browser)
    browser.open(link)
    look(browser, "404")  # it works once

    async with asyncio.timeout(CONNECT_S), how.make(town.url(), town.internet.transport()) as assistant:
        browser.open(await assistant.connect())
        look(browser)
        assert assistant_name(assistant) in browser.text()
        pages.log_in(how.user, "a wrong password")
        look(browser, "401")
        assert pages.alerts == ["The user name or the password is wrong."]
        pages.log_in(how.user, PASSWORD)
        look(browser)
        consent = browser.text()
        for said in (assistant_name(assistant), "plant", "tools", how.user):
            assert said in consent
        pages.allow()
        # Through the policy of the page's form, to another origin.
        assert browser.url.startswith(how.callback + "?")
        assert browser.title == BACK
        await assistant.come_back(browser.url)
        assert "result" in await assistant.begin()
        assert not browser.complaints()

        browser.open(GRANTS)
        look(browser)
        assert len(pages.connected()) == 1
        pages.disconnect(assistant_name(assistant))
        look(browser)
        assert pages.connected() == []
        with pytest.raises(Refused, match="invalid_grant"):
            await assistant.refresh()
    pages.log_out()
    look(browser)
    browser.open(GRANTS)
    look(browser)
    assert pages.heading == "Log in"


async def moved_in(town: Town, name: str) -> None:
    """There is a user of this name, with a password."""
    async with town.person(name):
        pass


def assistant_name(assistant: Assistant) -> str:
    return "ChatGPT" if isinstance(assistant, ChatGPT) else "Claude"


async def test_a_person_with_a_phone_says_no_and_the_assistant_hears_it(
    town: Town, browser: Chromium
) -> None:
    await moved_in(town, "alice")
    browser.screen(PHONE)
    browser.colours("dark")
    pages = Pages(browser, Hand(browser))
    async with asyncio.timeout(CONNECT_S), Claude(town.url(), town.internet.transport()) as claude:
        browser.open(await claude.connect())
        look(browser)
        pages.log_in("alice", PASSWORD)
        look(browser)
        pages.deny()
        assert browser.url.startswith(CLAUDE_CALLBACK + "?")
        with pytest.raises(Refused, match="access_denied"):
            await claude.come_back(browser.url)


async def test_pages_that_say_no_can_be_read_by_all(town: Town, browser: Chromium) -> None:
    """Not a member, not a client, not a page."""
    await moved_in(town, "alice")
    browser.screen(PHONE)
    pages = Pages(browser, Hand(browser))
    async with Claude(f"{ORIGIN}/nowhere/files/mcp", town.internet.transport()) as claude:
        browser.open(await claude.connect())
    pages.log_in("alice", PASSWORD)
    look(browser, "403")
    assert "nowhere" not in browser.text()
    for path, status in (("/oauth/authorize?client_id=nobody", "400"), ("/oauth/nothing", "404")):
        browser.open(ORIGIN + path)
        look(browser, status)


@pytest.mark.parametrize("way", WAYS)
async def test_a_person_has_a_second_factor_and_loses_the_phone(
    town: Town, browser: Chromium, way: str
) -> None:
    how = WAYS[way]
    name = f"{how.user}-two"
    await moved_in(town, name)
    browser.screen(how.size)
    browser.run_scripts(how.scripts)
    pages = Pages(browser, how.hand(browser))
    browser.open(GRANTS)
    pages.log_in(name, PASSWORD)
    pages.hand.press("Set up a second factor", "link")
    look(browser)
    (shown,) = [each.raw.text for each in browser.all("dd code")]
    key = totp.read(shown)
    assert key is not None
    pages.turn_factor(TURN_ON, PASSWORD, "no code")
    look(browser, "400")
    assert pages.alerts == [WRONG]
    pages.turn_factor(TURN_ON, PASSWORD, totp.code(key, totp.step_at(time.time())))
    look(browser)
    recovery = [each.raw.text for each in browser.all("li code")]
    assert len(recovery) == 8
    pages.hand.press("I have kept them: go on", "link")
    look(browser)
    pages.log_out()

    async with asyncio.timeout(CONNECT_S), how.make(town.url(), town.internet.transport()) as assistant:
        browser.open(await assistant.connect())
        pages.log_in(name, PASSWORD)
        look(browser)
        assert pages.heading == "Enter a code"
        pages.enter_code("000 000 000")
        look(browser, "401")
        assert pages.alerts == [WRONG]
        pages.enter_code(recovery[0])
        look(browser)
        assert "plant" in pages.heading
    browser.open(GRANTS)
    pages.hand.press("Change your second factor", "link")
    look(browser)
    assert "have not used: 7" in browser.text()
    pages.turn_factor(TURN_OFF, PASSWORD, recovery[0])  # used already
    look(browser, "400")
    pages.turn_factor(TURN_OFF, PASSWORD, recovery[1])
    look(browser)
    assert pages.heading == "Set up a second factor"


async def test_cookies_are_bound_to_the_host_and_hidden_from_scripts(town: Town, browser: Chromium) -> None:
    await moved_in(town, "alice")
    pages = Pages(browser, Hand(browser))
    browser.open(GRANTS)
    pages.log_in("alice", PASSWORD)
    cookies: list[dict[str, Any]] = browser.driver.get_cookies()
    assert {cookie["name"] for cookie in cookies} == {
        "__Host-penstock-browser",
        "__Host-penstock-device",
        "__Host-penstock-login",
    }
    for cookie in cookies:
        assert (cookie["secure"], cookie["httpOnly"], cookie["sameSite"]) == (True, True, "Lax")
        assert cookie["path"] == "/"
    assert browser.driver.execute_script("return document.cookie") == ""


async def test_no_page_can_be_put_into_a_frame_of_another(town: Town, browser: Chromium) -> None:
    url = "https://claude.ai/attack"
    async with Claude(town.url(), town.internet.transport()) as claude:
        town.internet.pages[url] = f"<!doctype html><title>Win</title><iframe src='{await claude.connect()}'>"
    browser.open(url)
    browser.driver.switch_to.frame(0)
    shown, where = browser.driver.page_source, browser.driver.execute_script("return location.href")
    browser.driver.switch_to.default_content()
    assert "Log in" not in shown
    assert where.startswith("chrome-error:")


def test_a_browser_without_scripts_runs_none(town: Town, browser: Chromium) -> None:
    """Or the test without scripts would show nothing."""
    url = "https://claude.ai/script"
    town.internet.pages[url] = "<!doctype html><title>off</title><script>document.title='on'</script>"
    for scripts, title in ((True, "on"), (False, "off")):
        browser.run_scripts(scripts)
        browser.open(url)
        assert browser.title == title
