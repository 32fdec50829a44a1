"""Clients that sign: what is remembered of them while their documents cannot be had."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from penstock_relay.store import SigningClient, Store
from tests.relay.store.accounts import url_in

URI = SigningClient("https://a.example/c", None, "https://a.example/keys", "RS256")
SET = SigningClient("https://b.example/c", b'{"keys":[]}', None, None)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with await Store.open(url_in(tmp_path)) as store:
        yield store


@pytest.mark.parametrize("client", [URI, SET])
async def test_a_client_comes_back_as_it_was_until_it_is_forgotten(
    store: Store, client: SigningClient
) -> None:
    await store.signing.remember(client, 1.0, 10)
    assert await store.signing.find(client.client_id) == client
    changed = replace(client, algorithm="ES256")
    await store.signing.remember(changed, 2.0, 10)
    assert await store.signing.find(client.client_id) == changed
    await store.signing.forget(client.client_id)
    assert await store.signing.find(client.client_id) is None


async def test_what_is_known_already_is_not_written_again(store: Store) -> None:
    await store.signing.remember(URI, 1.0, 10)
    before = await store.change_sequence()
    await store.signing.remember(URI, 2.0, 10)
    await store.signing.forget("https://nobody.example/c")
    assert await store.change_sequence() == before


async def test_the_one_that_was_seen_longest_ago_makes_room(store: Store) -> None:
    for number in range(4):
        await store.signing.remember(replace(URI, client_id=f"c{number}"), float(number), 3)
    found = [await store.signing.find(f"c{number}") is not None for number in range(4)]
    assert found == [False, True, True, True]
