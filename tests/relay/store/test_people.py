"""Users of an identity provider: who is who, what groups give, and how they leave."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from penstock_relay.oauth.upstream.person import Person
from penstock_relay.store import (
    Ended,
    GroupMembership,
    LoginRecord,
    Membership,
    Role,
    Store,
    User,
)
from penstock_relay.store.people import MAX_GROUPS
from tests.relay.store.accounts import NOW, fill, redeemed, url_in

ISSUER = "https://sso.example"
ANNA = Person(ISSUER, "s-1", "Anna Berg", "anna@example.com", ("staff",))


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with await Store.open(url_in(tmp_path)) as store:
        await fill(store, "alice")
        yield store


async def welcome(store: Store, person: Person = ANNA, now: float = NOW) -> User:
    return await store.people.welcome(person, now, name=person.email or "user-x", spare=f"u-{person.subject}")


async def logged_in(store: Store, user: str, number: int, sid: str | None = None) -> None:
    record = LoginRecord(bytes([number]) * 32, user, NOW, NOW + 100, sid)
    assert await store.logins.add(record, None)


async def test_somebody_who_comes_first_gets_an_account_and_then_keeps_it(store: Store) -> None:
    made = await welcome(store)
    assert made == User("anna@example.com", "anna@example.com", None, NOW, None, ISSUER, "s-1", "Anna Berg")
    assert made.state == "active"
    changed = Person(ISSUER, "s-1", "Anna Dahl", "anna.dahl@example.com", ("a", "b"))
    again = await welcome(store, changed, NOW + 5)
    assert again == replace(made, email="anna.dahl@example.com", full_name="Anna Dahl")
    assert await store.people.groups(made.name) == ("a", "b")
    account = await store.people.find(made.name)
    assert account is not None
    assert (account.user, account.checked_at, account.refresh) == (again, NOW + 5, None)
    assert [user.name for user in await store.users.list()] == ["alice", "anna@example.com"]


@pytest.mark.parametrize(
    "other", [replace(ANNA, subject="s-2"), replace(ANNA, issuer="https://other.example")]
)
async def test_the_same_address_makes_nobody_the_same_user(store: Store, other: Person) -> None:
    first, second = await welcome(store), await welcome(store, other)
    assert (first.name, second.name) == ("anna@example.com", f"u-{other.subject}")


async def test_an_address_that_a_user_of_the_relay_has_opens_nothing_of_that_user(store: Store) -> None:
    await store.memberships.add(Membership("alice", "mill", None, NOW))
    thief = Person(ISSUER, "s-9", "Alice", "alice@example.com")
    user = await store.people.welcome(thief, NOW, name="alice", spare="user-9")
    assert user.name == "user-9"
    assert not await store.memberships.allows("user-9", "mill", "files")
    assert await store.people.find("alice") is None


async def test_a_disabled_user_who_comes_again_stays_disabled(store: Store) -> None:
    user = await welcome(store)
    await store.users.disable(user.name, NOW)
    assert (await welcome(store, now=NOW + 1)).state == "disabled"
    assert not await store.logins.add(LoginRecord(b"x" * 32, user.name, NOW, NOW + 9), None)
    assert await store.users.enable(user.name) is True
    assert (await welcome(store)).state == "active"


async def test_a_group_gives_its_members_access_as_long_as_they_are_in_it(store: Store) -> None:
    await store.sites.add("dam", NOW)
    await store.memberships.add(GroupMembership("staff", "mill", "files", NOW))
    await store.memberships.add(GroupMembership("audit", "mill", None, NOW, Role.AUDITOR))
    anna = (await welcome(store, replace(ANNA, groups=("staff", "audit")))).name

    async def allowed() -> list[str]:
        places = [("mill", "files"), ("mill", "wiki"), ("dam", "files")]
        return [f"{site}/{server}" for site, server in places
                if await store.memberships.allows(anna, site, server)]  # fmt: skip

    assert await allowed() == ["mill/files"]
    assert not await store.memberships.allows("alice", "mill", "files")
    await welcome(store, replace(ANNA, groups=("Staff", "staff ", "audit")))
    assert await allowed() == []
    await welcome(store)
    assert await allowed() == ["mill/files"]
    await store.users.disable(anna, NOW)
    assert await allowed() == []


async def test_what_a_site_is_told_of_a_caller(store: Store) -> None:
    await store.memberships.add(GroupMembership("staff", "mill", None, NOW))
    anna = (await welcome(store)).name
    await redeemed(store, user=anna)
    holder = await store.grants.find_token("access-0")
    assert holder is not None
    assert holder.member
    assert holder.person == ANNA
    await redeemed(store, 1)
    own = await store.grants.find_token("access-1")
    assert own is not None
    assert own.person is None


async def test_of_very_many_groups_only_those_that_memberships_name_travel(store: Store) -> None:
    many = [f"g{number:03}" for number in range(MAX_GROUPS + 1)]
    for group in ("g100", "g007", "elsewhere"):
        await store.memberships.add(GroupMembership(group, "mill", None, NOW))
    anna = (await welcome(store, replace(ANNA, groups=tuple(many[:-1])))).name
    await redeemed(store, user=anna)

    async def told() -> tuple[str, ...]:
        holder = await store.grants.find_token("access-0")
        assert holder is not None
        assert holder.person is not None
        return holder.person.groups

    assert await told() == tuple(many[:-1])
    await welcome(store, replace(ANNA, groups=tuple(many)))
    assert await told() == ("g007", "g100")
    assert len(await store.people.groups(anna)) == MAX_GROUPS + 1


async def test_one_at_a_time_asks_the_provider_about_a_user(store: Store) -> None:
    anna = (await welcome(store)).name
    await store.people.keep_refresh(anna, b"sealed")
    assert await store.people.begin_check(anna, NOW, NOW + 20)
    assert not await store.people.begin_check(anna, NOW + 19, NOW + 40)
    assert await store.people.begin_check(anna, NOW + 20, NOW + 40)
    await store.people.abandon_check(anna)
    account = await store.people.find(anna)
    assert account is not None
    assert (account.checked_at, account.refresh) == (NOW, b"sealed")
    assert await store.people.begin_check(anna, NOW + 21, NOW + 40)
    changed = replace(ANNA, groups=("other",))
    await store.people.end_check(anna, NOW + 22, person=changed, refresh=b"next")
    account = await store.people.find(anna)
    assert account is not None
    assert (account.checked_at, account.refresh) == (NOW + 22, b"next")
    assert await store.people.groups(anna) == ("other",)
    await logged_in(store, anna, 1)
    await logged_in(store, anna, 2)
    assert await store.people.begin_check(anna, NOW + 23, NOW + 40)
    assert await store.logins.count(anna, NOW + 23) == 2
    await store.people.end_check(anna, NOW + 24, person=None, refresh=None)
    account = await store.people.find(anna)
    assert account is not None
    assert (account.checked_at, account.refresh) == (0.0, None)
    assert await store.logins.count(anna, NOW + 24) == 0
    assert not await store.people.begin_check("alice", NOW, NOW + 20)


# -- logout at the provider -----------------------------------------------------------------------------


async def log_out(
    store: Store, subject: str | None, sid: str | None, *, jti: bytes = b"j" * 32, grants: bool = True
) -> dict[str, Ended] | None:
    return await store.people.log_out(
        ISSUER, subject, sid, jti_hash=jti, jti_until=NOW + 300, now=NOW + 1, grants=grants
    )


async def test_a_logout_of_a_subject_ends_all_of_that_user_and_nothing_of_others(store: Store) -> None:
    anna = (await welcome(store)).name
    bo = (await welcome(store, Person(ISSUER, "s-2", email="bo@example.com"))).name
    for number, user in enumerate([anna, anna, bo]):
        await logged_in(store, user, number, f"sid-{number}")
    await redeemed(store, 0, anna)
    await redeemed(store, 1, bo)
    await store.people.keep_refresh(anna, b"sealed")
    assert await log_out(store, "s-1", None) == {anna: Ended(2, 1, 2)}
    assert (await store.logins.count(anna, NOW + 1), await store.logins.count(bo, NOW + 1)) == (0, 1)
    holder, other = await store.grants.find_token("access-0"), await store.grants.find_token("access-1")
    assert holder is not None
    assert other is not None
    assert (holder.grant.revoked_at, other.grant.revoked_at) == (NOW + 1, None)
    account = await store.people.find(anna)
    assert account is not None
    assert (account.checked_at, account.refresh) == (0.0, None)


@pytest.mark.parametrize("subject", ["s-1", None])
async def test_a_logout_of_one_session_ends_the_login_that_came_of_it(
    store: Store, subject: str | None
) -> None:
    anna = (await welcome(store)).name
    await logged_in(store, anna, 1, "one")
    await logged_in(store, anna, 2, "two")
    await redeemed(store, 0, anna)
    assert await log_out(store, subject, "one", grants=False) == {anna: Ended(logins=1)}
    assert await store.logins.find(bytes([1]) * 32, NOW + 1) is None
    assert await store.logins.find(bytes([2]) * 32, NOW + 1) is not None
    holder = await store.grants.find_token("access-0")
    assert holder is not None
    assert holder.grant.revoked_at is None


async def test_a_logout_names_nobody_of_another_issuer(store: Store) -> None:
    other = (await welcome(store, Person("https://other.example", "s-1"))).name
    await logged_in(store, other, 1, "one")
    assert await log_out(store, "s-1", None) == {}
    assert await log_out(store, None, "one", jti=b"k" * 32) == {}
    assert await store.logins.count(other, NOW + 1) == 1


async def test_a_logout_token_is_obeyed_once(store: Store) -> None:
    anna = (await welcome(store)).name
    assert await log_out(store, "s-1", None) is not None
    await logged_in(store, anna, 1)
    assert await log_out(store, "s-1", None) is None
    assert await store.logins.count(anna, NOW + 1) == 1
    later = await store.people.log_out(
        ISSUER, "s-1", None, jti_hash=b"j" * 32, jti_until=NOW + 900, now=NOW + 300, grants=True
    )
    assert later is not None  # forgotten, when its age alone refuses it
