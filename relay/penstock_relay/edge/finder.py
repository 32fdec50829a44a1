"""Tells the pages whose request they answer, and the operator when that cannot be told."""

from __future__ import annotations

from collections.abc import Sequence

from penstock import log
from penstock.http import Headers
from penstock_relay.address import Network
from penstock_relay.edge.peer import HEADER, found
from penstock_relay.oauth.web import Peer

_log = log.get(__name__)


class Finder:
    """`found`, with what the configuration says, and one word to the operator where it says nothing."""

    def __init__(self, trusted: Sequence[Network] | None, *, proxied: bool) -> None:
        """`proxied`: whether something must stand before the listener, as an https public URL shows."""
        self._trusted = trusted
        self._proxied = proxied
        self._told = False

    def __call__(self, remote: str | None, headers: Headers) -> Peer:
        peer = found(remote, headers, self._trusted)
        unknown = self._trusted is None and peer.shared
        if unknown and not self._told and (self._proxied or any(name == HEADER for name, _ in headers)):
            self._told = True
            _log.warning(
                "trusted_proxies_not_set",
                peer=peer.address,
                meaning="requests come through a proxy, so limits count all callers together",
                do='set trusted_proxies to the networks of your proxies, as ["127.0.0.0/8"]',
            )
        return peer
