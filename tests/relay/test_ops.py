"""Probes and metrics on their own listener."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from penstock_relay import ops
from penstock_relay.edge.stats import Stats
from penstock_relay.ops import Readiness, serve_ops
from penstock_relay.store import Brought
from penstock_relay.switchboard.notices import SAYING


class Store:
    """A store that answers, fails or hangs."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.hangs = False

    async def probe(self) -> None:
        if self.hangs:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error


@asynccontextmanager
async def running(readiness: Readiness, stats: Stats) -> AsyncIterator[aiohttp.ClientSession]:
    opened: asyncio.Future[int] = asyncio.get_running_loop().create_future()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(
            serve_ops(
                "127.0.0.1",
                0,
                listening=lambda host, port: opened.set_result(port),
                readiness=readiness,
                stats=stats,
                links=lambda: 3,
                heads={Brought.NEWER: 8, Brought.FORKED: 1},
                notices=lambda: {"withheld": 2, "paused": 1},
            )
        )
        async with aiohttp.ClientSession(f"http://127.0.0.1:{await opened}") as session:
            yield session
        task.cancel()


async def get(session: aiohttp.ClientSession, path: str) -> tuple[int, str]:
    async with session.get(path) as answer:
        return answer.status, await answer.text()


async def test_it_is_ready_once_its_listeners_are_open_and_the_store_answers() -> None:
    store = Store()
    readiness = Readiness(store.probe, frozenset({"public", "tunnel"}))
    async with running(readiness, Stats()) as session:
        assert await get(session, "/healthz") == (200, "ok\n")
        assert await get(session, "/readyz") == (
            503,
            "the public listener is not open; the tunnel listener is not open\n",
        )
        readiness.opened("public")
        assert (await get(session, "/readyz"))[0] == 503
        readiness.opened("tunnel")
        assert await get(session, "/readyz") == (200, "ready\n")


async def test_it_is_not_ready_while_the_store_fails_and_ready_again_when_it_answers() -> None:
    store = Store()
    async with running(Readiness(store.probe, frozenset()), Stats()) as session:
        store.error = RuntimeError("canary")
        assert await get(session, "/readyz") == (503, "the store does not answer\n")
        store.error = None
        assert (await get(session, "/readyz"))[0] == 200


async def test_a_store_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ops, "PROBE_S", 0.01)
    store = Store()
    store.hangs = True
    async with running(Readiness(store.probe, frozenset()), Stats()) as session:
        assert (await get(session, "/readyz"))[0] == 503


async def test_a_replica_that_drains_is_healthy_and_not_ready() -> None:
    readiness = Readiness(Store().probe, frozenset())
    readiness.drain()
    async with running(readiness, Stats()) as session:
        assert await get(session, "/readyz") == (503, "draining\n")
        assert (await get(session, "/healthz"))[0] == 200


async def test_metrics_show_the_figures_and_no_name() -> None:
    stats = Stats()
    for status in (200, 202, 404, 503):
        stats.answered(status)
    stats.in_flight, stats.connections, stats.request_bytes = 5, 6, 7
    async with running(Readiness(Store().probe, frozenset()), stats) as session:
        status, text = await get(session, "/metrics")
    assert status == 200
    figures: dict[str, float] = {}
    labels: set[str] = set()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            figures[sample.name + "".join(sample.labels.values())] = sample.value
            labels |= set(sample.labels)
    assert labels == {"version", "status", "was", "what"}
    assert figures["penstock_relay_links"] == 3
    assert figures["penstock_relay_exchanges_in_flight"] == 5
    assert figures["penstock_relay_public_connections"] == 6
    assert figures["penstock_relay_request_bytes"] == 7
    assert figures["penstock_relay_requests_total2xx"] == 2
    assert figures["penstock_relay_requests_total4xx"] == 1
    assert figures["penstock_relay_requests_total5xx"] == 1
    assert figures["penstock_relay_ledger_heads_totalnewer"] == 8
    assert figures["penstock_relay_ledger_heads_totalforked"] == 1
    assert figures["penstock_relay_ledger_heads_totalrolled_back"] == 0
    saying = {what: figures[f"penstock_relay_agents_saying{what}"] for what in SAYING}
    assert saying == {"withheld": 2, "waiting": 0, "ledger_failing": 0, "paused": 1}


async def test_anything_else_is_not_there() -> None:
    async with running(Readiness(Store().probe, frozenset()), Stats()) as session:
        assert (await get(session, "/"))[0] == 404
        async with session.post("/healthz") as answer:
            assert answer.status == 405
