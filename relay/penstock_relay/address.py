"""Addresses of listeners and origins of URLs, parsed strictly and written one way; and networks."""

import ipaddress
import re
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import urlsplit

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# What a DNS name may be made of here; other alphabets come in their xn-- form, as in a certificate.
_HOST: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a listener binds. ``str()`` gives ``host:port``, with brackets around an IPv6 host."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ValueError with a sentence. Port 0 lets the kernel pick one."""
        host, colon, port = text.rpartition(":")
        bracketed = host.startswith("[") and host.endswith("]")
        host = host[1:-1] if bracketed else host
        if not colon or not host or not (port.isascii() and port.isdigit()) or int(port) > 65535:
            raise ValueError(f"{text!r} is not host:port, for example 127.0.0.1:8080")
        if bracketed != (":" in host):
            raise ValueError(f"{text!r}: write an IPv6 host in brackets, for example [::1]:8080")
        return cls(_checked_host(host), int(port))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """True when only this machine can reach it."""
        return is_loopback(self.host)


class Ranges:
    """Is an address in one of many networks? Answers in a few microseconds, for hundreds of them."""

    def __init__(self, networks: Iterable[Network]) -> None:
        self._spans: dict[int, tuple[list[int], list[int]]] = {4: ([], []), 6: ([], [])}
        v4 = [each for each in networks if isinstance(each, ipaddress.IPv4Network)]
        v6 = [each for each in networks if isinstance(each, ipaddress.IPv6Network)]
        for merged in (ipaddress.collapse_addresses(v4), ipaddress.collapse_addresses(v6)):
            for network in merged:  # in order, and apart from each other
                starts, ends = self._spans[network.version]
                starts.append(int(network.network_address))
                ends.append(int(network.broadcast_address))

    def __contains__(self, address: str) -> bool:
        try:
            found = ipaddress.ip_address(address)
        except ValueError:
            return False
        starts, ends = self._spans[found.version]
        at = bisect_right(starts, int(found)) - 1
        return at >= 0 and int(found) <= ends[at]


def is_loopback(host: str) -> bool:
    """True for ``localhost`` and the loopback addresses of both families."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def public_origin(text: str) -> str:
    """Normal form of the public URL: lower case, no path, no default port. Raises ValueError.

    Bearer tokens travel to this URL, so plain http is accepted for loopback hosts only.
    """
    scheme, host, port = _split(text, "https://mcp.example.com")
    if scheme not in ("https", "http"):
        raise ValueError(f"{text!r} is not an https:// URL")
    if scheme == "http" and not is_loopback(host):
        raise ValueError(f"{text!r} would send tokens in clear: use https:// (http only for loopback hosts)")
    default = 443 if scheme == "https" else 80
    shown = f"[{host}]" if ":" in host else host
    return f"{scheme}://{shown}" if port in (None, default) else f"{scheme}://{shown}:{port}"


def tunnel_origin(text: str) -> str:
    """Normal form of the tunnel URL: ``wss://host:port``, always with the port. Raises ValueError."""
    scheme, host, port = _split(text, "wss://relay.example.com:443")
    if scheme != "wss":
        raise ValueError(f"{text!r} is not a wss:// URL: links always use TLS")
    return f"wss://{Address(host, 443 if port is None else port)}"


def _split(text: str, example: str) -> tuple[str, str, int | None]:
    if "@" in text:  # before anything that repeats the text
        raise ValueError("a URL with a user name or password is not accepted")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError(f"{text!r} is not a URL, for example {example}") from None
    if not parts.scheme or not parts.hostname or port == 0:
        raise ValueError(f"{text!r} is not a URL with a scheme and a host, for example {example}")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError(
            f"{text!r} has more than scheme, host and port: give the origin only, for example {example}"
        )
    return parts.scheme, _checked_host(parts.hostname), port


def _checked_host(text: str) -> str:
    host = text.lower()
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        if len(host) <= 253 and _HOST.fullmatch(host):
            return host
        raise ValueError(f"{text!r} is neither a host name nor an address") from None
