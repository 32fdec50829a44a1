"""Who may call at all, by network or certificate, before anything else about a caller counts. Pure.

A second lock, not the first: that an address belongs to an assistant says nothing about whose call it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from penstock.http import Headers
from penstock_relay.address import Network, Ranges
from penstock_relay.edge.clientcert import Certificates
from penstock_relay.edge.peer import found, is_proxy


class Callers:
    """Callers from `networks`, behind the proxies of `trusted` or connected directly; and whoever showed such
    a proxy one of `certificates`."""

    def __init__(
        self,
        networks: Iterable[Network],
        trusted: Sequence[Network],
        certificates: Certificates | None = None,
    ) -> None:
        self._ranges = Ranges(networks)
        self._trusted = trusted
        self._certificates = certificates

    def replace(self, networks: Iterable[Network]) -> None:
        """From now on it is these."""
        self._ranges = Ranges(networks)

    def allow(self, remote: str | None, headers: Headers) -> bool:
        """Whether a request may go on. `remote` is the address of the TCP peer."""
        if found(remote, headers, self._trusted).address in self._ranges:
            return True
        known = self._certificates
        return known is not None and is_proxy(remote, self._trusted) and known.allow(headers)
