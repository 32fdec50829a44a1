"""Where clients may have users sent back to. Pure; compared as bytes, never normalised (RFC 9700, 2.1)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

MAX_URI: Final = 2048

_LABEL: Final = r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?"
HOST: Final = rf"(?:{_LABEL}\.)+{_LABEL}"
"""A host name as everybody writes it: lower case, several labels, no dot at its end."""

_HTTPS: Final = re.compile(rf"https://({HOST})(?::(\d{{1,5}}))?(?=[/?]|\Z)")
_LOOPBACK: Final = re.compile(r"(http://(?:127\.0\.0\.1|\[::1\]|localhost))(?::(\d{1,5}))?(?=[/?]|\Z)")
_CHARACTERS: Final = re.compile(r"[!-~]+")
_FORBIDDEN: Final = re.compile(r"[\\#*<>\"^`{|}]")
_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
_PATH_TRICK: Final = re.compile(r"/\.{1,2}(?=[/?]|\Z)|%2e|%2f|%5c|%00|%0a|%0d", re.IGNORECASE)


def problem(uri: str) -> str | None:
    """Why `uri` may not be registered, as a sentence; None when it may."""
    if len(uri) > MAX_URI:
        return f"A redirect URI has at most {MAX_URI} characters."
    if _CHARACTERS.fullmatch(uri) is None or _FORBIDDEN.search(uri) or _PERCENT.search(uri):
        return "A redirect URI is plain ASCII, without a fragment, wildcards, spaces or backslashes."
    found = _LOOPBACK.match(uri)
    if found is not None:
        port = found[2]
    else:
        secure = _HTTPS.match(uri)
        if secure is None:
            return "A redirect URI is https with a host name, or http on 127.0.0.1, [::1] or localhost."
        port = secure[2]
        if secure[1].rpartition(".")[2].isdigit():
            return "A redirect URI names its host, not an address."
    if port is not None and not 0 < int(port) < 65536:
        return "The port of a redirect URI is between 1 and 65535."
    path = uri.partition("?")[0]
    if _PATH_TRICK.search(path):
        return "The path of a redirect URI has no dot segments and no encoded separators."
    return None


def matches(registered: Sequence[str], asked: str) -> bool:
    """Whether `asked` is one of `registered`. On loopback the port may differ (RFC 8252, 7.3): it is the
    one that a program on the user's machine was given a moment ago."""
    if problem(asked) is not None:
        return False
    if asked in registered:
        return True
    wanted = _without_port(asked)
    return wanted is not None and any(_without_port(uri) == wanted for uri in registered)


def _without_port(uri: str) -> tuple[str, str] | None:
    found = _LOOPBACK.match(uri)
    return None if found is None else (found[1], uri[found.end() :])
