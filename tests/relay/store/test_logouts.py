from __future__ import annotations

from pathlib import Path

from penstock_relay.store import Store
from tests.relay.store.accounts import url_in

ONE, OTHER = b"1" * 32, b"2" * 32


async def test_a_login_that_was_ended_is_known_until_it_would_have_ended(tmp_path: Path) -> None:
    async with await Store.open(url_in(tmp_path)) as store:
        assert not await store.logouts.has(ONE)
        await store.logouts.add(ONE, 200.0)
        await store.logouts.add(ONE, 200.0)
        await store.logouts.add(OTHER, 300.0)
        assert await store.logouts.has(ONE)
        assert await store.logouts.purge(199.0) == 0
        assert await store.logouts.purge(200.0) == 1
        assert not await store.logouts.has(ONE)
        assert await store.logouts.has(OTHER)


async def test_it_is_known_to_every_process(tmp_path: Path) -> None:
    async with await Store.open(url_in(tmp_path)) as store, await Store.open(url_in(tmp_path)) as other:
        await store.logouts.add(ONE, 200.0)
        assert await other.logouts.has(ONE)
