"""Factors in the store: made, checked, and sealed with the master key."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from penstock_relay.oauth.factor import totp
from penstock_relay.oauth.factor.checking import PURPOSE, Checked, Codes, new_key, seal_again
from penstock_relay.oauth.factor.tries import MOST
from penstock_relay.sealed import PLAIN, PREFIX, Keyring
from penstock_relay.store import Factor, Store, User
from tests.relay.oauth.visiting import place
from tests.relay.store.accounts import fill, invite_of, url_in

NOW = 1000.0
KEY = bytes(range(20))
FIRST, SECOND = Keyring([bytes(range(32))]), Keyring([bytes(range(32, 64)), bytes(range(32))])
OTHER = Keyring([bytes(range(64, 96))])


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with await Store.open(url_in(tmp_path)) as store:
        await fill(store, "alice")
        await store.users.accept(invite_of("alice"), "hash", NOW)
        yield store


def code(step: int) -> str:
    return totp.code(KEY, step)


async def alice(store: Store) -> User:
    user = await store.users.find("alice")
    assert user is not None
    return user


async def added(store: Store, keyring: Keyring = PLAIN) -> tuple[Codes, list[str]]:
    """alice has a factor, and has used the code of NOW."""
    codes = Codes(store, keyring)
    recovery = await codes.add(await alice(store), KEY, code(totp.step_at(NOW)), NOW)
    assert recovery
    return codes, recovery


def test_keys_are_long_and_no_two_are_alike() -> None:
    keys = {new_key() for _ in range(50)}
    assert len(keys) == 50
    assert {len(key) for key in keys} == {20}


async def test_it_is_made_by_a_code_that_is_good_now_and_only_once(store: Store) -> None:
    codes = Codes(store, PLAIN)
    user = await alice(store)
    assert await codes.add(user, KEY, code(7), NOW) is None
    assert await codes.add(user, KEY, "", NOW) is None
    assert await store.factors.find("alice") is None
    await added(store)
    assert await codes.add(user, new_key(), "000000", NOW) is None
    assert await codes.add(user, KEY, code(totp.step_at(NOW)), NOW) == []


async def test_a_code_is_good_once_and_the_first_was_the_one_that_made_it(store: Store) -> None:
    codes, _ = await added(store)
    step = totp.step_at(NOW)
    assert await codes.check("alice", None, code(step), NOW) is Checked.WRONG
    assert await codes.check("alice", None, code(step + 1), NOW) is Checked.CODE
    assert await codes.check("alice", None, code(step + 1), NOW + 30) is Checked.WRONG
    assert await codes.check("alice", None, code(step), NOW + 30) is Checked.WRONG  # nor one from before
    assert await codes.check("alice", None, f" {code(step + 2)[:3]} {code(step + 2)[3:]}", NOW + 60) is (
        Checked.CODE
    )


async def test_a_recovery_code_is_good_once(store: Store) -> None:
    codes, recovery = await added(store)
    assert await codes.check("alice", None, recovery[0], NOW) is Checked.RECOVERY_CODE
    assert await codes.check("alice", None, recovery[0], NOW) is Checked.WRONG
    assert await codes.check("alice", None, recovery[1].replace(" ", "-"), NOW) is Checked.RECOVERY_CODE
    assert await store.factors.recovery_left("alice") == 6


async def test_somebody_without_a_factor_has_no_good_code(store: Store) -> None:
    codes = Codes(store, PLAIN)
    for text in (code(totp.step_at(NOW)), "1" * 20, ""):
        assert await codes.check("alice", None, text, NOW) is Checked.WRONG
    assert await codes.check("nobody", None, code(totp.step_at(NOW)), NOW) is Checked.WRONG


async def test_of_a_hundred_who_use_one_code_at_once_one_wins(store: Store) -> None:
    """Also where each has tries of its own."""
    codes, recovery = await added(store)
    for text, good in ((code(totp.step_at(NOW) + 1), Checked.CODE), (recovery[0], Checked.RECOVERY_CODE)):
        found = await asyncio.gather(*(codes.check("alice", str(n), text, NOW) for n in range(100)))
        assert found.count(good) == 1
        assert found.count(Checked.WRONG) == 99


async def test_guesses_that_come_at_once_are_counted_before_they_are_judged(store: Store) -> None:
    codes, _ = await added(store)
    found = await asyncio.gather(*(codes.check("alice", None, f"{n:06}", NOW) for n in range(40)))
    assert found.count(Checked.OFTEN) >= 40 - MOST - 1
    assert await codes.check("alice", None, code(totp.step_at(NOW) + 1), NOW) is Checked.OFTEN
    assert await codes.check("alice", "home", code(totp.step_at(NOW) + 1), NOW) is Checked.CODE


async def kept(store: Store) -> bytes:
    factor = await store.factors.find("alice")
    assert factor is not None
    return factor.secret


async def test_the_key_is_sealed_where_there_is_a_master_key(store: Store) -> None:
    codes, _ = await added(store, FIRST)
    secret = await kept(store)
    assert secret.startswith(PREFIX)
    assert KEY not in secret
    assert FIRST.open(PURPOSE, secret) == KEY
    assert await codes.check("alice", None, code(totp.step_at(NOW) + 1), NOW) is Checked.CODE


async def test_a_key_is_sealed_again_with_the_first_master_key(store: Store) -> None:
    await added(store)
    assert await kept(store) == KEY
    for keyring in (PLAIN, FIRST, SECOND, SECOND):
        before = await store.change_sequence()
        fresh = keyring.fresh(await kept(store))
        await seal_again(store, keyring)
        assert keyring.fresh(await kept(store))
        assert keyring.open(PURPOSE, await kept(store)) == KEY
        assert (await store.change_sequence() == before) == fresh  # nothing is written without need
    assert await Codes(store, SECOND).check("alice", None, code(totp.step_at(NOW) + 1), NOW) is Checked.CODE


async def test_a_relay_that_starts_with_a_master_key_seals_what_lies_plain(tmp_path: Path) -> None:
    async with place(tmp_path, keyring=FIRST) as here, asyncio.TaskGroup() as tasks:
        user = await alice(here.store)
        factor = Factor("alice", KEY, here.now, 1)
        assert await here.store.factors.add(factor, [b"r" * 32], password_hash=user.password_hash)
        running = tasks.create_task(here.server.run())
        async with asyncio.timeout(10):
            while not FIRST.fresh(await kept(here.store)):
                await asyncio.sleep(0)
        running.cancel()
        assert FIRST.open(PURPOSE, await kept(here.store)) == KEY


async def test_a_key_that_does_not_open_lets_nobody_in_and_recovery_codes_do(
    store: Store, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    _, recovery = await added(store, FIRST)
    secret = await kept(store)
    await seal_again(store, OTHER)
    assert await kept(store) == secret
    codes = Codes(store, OTHER)
    assert await codes.check("alice", None, code(totp.step_at(NOW) + 1), NOW) is Checked.WRONG
    assert await codes.check("alice", None, recovery[0], NOW) is Checked.RECOVERY_CODE
    said = capsys.readouterr()
    text = said.out + said.err + caplog.text
    assert "factor_unreadable" in text
    for word in (secret.decode(), KEY.hex(), totp.shown(KEY), recovery[0]):
        assert word not in text
