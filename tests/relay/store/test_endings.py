"""What ends with a user: everything of that user, and nothing of anybody else's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from penstock_relay.store import Consent, Ended, LoginRecord, Store
from tests.relay.store.accounts import CODE, NOW, code, fill, grant, invite_of, pair, redeemed, url_in


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with await Store.open(url_in(tmp_path)) as store:
        await fill(store, "alice", "bob")
        for name in ("alice", "bob"):
            await store.users.accept(invite_of(name), "hash", NOW)
        for number, user in enumerate(("alice", "alice", "bob")):
            await redeemed(store, number, user)
            login = LoginRecord(bytes([number]) * 32, user, NOW, NOW + 500)
            assert await store.logins.add(login, "hash")
        yield store


async def revoked(store: Store) -> list[bool]:
    return [each.revoked_at is not None for each in await store.grants.list()]


@pytest.mark.parametrize("how", ["disable", "reset"])
async def test_all_of_a_user_ends_and_is_counted_once(store: Store, how: str) -> None:
    end = store.users.disable if how == "disable" else store.users.reset
    assert await end("alice", NOW + 1) == Ended(logins=2, grants=2, tokens=4)
    assert await end("alice", NOW + 2) == Ended()
    assert await revoked(store) == [True, True, False]
    assert (await store.logins.count("alice", NOW), await store.logins.count("bob", NOW)) == (0, 1)
    alice, bob = await store.users.find("alice"), await store.users.find("bob")
    assert alice is not None
    assert bob is not None
    assert alice.state == ("disabled" if how == "disable" else "invited")
    assert (bob.state, bob.password_hash) == ("active", "hash")


async def test_revoking_all_grants_leaves_the_account_and_its_logins(store: Store) -> None:
    assert await store.grants.revoke_all("alice", NOW + 1) == Ended(grants=2, tokens=4)
    assert await revoked(store) == [True, True, False]
    assert await store.logins.count("alice", NOW) == 2


async def test_tokens_that_have_ended_already_are_not_counted(store: Store) -> None:
    assert await store.users.disable("alice", NOW + 100) == Ended(logins=2, grants=2, tokens=2)


async def test_nothing_comes_of_a_code_or_a_consent_that_was_given_before(store: Store) -> None:
    await store.grants.add_code(code(CODE))
    await store.grants.add_code(code(b"b" * 32, "bob"))
    for user in ("alice", "bob"):
        ahead = Consent(user, "client", "https://back", "mill", "wiki", "{}", NOW + 500)
        await store.consents.put(ahead, NOW)
    await store.grants.revoke_all("alice", NOW + 1)
    late, other = grant(8), grant(9, "bob")
    assert not await store.grants.redeem(CODE, late, *pair(8, grant_id=late.id), NOW + 1)
    assert await store.grants.redeem(b"b" * 32, other, *pair(9, grant_id=other.id), NOW + 1)
    key = ("client", "https://back", "mill", "wiki", NOW + 1)
    assert await store.consents.take("alice", *key) is None
    assert await store.consents.take("bob", *key) == "{}"


async def test_a_code_that_was_used_still_tells_of_its_theft(store: Store) -> None:
    await store.grants.revoke_all("alice", NOW + 1)
    again = grant(7)
    assert not await store.grants.redeem(bytes([0]) * 32, again, *pair(7, grant_id=again.id), NOW + 2)
