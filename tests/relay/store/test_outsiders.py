"""Users who log in elsewhere, and what the user of this relay with the same address may use."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from penstock.principal import Principal
from penstock_relay.oauth.upstream.person import Person
from penstock_relay.store import GroupMembership, Membership, Role, Store, User

NOW = 1_000_000.0
ISSUER = "https://login.example"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with await Store.open(f"sqlite+aiosqlite:///{tmp_path / 'relay.db'}") as store:
        for site in ("oslo", "bergen"):
            await store.sites.add(site, NOW)
        for number, (name, email) in enumerate(
            [("anna", "Anna@example.com"), ("bo", "bo@example.com"), ("bob", "BO@example.com"), ("cleo", "")]
        ):
            await store.users.add(User(name, email, None, NOW), bytes([number]) * 32, NOW + 1)
            await store.memberships.add(Membership(name, "oslo", "files", NOW))
        await store.memberships.add(Membership("anna", "bergen", None, NOW))
        yield store


def somebody(email: str = "anna@Example.com", issuer: str = ISSUER, subject: str = "s-1") -> Principal:
    return Principal(issuer, subject, email=email)


@pytest.mark.parametrize(
    ("site", "server", "good"),
    [("oslo", "files", True), ("oslo", "mail", False), ("bergen", "mail", True), ("none", "mail", False)],
)
async def test_the_user_with_the_same_address_says_what_is_allowed(
    store: Store, site: str, server: str, good: bool
) -> None:
    assert await store.outsiders([ISSUER]).allows(somebody(), site, server) is good


async def test_an_address_counts_only_for_issuers_that_the_operator_named(store: Store) -> None:
    assert not await store.outsiders([]).allows(somebody(), "oslo", "files")
    assert not await store.outsiders([ISSUER]).allows(somebody(issuer="https://o.example"), "oslo", "files")


@pytest.mark.parametrize("email", ["", "bo@example.com", "nobody@example.com", "%", "anna@example.com "])
async def test_nobody_is_taken_for_somebody(store: Store, email: str) -> None:
    """No address is not that of the user without one, and two users with one address are neither."""
    assert not await store.outsiders([ISSUER]).allows(somebody(email), "oslo", "files")


async def test_a_subject_is_not_the_name_of_a_user(store: Store) -> None:
    assert not await store.outsiders([ISSUER]).allows(somebody("", subject="anna"), "oslo", "files")


async def test_a_disabled_user_may_use_nothing(store: Store) -> None:
    await store.users.disable("anna", NOW)
    assert not await store.outsiders([ISSUER]).allows(somebody(), "oslo", "files")


async def test_who_logged_in_at_that_issuer_is_that_user_whatever_the_address(store: Store) -> None:
    person = Person("https://sso.example", "s-7", "Dora", "dora@example.com")
    await store.people.welcome(person, NOW, name="dora@example.com", spare="user-7")
    await store.memberships.add(Membership("dora@example.com", "oslo", "files", NOW))
    outsiders = store.outsiders([ISSUER])
    dora = Principal("https://sso.example", "s-7")
    assert await outsiders.allows(dora, "oslo", "files")
    assert not await outsiders.allows(dora, "oslo", "wiki")
    assert not await outsiders.allows(Principal("https://sso.example", "s-8"), "oslo", "files")
    # And nobody else is her for having her address: not at another issuer either.
    assert not await outsiders.allows(somebody("dora@example.com", subject="s-7"), "oslo", "files")
    # Her address makes nobody else ambiguous.
    same = Person("https://sso.example", "s-9", "A", "anna@example.com")
    await store.people.welcome(same, NOW, name="anna@example.com", spare="user-9")
    assert await outsiders.allows(somebody(), "oslo", "files")
    await store.users.disable("dora@example.com", NOW)
    assert not await outsiders.allows(dora, "oslo", "files")


async def test_an_auditor_may_not_call_and_a_group_may(store: Store) -> None:
    outsiders = store.outsiders([ISSUER])
    await store.memberships.add(Membership("anna", "oslo", "files", NOW, Role.AUDITOR))
    assert not await outsiders.allows(somebody(), "oslo", "files")
    person = Person("https://sso.example", "s-7", groups=("staff",))
    await store.people.welcome(person, NOW, name="d", spare="user-7")
    await store.memberships.add(GroupMembership("staff", "oslo", None, NOW))
    assert await outsiders.allows(Principal("https://sso.example", "s-7"), "oslo", "files")
