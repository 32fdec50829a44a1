"""Where a server of the local network is, and where it may send us. Pure."""

from __future__ import annotations

from typing import Final
from urllib.parse import SplitResult, urljoin, urlsplit

MAX_URL: Final = 2048
"""Characters of an address, configured or given by a server."""

#: HTTP statuses with which the same request is to be sent to another address, by method. After 301, 302 and
#: 303 half of all clients turn a POST into a GET: what would arrive is not what was meant.
_REPEATS: Final = {"GET": frozenset({301, 302, 303, 307, 308}), "POST": frozenset({307, 308})}
REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})

_PORTS: Final = {"http": 80, "https": 443}


class BadAddress(ValueError):
    """The address cannot be used; the text is the end of a sentence that begins with its name."""


class Refused(Exception):
    """The server sent us to where we do not go; the text says where, without path and query."""


def check(text: str) -> str:
    """Return ``text`` if it is the address of a server. Raises :exc:`BadAddress`."""
    if len(text) > MAX_URL or not text.isascii() or not text.isprintable() or " " in text or "\\" in text:
        raise BadAddress("is not a URL; write http://host:port/path or https://host/path")
    parts = _split(text)
    if parts is None or parts.scheme not in _PORTS or not parts.hostname:
        raise BadAddress("is not a URL; write http://host:port/path or https://host/path")
    if parts.username is not None or parts.password is not None:
        raise BadAddress(
            "must not hold a user name or password; give them in headers, from a file: "
            'headers = { Authorization = "file:/etc/penstock-agent/NAME.token" }'
        )
    if parts.fragment or text.endswith("#"):
        raise BadAddress("must not have a #fragment; remove it")
    return text


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port of an address that ``check`` let through."""
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").rstrip("."), parts.port or _PORTS[parts.scheme]


def show(url: str) -> str:
    """The origin as people write it, for logs and messages: paths and queries may hold secrets."""
    parts = _split(url)
    if parts is None or not parts.hostname:
        return "an address that cannot be read"
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port else "")


def is_plain(url: str) -> bool:
    """Whether everything goes over the network for all to read."""
    return urlsplit(url).scheme == "http"


def looks_like_sse(url: str) -> bool:
    """Whether the address ends the way that those of HTTP+SSE servers do."""
    return urlsplit(url).path.endswith("/sse")


def within(base: str, reference: str) -> str:
    """The address that ``reference`` means at ``base``, which must be of the same origin.

    Raises :exc:`Refused`.
    """
    try:
        target = check(urljoin(base, reference))
        same = origin(target) == origin(base)
    except ValueError:
        raise Refused("an address that cannot be read") from None
    if not same:
        raise Refused(show(target))
    return target


def redirected(method: str, url: str, status: int, location: str) -> str:
    """Where to repeat a request that was answered with a redirect. Raises :exc:`Refused`."""
    target = within(url, location)
    if status not in _REPEATS.get(method, ()):
        raise Refused(f"{show(target)}, with a status ({status}) after which a {method} is not repeated")
    return target


def _split(text: str) -> SplitResult | None:
    try:
        parts = urlsplit(text)
        if parts.port == 0:
            return None
    except ValueError:
        return None
    return parts
