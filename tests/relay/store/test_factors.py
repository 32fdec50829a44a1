"""Second factors, as the store keeps them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from penstock_relay import audit
from penstock_relay.store import Factor, LoginRecord, NoSuchUser, Store
from tests.relay.store.accounts import NOW, fill, invite_of, redeemed, url_in

CODES = [bytes([number]) * 32 for number in range(8)]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with await Store.open(url_in(tmp_path)) as store:
        await fill(store, "alice", "bob")
        for name in ("alice", "bob"):
            await store.users.accept(invite_of(name), "hash", NOW)
        yield store.by(audit.user("alice"))


def factor(user: str = "alice", secret: bytes = b"sealed", step: int = 33) -> Factor:
    return Factor(user, secret, NOW, step)


async def added(store: Store) -> Factor:
    assert await store.factors.add(factor(), CODES, password_hash="hash")
    return factor()


async def last(store: Store) -> tuple[str, dict[str, Any]]:
    """The newest record: kind and fields."""
    entry = [entry.values() async for entry in store.audit.entries()][-1]
    return entry["kind"], entry["about"]


async def logged_in(store: Store, number: int, user: str = "alice") -> bytes:
    secret_hash = bytes([100 + number]) * 32
    assert await store.logins.add(LoginRecord(secret_hash, user, NOW, NOW + 100), "hash")
    return secret_hash


async def test_a_factor_is_found_and_shows_in_its_user(store: Store) -> None:
    assert await store.factors.find("alice") is None
    await added(store)
    assert await store.factors.find("alice") == factor()
    assert await store.factors.find("bob") is None
    assert await store.factors.all() == [factor()]
    assert {user.name: user.factor for user in await store.users.list()} == {"alice": True, "bob": False}
    assert await last(store) == ("factor_added", {"user": "alice", "logins": 0})


async def test_there_is_one_at_most_and_none_with_an_old_password(store: Store) -> None:
    for password in ("old", None):
        assert not await store.factors.add(factor(), CODES, password_hash=password)
    assert not await store.factors.add(factor("nobody"), CODES, password_hash="hash")
    await added(store)
    assert not await store.factors.add(factor(secret=b"other"), [b"x" * 32], password_hash="hash")
    assert await store.factors.find("alice") == factor()
    assert await store.factors.recovery_left("alice") == 8
    await store.users.disable("bob", NOW)
    assert not await store.factors.add(factor("bob"), [b"x" * 32], password_hash="hash")


async def test_a_new_one_ends_the_logins_of_its_user_but_one(store: Store) -> None:
    kept, other = await logged_in(store, 1), await logged_in(store, 2)
    bobs = await logged_in(store, 3, "bob")
    assert await store.factors.add(factor(), CODES, password_hash="hash", keep=kept)
    assert await last(store) == ("factor_added", {"user": "alice", "logins": 1})
    for login, expected in ((kept, True), (other, False), (bobs, True)):
        assert (await store.logins.find(login, NOW) is not None) is expected


async def test_a_login_by_the_password_alone_needs_a_user_without_a_factor(store: Store) -> None:
    record = LoginRecord(b"l" * 32, "alice", NOW, NOW + 100)
    await added(store)
    assert not await store.logins.add(record, "hash", alone=True)
    assert await store.logins.add(record, "hash")
    other = LoginRecord(b"m" * 32, "bob", NOW, NOW + 100)
    assert await store.logins.add(other, "hash", alone=True)


async def test_steps_are_used_upwards_only(store: Store) -> None:
    mine = await added(store)
    used = [await store.factors.use_step(mine, step) for step in (33, 34, 34, 33, 36, 35, 37)]
    assert used == [False, True, False, False, True, False, True]
    assert not await store.factors.use_step(factor("bob"), 90)


async def test_of_a_hundred_uses_of_one_step_one_wins(store: Store, tmp_path: Path) -> None:
    """In two processes, for all that the database knows."""
    mine = await added(store)
    async with await Store.open(url_in(tmp_path)) as other:
        used = await asyncio.gather(
            *((store, other)[number % 2].factors.use_step(mine, 40) for number in range(100))
        )
        assert used.count(True) == 1
        left = await asyncio.gather(
            *((store, other)[number % 2].factors.use_recovery("alice", CODES[0]) for number in range(100))
        )
    assert sorted(each for each in left if each is not None) == [7]


async def test_a_step_of_a_key_that_was_replaced_is_not_used(store: Store) -> None:
    before = await added(store)
    await store.factors.remove("alice")
    assert await store.factors.add(factor(secret=b"other"), CODES, password_hash="hash")
    assert not await store.factors.use_step(before, 90)


async def test_a_recovery_code_is_used_up_by_its_own_user_only(store: Store) -> None:
    await added(store)
    assert await store.factors.use_recovery("bob", CODES[0]) is None
    assert await store.factors.use_recovery("alice", b"x" * 32) is None
    assert await store.factors.use_recovery("alice", CODES[0]) == 7
    assert await last(store) == ("recovery_code_used", {"user": "alice", "left": 7})
    assert await store.factors.use_recovery("alice", CODES[0]) is None
    assert await store.factors.recovery_left("alice") == 7


async def test_a_user_who_turns_it_off_stays_logged_in(store: Store) -> None:
    assert not await store.factors.remove("alice")
    login = await logged_in(store, 1)
    await added_keeping(store, login)
    assert await store.factors.remove("alice")
    assert await last(store) == ("factor_removed", {"user": "alice"})
    assert await store.factors.find("alice") is None
    assert await store.factors.recovery_left("alice") == 0
    assert await store.logins.find(login, NOW) is not None
    await added(store)  # with the same codes: nothing was left of them


async def added_keeping(store: Store, login: bytes) -> None:
    assert await store.factors.add(factor(), CODES, password_hash="hash", keep=login)


async def test_a_reset_ends_the_logins_and_nothing_else(store: Store) -> None:
    assert await store.factors.reset("alice", NOW) is None
    with pytest.raises(NoSuchUser):
        await store.factors.reset("nobody", NOW)
    await added(store)
    await redeemed(store)
    login = await logged_in(store, 1)
    assert await store.factors.reset("alice", NOW) == 1
    assert await last(store) == ("factor_reset", {"user": "alice", "logins": 1})
    assert await store.factors.find("alice") is None
    assert await store.logins.find(login, NOW) is None
    (grant,) = await store.grants.list("alice")
    assert grant.revoked_at is None
    user = await store.users.find("alice")
    assert user is not None
    assert (user.password_hash, user.factor) == ("hash", False)


async def test_an_account_in_wrong_hands_loses_its_factor(store: Store) -> None:
    await added(store)
    await store.users.reset("alice", NOW)
    assert await store.factors.find("alice") is None
    kinds = [entry.values()["kind"] async for entry in store.audit.entries()]
    assert kinds[-2:] == ["factor_reset", "user_reset"]
    await store.users.reset("alice", NOW)
    kinds = [entry.values()["kind"] async for entry in store.audit.entries()]
    assert kinds[-2:] == ["user_reset", "user_reset"]


async def test_a_disabled_user_keeps_it_for_when_the_account_is_used_again(store: Store) -> None:
    await added(store)
    await store.users.disable("alice", NOW)
    await store.users.enable("alice")
    assert await store.factors.find("alice") == factor()


async def test_a_key_is_sealed_again_unless_it_has_changed(store: Store) -> None:
    mine = await added(store)
    assert await store.factors.seal_again(mine, b"sealed anew")
    assert not await store.factors.seal_again(mine, b"from an old one")
    assert await store.factors.find("alice") == factor(secret=b"sealed anew")
