"""A grant that the company's own provider signs: the relay asks for it, the agent believes nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from penstock import jwk
from penstock.allowance import Allowance
from penstock.principal import Principal
from penstock.voucher import Voucher
from penstock_agent.callers import proof
from penstock_agent.callers.challenge import Challenges
from penstock_agent.callers.proof import Provider
from penstock_agent.callers.trust import NotProven
from penstock_relay.access import Access
from penstock_relay.oauth.offers import Offer
from penstock_relay.store import Membership
from tests.harness import signing
from tests.relay.oauth.upstream.company import CLIENT, ISSUER, Employee, Site, let_in, link, site
from tests.relay.oauth.visiting import CALLBACK, DROP, FILES, READ, Browser, place, query

CHALLENGES = Challenges(b"k" * 32, "oslo")
PROVIDER = Provider(ISSUER, CLIENT, 86_400.0)


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Site]:
    async with site(tmp_path) as found:
        challenge = CHALLENGES.make("files", found.now)
        found.sites.offers["oslo", "files"] = replace_offer(challenge)
        yield found


def replace_offer(challenge: str) -> Offer:
    return Offer(FILES.tools, FILES.prompts, FILES.resources, challenge)


def admitted(caller: Principal, now: float) -> None:
    """What the agent on site does with a call. Raises NotProven."""
    voucher = proof.read(caller)
    proof.ends(voucher, "files", CHALLENGES, PROVIDER, now)
    keys = jwk.parse(signing.key_set("rsa"))
    proof.judge(voucher, caller, "oslo", "files", CHALLENGES, PROVIDER, keys)


async def caller_of(here: Site, code: str) -> Principal:
    status, found = await here.redeem(code)
    assert status == 200, found
    grant = await Access(here.store, clock=lambda: here.now).principal(found["access_token"])
    assert grant is not None
    return grant.principal


async def to_be_signed(here: Site, **ticks: str) -> Employee:
    """Anna has allowed something, and is told that her company's login has to confirm it."""
    browser, _ = await let_in(here)
    browser.left_for = ""
    await browser.open("/oauth/authorize", query())
    await browser.submit(decision="allow", **ticks)
    assert b"One more step" in browser.page.body
    assert not browser.left_for
    return browser


async def sign(here: Site, browser: Employee, subject: str = "anna", **changes: str) -> str:
    """The company's login; where the browser is sent afterwards."""
    await browser.open_url(link(browser.page))
    url = browser.left_for
    browser.left_for = ""
    await browser.come_back(here.company.log_in(url, subject, **changes))
    return browser.left_for


async def test_what_the_user_allowed_is_signed_and_believed_on_site(here: Site) -> None:
    browser = await to_be_signed(here, **{"t0.2": "on"})
    assert (await sign(here, browser)).startswith(CALLBACK + "?")
    caller = await caller_of(here, browser.answer["code"])
    assert caller.allowance == Allowance(("read", "drop"), others=True)
    admitted(caller, here.now)
    # And refreshed tokens carry the same proof.
    (grant,) = [g for g in await here.store.grants.list() if g.proof]
    assert Voucher.parse((grant.proof or "").encode()).id_token


async def test_a_relay_that_widens_it_afterwards_is_not_believed(here: Site) -> None:
    browser = await to_be_signed(here)
    await sign(here, browser)
    caller = await caller_of(here, browser.answer["code"])
    admitted(caller, here.now)
    (grant,) = [g for g in await here.store.grants.list() if g.proof]
    await here.store.grants.allow(grant.id, Allowance(("read", "drop"), others=True).dump().decode())
    wider = replace(caller, allowance=Allowance(("read", "drop"), others=True))
    with pytest.raises(NotProven, match="signed another grant"):
        admitted(wider, here.now)


async def test_without_the_login_no_code_is_made(here: Site) -> None:
    browser = await to_be_signed(here)
    # Asked again instead: the consent that waits is no consent.
    await browser.open("/oauth/authorize", query())
    assert not browser.left_for
    assert b"Allow access" in browser.page.body


async def test_somebody_else_who_logs_in_there_signs_nothing(here: Site) -> None:
    here.company.people["bert"] = {"name": "Bert"}
    browser = await to_be_signed(here)
    assert not (await sign(here, browser, "bert")).startswith(CALLBACK)
    assert browser.page.status == 400


async def test_another_choice_in_the_meantime_is_not_what_was_signed(here: Site) -> None:
    browser = await to_be_signed(here)
    await browser.open_url(link(browser.page))
    url = browser.left_for
    browser.left_for = ""
    await browser.open("/oauth/authorize", query())
    await browser.submit(decision="allow", **{"t0.2": "on"})
    await browser.come_back(here.company.log_in(url, "anna"))
    assert not browser.left_for
    assert browser.page.status == 400


async def test_it_is_good_once_and_for_ten_minutes(here: Site) -> None:
    browser = await to_be_signed(here)
    assert (await sign(here, browser)).startswith(CALLBACK)
    browser = await to_be_signed(here)
    waiting = link(browser.page)
    here.wait(601)
    await browser.open_url(waiting)
    assert browser.page.status == 400


async def test_a_user_of_the_relays_own_cannot_be_vouched_for(here: Site) -> None:
    browser = Browser(here)
    await browser.open("/oauth/authorize", query())
    await browser.log_in()
    await browser.submit(decision="allow")
    assert browser.page.status == 403
    assert b"Your company" in browser.page.body
    assert b"Log out of this browser" in browser.page.body


async def test_a_relay_without_a_provider_says_what_is_missing(tmp_path: Path) -> None:
    async with place(tmp_path) as alone:
        alone.sites.offers["oslo", "files"] = replace_offer("challenge")
        browser = Browser(alone)
        await browser.open("/oauth/authorize", query())
        await browser.log_in()
        await browser.submit(decision="allow")
        assert browser.page.status == 403
        assert b"the setting upstream" in browser.page.body


async def test_a_signed_grant_is_changed_by_connecting_again(here: Site) -> None:
    browser = await to_be_signed(here)
    await sign(here, browser)
    await caller_of(here, browser.answer["code"])
    (grant,) = [g for g in await here.store.grants.list() if g.proof]
    await browser.open("/oauth/grant", f"grant={grant.id}")
    assert browser.page.status == 409
    assert b"connect it again" in browser.page.body


async def test_further_servers_that_must_be_signed_have_pages_of_their_own(here: Site) -> None:
    here.sites.offers["oslo", "files"] = FILES
    here.sites.offers["oslo", "git"] = Offer((READ, DROP), challenge="challenge")
    browser, name = await let_in(here)
    await here.store.memberships.add(Membership(name, "oslo", "git", here.now))
    await browser.open("/oauth/authorize", query())
    assert b"git" not in browser.page.body
