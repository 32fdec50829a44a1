"""Users, and the invitations by which they choose a password."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from penstock_relay.store import Ended, NoSuchUser, Store, UserExists
from tests.relay.store.accounts import code, fill, invite_of, pair, redeemed, url_in, user


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with await Store.open(url_in(tmp_path)) as store:
        await fill(store)
        yield store


async def test_users_are_found_by_name_and_listed_by_it_disabled_ones_too(store: Store) -> None:
    await store.users.add(user("zoe"), b"z" * 32, 2000.0)
    await store.users.add(user("aaron"), b"a" * 32, 2000.0)
    await store.users.disable("zoe", 1500.0)
    zoe = replace(user("zoe"), disabled_at=1500.0)
    assert await store.users.list() == [user("aaron"), user("alice"), zoe]
    assert await store.users.find("zoe") == zoe
    assert await store.users.find("nobody") is None


async def test_a_second_user_of_one_name_changes_nothing(store: Store) -> None:
    again = replace(user(), email="other@example.com")
    with pytest.raises(UserExists, match=r"There is a user 'alice' already.*user invite alice"):
        await store.users.add(again, b"2" * 32, 2000.0)
    assert await store.users.list() == [user()]
    assert await store.users.invited(b"2" * 32, 1001.0) is None
    assert await store.users.invited(invite_of("alice"), 1001.0) == user()


async def test_an_invitation_is_good_until_it_expires(store: Store) -> None:
    assert await store.users.invited(invite_of("alice"), 1999.9) == user()
    assert await store.users.invited(invite_of("alice"), 2000.0) is None
    assert await store.users.accept(invite_of("alice"), "hash", 2000.0) is None
    assert await store.users.find("alice") == user()


async def test_an_invitation_that_nobody_issued_is_unknown(store: Store) -> None:
    assert await store.users.invited(b"x" * 32, 1001.0) is None
    assert await store.users.accept(b"x" * 32, "hash", 1001.0) is None
    assert await store.users.find("alice") == user()


async def test_looking_at_an_invitation_does_not_use_it(store: Store) -> None:
    assert await store.users.invited(invite_of("alice"), 1001.0) == user()
    assert await store.users.invited(invite_of("alice"), 1001.0) == user()
    assert await store.users.accept(invite_of("alice"), "hash", 1001.0) is not None


async def test_accepting_sets_the_password_once(store: Store) -> None:
    accepted = replace(user(), password_hash="hash")
    assert await store.users.accept(invite_of("alice"), "hash", 1001.0) == accepted
    assert await store.users.find("alice") == accepted
    assert await store.users.accept(invite_of("alice"), "theft", 1002.0) is None
    assert await store.users.invited(invite_of("alice"), 1002.0) is None
    assert await store.users.find("alice") == accepted


async def test_accepting_touches_no_other_user(store: Store) -> None:
    await store.users.add(user("bob"), b"b" * 32, 2000.0)
    await store.users.accept(invite_of("alice"), "hash", 1001.0)
    assert await store.users.find("bob") == user("bob")
    assert await store.users.invited(b"b" * 32, 1002.0) == user("bob")


async def test_of_100_that_accept_one_invitation_one_wins(store: Store, tmp_path: Path) -> None:
    # Two stores, as in two processes: one lock of ours would hide a transaction that reads too early.
    async with await Store.open(url_in(tmp_path)) as other, asyncio.TaskGroup() as group:
        tasks = [
            group.create_task((store, other)[n % 2].users.accept(invite_of("alice"), f"hash-{n}", 1001.0))
            for n in range(100)
        ]
        await asyncio.wait(tasks)
    winners = [accepted for task in tasks if (accepted := task.result()) is not None]
    assert len(winners) == 1
    assert winners == [await store.users.find("alice")]
    assert winners[0].password_hash is not None


async def test_a_new_invitation_replaces_those_that_were_not_used(store: Store) -> None:
    await store.users.add(user("bob"), b"b" * 32, 2000.0)
    await store.users.invite("alice", b"1" * 32, 1001.0, 3000.0)
    await store.users.invite("alice", b"2" * 32, 1002.0, 3000.0)
    invites = (invite_of("alice"), b"1" * 32, b"2" * 32, b"b" * 32)
    assert [await store.users.invited(each, 1003.0) for each in invites] == [
        None,
        None,
        user(),
        user("bob"),
    ]


async def test_an_invitation_replaces_a_password_only_when_it_is_accepted(store: Store) -> None:
    await store.users.accept(invite_of("alice"), "old", 1001.0)
    await store.users.invite("alice", b"2" * 32, 1002.0, 3000.0)
    assert await store.users.find("alice") == replace(user(), password_hash="old")
    assert await store.users.accept(b"2" * 32, "new", 1003.0) == replace(user(), password_hash="new")
    assert await store.users.find("alice") == replace(user(), password_hash="new")
    assert await store.users.invited(invite_of("alice"), 1004.0) is None


async def test_nobody_is_invited_without_an_account(store: Store) -> None:
    with pytest.raises(NoSuchUser, match=r"There is no user 'bob'.*user add bob"):
        await store.users.invite("bob", b"2" * 32, 1001.0, 3000.0)
    with pytest.raises(NoSuchUser, match=r"There is no user 'bob'"):
        await store.users.disable("bob", 1001.0)


async def test_a_disabled_user_can_neither_accept_nor_be_invited(store: Store) -> None:
    assert await store.users.disable("alice", 1001.0) == Ended()
    assert await store.users.invited(invite_of("alice"), 1002.0) is None
    assert await store.users.accept(invite_of("alice"), "hash", 1002.0) is None
    with pytest.raises(NoSuchUser, match=r"'alice' is disabled.*user enable alice"):
        await store.users.invite("alice", b"2" * 32, 1002.0, 3000.0)
    assert await store.users.find("alice") == replace(user(), disabled_at=1001.0)


async def test_disabling_ends_the_grants_of_that_user_that_have_not_ended(store: Store) -> None:
    await store.users.add(user("bob"), b"b" * 32, 2000.0)
    made = [await redeemed(store, number) for number in (0, 1, 2)]
    others = await redeemed(store, 3, "bob")
    await store.grants.revoke("grant-1", 1001.0)
    assert (await store.users.disable("alice", 1002.0)).grants == 2
    assert await store.grants.list() == [
        replace(made[0], revoked_at=1002.0),
        replace(made[1], revoked_at=1001.0),
        replace(made[2], revoked_at=1002.0),
        others,
    ]


@pytest.mark.parametrize(("now", "count"), [(3999.9, 1), (4000.0, 0), (9000.0, 0)])
async def test_grants_that_ended_by_themselves_are_not_counted(store: Store, now: float, count: int) -> None:
    await redeemed(store)
    assert (await store.users.disable("alice", now)).grants == count


async def test_disabling_twice_keeps_the_first_moment(store: Store) -> None:
    await redeemed(store)
    assert (await store.users.disable("alice", 1002.0)).grants == 1
    assert (await store.users.disable("alice", 1003.0)).grants == 0
    assert await store.users.find("alice") == replace(user(), disabled_at=1002.0)


async def test_a_code_that_a_disabled_user_left_gives_tokens_of_a_disabled_user(store: Store) -> None:
    await store.grants.add_code(code())
    await store.users.disable("alice", 1001.0)
    made = await redeemed(store, 7)
    holder = await store.grants.find_token(pair(7)[0].public_id)
    assert holder is not None
    assert (holder.grant.id, holder.disabled, holder.member) == (made.id, True, False)


async def test_every_write_moves_the_change_sequence_and_no_look_does(store: Store) -> None:
    seen = [await store.change_sequence()]

    async def moved() -> bool:
        seen.append(await store.change_sequence())
        return seen[-1] > seen[-2]

    await store.users.add(user("bob"), b"b" * 32, 2000.0)
    assert await moved()
    await store.users.invite("bob", b"2" * 32, 1001.0, 2000.0)
    assert await moved()
    await store.users.accept(b"2" * 32, "hash", 1002.0)
    assert await moved()
    await store.users.disable("bob", 1003.0)
    assert await moved()
    await store.users.invited(invite_of("alice"), 1003.0)
    await store.users.find("alice")
    await store.users.list()
    assert not await moved()
