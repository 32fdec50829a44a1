"""A user chooses what an application may use: of a site that answers, of a silent one, of several servers."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from penstock.allowance import Allowance, Later
from penstock_relay.oauth.offers import Offer
from penstock_relay.store import Membership
from tests.relay.oauth.visiting import (
    CALLBACK,
    DOCUMENT,
    DROP,
    FILES,
    ORIGIN,
    READ,
    RESOURCE,
    Browser,
    Place,
    document,
    place,
    query,
)

GIT = f"{ORIGIN}/oslo/git/mcp"
OTHER = "https://claude.com/api/mcp/auth_callback"


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Place]:
    async with place(tmp_path) as found:
        yield found


async def asked(here: Place, **changes: str | None) -> Browser:
    """A browser in front of the consent page."""
    browser = Browser(here)
    await browser.open("/oauth/authorize", query(**changes))
    await browser.log_in()
    return browser


async def allowed(here: Place, browser: Browser, resource: str = RESOURCE) -> Allowance:
    """What the grant allows that comes of the browser's answer."""
    status, _ = await here.redeem(browser.answer["code"], resource=resource)
    assert status == 200
    (grant,) = [g for g in await here.store.grants.list("alice") if g.revoked_at is None]
    assert grant.allowed is not None
    return Allowance.parse(grant.allowed.encode())


def ticks(browser: Browser) -> list[str]:
    """Labels of what is ticked."""
    text = browser.page.body.decode()
    on = re.findall(r'<input type="checkbox" id="([^"]*)" name="[^"]*" checked', text)
    return [re.findall(rf'<label for="{name}">(?:<bdi>)?([^<]*)', text)[0] for name in on]


async def test_what_only_reads_is_ticked_and_nothing_more_is_allowed(here: Place) -> None:
    browser = await asked(here)
    text = browser.page.body.decode()
    assert [text.index(word) for word in ("Only reads", "Changes something", "May delete")] == sorted(
        text.index(word) for word in ("Only reads", "Changes something", "May delete")
    )
    assert "Read a file: Reads." in text
    assert ticks(browser) == ["read", "1 prompt"]
    await browser.submit(decision="allow")
    assert await allowed(here, browser) == Allowance(("read",), others=True)


async def test_the_site_is_asked_in_the_name_of_user_and_client_and_not_before_login(here: Place) -> None:
    browser = Browser(here)
    await browser.open("/oauth/authorize", query())
    assert not here.sites.asked
    await browser.log_in()
    ((caller, site, server),) = here.sites.asked
    assert (caller.subject, caller.client, site, server) == ("alice", DOCUMENT, "oslo", "files")
    assert caller.email == "alice@example.com"


async def test_a_user_without_access_asks_the_site_nothing(here: Place) -> None:
    await here.add_user("bob")
    browser = Browser(here)
    await browser.open("/oauth/authorize", query())
    await browser.log_in("bob")
    assert browser.page.status == 403
    assert not here.sites.asked


async def test_other_ticks_allow_other_tools(here: Place) -> None:
    browser = await asked(here)
    await browser.submit(**{"t0.0": "", "t0.2": "on", "o0": "", "decision": "allow"})
    assert await allowed(here, browser) == Allowance(("drop",))


async def test_later_tools_are_allowed_only_when_asked_for(here: Place) -> None:
    browser = await asked(here)
    await browser.submit(later="read_only", decision="allow")
    assert await allowed(here, browser) == Allowance(("read",), (), ("write", "drop"), Later.READ_ONLY, True)


async def test_buttons_tick_for_the_user(here: Place) -> None:
    browser = await asked(here)
    await browser.submit(tick="all", later="all")
    assert ticks(browser)[:3] == ["read", "write", "drop"]
    assert 'value="all" checked' in browser.page.body.decode()
    await browser.submit(tick="none")
    assert "read" not in ticks(browser)
    await browser.submit(tick="read")
    await browser.submit(decision="allow")
    assert await allowed(here, browser) == Allowance(("read",), (), ("write", "drop"), Later.ALL, True)


async def test_nothing_chosen_is_said_and_not_granted(here: Place) -> None:
    browser = await asked(here)
    await browser.submit(**{"t0.0": "", "o0": "", "decision": "allow"})
    assert browser.page.status == 400
    assert b"You chose nothing" in browser.page.body
    assert not browser.left_for
    await browser.submit(decision="allow")  # the page can be used as it stands
    assert browser.left_for.startswith(CALLBACK)


async def test_a_page_whose_list_was_changed_on_the_way_is_worth_nothing(here: Place) -> None:
    browser = await asked(here)
    await browser.submit(decision="allow", shown='{"files":[["drop","read",false]]}')
    assert browser.page.status == 400
    assert not browser.left_for


async def test_what_the_site_adds_while_the_page_is_open_is_not_allowed(here: Place) -> None:
    browser = await asked(here)
    here.sites.offers["oslo", "files"] = Offer((DROP, READ))
    await browser.submit(decision="allow")
    assert await allowed(here, browser) == Allowance(("read",), others=True)


@pytest.mark.parametrize(
    ("choice", "result"),
    [("nothing", Allowance()), ("read_only", Allowance(later=Later.READ_ONLY, others=True))],
)
async def test_a_silent_site_keeps_nobody_from_connecting(
    here: Place, choice: str, result: Allowance
) -> None:
    here.sites.offers["oslo", "files"] = None
    browser = await asked(here)
    assert b"does not answer at the moment" in browser.page.body
    await browser.submit(silent=choice, decision="allow")
    assert await allowed(here, browser) == result


async def test_a_server_that_the_site_does_not_have_is_said(here: Place) -> None:
    del here.sites.offers["oslo", "files"]
    here.sites.offers["oslo", "git"] = FILES
    browser = await asked(here)
    assert browser.page.status == 404
    assert b"no MCP server called files" in browser.page.body


async def test_a_server_that_exposes_nothing_can_be_connected(here: Place) -> None:
    here.sites.offers["oslo", "files"] = Offer()
    browser = await asked(here)
    assert b"exposes nothing" in browser.page.body
    await browser.submit(decision="allow")
    assert await allowed(here, browser) == Allowance()


# -- several servers at once --------------------------------------------------------------------------


async def with_git(here: Place) -> None:
    here.sites.offers["oslo", "git"] = Offer((READ, DROP))
    await here.store.memberships.add(Membership("alice", "oslo", "git", here.now))


async def test_one_consent_covers_several_servers(here: Place) -> None:
    await with_git(here)
    browser = await asked(here)
    assert b"Also git at oslo" in browser.page.body
    await browser.submit(**{"t1.1": "on", "decision": "allow"})
    assert await allowed(here, browser) == Allowance(("read",), others=True)
    # The client comes for the second one: no page, no login.
    browser.left_for = ""
    await browser.open("/oauth/authorize", query(resource=GIT))
    status, _ = await here.redeem(browser.answer["code"], resource=GIT)
    assert status == 200
    git = next(g for g in await here.store.grants.list("alice") if g.server == "git")
    assert git.allowed == '{"tools":["drop"]}'
    # Once.
    browser.left_for = ""
    await browser.open("/oauth/authorize", query(resource=GIT))
    assert not browser.left_for


async def test_nothing_of_a_further_server_is_ticked_from_the_start(here: Place) -> None:
    await with_git(here)
    browser = await asked(here)
    assert ticks(browser) == ["read", "1 prompt"]
    await browser.submit(decision="allow")
    browser.left_for = ""
    await browser.open("/oauth/authorize", query(resource=GIT))
    assert not browser.left_for


async def test_servers_that_the_user_may_not_use_are_not_shown(here: Place) -> None:
    here.sites.offers["oslo", "git"] = Offer((READ, DROP))
    browser = await asked(here)
    assert b"git" not in browser.page.body
    assert [server for _, _, server in here.sites.asked] == ["files"]


@pytest.mark.parametrize("changes", [{"redirect_uri": OTHER}, {"prompt": "consent"}])
async def test_what_was_allowed_ahead_is_for_the_same_client_at_the_same_address(
    here: Place, changes: dict[str, str]
) -> None:
    await with_git(here)
    here.shelf.documents[DOCUMENT] = document(DOCUMENT, "Claude", CALLBACK, OTHER)
    browser = await asked(here)
    await browser.submit(**{"t1.1": "on", "decision": "allow"})
    browser.left_for = ""
    await browser.open("/oauth/authorize", query(resource=GIT, **changes))
    assert not browser.left_for
    assert b"Allow access" in browser.page.body


async def test_what_was_allowed_ahead_ends_after_an_hour_and_with_the_membership(here: Place) -> None:
    await with_git(here)
    for wait, gone in ((3600.0, False), (0.0, True)):
        browser = await asked(here)
        await browser.submit(**{"t1.1": "on", "decision": "allow"})
        here.now += wait
        if gone:
            await here.store.memberships.remove("alice", "oslo", "git")
        browser.left_for = ""
        await browser.open("/oauth/authorize", query(resource=GIT))
        assert not browser.left_for


async def test_programs_on_the_users_computer_are_allowed_one_server_at_a_time(here: Place) -> None:
    await with_git(here)
    loopback = "http://127.0.0.1:3334/callback"
    client = await here.register(redirect_uris=[loopback])
    browser = await asked(here, client_id=client["client_id"], redirect_uri=loopback)
    assert b"git" not in browser.page.body
