"""The cache of key sets: who fetches, how often, and what is answered meanwhile. The clock is an argument."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import pytest

from penstock import jwks
from penstock.jwks import (
    AGAIN_S,
    FRESH_S,
    MAX_FLIGHTS,
    RETRY_S,
    STALE_S,
    FetchError,
    KeyCache,
    KeysUnavailable,
)
from tests.harness.signing import key_set

URL: Final = "https://issuer.example/jwks.json"
BOTH_LOOPS = True


@dataclass
class Issuer:
    """Shows `keys`; None is an issuer that cannot be reached. `open` lets answers go."""

    keys: tuple[str, ...] | None = ("ec",)
    asked: list[str] = field(default_factory=list)
    open: asyncio.Event = field(default_factory=asyncio.Event)
    now: float = 1000.0

    async def get(self, url: str, /) -> bytes:
        self.asked.append(url)
        await self.open.wait()
        if self.keys is None:
            raise FetchError("it is away")
        return key_set(*self.keys) if self.keys else b"<html>"

    @asynccontextmanager
    async def cache(self, most: int = jwks.MAX_SETS) -> AsyncIterator[KeyCache]:
        cache = KeyCache(self.get, ticks=lambda: self.now, most=most)
        async with asyncio.TaskGroup() as tasks:
            running = tasks.create_task(cache.run())
            yield cache
            running.cancel()


@pytest.fixture
def issuer() -> Issuer:
    made = Issuer()
    made.open.set()
    return made


async def names(cache: KeyCache, kid: str | None = None) -> list[str | None]:
    return [key.kid for key in (await cache.keys(URL, kid)).keys]


async def settled() -> None:
    """Lets everything run that can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_set_is_fetched_once_and_kept(issuer: Issuer) -> None:
    async with issuer.cache() as cache:
        assert await names(cache) == ["ec"]
        issuer.now += FRESH_S - 1
        assert await names(cache, "ec") == ["ec"]
    assert issuer.asked == [URL]


async def test_many_who_ask_at_once_are_one_fetch(issuer: Issuer) -> None:
    issuer.open.clear()
    async with issuer.cache() as cache, asyncio.TaskGroup() as tasks:
        asking = [tasks.create_task(names(cache, "ec")) for _ in range(50)]
        await settled()
        issuer.open.set()
        assert [await one for one in asking] == [["ec"]] * 50
    assert issuer.asked == [URL]


async def test_a_hundred_thousand_invented_names_are_two_fetches(issuer: Issuer) -> None:
    async with issuer.cache() as cache:
        await names(cache)
        issuer.now += AGAIN_S
        for number in range(100_000):
            await cache.keys(URL, f"kid-{number}")
    assert len(issuer.asked) == 2


async def test_a_new_key_is_found_as_soon_as_it_is_used(issuer: Issuer) -> None:
    async with issuer.cache() as cache:
        await names(cache)
        issuer.now += AGAIN_S
        issuer.keys = ("ec", "ed")
        assert await names(cache, "ed") == ["ec", "ed"]


async def test_a_new_key_waits_for_the_interval_when_a_stranger_was_first(issuer: Issuer) -> None:
    async with issuer.cache() as cache:
        await names(cache)
        issuer.now += AGAIN_S
        await names(cache, "invented")
        issuer.keys = ("ec", "ed")
        issuer.now += AGAIN_S - 1
        assert await names(cache, "ed") == ["ec"]
        issuer.now += 1
        assert await names(cache, "ed") == ["ec", "ed"]
    assert len(issuer.asked) == 3


async def test_rotation_under_load_refuses_nobody(issuer: Issuer) -> None:
    """The old key is good until the new set is here, and then the new one is."""
    async with issuer.cache() as cache, asyncio.TaskGroup() as tasks:
        await names(cache)
        issuer.now += AGAIN_S
        issuer.keys = ("ed",)
        issuer.open.clear()
        new = [tasks.create_task(names(cache, "ed")) for _ in range(20)]
        await settled()
        assert await names(cache, "ec") == ["ec"]  # not held up by the fetch
        issuer.open.set()
        assert [await one for one in new] == [["ed"]] * 20
    assert len(issuer.asked) == 2


async def test_a_withdrawn_key_is_gone_when_the_set_is_no_longer_fresh(issuer: Issuer) -> None:
    async with issuer.cache() as cache:
        await names(cache)
        issuer.keys = ("ed",)
        issuer.now += FRESH_S
        assert await names(cache, "ec") == ["ec"]  # the one who notices is not held up
        await settled()
        assert await names(cache, "ec") == ["ed"]


async def test_an_issuer_that_is_away_keeps_its_old_keys_for_a_day(issuer: Issuer) -> None:
    async with issuer.cache() as cache:
        await names(cache)
        issuer.keys = None
        issuer.now += STALE_S - 1
        assert await names(cache, "ec") == ["ec"]
        assert await names(cache, "ed") == ["ec"]
        issuer.now += 1
        with pytest.raises(KeysUnavailable):
            await names(cache, "ec")


async def test_an_issuer_that_is_away_is_asked_now_and_then(issuer: Issuer) -> None:
    issuer.keys = None
    async with issuer.cache() as cache:
        for _ in range(100):
            with pytest.raises(KeysUnavailable):
                await names(cache)
        assert len(issuer.asked) == 1
        issuer.now += RETRY_S
        issuer.keys = ("ec",)
        assert await names(cache) == ["ec"]


async def test_an_answer_that_is_no_set_replaces_nothing(issuer: Issuer) -> None:
    async with issuer.cache() as cache:
        await names(cache)
        issuer.now += FRESH_S
        issuer.keys = ()
        await names(cache)
        await settled()
        assert await names(cache) == ["ec"]


async def test_a_caller_that_goes_away_ends_no_fetch(issuer: Issuer) -> None:
    issuer.open.clear()
    async with issuer.cache() as cache, asyncio.TaskGroup() as tasks:
        for _ in range(10):
            asking = tasks.create_task(names(cache, "ec"))
            await settled()
            asking.cancel()
            await settled()
        issuer.open.set()
        assert await names(cache, "ec") == ["ec"]
    assert issuer.asked == [URL]


async def test_the_set_that_nobody_asks_for_makes_room(issuer: Issuer) -> None:
    async with issuer.cache(most=2) as cache:
        for url in ("a", "b", "a", "c", "a", "b"):
            await cache.keys(url)
    assert issuer.asked == ["a", "b", "c", "b"]


async def test_only_so_many_fetches_are_under_way(issuer: Issuer) -> None:
    issuer.open.clear()
    async with issuer.cache() as cache, asyncio.TaskGroup() as tasks:
        for number in range(MAX_FLIGHTS):
            tasks.create_task(cache.keys(f"{URL}?{number}"))
        await settled()
        with pytest.raises(KeysUnavailable):
            await cache.keys(URL)
        issuer.open.set()
        await settled()
        assert await names(cache) == ["ec"]
    assert len(issuer.asked) == MAX_FLIGHTS + 1
