"""Clients that registered themselves: how many are kept, and which go."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy.exc import IntegrityError

from penstock_relay.store import ClientRecord, NoSuchClient, Store
from tests.relay.store.accounts import NOW, fill, redeemed, url_in


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with await Store.open(url_in(tmp_path)) as store:
        yield store


def client(client_id: str = "one", created_at: float = 100.0, used_at: float | None = None) -> ClientRecord:
    return ClientRecord(client_id, "Client", ("http://[::1]/back",), "none", None, created_at, used_at)


async def kept(store: Store, *client_ids: str) -> list[str]:
    return [name for name in client_ids if await store.clients.find(name) is not None]


@pytest.mark.parametrize(
    "record",
    [
        client(),
        client(used_at=150.0),
        ClientRecord("id", "Ünï – 名", ("https://a.example/b?c=d", 'https://a.example/"'), "none", None, 1.0),
        ClientRecord("id", "", ("https://a.example/b",), "client_secret_basic", b"\x00\xff" * 16, 1.5),
    ],
)
async def test_a_client_comes_back_as_it_was(store: Store, record: ClientRecord) -> None:
    assert await store.clients.add(record, 10) is True
    assert await store.clients.find(record.client_id) == record
    assert await store.clients.find("other") is None


async def test_the_oldest_that_was_never_used_makes_room(store: Store) -> None:
    for record in (client("used", 1.0, 50.0), client("younger", 3.0), client("older", 2.0)):
        assert await store.clients.add(record, 3) is True
    assert await store.clients.add(client("new", 4.0), 3) is True
    assert await kept(store, "used", "younger", "older", "new") == ["used", "younger", "new"]


async def test_when_all_were_used_there_is_no_room(store: Store) -> None:
    for number in range(3):
        await store.clients.add(client(str(number)), 3)
        await store.clients.used(str(number), 150.0)
    assert await store.clients.add(client("new"), 3) is False
    assert await kept(store, "0", "1", "2", "new") == ["0", "1", "2"]
    assert await store.clients.add(client("new"), 4) is True


async def test_an_id_in_use_takes_nobody_s_room(store: Store) -> None:
    await store.clients.add(client("one", 1.0), 2)
    await store.clients.add(client("two", 2.0), 2)
    with pytest.raises(IntegrityError):
        await store.clients.add(client("two", 3.0), 2)
    assert await kept(store, "one", "two") == ["one", "two"]
    assert await store.clients.find("two") == client("two", 2.0)


async def test_100_that_register_at_once_never_are_more_than_the_most(store: Store, tmp_path: Path) -> None:
    await store.clients.add(client("used", 1.0, 50.0), 10)
    async with await Store.open(url_in(tmp_path)) as other, asyncio.TaskGroup() as group:
        tasks = [
            group.create_task((store, other)[n % 2].clients.add(client(f"new-{n}"), 10)) for n in range(100)
        ]
        await asyncio.wait(tasks)
    assert [task.result() for task in tasks] == [True] * 100
    left = await kept(store, "used", *(f"new-{n}" for n in range(100)))
    assert len(left) == 10
    assert "used" in left


async def test_use_is_marked_once_and_then_costs_no_write(store: Store) -> None:
    await store.clients.add(client(), 10)
    await store.clients.used("one", 150.0)
    assert await store.clients.find("one") == client(used_at=150.0)
    before = await store.change_sequence()
    await store.clients.used("one", 200.0)
    await store.clients.used("nobody", 200.0)
    assert await store.change_sequence() == before
    assert await store.clients.find("one") == client(used_at=150.0)


async def test_using_one_leaves_the_others_unused(store: Store) -> None:
    await store.clients.add(client("one"), 10)
    await store.clients.add(client("two"), 10)
    await store.clients.used("one", 150.0)
    assert await store.clients.find("two") == client("two")


async def test_of_many_that_mark_a_use_at_once_the_first_stays(store: Store, tmp_path: Path) -> None:
    await store.clients.add(client(), 10)

    async def mark(number: int, at: Store) -> ClientRecord | None:
        await at.clients.used("one", 150.0 + number)
        return await at.clients.find("one")

    async with await Store.open(url_in(tmp_path)) as other, asyncio.TaskGroup() as group:
        tasks = [group.create_task(mark(n, (store, other)[n % 2])) for n in range(20)]
        await asyncio.wait(tasks)
    # Each looked after it had marked: all saw the same moment, which the later ones had not moved.
    seen = {task.result() for task in tasks}
    assert len(seen) == 1
    (marked,) = seen
    assert marked is not None
    assert marked.used_at is not None
    assert replace(marked, used_at=None) == client()


async def test_a_purge_takes_the_old_that_were_never_used(store: Store) -> None:
    for record in (
        client("old", 99.9),
        client("edge", 100.0),
        client("used", 1.0, 50.0),
        client("older", 1.0),
    ):
        await store.clients.add(record, 10)
    assert await store.clients.purge(100.0) == 2
    assert await kept(store, "old", "edge", "used", "older") == ["edge", "used"]
    assert await store.clients.purge(100.0) == 0


# -- clients that the operator made

OURS = ClientRecord("app-1", "App", ("https://a.example/cb",), "none", None, 1.0, preregistered=True)


async def test_a_client_of_the_operator_comes_back_as_it_was(store: Store) -> None:
    signing = replace(OURS, client_id="app-2", auth_method="private_key_jwt", jwks=b'{"keys":[]}')
    for record in (OURS, signing):
        assert await store.clients.add(record, 0)
        assert await store.clients.find(record.client_id) == record


async def test_a_client_of_the_operator_is_never_dropped(store: Store) -> None:
    await store.clients.add(OURS, 0)
    assert await store.clients.purge(1e9) == 0
    assert await store.clients.add(client("one", 50.0), 1)
    assert await store.clients.add(client("two", 60.0), 1)  # in the place of one, not of the operator's
    assert await kept(store, "app-1", "one", "two") == ["app-1", "two"]


async def test_the_list_has_the_operators_first(store: Store) -> None:
    await store.clients.add(client("b", 2.0), 10)
    await store.clients.add(client("a", 0.5), 10)
    await store.clients.add(OURS, 10)
    assert [found.client_id for found in await store.clients.list()] == ["app-1", "a", "b"]


async def test_a_client_that_is_removed_takes_its_grants_along(store: Store) -> None:
    await fill(store)
    await store.clients.add(replace(OURS, client_id="client"), 0)
    for number in range(2):
        await redeemed(store, number)
    await store.grants.revoke("grant-1", NOW)
    await store.clients.add(OURS, 0)
    assert await store.clients.remove("app-1", NOW + 1) == 0  # of another client
    assert await store.clients.remove("client", NOW + 1) == 1
    assert await store.clients.find("client") is None
    ended = {grant.id: grant.revoked_at for grant in await store.grants.list()}
    assert ended == {"grant-0": NOW + 1, "grant-1": NOW}
    with pytest.raises(NoSuchClient, match="client list"):
        await store.clients.remove("client", NOW + 1)
