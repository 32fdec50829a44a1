"""The ops listener: `/healthz`, `/readyz`, `/metrics`. For probes and scrapers, never for callers.

Nothing here names a site, a server or a caller: who reads metrics need not know them.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Final

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from penstock import __version__
from penstock.log import get
from penstock_relay.edge.stats import Stats
from penstock_relay.store import Brought
from penstock_relay.switchboard.notices import SAYING

PATHS: Final = ("/healthz", "/readyz", "/metrics")
"""All that is answered here, to GET."""
PROBE_S: Final = 2.0
"""How long readiness waits for the store."""
HEADER_S: Final = 10.0
"""From accept, or the last answer, to the end of the next request's headers."""
STOP_S: Final = 1.0

_log = get("ops")

StoreProbe = Callable[[], Awaitable[None]]
"""Returns when the store answers; raises when it does not."""


class Readiness:
    """Whether this replica should be given callers: listeners open, store reachable, not draining."""

    def __init__(self, store: StoreProbe, listeners: frozenset[str]) -> None:
        """`listeners` are the names of those that must be open."""
        self._store = store
        self._closed = set(listeners)
        self._draining = False

    def opened(self, listener: str) -> None:
        """`listener` accepts connections. Raises KeyError for a name that was not announced."""
        self._closed.remove(listener)

    def drain(self) -> None:
        """This replica is about to stop; it never becomes ready again."""
        self._draining = True

    async def missing(self) -> list[str]:
        """What keeps this replica from being ready, in words; empty when it is ready."""
        problems = ["draining"] if self._draining else []
        problems += [f"the {listener} listener is not open" for listener in sorted(self._closed)]
        try:
            async with asyncio.timeout(PROBE_S):
                await self._store()
        except Exception as error:  # whatever a store can fail with, it is not reachable
            _log.warning("store_not_reachable", problem=type(error).__name__)
            problems.append("the store does not answer")
        return problems


class _Figures(Collector):
    """Reads the counters of the edge, and how many links there are, when somebody asks."""

    def __init__(
        self,
        stats: Stats,
        links: Callable[[], int],
        heads: Mapping[Brought, int],
        notices: Callable[[], Mapping[str, int]],
    ) -> None:
        self._stats = stats
        self._links = links
        self._heads = heads
        self._notices = notices

    def collect(self) -> Iterator[Metric]:
        stats = self._stats
        build = GaugeMetricFamily("penstock_relay_info", "Version of this relay.", labels=["version"])
        build.add_metric([__version__], 1)
        yield build
        yield GaugeMetricFamily(
            "penstock_relay_links", "Links of agents to this replica.", value=self._links()
        )
        yield GaugeMetricFamily(
            "penstock_relay_exchanges_in_flight", "Public requests being answered.", value=stats.in_flight
        )
        yield GaugeMetricFamily(
            "penstock_relay_public_connections", "Open public connections.", value=stats.connections
        )
        yield GaugeMetricFamily(
            "penstock_relay_request_bytes", "Bytes of request bodies held.", value=stats.request_bytes
        )
        requests = CounterMetricFamily(
            "penstock_relay_requests", "Public requests answered, by class of status.", labels=["status"]
        )
        for digit in range(2, 6):
            requests.add_metric([f"{digit}xx"], stats.by_class[digit])
        yield requests
        heads = CounterMetricFamily(
            "penstock_relay_ledger_heads",
            "Heads of ledgers that agents said, by what they were.",
            labels=["was"],
        )
        for brought in Brought:
            heads.add_metric([brought.value], self._heads.get(brought, 0))
        yield heads
        notices = GaugeMetricFamily(
            "penstock_relay_agents_saying",
            "Agents linked to this replica that say so of their site.",
            labels=["what"],
        )
        counts = self._notices()
        for what in SAYING:
            notices.add_metric([what], counts.get(what, 0))
        yield notices


async def serve_ops(
    host: str,
    port: int,
    *,
    listening: Callable[[str, int], None],
    readiness: Readiness,
    stats: Stats,
    links: Callable[[], int],
    heads: Mapping[Brought, int] = MappingProxyType({}),
    notices: Callable[[], Mapping[str, int]] = dict,
) -> None:
    """Serves until it is cancelled. `listening` is told the real host and port. Raises OSError."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Figures(stats, links, heads, notices))

    async def health() -> web.Response:
        return web.Response(text="ok\n")

    async def ready() -> web.Response:
        missing = await readiness.missing()
        text = "; ".join(missing) or "ready"
        return web.Response(status=503 if missing else 200, text=f"{text}\n")

    async def metrics() -> web.Response:
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    answers = dict(zip(PATHS, (health, ready, metrics), strict=True))

    async def handle(request: web.BaseRequest) -> web.Response:
        if request.method != "GET":
            return web.Response(status=405, headers={"Allow": "GET"}, text="Only GET is answered here.\n")
        answer = answers.get(request.raw_path.partition("?")[0])
        if answer is None:
            return web.Response(status=404, text="There are /healthz, /readyz and /metrics.\n")
        return await answer()

    family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    with socket.create_server(address[:2], family=family) as listener:
        listener.setblocking(False)
        real_host, real_port = listener.getsockname()[:2]
        server = web.Server(handle, access_log=None, keepalive_timeout=HEADER_S, lingering_time=STOP_S)
        runner = web.ServerRunner(server, shutdown_timeout=STOP_S)
        await runner.setup()
        try:
            await web.SockSite(runner, listener).start()
            listening(real_host, real_port)
            _log.info("ops_listener_open", address=f"{real_host}:{real_port}")
            await asyncio.get_running_loop().create_future()
        finally:
            await runner.cleanup()
