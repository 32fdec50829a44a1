"""A running relay and its audit log: from the record of its start to that of its end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from sqlalchemy.exc import OperationalError

from penstock import __version__
from penstock_relay import auditing
from penstock_relay.audit import Kind
from penstock_relay.config import Settings
from penstock_relay.store import Store
from tests.relay.store.accounts import url_in


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with await Store.open(url_in(tmp_path), clock=lambda: 1000.0) as store:
        yield store


async def records(store: Store) -> list[dict[str, Any]]:
    return [entry.values() async for entry in store.audit.entries()]


async def kinds(store: Store) -> list[str]:
    return [each["kind"] for each in await records(store)]


def heads(lines: list[Any]) -> list[str]:
    return [line["head"] for line in lines if line["event"] == "audit_head"]


async def test_a_life_of_the_relay_is_recorded_and_its_heads_are_logged(store: Store, tmp_path: Path) -> None:
    settings = Settings(state_dir=tmp_path, public_url="https://mcp.example.com")
    with structlog.testing.capture_logs() as lines:
        async with auditing.recorded(store, settings):
            begun = await store.audit.head()
            store.audit.stranger(Kind.LOGIN_FAILED)
        ended = await store.audit.head()
    assert await kinds(store) == ["relay_started", "login_failed", "relay_stopped"]
    first = (await records(store))[0]
    assert first["actor"] == {"kind": "relay"}
    assert first["about"] == {
        "version": __version__,
        "public_url": "https://mcp.example.com",
        "config": auditing.digest_of(settings),
    }
    assert heads(lines) == [str(begun), str(ended)]
    await store.audit.verify([head for head in (begun, ended) if head])


async def test_an_error_or_a_signal_ends_a_life_too(store: Store, tmp_path: Path) -> None:
    async def live() -> None:
        async with auditing.recorded(store, Settings(state_dir=tmp_path)):
            await asyncio.Event().wait()

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(live())
        while await kinds(store) != ["relay_started"]:
            await asyncio.sleep(0)
        task.cancel()
    assert await kinds(store) == ["relay_started", "relay_stopped"]


async def test_a_relay_that_cannot_record_its_start_does_not_start(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail(store, monkeypatch)
    with pytest.raises(OperationalError):
        async with auditing.recorded(store, Settings(state_dir=tmp_path)):
            pytest.fail("it started")


def fail(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> object:
        raise OperationalError("INSERT secret", None, OSError("disk is full"))

    monkeypatch.setattr(store._database, "appending", broken)


async def test_a_relay_that_cannot_record_its_end_ends_all_the_same(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with structlog.testing.capture_logs() as lines:
        async with auditing.recorded(store, Settings(state_dir=tmp_path)):
            fail(store, monkeypatch)
    assert [line["cause"] for line in lines if line["event"] == "audit_not_written"] == ["OperationalError"]
    assert "secret" not in str(lines)


async def test_what_was_counted_is_written_each_minute_and_the_head_logged_each_day(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    minute = asyncio.Semaphore(0)
    yielded = asyncio.sleep

    async def sleep(seconds: float) -> None:
        assert seconds == 60.0
        await minute.acquire()

    async def written(count: int) -> None:
        while len(await kinds(store)) < count:
            await yielded(0)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    monkeypatch.setattr(auditing, "HEAD_EVERY", 4)
    with structlog.testing.capture_logs() as lines:
        async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
            keeping = tasks.create_task(auditing.keep(store))
            store.audit.stranger(Kind.LOGIN_FAILED)
            minute.release()
            await written(1)
            with monkeypatch.context() as broken:
                fail(store, broken)
                store.audit.stranger(Kind.LOGIN_FAILED)
                minute.release()
                while not any(line["event"] == "audit_not_written" for line in lines):
                    await yielded(0)
            minute.release()
            await written(2)
            assert heads(lines) == []
            minute.release()
            while not heads(lines):
                await yielded(0)
            keeping.cancel()
    assert await kinds(store) == ["login_failed", "login_failed"]
    assert heads(lines) == [str(await store.audit.head())]


def test_two_configurations_have_two_digests(tmp_path: Path) -> None:
    one = Settings(state_dir=tmp_path)
    assert auditing.digest_of(one) == auditing.digest_of(Settings(state_dir=tmp_path))
    assert auditing.digest_of(one) != auditing.digest_of(Settings(state_dir=tmp_path, oauth=False))
    assert len(auditing.digest_of(one)) == 16
