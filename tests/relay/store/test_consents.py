"""Consents given ahead: good once, for the same client at the same address, for a while."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from penstock_relay.store import Consent, Store
from tests.relay.store.accounts import NOW, fill, url_in

CLIENT, BACK = "https://claude.ai/c", "https://claude.ai/cb"
AHEAD = Consent("alice", CLIENT, BACK, "mill", "git", '{"tools":["log"]}', NOW + 10)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with await Store.open(url_in(tmp_path)) as store:
        await fill(store, "alice", "bob")
        yield store


async def taken(store: Store, *, now: float = NOW, **changes: str) -> str | None:
    asked = replace(AHEAD, **changes)  # type: ignore[arg-type]  # texts only
    return await store.consents.take(
        asked.user, asked.client_id, asked.redirect_uri, asked.site, asked.server, now
    )


async def test_it_is_good_once(store: Store) -> None:
    await store.consents.put(AHEAD, NOW)
    assert await taken(store) == '{"tools":["log"]}'
    assert await taken(store) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"user": "bob"},
        {"client_id": "https://evil.example/c"},
        {"redirect_uri": "https://evil.example/cb"},
        {"site": "oslo"},
        {"server": "files"},
    ],
)
async def test_it_is_good_for_nothing_else(store: Store, changes: dict[str, str]) -> None:
    await store.consents.put(AHEAD, NOW)
    assert await taken(store, now=NOW, **changes) is None
    assert await taken(store) is not None


async def test_it_expires(store: Store) -> None:
    await store.consents.put(AHEAD, NOW)
    assert await taken(store, now=NOW + 10) is None
    await store.consents.put(replace(AHEAD, server="files", expires_at=NOW + 100), NOW + 20)
    assert await taken(store, now=NOW) is None  # and is forgotten with the next one


async def test_a_later_one_takes_the_place_of_an_earlier(store: Store) -> None:
    await store.consents.put(AHEAD, NOW)
    await store.consents.put(replace(AHEAD, allowed="{}", redirect_uri="https://claude.ai/other"), NOW)
    assert await taken(store) is None
    assert await taken(store, redirect_uri="https://claude.ai/other") == "{}"
