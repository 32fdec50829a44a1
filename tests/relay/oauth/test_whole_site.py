"""A user allows an application all servers of a site together: the pages, the grant, and what it opens."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from penstock.allowance import Allowance, Later
from penstock.names import WHOLE_SITE
from penstock_relay.access import Access
from penstock_relay.oauth.offers import Effect, Offer, Tool
from penstock_relay.store import Membership
from tests.relay.oauth.test_account import change
from tests.relay.oauth.test_consent import allowed, asked, ticks
from tests.relay.oauth.test_recorded import log
from tests.relay.oauth.visiting import FILES, ORIGIN, RESOURCE, Browser, Place, place, query

SITE = f"{ORIGIN}/oslo/mcp"
TOOLS = Offer(
    (
        Tool("files__read", Effect.READ, "Read a file"),
        Tool("git__log", Effect.READ),
        Tool("git__push", Effect.DESTRUCTIVE),
    ),
    prompts=2,
)


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Place]:
    """Site oslo with two servers, all of which alice may use."""
    async with place(tmp_path) as found:
        found.sites.offers |= {("oslo", "git"): FILES, ("oslo", WHOLE_SITE): TOOLS}
        await found.store.memberships.add(Membership("alice", "oslo", None, found.now))
        yield found


async def test_the_pages_say_that_it_is_all_servers_of_the_site(here: Place) -> None:
    browser = Browser(here)
    await browser.open("/oauth/authorize", query(resource=SITE))
    assert "asks to use all servers of oslo." in browser.page.body.decode()
    await browser.log_in()
    text = browser.page.body.decode()
    assert "to use all servers of oslo?</h1>" in text
    assert "The name of a tool begins with that of its server" in text
    assert ticks(browser) == ["files__read", "git__log", "2 prompts"]
    ((caller, site, server),) = here.sites.asked
    assert (caller.subject, site, server) == ("alice", "oslo", WHOLE_SITE)
    assert "<summary>" not in text, "its servers are no further ones"
    await browser.submit(later="read_only", decision="allow")
    assert await allowed(here, browser, resource=SITE) == Allowance(
        ("files__read", "git__log"), (), ("git__push",), Later.READ_ONLY, True
    )
    await browser.open("/oauth/grants")
    assert "uses all servers of oslo, since" in browser.page.body.decode()
    await change(browser)
    assert "may use of all servers of oslo</h1>" in browser.page.body.decode()
    await browser.submit(**{"t0.2": "on", "decision": "save"})
    (grant,) = await here.store.grants.list("alice")
    assert json.loads(grant.allowed or "")["tools"] == ["files__read", "git__log", "git__push"]


async def test_beside_a_single_server_the_whole_site_is_not_offered(here: Place) -> None:
    browser = await asked(here)
    assert b"Also git at oslo" in browser.page.body
    assert WHOLE_SITE not in [server for _, _, server in here.sites.asked]


async def test_its_token_names_no_single_server_and_is_renewed_for_the_same_url(here: Place) -> None:
    browser = Browser(here)
    code = await browser.code(query(resource=SITE + "/"))
    assert await here.redeem(code, resource=RESOURCE) == (400, OTHER)
    status, found = await here.redeem(code, resource=SITE)  # with a slash or without is the same
    assert status == 200
    access = Access(here.store, clock=lambda: here.now)
    grant = await access.principal(found["access_token"])
    assert grant is not None
    assert (grant.site, grant.server, grant.only_here, grant.member) == ("oslo", WHOLE_SITE, True, True)
    renewing = {"grant_type": "refresh_token", "client_id": "", "refresh_token": found["refresh_token"]}
    renewing["client_id"] = (await here.store.grants.list("alice"))[0].client_id
    assert await here.token(**renewing, resource=RESOURCE) == (400, OTHER)
    status, found = await here.token(**renewing, resource=SITE)
    assert status == 200
    # With the membership of the whole site it ends; that of a single server does not keep it.
    await here.store.memberships.remove("alice", "oslo", None)
    await access.poll()
    grant = await access.principal(found["access_token"])
    assert grant is not None
    assert not grant.member
    assert (await here.refresh(found["refresh_token"]))[1]["error"] == "invalid_grant"


OTHER = {
    "error": "invalid_target",
    "error_description": "The resource is not the one that the user granted.",
}


async def test_who_may_use_single_servers_only_is_told_so_whether_there_is_the_site_or_not(
    here: Place,
) -> None:
    await here.store.memberships.remove("alice", "oslo", None)  # files is left
    said = []
    for site in ("oslo", "nowhere"):
        browser = Browser(here)
        await browser.open("/oauth/authorize", query(resource=f"{ORIGIN}/{site}/mcp"))
        await browser.log_in()
        assert browser.page.status == 403
        said.append(browser.page.body.decode().partition("<main")[2])
    assert said[0] == said[1]
    assert "may not use all servers of this site together" in said[0]
    assert here.sites.asked == []


async def test_a_silent_site_keeps_nobody_from_connecting_it_as_a_whole(here: Place) -> None:
    here.sites.offers["oslo", WHOLE_SITE] = None
    browser = await asked(here, resource=SITE)
    assert b"does not answer at the moment" in browser.page.body
    await browser.submit(silent="read_only", decision="allow")
    assert await allowed(here, browser, resource=SITE) == Allowance(later=Later.READ_ONLY, others=True)


async def test_a_site_that_exposes_nothing_says_so(here: Place) -> None:
    here.sites.offers["oslo", WHOLE_SITE] = Offer()
    browser = await asked(here, resource=SITE)
    assert b"The site exposes nothing at the moment." in browser.page.body


async def test_what_has_to_be_signed_is_signed_for_single_servers(here: Place) -> None:
    here.sites.offers["oslo", WHOLE_SITE] = Offer(TOOLS.tools, challenge="challenge")
    browser = await asked(here, resource=SITE)
    assert browser.page.status == 403
    assert f"{ORIGIN}/oslo/SERVER/mcp" in browser.page.body.decode()
    assert not browser.left_for


async def test_in_records_and_logs_no_server_is_named(here: Place) -> None:
    with capture_logs() as lines:
        browser = Browser(here)
        await here.redeem(await browser.code(query(resource=SITE)), resource=SITE)
        await browser.open("/oauth/grants")
        (grant,) = await here.store.grants.list("alice")
        await browser.submit(grant=grant.id)
        browser = await asked(here, resource=SITE)
        await browser.submit(decision="deny")
    (consent,) = [line for line in lines if line["event"] == "consent"]
    assert (consent["site"], consent["server"]) == ("oslo", None)
    kinds = {"consent_allowed", "grant_made", "grant_revoked", "consent_denied"}
    found = [each for each in await log(here) if each["kind"] in kinds]
    assert {each["kind"] for each in found} == kinds
    assert all(each["about"]["site"] == "oslo" and "server" not in each["about"] for each in found)
