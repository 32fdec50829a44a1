"""Which addresses a server in a unit may reach: ``network = ["10.0.0.5:5432"]``. Pure.

Two parts of the kernel enforce it, and neither knows what the other allows: systemd's filter of the unit's
cgroup knows addresses and no ports, Landlock knows ports (of TCP) and no addresses.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Final

MAX: Final = 64
"""Entries of a list."""

_PROBES: Final = ("127.255.255.254", "::1")


@dataclass(frozen=True, slots=True)
class Reach:
    """Networks, and ports of TCP; no ports: all of them, and of UDP too."""

    networks: tuple[str, ...]
    ports: tuple[int, ...] = ()

    @property
    def probe(self) -> str:
        """An address of this machine's own that is not allowed: where something gets there, nothing is
        enforced. Empty where all of them are allowed.
        """
        allowed = [ip_network(each) for each in self.networks]
        for each in _PROBES:
            address = ip_network(each)
            if not any(_within(address, network) for network in allowed):
                return each
        return ""


def _within(inner: IPv4Network | IPv6Network, outer: IPv4Network | IPv6Network) -> bool:
    return inner.version == outer.version and inner.network_address in outer


def parse(entries: Sequence[str]) -> Reach:
    """Raises ValueError with the next step."""
    if not entries or len(entries) > MAX:
        raise ValueError(f'should name 1 to {MAX} addresses; for no network write "none"')
    pairs = [_entry(each) for each in entries]
    networks = dict.fromkeys(network for network, _ in pairs)
    ports = dict.fromkeys(port for _, port in pairs)
    if None in ports and len(ports) > 1:
        raise ValueError("names ports for some addresses and none for others; name them for all, or for none")
    for network in networks:
        for port in ports:
            if (network, port) not in pairs:
                raise ValueError(
                    "cannot be enforced as it is: the kernel holds a server to addresses and to ports, and "
                    f"not to pairs of them, so {shown(network, port)} could be reached as well. Add it, or "
                    "leave the ports out"
                )
    return Reach(tuple(networks), tuple(sorted(each for each in ports if each is not None)))


def shown(network: str, port: int | None) -> str:
    """An entry as it is written."""
    if port is None:
        return network
    return f"[{network}]:{port}" if ":" in network else f"{network}:{port}"


def _entry(text: str) -> tuple[str, int | None]:
    host, port = text, ""
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise ValueError(f"{text[:100]!r} is no address; write [2001:db8::1]:443")
        port = rest[1:]
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    if port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ValueError(f"{text[:100]!r} has no port behind its colon: 1 to 65535")
    try:
        network = ip_network(host)
    except ValueError:
        raise ValueError(
            f"{text[:100]!r} is not an IP address, nor a network such as 10.0.0.0/8 without bits behind its "
            "mask. Names cannot be enforced: write the address that it stands for (getent ahosts NAME)"
        ) from None
    single = network.prefixlen == network.max_prefixlen
    return str(network.network_address) if single else str(network), int(port) if port else None
