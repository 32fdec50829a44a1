"""Which HTTP CONNECT proxy the link takes, if any. Only ``http://`` proxies: TLS to the relay runs inside."""

from __future__ import annotations

import urllib.request
from urllib.parse import urlsplit, urlunsplit

DIRECT = "none"


def check(text: str) -> str:
    """Return the proxy address ``text``; :exc:`ValueError` with a sentence when it cannot be used.

    A host without a scheme is taken as ``http://``, as everywhere else. User name and password are
    percent-encoded, and never part of the sentence.
    """
    address = text if "://" in text else f"http://{text}"
    try:
        parts = urlsplit(address)
        port = parts.port
    except ValueError:
        raise ValueError("not an address; write http://host:port or http://user:password@host:port") from None
    if parts.scheme != "http":
        raise ValueError(
            f"{parts.scheme}:// proxies are not supported; write http://host:port "
            "(the tunnel's own TLS runs inside the proxy connection)"
        )
    if not parts.hostname or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError("not a proxy address; write http://host:port or http://user:password@host:port")
    if parts.username is not None and parts.password is None:
        raise ValueError("has a user name without a password; write http://user:password@host:port")
    if port == 0:
        raise ValueError("port 0 is not a port of a proxy")
    return address


def proxy_for(url: str, setting: str | None) -> str | None:
    """Return the address of the proxy towards ``url`` (``wss://host:port``), None for a direct connection.

    ``setting`` is the ``proxy`` setting: an address, ``"none"``, or None for HTTPS_PROXY and NO_PROXY of
    the environment. Raises :exc:`ValueError` when HTTPS_PROXY cannot be used.
    """
    if setting == DIRECT:
        return None
    if setting is not None:
        return setting
    proxies = urllib.request.getproxies_environment()
    address = proxies.get("https")
    # NO_PROXY is matched on the host, with the port too because some write it there.
    if not address or urllib.request.proxy_bypass(urlsplit(url).netloc, proxies):
        return None
    try:
        return check(address)
    except ValueError as e:
        raise ValueError(f"HTTPS_PROXY {e}") from None


def redact(address: str) -> str:
    """Return ``address`` without its password, for logs and messages."""
    parts = urlsplit(address)
    if parts.username is None:
        return address
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, f"{parts.username}:***@{host}", "", "", ""))
