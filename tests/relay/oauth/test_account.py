"""What users see of what they granted: the list, the change of one, the end of one."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from penstock.allowance import Allowance, Later
from tests.relay.oauth.visiting import Browser, Place, place, query


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Place]:
    async with place(tmp_path) as found:
        yield found


async def connected(here: Place) -> Browser:
    """Claude is connected, and its user looks at what is."""
    browser = Browser(here)
    await here.redeem(await browser.code(query()))
    await browser.open("/oauth/grants")
    return browser


async def allowance(here: Place) -> Allowance | None:
    (grant,) = await here.store.grants.list("alice")
    return None if grant.allowed is None else Allowance.parse(grant.allowed.encode())


async def change(browser: Browser) -> None:
    """Follows the link to the page of the only grant."""
    found = re.search(r'href="/oauth/grant\?([^"]*)"', browser.page.body.decode())
    assert found is not None
    await browser.open("/oauth/grant", found[1])


async def test_the_list_says_what_is_allowed(here: Place) -> None:
    browser = await connected(here)
    assert b"Allowed: 1 tool; prompts and resources." in browser.page.body


async def test_what_is_allowed_can_be_changed(here: Place) -> None:
    browser = await connected(here)
    await change(browser)
    text = browser.page.body.decode()
    assert 'id="t0.0" name="t0.0" checked' in text
    assert 'id="t0.2" name="t0.2" checked' not in text
    await browser.submit(**{"t0.0": "", "t0.2": "on", "later": "all", "decision": "save"})
    assert await allowance(here) == Allowance(("drop",), (), ("read", "write"), Later.ALL, True)
    assert b"1 tool; every tool added later; prompts and resources" in browser.page.body


async def test_it_can_be_left_as_it_was(here: Place) -> None:
    browser = await connected(here)
    before = await allowance(here)
    await change(browser)
    await browser.submit(**{"t0.2": "on", "decision": "keep"})
    assert await allowance(here) == before


async def test_buttons_tick_for_the_user(here: Place) -> None:
    browser = await connected(here)
    await change(browser)
    await browser.submit(tick="all")
    await browser.submit(decision="save")
    assert await allowance(here) == Allowance(("read", "write", "drop"), others=True)


async def test_a_silent_site_can_be_narrowed_all_the_same(here: Place) -> None:
    browser = await connected(here)
    here.sites.offers["oslo", "files"] = None
    await change(browser)
    await browser.submit(silent="nothing", decision="save")
    assert await allowance(here) == Allowance()


async def test_a_grant_of_somebody_else_is_one_that_is_not_there(here: Place) -> None:
    await connected(here)
    (grant,) = await here.store.grants.list("alice")
    await here.add_user("bob")
    other = Browser(here)
    await other.open("/oauth/grants")
    await other.log_in("bob")
    for id in (grant.id, "none"):
        await other.open("/oauth/grant", f"grant={id}")
        assert other.page.status == 404


async def test_the_page_of_one_grant_changes_no_other(here: Place) -> None:
    browser = await connected(here)
    await change(browser)
    await browser.submit(grant="another", decision="save")
    assert browser.page.status == 400
    assert await allowance(here) == Allowance(("read",), others=True)


async def test_a_grant_that_has_ended_cannot_be_changed(here: Place) -> None:
    browser = await connected(here)
    await change(browser)
    (grant,) = await here.store.grants.list("alice")
    await here.store.grants.revoke(grant.id, here.now)
    await browser.submit(decision="save")
    assert browser.page.status == 404


async def test_who_is_not_logged_in_is_asked_to(here: Place) -> None:
    browser = Browser(here)
    await browser.open("/oauth/grant", "grant=x")
    assert b'name="password"' in browser.page.body
