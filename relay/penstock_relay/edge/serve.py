"""The public listener as one task: set up, serve until cancelled, clean up."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from typing import Final

from aiohttp import web

from penstock import log
from penstock_relay.address import Network
from penstock_relay.edge.callers import Callers
from penstock_relay.edge.connection import Server, require_parser
from penstock_relay.edge.finder import Finder
from penstock_relay.edge.handler import Edge
from penstock_relay.edge.limits import Limits
from penstock_relay.edge.order import Place
from penstock_relay.edge.ports import Access, Exchanges, Pages
from penstock_relay.edge.stats import Stats
from penstock_relay.oauth.issuer import Issuer

BACKLOG: Final = 1024
"""Connections that the kernel accepts for us before we do."""

_log = log.get(__name__)

Listening = Callable[[str, int], str]
"""Told the real host and port, once, before anything is served; returns the public URL (an origin)."""


async def serve_edge(
    host: str,
    port: int,
    *,
    listening: Listening,
    switchboard: Exchanges,
    access: Access,
    stats: Stats,
    limits: Limits | None = None,
    pages: Callable[[str], Pages] | None = None,
    oauth: bool | None = None,
    issuers: tuple[Issuer, ...] = (),
    trusted_proxies: Sequence[Network] | None = None,
    callers: Callers | None = None,
) -> None:
    """Serves the public until it is cancelled; then ends what is running and closes.

    `pages` makes the relay's own for its public URL; without it there are none. `oauth` says whether they are
    those of an authorization server (unless told otherwise: if there are any), `issuers` which others there
    are. `trusted_proxies` may say in whose name they call; None: it is not known who they are. `callers` says
    who may call MCP endpoints.

    `port` 0 picks a free one. Raises NoParser, and OSError when the address cannot be had.
    """
    require_parser()
    limits = limits or Limits()
    family, _, _, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    with socket.create_server(address[:2], family=family, backlog=BACKLOG) as listener:
        listener.setblocking(False)
        real_host, real_port = listener.getsockname()[:2]
        public_url = listening(real_host, real_port)
        place = Place.of(
            public_url,
            real_host,
            real_port,
            oauth=pages is not None if oauth is None else oauth,
            issuers=issuers,
            callers=callers,
        )
        find = Finder(trusted_proxies, proxied=public_url.startswith("https://"))
        made = None if pages is None else pages(public_url)
        edge = Edge(switchboard, access, place, limits, stats, made, find)
        runner = web.ServerRunner(Server(edge.handle, limits, stats), shutdown_timeout=limits.stop_s)
        await runner.setup()
        try:
            await web.SockSite(runner, listener, backlog=BACKLOG).start()
            _log.info("public_listener_open", address=f"{real_host}:{real_port}", public_url=public_url)
            await edge.watch()
        finally:
            edge.stop()  # first: cleaning up waits for open streams, twice
            await runner.cleanup()
