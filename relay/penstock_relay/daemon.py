"""``penstock-relay serve``: opens the listeners, says where they are, and takes everything down in order."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import socket
import time
from typing import Final
from urllib.parse import urlsplit

from penstock import log, tls
from penstock_relay import auditing, listening, sealed
from penstock_relay.access import Access
from penstock_relay.address import Address
from penstock_relay.asking import Asking
from penstock_relay.bearers import Bearers
from penstock_relay.ca import CertificateAuthority
from penstock_relay.ca.following import Following
from penstock_relay.ca.opening import open_authority
from penstock_relay.config import ConfigError, Settings
from penstock_relay.door.door import Door
from penstock_relay.edge.callers import Callers
from penstock_relay.edge.clientcert import Certificates
from penstock_relay.edge.connection import NoParser
from penstock_relay.edge.serve import serve_edge
from penstock_relay.edge.stats import Stats
from penstock_relay.egress import assistants
from penstock_relay.listening import Listening
from penstock_relay.oauth.fetch import Documents
from penstock_relay.oauth.issuers import Issuers
from penstock_relay.oauth.limits import Limits
from penstock_relay.oauth.resource import ResourceMetadata
from penstock_relay.oauth.server import AuthorizationServer, key_of
from penstock_relay.oauth.trusted import Trusted
from penstock_relay.oauth.upstream.party import Party
from penstock_relay.ops import Readiness, serve_ops
from penstock_relay.store import Store
from penstock_relay.switchboard.switchboard import Switchboard

DRAIN: Final = 5.0
"""Seconds that calls get to finish after a signal to stop."""
SPREAD_MS: Final = 5000
"""Over how long agents spread their next dialling when this relay stops."""
EGRESS_CHECK: Final = 300.0
"""How often the files of callers.egress are read again."""
BACKLOG: Final = 512

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)

_log = log.get(__name__)


class _Stop(Exception):
    """A signal asked the relay to stop."""


async def serve(settings: Settings) -> None:
    """Runs the relay until SIGTERM or SIGINT. Raises ConfigError, SealError, CaError, StoreError, OSError."""
    log.setup("penstock-relay", level=settings.log_level)
    tls.small_read_buffers()
    keyring = sealed.read(settings.master_key_file, settings.state_dir)
    ca = open_authority(settings, time.time(), keyring)
    async with await Store.open(settings.database) as store:
        with _bind(settings.tunnel_listen) as listener:
            async with auditing.recorded(store, settings):
                await _Daemon(settings, keyring, ca, store, listener).run()


class _Daemon:
    """One run of the relay. Its TaskGroup owns every listener."""

    def __init__(
        self,
        settings: Settings,
        keyring: sealed.Keyring,
        ca: CertificateAuthority,
        store: Store,
        listener: socket.socket,
    ) -> None:
        self._settings = settings
        self._listener = listener
        self._access = Access(store)
        self._issuers = tuple(table.issuer() for table in settings.issuers)
        self._outside = (
            Issuers(self._issuers, introspection=settings.introspection(), trusted=Trusted())
            if self._issuers
            else None
        )
        by_email = [issuer.url for issuer in self._issuers if issuer.match_email]
        self._bearers = Bearers(self._access, self._outside, store.outsiders(by_email))
        self._store = store
        self._upstream = _upstream(settings)
        self._keyring = keyring
        self._seal_key = key_of(settings.state_dir, keyring) if settings.oauth else b""
        networks = settings.caller_networks()
        trusted = settings.trusted_proxies
        self._callers = None
        if networks is not None and trusted is not None:
            self._callers = Callers(networks, trusted, _certificates(settings))
        self._limits = Limits(assistants(networks))
        self._stats = Stats()
        self._switchboard = Switchboard(secrets.token_hex(4))
        self._door = Door(self._switchboard, store, ca)
        host, port = listener.getsockname()[:2]
        self._tunnel_listen = Address(host, port)
        self._tunnel_url = settings.tunnel_url_at(self._tunnel_listen)
        self._following = Following(
            ca,
            store.fleet.read,
            urlsplit(self._tunnel_url).hostname or "",
            time.time(),
            self._door.shows,
        )
        self._public_listen: asyncio.Future[Address] = asyncio.get_running_loop().create_future()
        self._pages_made: asyncio.Future[AuthorizationServer] = asyncio.get_running_loop().create_future()
        self._ops_listen: asyncio.Future[Address] = asyncio.get_running_loop().create_future()

        async def probe() -> None:
            await store.change_sequence()

        self._readiness = Readiness(probe, frozenset({"public", "tunnel"}))

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        told = asyncio.Event()
        for number in _SIGNALS:
            loop.add_signal_handler(number, told.set)
        settings = self._settings
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._access.run())
                tasks.create_task(auditing.keep(self._store))
                if self._outside is not None:
                    tasks.create_task(self._outside.run())
                if self._upstream is not None:
                    tasks.create_task(self._upstream.run())
                edge = tasks.create_task(self._edge())
                tasks.create_task(self._ops())
                tasks.create_task(self._tunnel())
                tasks.create_task(self._following.run())
                tasks.create_task(self._authorization())
                tasks.create_task(self._reread())
                await told.wait()
                await self._drain(edge)
                raise _Stop
        except* _Stop:
            _log.info("stopped")
        except* (ConfigError, OSError) as group:
            raise _first(group) from None
        finally:
            listening.remove(settings.state_dir, os.getpid())

    async def _edge(self) -> None:
        address = self._settings.listen
        try:
            await serve_edge(
                address.host,
                address.port,
                listening=self._public_open,
                switchboard=self._switchboard,
                access=self._bearers,
                stats=self._stats,
                pages=self._pages if self._settings.oauth else self._metadata if self._issuers else None,
                oauth=self._settings.oauth,
                issuers=self._issuers,
                trusted_proxies=self._settings.trusted_proxies,
                callers=self._callers,
            )
        except NoParser as error:
            raise ConfigError(str(error)) from None
        except OSError as error:
            raise _not_open("listen", address, error) from None

    def _metadata(self, public_url: str) -> ResourceMetadata:
        return ResourceMetadata(public_url, self._issuers)

    def _pages(self, public_url: str) -> AuthorizationServer:
        server = AuthorizationServer(
            self._store,
            public_url,
            self._seal_key,
            documents=Documents(),
            key_documents=Documents(keeps=False),
            sites=Asking(self._switchboard),
            issuers=self._issuers,
            limits=self._limits,
            organisation=self._settings.organisation,
            local_accounts=self._settings.local_accounts,
            upstream=self._upstream,
            keyring=self._keyring,
        )
        self._pages_made.set_result(server)
        return server

    async def _authorization(self) -> None:
        if self._settings.oauth:
            await (await self._pages_made).run()

    async def _ops(self) -> None:
        address = self._settings.ops_listen
        try:
            await serve_ops(
                address.host,
                address.port,
                listening=lambda host, port: self._ops_listen.set_result(Address(host, port)),
                readiness=self._readiness,
                stats=self._stats,
                links=lambda: self._switchboard.links.greeted,
                heads=self._door.heads.counts,
                notices=self._door.notices.counts,
            )
        except OSError as error:
            raise _not_open("ops_listen", address, error) from None

    def _public_open(self, host: str, port: int) -> str:
        address = Address(host, port)
        self._switchboard.links.public_url = self._settings.public_url_at(address)
        self._bearers.origin = self._switchboard.links.public_url
        self._readiness.opened("public")
        self._public_listen.set_result(address)
        return self._switchboard.links.public_url

    async def _tunnel(self) -> None:
        # Agents are told the public URL, so they are let in once it is known.
        public, ops = await self._public_listen, await self._ops_listen
        listening.write(
            self._settings.state_dir,
            Listening(
                pid=os.getpid(),
                public_url=self._switchboard.links.public_url,
                listen=str(public),
                tunnel_url=self._tunnel_url,
                tunnel_listen=str(self._tunnel_listen),
                ops_listen=str(ops),
            ),
        )
        self._readiness.opened("tunnel")
        _log.info("tunnel_listener_open", address=str(self._tunnel_listen), tunnel_url=self._tunnel_url)
        await self._door.serve(self._listener, self._following.context)

    async def _reread(self) -> None:
        """The files of callers.egress, for ever: what vendors publish changes while the relay runs."""
        while self._callers is not None:
            await asyncio.sleep(EGRESS_CHECK)
            try:
                networks = await asyncio.to_thread(self._settings.caller_networks)
            except ConfigError as error:
                # The last list that could be read is better than none, in both directions.
                _log.error("callers_egress_not_read", cause=str(error))
            else:
                self._callers.replace(networks or ())

    async def _drain(self, edge: asyncio.Task[None]) -> None:
        self._readiness.drain()
        self._switchboard.links.drain(SPREAD_MS)
        try:
            async with asyncio.timeout(DRAIN):
                await self._switchboard.idle.wait()
        except TimeoutError:
            _log.warning("stopping_with_calls_under_way", calls=self._switchboard.calls)
        # Before the links go: callers get their last words, and agents hear who is gone.
        edge.cancel()
        await asyncio.wait((edge,))


def _certificates(settings: Settings) -> Certificates | None:
    callers, anchors = settings.callers, settings.caller_anchors()
    if callers is None or not anchors:
        return None
    return Certificates(anchors, callers.client_names, callers.client_header.lower(), time.time)


def _upstream(settings: Settings) -> Party | None:
    if settings.upstream is None:
        return None
    return Party(settings.upstream, settings.upstream_secret(), Trusted(), clock=time.time)


def _bind(address: Address) -> socket.socket:
    try:
        family, _, _, _, place = socket.getaddrinfo(
            address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.create_server(place[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        raise _not_open("tunnel_listen", address, error) from None
    listener.setblocking(False)
    return listener


def _not_open(setting: str, address: Address, error: OSError) -> ConfigError:
    # The text of the error itself repeats the address, in another spelling.
    cause = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
    return ConfigError(
        f"{setting}: cannot listen on {address}: {cause}. Is another relay running? Choose another address "
        f"with {setting}."
    )


def _first(group: BaseExceptionGroup[ConfigError | OSError]) -> ConfigError | OSError:
    for error in group.exceptions:
        return _first(error) if isinstance(error, BaseExceptionGroup) else error
    raise AssertionError("a group is never empty")
