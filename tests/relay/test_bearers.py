"""Who calls: tokens of this relay, and of issuers outside, whose users the relay may let in or not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import pytest
from sqlalchemy.exc import OperationalError

from penstock.names import WHOLE_SITE
from penstock.principal import Principal
from penstock_relay import access
from penstock_relay.access import STALE_S, Access, AccessUnavailable, TokenGrant
from penstock_relay.bearers import Bearers
from penstock_relay.oauth.issuer import ANY, Issuer, Opens
from penstock_relay.oauth.issuers import Issuers
from penstock_relay.store import Store
from tests.harness.signing import ISSUER, NOW, token
from tests.relay.oauth.test_issuers import Web

ORIGIN: Final = "https://relay.example"
OPENS: Final = (
    Opens("files", "home", "files"),
    Opens("crm", "home", "crm"),
    Opens("all", "home", ANY),
)
ALL: Final = ("files", "crm", "all")


@dataclass
class Members:
    """Lets everybody in who is on the list."""

    list: set[tuple[str, str, str]] = field(default_factory=lambda: {("anna", "home", "files")})
    asked: int = 0
    error: Exception | None = None

    async def allows(self, principal: Principal, site: str, server: str) -> bool:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return (principal.subject, site, server) in self.list


@dataclass
class House:
    store: Store
    own: Access
    web: Web
    members: Members
    bearers: Bearers
    now: float = float(NOW)

    async def ask(self, text: str, site: str = "home", server: str = "files") -> TokenGrant | None:
        return await self.bearers.principal(text, site, server)


@asynccontextmanager
async def house(folder: Path) -> AsyncIterator[House]:
    async with await Store.open(f"sqlite+aiosqlite:///{folder / 'relay.db'}") as store:
        await store.sites.add("home", NOW)
        web, members = Web(), Members()
        own = Access(store, clock=lambda: made.now, ticks=lambda: made.now)
        issuers = Issuers(
            (Issuer(ISSUER, OPENS),), introspection={}, trusted=web,
            clock=lambda: made.now, ticks=lambda: made.now,
        )  # fmt: skip
        made = House(store, own, web, members, Bearers(own, issuers, members, ORIGIN))
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(issuers.run())
            yield made
            running.cancel()


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[House]:
    async with house(tmp_path) as made:
        yield made


async def test_a_member_whose_scope_opens_the_server(home: House) -> None:
    found = await home.ask(token(scope="files"))
    assert found is not None
    assert (found.principal.issuer, found.principal.subject) == (ISSUER, "anna")
    assert (found.site, found.server, found.expires_at) == ("home", "files", NOW + 600)
    assert (found.only_here, found.member, found.step_up) == (True, True, ())


async def test_a_stranger_with_the_same_scope_is_no_member(home: House) -> None:
    found = await home.ask(token(scope="files", sub="bert"))
    assert found is not None
    assert (found.member, found.step_up) == (False, ())


@pytest.mark.parametrize("scope", ["", "other", "crm", None])
async def test_without_the_scope_there_is_one_to_ask_for(home: House, scope: str | None) -> None:
    found = await home.ask(token(scope=scope))
    assert found is not None
    assert (found.member, found.step_up) == (False, ALL)
    assert home.members.asked == 0


async def test_what_is_asked_for_tells_of_no_server_whether_it_is_there(home: House) -> None:
    """For one that scopes are configured for, one that is not, and one that nobody ever heard of."""
    said = []
    for server in ("crm", "mail", "no-such"):
        url = f"{ORIGIN}/home/{server}/mcp"
        found = await home.ask(token(scope="files", aud=url), server=server)
        assert found is not None
        said.append((found.member, found.step_up))
    assert said == [(False, ALL)] * 3


async def test_who_has_all_scopes_is_sent_nowhere(home: House) -> None:
    found = await home.ask(token(scope="files crm all", aud=f"{ORIGIN}/home/mail/mcp"), server="mail")
    assert found is not None
    assert (found.member, found.step_up) == (False, ())


async def test_a_token_for_another_endpoint_is_none(home: House) -> None:
    assert await home.ask(token(scope="files crm"), server="crm") is None
    assert await home.ask(token(scope="files", aud=f"{ORIGIN}/home/files/mcp/"))


async def test_a_token_for_one_url_of_a_server_is_good_at_the_others(home: House) -> None:
    for path in ("mcp", "mcp/", "sse", "sse/"):
        assert await home.ask(token(scope="files", aud=f"{ORIGIN}/home/files/{path}")), path
    for path in ("home/files/messages", "home/files/", "home/mail/sse"):
        assert await home.ask(token(scope="files", aud=f"{ORIGIN}/{path}")) is None, path


async def test_a_token_for_all_servers_of_a_site_together_names_their_url_and_a_scope_that_opens_all(
    home: House,
) -> None:
    whole, server = f"{ORIGIN}/home/mcp", f"{ORIGIN}/home/files/mcp"
    for path in ("", "/"):
        assert await home.ask(token(scope="all", aud=whole + path), server=WHOLE_SITE), path
    for aud in (server, f"{ORIGIN}/home//mcp", f"{ORIGIN}/home/sse", f"{ORIGIN}/home"):
        assert await home.ask(token(scope="all", aud=aud), server=WHOLE_SITE) is None, aud
    assert await home.ask(token(scope="all", aud=whole), server="files") is None
    members = home.members.list
    for number, (scope, place, member) in enumerate(
        (
            ("all", ("anna", "home", "files"), False),
            ("all", ("anna", "home", WHOLE_SITE), True),
            ("files crm", ("anna", "home", WHOLE_SITE), False),
        )
    ):
        members.clear()
        members.add(place)
        await home.store.sites.add(f"change-{number}", NOW)
        await home.own.poll()
        found = await home.ask(token(scope=scope, aud=whole), server=WHOLE_SITE)
        assert found is not None
        assert (found.server, found.member) == (WHOLE_SITE, member)
        assert found.step_up == (() if scope == "all" else ALL)


async def test_tokens_of_the_relay_itself_go_to_no_issuer(home: House) -> None:
    text, record = access.issue("home", None, "ci", NOW, NOW + 100)
    await home.store.tokens.create(record)
    found = await home.ask(text)
    assert found is not None
    assert found.principal.subject == "svc:ci"
    assert await home.ask(text[:-1] + "!") is None
    assert home.web.asked == []


async def test_memberships_are_asked_once_until_something_changes(home: House) -> None:
    text = token(scope="files")
    for _ in range(5):
        assert await home.ask(text)
    assert home.members.asked == 1
    await home.ask(token(scope="files", groups=["ops"]))  # of which it may depend
    assert home.members.asked == 2
    home.members.list.clear()
    await home.store.sites.add("another", NOW)
    await home.own.poll()
    found = await home.ask(text)
    assert found is not None
    assert not found.member


async def test_without_the_store_nobody_is_let_in(home: House) -> None:
    text = token(scope="files", exp=NOW + 9000)
    home.members.error = OperationalError("SELECT", {}, Exception("disk I/O error"))
    with pytest.raises(AccessUnavailable):
        await home.ask(text)
    home.members.error = None
    assert await home.ask(text)
    home.now += STALE_S + 1  # nobody has looked into the store meanwhile
    with pytest.raises(AccessUnavailable):
        await home.ask(text)


async def test_without_the_issuer_nobody_is_let_in(home: House) -> None:
    home.web.pages.clear()
    with pytest.raises(AccessUnavailable, match="issuer"):
        await home.ask(token(scope="files"))


async def test_where_no_issuer_is_trusted_its_tokens_are_none(home: House) -> None:
    alone = Bearers(home.own)
    assert await alone.principal(token(scope="files"), "home", "files") is None


async def test_changes_are_those_of_the_store(home: House) -> None:
    home.bearers.doubt()
    await home.bearers.changed()
