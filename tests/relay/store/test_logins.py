"""Logins: who is logged in where, and what ends that."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from penstock_relay.store import LoginRecord, Store
from penstock_relay.store.logins import MAX_LOGINS
from tests.relay.store.accounts import NOW, fill, invite_of, url_in


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with await Store.open(url_in(tmp_path)) as store:
        await fill(store, "alice", "bob")
        for name in ("alice", "bob"):
            await store.users.accept(invite_of(name), "hash", NOW)
        yield store


def login(number: int, user: str = "alice", now: float = NOW, ends: float = NOW + 100) -> LoginRecord:
    return LoginRecord(number.to_bytes(2) * 16, user, now, ends)


async def who(store: Store, number: int, now: float = NOW) -> str | None:
    user = await store.logins.find(login(number).secret_hash, now)
    return None if user is None else user.name


async def test_a_login_is_good_until_its_end(store: Store) -> None:
    assert await store.logins.add(login(1), "hash")
    assert await who(store, 1, NOW + 99) == "alice"
    assert await who(store, 1, NOW + 100) is None
    assert await who(store, 2) is None


async def test_a_login_that_is_ended_is_over_and_the_others_are_not(store: Store) -> None:
    for number in (1, 2):
        await store.logins.add(login(number), "hash")
    assert await store.logins.end(login(1).secret_hash, NOW) is True
    assert await store.logins.end(login(1).secret_hash, NOW) is False
    assert (await who(store, 1), await who(store, 2)) == (None, "alice")


@pytest.mark.parametrize("password_hash", ["old", None, ""])
async def test_who_was_let_in_by_a_password_that_changed_meanwhile_is_not_in(
    store: Store, password_hash: str | None
) -> None:
    assert not await store.logins.add(login(1), password_hash)
    assert await who(store, 1) is None


async def test_a_user_who_is_disabled_is_out_and_does_not_come_in(store: Store) -> None:
    await store.logins.add(login(1), "hash")
    await store.logins.add(login(2, "bob"), "hash")
    assert (await store.users.disable("alice", NOW)).logins == 1
    assert not await store.logins.add(login(3), "hash")
    await store.users.enable("alice")
    assert (await who(store, 1), await who(store, 2)) == (None, "bob")


async def test_a_new_password_ends_the_logins_of_its_user(store: Store) -> None:
    await store.logins.add(login(1), "hash")
    await store.logins.add(login(2, "bob"), "hash")
    await store.users.invite("alice", b"n" * 32, NOW, NOW + 50)
    assert await who(store, 1) == "alice"
    await store.users.accept(b"n" * 32, "new", NOW)
    assert (await who(store, 1), await who(store, 2)) == (None, "bob")


async def test_logins_of_one_user_are_bounded_and_the_oldest_makes_room(store: Store) -> None:
    await store.logins.add(login(999, "bob"), "hash")
    for number in range(MAX_LOGINS + 1):
        assert await store.logins.add(login(number, now=NOW + number / 1000, ends=NOW + 100), "hash")
    assert await store.logins.count("alice", NOW) == MAX_LOGINS
    assert (await who(store, 0), await who(store, 1), await who(store, 999)) == (None, "alice", "bob")


async def test_what_has_expired_is_forgotten_by_the_next_login(store: Store) -> None:
    await store.logins.add(login(1, ends=NOW + 10), "hash")
    await store.logins.add(login(2, "bob", now=NOW + 10, ends=NOW + 90), "hash")
    assert await store.logins.count("alice", NOW) == 0
