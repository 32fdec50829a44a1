"""Memberships: of a whole site, or of one of its servers."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from penstock.names import WHOLE_SITE
from penstock_relay.store import Membership, NoSuchSite, NoSuchUser, Store
from tests.relay.store.accounts import fill, member, redeemed, url_in


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with await Store.open(url_in(tmp_path)) as store:
        await fill(store, "alice", "bob")
        await store.sites.add("dam", 1000.0)
        yield store


# The membership that there is, and whether alice may then use mill/files.
ALLOWED = [
    (None, False),
    (member(server=None), True),
    (member(server="files"), True),
    (member(server="file"), False),
    (member(server="files2"), False),
    (member(server="FILES"), False),
    (member(site="dam"), False),
    (member(site="dam", server="files"), False),
    (member(user="bob"), False),
    (member(user="bob", server="files"), False),
]


@pytest.mark.parametrize(("held", "allowed"), ALLOWED)
async def test_who_may_use_a_server(store: Store, held: Membership | None, allowed: bool) -> None:
    if held is not None:
        assert await store.memberships.add(held) is True
    assert await store.memberships.allows("alice", "mill", "files") is allowed
    # A token's holder is judged by a query of its own, which must come to the same.
    await redeemed(store)
    holder = await store.grants.find_token("access-0")
    assert holder is not None
    assert holder.member is allowed


@pytest.mark.parametrize(
    ("held", "allowed"),
    [
        (None, False),
        (member(server=None), True),
        (member(server="files"), False),
        (member(site="dam"), False),
        (member(user="bob"), False),
    ],
)
async def test_who_may_use_all_servers_of_a_site_together(
    store: Store, held: Membership | None, allowed: bool
) -> None:
    if held is not None:
        await store.memberships.add(held)
    assert await store.memberships.allows("alice", "mill", WHOLE_SITE) is allowed
    await redeemed(store, server=WHOLE_SITE)
    holder = await store.grants.find_token("access-0")
    assert holder is not None
    assert (holder.grant.server, holder.member) == (WHOLE_SITE, allowed)


async def test_a_disabled_user_may_use_nothing(store: Store) -> None:
    await store.memberships.add(member())
    await store.memberships.add(member(user="bob"))
    await store.users.disable("alice", 1001.0)
    assert await store.memberships.allows("alice", "mill", "files") is False
    assert await store.memberships.allows("bob", "mill", "files") is True
    assert await store.memberships.list("alice") == [member()]


async def test_a_membership_is_added_once(store: Store) -> None:
    assert await store.memberships.add(member()) is True
    assert await store.memberships.add(Membership("alice", "mill", None, 2000.0)) is False
    assert await store.memberships.add(member(server="files")) is True
    assert await store.memberships.add(member(server="files")) is False
    assert await store.memberships.list() == [member(), member(server="files")]


async def test_a_membership_needs_a_user_and_a_site(store: Store) -> None:
    with pytest.raises(NoSuchUser, match=r"There is no user 'zoe'.*user add zoe"):
        await store.memberships.add(member(user="zoe"))
    with pytest.raises(NoSuchSite, match=r"There is no site 'port'.*site add port"):
        await store.memberships.add(member(site="port"))
    assert await store.memberships.list() == []


async def test_what_is_removed_is_gone_and_the_other_stays(store: Store) -> None:
    await store.memberships.add(member())
    await store.memberships.add(member(server="files"))
    assert await store.memberships.remove("alice", "mill", None) is True
    assert await store.memberships.remove("alice", "mill", None) is False
    assert await store.memberships.list() == [member(server="files")]
    assert await store.memberships.allows("alice", "mill", "files") is True
    assert await store.memberships.remove("alice", "mill", "files") is True
    assert await store.memberships.allows("alice", "mill", "files") is False


@pytest.mark.parametrize(
    ("user", "site", "server"),
    [("alice", "mill", "files"), ("alice", "dam", None), ("bob", "mill", None), ("zoe", "port", "x")],
)
async def test_removing_takes_nothing_but_what_it_names(
    store: Store, user: str, site: str, server: str | None
) -> None:
    await store.memberships.add(member())
    assert await store.memberships.remove(user, site, server) is False
    assert await store.memberships.list() == [member()]


async def test_they_are_listed_by_user_site_and_server(store: Store) -> None:
    held = [
        member(site="dam", server="files"),
        member(),
        member(server="a"),
        member(server="b"),
        member("bob", "dam"),
        member("bob", "mill", "files"),
    ]
    for each in reversed(held):
        await store.memberships.add(each)
    assert await store.memberships.list() == held
    assert await store.memberships.list("alice") == held[:4]
    assert await store.memberships.list(site="dam") == [held[0], held[4]]
    assert await store.memberships.list("bob", "mill") == [held[5]]
    assert await store.memberships.list("zoe") == []


async def test_adding_and_removing_moves_the_change_sequence(store: Store) -> None:
    before = await store.change_sequence()
    await store.memberships.add(member())
    between = await store.change_sequence()
    await store.memberships.remove("alice", "mill", None)
    assert before < between < await store.change_sequence()
