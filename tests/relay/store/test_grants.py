"""Codes redeemed once, refresh tokens rotated, and what a replay of either ends."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy.exc import IntegrityError

from penstock_relay.store import Grant, GrantToken, Holder, NoSuchGrant, Store
from penstock_relay.store.grants import KEPT_CODES_S, MAX_REPEATS
from tests.relay.store.accounts import (
    CODE,
    NOW,
    code,
    fill,
    found,
    grant,
    member,
    pair,
    redeemed,
    rotate,
    url_in,
)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with await Store.open(url_in(tmp_path)) as store:
        await fill(store, "alice", "bob")
        yield store


async def grant_of(store: Store, number: int = 0) -> Grant:
    (one,) = [each for each in await store.grants.list() if each.id == f"grant-{number}"]
    return one


async def token_of(store: Store, public_id: str) -> GrantToken:
    holder = await store.grants.find_token(public_id)
    assert holder is not None
    return holder.token


# -- codes --------------------------------------------------------------------------------------------


async def test_a_code_comes_back_as_it_was(store: Store) -> None:
    await store.grants.add_code(code())
    assert await store.grants.find_code(CODE) == code()
    assert await store.grants.find_code(b"x" * 32) is None


async def test_a_code_becomes_a_grant_with_two_tokens(store: Store) -> None:
    await store.grants.add_code(code())
    access, refresh = pair(0)
    assert await store.grants.redeem(CODE, grant(), access, refresh, 1059.9) is True
    assert await store.grants.list() == [grant()]
    assert await token_of(store, "access-0") == access
    assert await token_of(store, "refresh-0") == refresh
    assert await store.grants.find_code(CODE) == replace(code(), used_at=1059.9, grant_id="grant-0")


@pytest.mark.parametrize(("secret_hash", "now"), [(CODE, 1060.0), (CODE, 5000.0), (b"x" * 32, 1001.0)])
async def test_an_expired_or_unknown_code_gives_nothing(store: Store, secret_hash: bytes, now: float) -> None:
    await store.grants.add_code(code())
    assert await store.grants.redeem(secret_hash, grant(), *pair(0), now) is False
    assert await store.grants.list() == []
    assert await found(store, ["access-0", "refresh-0"]) == []
    assert await store.grants.find_code(CODE) == code()


@pytest.mark.parametrize("now", [1001.0, 1060.0, 50_000.0])
async def test_a_replayed_code_ends_the_grant_that_came_of_it_and_no_other(store: Store, now: float) -> None:
    other = await redeemed(store, 1)
    await store.grants.add_code(code())
    assert await store.grants.redeem(CODE, grant(), *pair(0), NOW) is True
    assert await store.grants.redeem(CODE, grant(2), *pair(2, grant_id="grant-2"), now) is False
    assert await store.grants.list() == [replace(grant(), revoked_at=now), other]
    assert await found(store, ["access-2", "refresh-2"]) == []
    used = await store.grants.find_code(CODE)
    assert used is not None
    assert (used.used_at, used.grant_id) == (NOW, "grant-0")


async def test_a_second_replay_keeps_the_moment_of_the_first(store: Store) -> None:
    await store.grants.add_code(code())
    for now in (1001.0, 1002.0, 1003.0):
        await store.grants.redeem(CODE, grant(), *pair(0), now)
    assert await store.grants.list() == [replace(grant(), revoked_at=1002.0)]


async def test_a_redemption_that_fails_in_its_middle_leaves_the_code_unused(store: Store) -> None:
    await redeemed(store, 0)
    await store.grants.add_code(code())
    access, refresh = pair(0, grant_id="grant-1")  # their ids are in use
    with pytest.raises(IntegrityError):
        await store.grants.redeem(CODE, grant(1), access, refresh, 1001.0)
    assert await store.grants.find_code(CODE) == code()
    assert await store.grants.list() == [grant()]
    assert await store.grants.redeem(CODE, grant(1), *pair(1, grant_id="grant-1"), 1001.0) is True


async def test_of_100_redemptions_of_one_code_one_wins_and_the_others_end_it(
    store: Store, tmp_path: Path
) -> None:
    await store.grants.add_code(code())

    async def race(number: int, at: Store) -> bool:
        made = grant(number)
        return await at.grants.redeem(CODE, made, *pair(number, grant_id=made.id), 1001.0)

    # Two stores, as in two processes: one lock of ours would hide a transaction that reads too early.
    async with await Store.open(url_in(tmp_path)) as other, asyncio.TaskGroup() as group:
        tasks = [group.create_task(race(n, (store, other)[n % 2])) for n in range(100)]
        await asyncio.wait(tasks)
    results = [task.result() for task in tasks]
    assert results.count(True) == 1
    winner = results.index(True)
    assert await store.grants.list() == [replace(grant(winner), revoked_at=1001.0)]
    names = [f"{kind}-{n}" for n in range(100) for kind in ("access", "refresh")]
    assert await found(store, names) == [f"access-{winner}", f"refresh-{winner}"]
    used = await store.grants.find_code(CODE)
    assert used is not None
    assert used.grant_id == f"grant-{winner}"


async def test_codes_are_forgotten_a_day_after_they_expired(store: Store) -> None:
    await redeemed(store, 1)  # its code is one of those that go; its grant stays
    await store.grants.add_code(code())
    end = code().expires_at
    await store.grants.add_code(code(b"2" * 32, created_at=end + KEPT_CODES_S))
    assert await store.grants.find_code(CODE) == code()
    await store.grants.add_code(code(b"3" * 32, created_at=end + KEPT_CODES_S + 0.1))
    assert await store.grants.find_code(CODE) is None
    assert await store.grants.find_code(bytes([1]) * 32) is None
    assert await store.grants.find_code(b"2" * 32) is not None
    assert await store.grants.list() == [grant(1)]
    assert KEPT_CODES_S == 86_400.0


# -- tokens -------------------------------------------------------------------------------------------


async def test_a_token_comes_with_all_that_decides_about_it(store: Store) -> None:
    made = await redeemed(store)
    access, refresh = pair(0)
    assert await store.grants.find_token("access-0") == Holder(
        access, made, "alice@example.com", disabled=False, member=False
    )
    await store.memberships.add(member(server="files"))
    assert await store.grants.find_token("refresh-0") == Holder(
        refresh, made, "alice@example.com", disabled=False, member=True
    )
    await store.users.disable("alice", 1001.0)
    assert await store.grants.find_token("refresh-0") == Holder(
        refresh, replace(made, revoked_at=1001.0), "alice@example.com", disabled=True, member=False
    )
    assert await store.grants.find_token("nothing") is None


async def test_each_token_has_its_own_user_and_grant(store: Store) -> None:
    await redeemed(store, 0, "alice")
    await redeemed(store, 1, "bob")
    await store.memberships.add(member(user="bob"))
    await store.users.disable("alice", 1001.0)
    seen = [await store.grants.find_token(name) for name in ("access-0", "access-1")]
    assert [(h.grant.id, h.email, h.disabled, h.member) for h in seen if h is not None] == [
        ("grant-0", "alice@example.com", True, False),
        ("grant-1", "bob@example.com", False, True),
    ]


async def test_rotation_marks_the_old_and_adds_the_new(store: Store) -> None:
    made = await redeemed(store)
    assert await rotate(store, now=1050.0, idle_at=7000.0) is True
    assert await store.grants.list() == [replace(made, idle_at=7000.0)]
    assert (await token_of(store, "refresh-0")).used_at == 1050.0
    assert [await token_of(store, name) for name in ("access-1", "refresh-1")] == [*pair(1, 1050.0)]
    # The old access token stays as it was: a client may have calls under way.
    assert await token_of(store, "access-0") == pair(0)[0]


async def test_a_chain_of_rotations_goes_on(store: Store) -> None:
    await redeemed(store)
    for number in range(5):
        assert await rotate(store, f"refresh-{number}", number + 1, NOW + 100.0 * number) is True
    assert (await grant_of(store)).revoked_at is None


@pytest.mark.parametrize("now", [1010.0, 1010.1, 1039.9, 980.1])  # 980.1: it came first, and waited longer
async def test_a_refresh_token_may_come_again_within_the_grace(store: Store, now: float) -> None:
    await redeemed(store)
    assert await rotate(store, now=1010.0) is True
    assert await rotate(store, to=2, now=now) is True
    assert (await token_of(store, "refresh-0")).used_at == 1010.0
    assert (await grant_of(store)).revoked_at is None
    assert await rotate(store, "refresh-2", 3, now=1100.0) is True


async def test_a_successor_that_was_replaced_ends_the_grant(store: Store) -> None:
    """Whoever has it did not get it from the answer that the client went on with."""
    await redeemed(store)
    assert await rotate(store, now=1010.0) is True
    assert await rotate(store, to=2, now=1011.0) is True
    assert await rotate(store, "refresh-1", 3, now=1012.0) is False
    assert (await grant_of(store)).revoked_at == 1012.0


async def test_a_token_whose_successor_was_used_ends_the_grant_within_the_grace(store: Store) -> None:
    await redeemed(store)
    assert await rotate(store, now=1010.0) is True
    assert await rotate(store, "refresh-1", 2, now=1011.0) is True
    assert await rotate(store, to=3, now=1012.0) is False
    assert (await grant_of(store)).revoked_at == 1012.0


async def test_an_answer_does_not_get_lost_for_ever(store: Store) -> None:
    await redeemed(store)
    results = [await rotate(store, to=n + 1, now=1010.0) for n in range(MAX_REPEATS + 3)]
    assert results == [True] * (MAX_REPEATS + 1) + [False] * 2
    assert (await grant_of(store)).revoked_at is None  # it may be a client that is broken, and no thief


async def test_the_grace_counts_from_the_first_use(store: Store) -> None:
    await redeemed(store)
    assert await rotate(store, to=1, now=1010.0) is True
    assert await rotate(store, to=2, now=1035.0) is True
    assert await rotate(store, to=3, now=1045.0) is False
    assert (await grant_of(store)).revoked_at == 1045.0


@pytest.mark.parametrize("now", [1040.0, 1040.1, 3999.0, 980.0])  # 980: the clock was set back
async def test_a_replay_after_the_grace_ends_the_grant_and_no_other(store: Store, now: float) -> None:
    made, other = await redeemed(store, 0), await redeemed(store, 1)
    assert await rotate(store, to=2, now=1010.0, idle_at=8000.0) is True
    assert await rotate(store, to=3, now=now, idle_at=8500.0) is False
    assert await store.grants.list() == [replace(made, idle_at=8000.0, revoked_at=now), other]
    assert await found(store, ["access-3", "refresh-3"]) == []
    # Neither the thief nor the client goes on.
    assert await rotate(store, "refresh-2", 4, now) is False
    assert await found(store, ["access-4", "refresh-4"]) == []


async def test_without_grace_the_second_use_ends_the_grant_even_at_the_same_moment(store: Store) -> None:
    await redeemed(store)
    assert await rotate(store, now=1010.0, grace=0.0) is True
    assert await rotate(store, to=2, now=1010.0, grace=0.0) is False
    assert (await grant_of(store)).revoked_at == 1010.0


async def test_of_100_rotations_without_grace_one_wins_and_the_others_end_the_grant(
    store: Store, tmp_path: Path
) -> None:
    await redeemed(store)
    async with await Store.open(url_in(tmp_path)) as other, asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(rotate((store, other)[n % 2], to=n + 1, now=1010.0, grace=0.0))
            for n in range(100)
        ]
        await asyncio.wait(tasks)
    results = [task.result() for task in tasks]
    assert results.count(True) == 1
    winner = results.index(True) + 1
    names = [f"{kind}-{n}" for n in range(1, 101) for kind in ("access", "refresh")]
    assert await found(store, names) == [f"access-{winner}", f"refresh-{winner}"]
    assert (await grant_of(store)).revoked_at == 1010.0


async def test_of_100_rotations_long_after_the_first_none_wins(store: Store, tmp_path: Path) -> None:
    await redeemed(store)
    assert await rotate(store, to=1, now=1010.0) is True
    async with await Store.open(url_in(tmp_path)) as other, asyncio.TaskGroup() as group:
        tasks = [group.create_task(rotate((store, other)[n % 2], to=n + 2, now=1100.0)) for n in range(100)]
        await asyncio.wait(tasks)
    assert [task.result() for task in tasks] == [False] * 100
    assert await found(store, [f"refresh-{n}" for n in range(2, 102)]) == []
    assert (await grant_of(store)).revoked_at == 1100.0


async def test_of_100_rotations_within_the_grace_one_goes_on(store: Store, tmp_path: Path) -> None:
    await redeemed(store)
    async with await Store.open(url_in(tmp_path)) as other, asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(rotate((store, other)[n % 2], to=n + 1, now=1010.0 + n / 100))
            for n in range(100)
        ]
        await asyncio.wait(tasks)
    answered = [n + 1 for n, task in enumerate(tasks) if task.result()]
    assert len(answered) == MAX_REPEATS + 1
    assert (await grant_of(store)).revoked_at is None
    good = [n for n in answered if (await token_of(store, f"refresh-{n}")).used_at is None]
    assert len(good) == 1
    assert await rotate(store, f"refresh-{good[0]}", 200, now=1100.0) is True


async def test_what_a_grant_allows_can_be_changed(store: Store) -> None:
    made = await redeemed(store)
    assert made.allowed is None
    await store.grants.allow(made.id, '{"tools":["read"]}')
    holder = await store.grants.find_token("access-0")
    assert holder is not None
    assert holder.grant.allowed == '{"tools":["read"]}'
    with pytest.raises(NoSuchGrant):
        await store.grants.allow("none", "{}")


async def test_what_was_allowed_goes_from_the_code_to_the_grant(store: Store) -> None:
    asked = replace(code(b"c" * 32), allowed='{"others":true}')
    await store.grants.add_code(asked)
    assert await store.grants.find_code(b"c" * 32) == asked
    made = replace(grant(0), allowed=asked.allowed)
    assert await store.grants.redeem(b"c" * 32, made, *pair(0, grant_id=made.id), NOW)
    assert await store.grants.list() == [made]


async def unchanged_by(store: Store, of: str, now: float) -> bool:
    """Whether a rotation that gives nothing also writes nothing."""
    before = await store.grants.list(), await store.grants.find_token("refresh-0")
    assert await rotate(store, of, to=9, now=now) is False
    assert await found(store, ["access-9", "refresh-9"]) == []
    return before == (await store.grants.list(), await store.grants.find_token("refresh-0"))


async def test_a_grant_that_was_not_refreshed_in_time_is_over(store: Store) -> None:
    await redeemed(store)
    assert await unchanged_by(store, "refresh-0", 4000.0)
    assert await rotate(store, now=3999.9, idle_at=4500.0) is True
    assert await unchanged_by(store, "refresh-1", 4500.0)


async def test_a_grant_ends_in_any_case(store: Store) -> None:
    await redeemed(store)
    assert await rotate(store, now=3999.0, idle_at=99_999.0) is True
    assert await rotate(store, "refresh-1", 2, now=8998.0, idle_at=99_999.0) is True
    assert await unchanged_by(store, "refresh-2", 9000.0)
    assert await rotate(store, "refresh-2", 3, now=8999.9, idle_at=99_999.0) is True


async def test_an_expired_refresh_token_gives_nothing_and_ends_nothing(store: Store) -> None:
    await redeemed(store)
    assert await rotate(store, now=1010.0, idle_at=8000.0) is True
    assert await unchanged_by(store, "refresh-0", 6000.0)
    assert await rotate(store, "refresh-1", 2, now=6000.0) is True


async def test_a_revoked_grant_gives_nothing(store: Store) -> None:
    await redeemed(store)
    await store.grants.revoke("grant-0", 1005.0)
    assert await unchanged_by(store, "refresh-0", 1010.0)


async def test_a_replay_does_not_move_the_end_of_a_revoked_grant(store: Store) -> None:
    await redeemed(store)
    await rotate(store, now=1010.0)
    await store.grants.revoke("grant-0", 1020.0)
    assert await unchanged_by(store, "refresh-0", 2000.0)


async def test_a_disabled_user_gets_nothing_of_a_grant_made_later_either(store: Store) -> None:
    await store.users.disable("alice", 1001.0)
    await redeemed(store)  # as by a redemption that was on its way
    assert await unchanged_by(store, "refresh-0", 1010.0)


async def test_an_access_token_or_an_unknown_one_cannot_be_rotated(store: Store) -> None:
    await redeemed(store)
    assert await unchanged_by(store, "access-0", 1010.0)
    assert await unchanged_by(store, "nothing", 1010.0)


async def test_rotation_drops_the_expired_tokens_of_its_grant_only(store: Store) -> None:
    await redeemed(store, 0)
    await redeemed(store, 1)
    # access-0 and access-1 expire at 1100.
    assert await rotate(store, to=2, now=1099.9) is True
    assert await found(store, ["access-0", "access-1"]) == ["access-0", "access-1"]
    assert await rotate(store, "refresh-2", 3, now=1100.0) is True
    assert await found(store, ["access-0", "access-1", "refresh-0", "refresh-2", "access-2"]) == [
        "access-1",
        "refresh-0",
        "refresh-2",
        "access-2",
    ]


async def test_a_rotation_that_fails_in_its_middle_leaves_the_token_unused(store: Store) -> None:
    made = await redeemed(store)
    with pytest.raises(IntegrityError):
        await rotate(store, to=0, now=1010.0)  # the ids of the new ones are in use
    assert await store.grants.list() == [made]
    assert await token_of(store, "refresh-0") == pair(0)[1]
    assert await rotate(store, now=2000.0) is True


# -- grants -------------------------------------------------------------------------------------------


async def test_grants_are_listed_oldest_first(store: Store) -> None:
    made = [await redeemed(store, n, who) for n, who in ((2, "alice"), (0, "bob"), (1, "alice"))]
    assert await store.grants.list() == [made[1], made[2], made[0]]
    assert await store.grants.list("alice") == [made[2], made[0]]
    assert await store.grants.list(site="mill") == [made[1], made[2], made[0]]
    assert await store.grants.list("bob", "mill") == [made[1]]
    assert await store.grants.list("bob", "dam") == []
    assert await store.grants.list("zoe") == []


async def test_a_revoked_grant_keeps_the_moment_of_its_first_revocation(store: Store) -> None:
    made, other = await redeemed(store, 0), await redeemed(store, 1)
    assert await store.grants.revoke("grant-0", 1500.0) is True
    assert await store.grants.revoke("grant-0", 1600.0) is False
    assert await store.grants.list() == [replace(made, revoked_at=1500.0), other]
    with pytest.raises(NoSuchGrant, match=r"There is no grant 'nope'.*grant list"):
        await store.grants.revoke("nope", 1.0)


async def test_of_100_that_revoke_one_grant_one_did_it(store: Store, tmp_path: Path) -> None:
    await redeemed(store)
    async with await Store.open(url_in(tmp_path)) as other, asyncio.TaskGroup() as group:
        tasks = [
            group.create_task((store, other)[n % 2].grants.revoke("grant-0", 1500.0)) for n in range(100)
        ]
        await asyncio.wait(tasks)
    assert [task.result() for task in tasks].count(True) == 1


async def test_every_write_moves_the_change_sequence_and_no_look_does(store: Store) -> None:
    seen = [await store.change_sequence()]

    async def moved() -> bool:
        seen.append(await store.change_sequence())
        return seen[-1] > seen[-2]

    await store.grants.add_code(code())
    assert await moved()
    await store.grants.redeem(CODE, grant(), *pair(0), 1001.0)
    assert await moved()
    await rotate(store, now=1002.0)
    assert await moved()
    await rotate(store, to=2, now=1900.0)  # a replay, and an end
    assert await moved()
    await store.grants.revoke("grant-0", 1003.0)
    assert await moved()
    await store.grants.find_code(CODE)
    await store.grants.find_token("refresh-0")
    await store.grants.list()
    assert not await moved()
