"""Sites, invites, agents and tokens, as the store keeps them."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy.exc import IntegrityError

from penstock.names import AgentId
from penstock_relay.store import (
    Agent,
    Invite,
    NoSuchSite,
    NoSuchToken,
    Site,
    SiteExists,
    Store,
    Token,
    Unusable,
)

SECRET = b"s" * 32


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with await Store.open(f"sqlite+aiosqlite:///{tmp_path / 'relay.db'}") as store:
        await store.sites.add("mill", 100.0)
        yield store


def agent(name: str, serial: str = "1f") -> Agent:
    return Agent(AgentId("mill", name), serial, 5000.0, 200.0)


def token(public_id: str = "abc", site: str = "mill", created_at: float = 100.0) -> Token:
    return Token(public_id, SECRET, "ci", site, None, created_at, 900.0)


async def test_sites_are_listed_by_name_with_their_agents(store: Store) -> None:
    await store.sites.add("dam", 150.0)
    await store.agents.add(agent("one", "1"))
    await store.agents.add(agent("two", "2"))
    assert await store.sites.list() == [Site("dam", 150.0, 0), Site("mill", 100.0, 2)]
    assert await store.sites.exists("dam")
    assert not await store.sites.exists("port")


async def test_a_site_is_added_once(store: Store) -> None:
    with pytest.raises(SiteExists, match="There is a site 'mill' already"):
        await store.sites.add("mill", 1.0)


async def test_an_invite_is_good_until_it_expires(store: Store) -> None:
    await store.invites.create("mill", SECRET, 100.0, 200.0)
    assert await store.invites.find(SECRET, 199.9) == Invite("mill", 200.0)
    assert await store.invites.find(SECRET, 200.0) is Unusable.EXPIRED
    assert await store.invites.take(SECRET, agent("one"), 200.0) is Unusable.EXPIRED
    assert await store.agents.list() == []


async def test_an_invite_is_good_once_and_says_used_ever_after(store: Store) -> None:
    await store.invites.create("mill", SECRET, 100.0, 200.0)
    assert await store.invites.take(SECRET, agent("one"), 150.0) is None
    assert await store.agents.list("mill") == [agent("one")]
    assert await store.invites.take(SECRET, agent("two", "2"), 150.0) is Unusable.USED
    assert await store.invites.find(SECRET, 9999.0) is Unusable.USED
    assert await store.agents.list("mill") == [agent("one")]


async def test_a_secret_that_nobody_issued_is_unknown(store: Store) -> None:
    await store.invites.create("mill", SECRET, 100.0, 200.0)
    assert await store.invites.find(b"x" * 32, 150.0) is Unusable.UNKNOWN
    assert await store.invites.take(b"x" * 32, agent("one"), 150.0) is Unusable.UNKNOWN


async def test_an_invite_of_one_site_lets_nobody_into_another(store: Store) -> None:
    await store.sites.add("dam", 100.0)
    await store.invites.create("dam", SECRET, 100.0, 200.0)
    assert await store.invites.take(SECRET, agent("one"), 150.0) is Unusable.UNKNOWN
    assert await store.invites.find(SECRET, 150.0) == Invite("dam", 200.0)


async def test_an_agent_name_in_use_leaves_the_invite_unused(store: Store) -> None:
    await store.invites.create("mill", SECRET, 100.0, 200.0)
    await store.agents.add(agent("one", "1"))
    with pytest.raises(IntegrityError):
        await store.invites.take(SECRET, agent("one", "2"), 150.0)
    assert await store.invites.find(SECRET, 150.0) == Invite("mill", 200.0)


async def test_of_fifty_takers_of_one_invite_one_wins(store: Store) -> None:
    await store.invites.create("mill", SECRET, 100.0, 200.0)
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(store.invites.take(SECRET, agent(f"a{n}", f"{n:x}"), 150.0)) for n in range(50)
        ]
    results = [task.result() for task in tasks]
    assert results.count(None) == 1
    assert results.count(Unusable.USED) == 49
    assert len(await store.agents.list("mill")) == 1


async def test_invites_and_tokens_need_a_site(store: Store) -> None:
    with pytest.raises(NoSuchSite, match=r"There is no site 'port'.*site add port"):
        await store.invites.create("port", SECRET, 1.0, 2.0)
    with pytest.raises(NoSuchSite):
        await store.tokens.create(token(site="port"))


async def test_an_agent_is_found_by_its_identity(store: Store) -> None:
    await store.agents.add(agent("one"))
    assert await store.agents.find(AgentId("mill", "one")) == agent("one")
    assert await store.agents.find(AgentId("mill", "two")) is None


async def test_tokens_are_found_by_public_id_and_listed_oldest_first(store: Store) -> None:
    await store.sites.add("dam", 100.0)
    young, old, other = token("young", created_at=300.0), token("old"), token("other", "dam", 200.0)
    for each in (young, old, other):
        await store.tokens.create(each)
    assert await store.tokens.find("old") == old
    assert await store.tokens.find("none") is None
    assert await store.tokens.list() == [old, other, young]
    assert await store.tokens.list("mill") == [old, young]


async def test_a_revoked_token_keeps_the_moment_of_its_first_revocation(store: Store) -> None:
    await store.tokens.create(token())
    assert await store.tokens.revoke("abc", 400.0) is True
    assert await store.tokens.revoke("abc", 500.0) is False
    found = await store.tokens.find("abc")
    assert found is not None
    assert found.revoked_at == 400.0
    with pytest.raises(NoSuchToken, match=r"There is no token 'nope'.*token list"):
        await store.tokens.revoke("nope", 1.0)


async def test_every_write_moves_the_change_sequence(store: Store) -> None:
    seen = [await store.change_sequence()]

    async def moved() -> bool:
        seen.append(await store.change_sequence())
        return seen[-1] > seen[-2]

    await store.sites.add("dam", 1.0)
    assert await moved()
    await store.invites.create("mill", SECRET, 1.0, 500.0)
    assert await moved()
    await store.invites.take(SECRET, agent("one"), 2.0)
    assert await moved()
    await store.tokens.create(token())
    assert await moved()
    await store.tokens.revoke("abc", 3.0)
    assert await moved()
    await store.invites.find(SECRET, 1.0)
    assert not await moved()


async def test_a_site_is_suspended_until_it_is_resumed(store: Store, tmp_path: Path) -> None:
    await store.sites.add("dam", 150.0)
    before = await store.change_sequence()
    assert await store.sites.suspend("mill", 7.0)
    assert not await store.sites.suspend("mill", 8.0)
    assert await store.change_sequence() > before
    async with await Store.open(f"sqlite+aiosqlite:///{tmp_path / 'relay.db'}") as restarted:
        assert await restarted.sites.suspended() == {"mill"}
    assert [(site.name, site.suspended_at) for site in await store.sites.list()] == [
        ("dam", None),
        ("mill", 7.0),
    ]
    assert await store.sites.resume("mill")
    assert not await store.sites.resume("mill")
    assert await store.sites.suspended() == frozenset()
    with pytest.raises(NoSuchSite, match="penstock-relay site add port"):
        await store.sites.suspend("port", 9.0)
    with pytest.raises(NoSuchSite):
        await store.sites.resume("port")
