"""Whose request it is: the address of the caller, found behind the proxies that may speak for one. Pure.

Every proxy appends the address that it saw to `X-Forwarded-For`, so the list is read from its end, and only
as long as those who wrote are trusted: what stands further left may be anybody's invention. `Forwarded`
(RFC 7239) is not read: a proxy that sets the one passes the other on as it came, and the two would be two
answers to one question. For the same reason nothing else that a proxy says is believed: scheme and host are
those of the public URL.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from typing import Final

from penstock.http import Headers, every
from penstock_relay.address import Network
from penstock_relay.oauth.web import Peer

MAX_HOPS: Final = 16
"""Entries of X-Forwarded-For that are read."""

HEADER: Final = "x-forwarded-for"
_ENTRY: Final = re.compile(
    r"\[([0-9A-Fa-f:.]{2,45})\](?::[0-9]{1,5})?|([0-9.]{7,15})(?::[0-9]{1,5})?|([0-9A-Fa-f:.]{2,45})"
)
"""An address, with a port where a proxy writes one: 192.0.2.1:4711, [2001:db8::1]:4711."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def found(remote: str | None, headers: Headers, trusted: Sequence[Network] | None) -> Peer:
    """Who asks. `remote` is the address of the TCP peer, `trusted` the networks of proxies; None: not known.

    What cannot be read is the doing of the one who passed it on, and that one is the caller then.
    """
    here = _address(remote or "")
    if here is None:
        return Peer()
    if trusted is None:
        # Somebody who passes requests on, or may be: those behind him cannot be told apart.
        return Peer(str(here), shared=not here.is_global or any(name == HEADER for name, _ in headers))
    hops = [entry.strip(" \t") for line in every(headers, HEADER) for entry in line.split(",")]
    for hop in reversed(hops[-MAX_HOPS:]):
        if not _within(here, trusted):
            break
        before = _entry(hop)
        if before is None:
            break
        here = before
    # A list of trusted addresses alone, or none at all: the request is the proxy's own, or it names nobody.
    return Peer(str(here), shared=_within(here, trusted))


def is_proxy(remote: str | None, trusted: Sequence[Network]) -> bool:
    """Whether the TCP peer at `remote` is one whose headers are believed."""
    here = _address(remote or "")
    return here is not None and _within(here, trusted)


def _within(address: Address, networks: Sequence[Network]) -> bool:
    return any(address in network for network in networks if network.version == address.version)


def _entry(text: str) -> Address | None:
    match = _ENTRY.fullmatch(text)
    return None if match is None else _address(match[1] or match[2] or match[3])


def _address(text: str) -> Address | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped  # how a listener for both families writes IPv4
    return address
