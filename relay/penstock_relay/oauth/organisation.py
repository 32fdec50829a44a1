"""What an organisation allows its users: which clients, for how long, and tools that come later. Pure."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal
from urllib.parse import urlsplit

ACCESS_S: Final = 3600.0
"""How long an access token is good."""
IDLE_S: Final = 30 * 86_400.0
"""A grant that is not refreshed for so long ends."""
ABSOLUTE_S: Final = 180 * 86_400.0
"""And every grant does after so long."""

MAX_ACCESS_S: Final = 86_400.0
"""Longest life of an access token that can be set."""

DURATION: Final = re.compile(r"([1-9][0-9]{0,5})([smhd])")
_UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_ID: Final = re.compile(r"[!-~]{1,2048}")
_HOST: Final = re.compile(r"[a-z0-9.*-]{1,253}")


def seconds(text: str) -> float:
    """The length of ``180d``, ``12h``, ``30m`` or ``45s``. Raises ValueError."""
    found = DURATION.fullmatch(text)
    if found is None:
        raise ValueError(f"{text[:40]!r} is not a length of time: write 45s, 30m, 12h or 7d")
    return int(found[1]) * _UNITS[found[2]]


SecondFactor = Literal["optional", "required", "off"]
"""Whether users of this relay's own may have a second factor, must, or cannot."""


@dataclass(frozen=True, slots=True)
class Lives:
    """How long things are good, in seconds."""

    access_s: float = ACCESS_S
    """An access token."""
    idle_s: float = IDLE_S
    """A grant that is not refreshed."""
    absolute_s: float = ABSOLUTE_S
    """A grant in any case."""


@dataclass(frozen=True, slots=True)
class Organisation:
    """The settings of the organisation, as values."""

    allowed_clients: Sequence[str] | None = None
    """Patterns of :func:`client_allowed`; None: all."""
    lives: Lives = field(default_factory=Lives)
    later_tools: bool = True
    """Whether users may allow tools that a site adds later."""
    second_factor: SecondFactor = "optional"

    def allows(self, client_id: str, redirect_uris: Sequence[str]) -> bool:
        """Whether users may connect that client."""
        return self.allowed_clients is None or client_allowed(self.allowed_clients, client_id, redirect_uris)


def bad_pattern(pattern: str) -> bool:
    """Whether it is neither the id of a client nor a host, of which parts may be ``*``."""
    return _ID.fullmatch(pattern) is None or ("*" in pattern and _HOST.fullmatch(pattern) is None)


def client_allowed(patterns: Sequence[str], client_id: str, redirect_uris: Sequence[str]) -> bool:
    """Whether one of ``patterns`` is the client's id, or fits its host.

    The host of a client with a metadata document is that of its id, which nobody else can have. A client that
    registered itself may call itself anything, but codes go to its redirect URIs only: it is at a host if all
    of these are. ``*`` stands for any text, dots too: ``*.example.com``.
    """
    if client_id in patterns:
        return True
    where = [client_id] if client_id.startswith("https://") else redirect_uris
    hosts = [urlsplit(url).hostname or "" for url in where]
    globs = [pattern for pattern in patterns if _HOST.fullmatch(pattern)]
    return bool(hosts) and all(any(fnmatch.fnmatchcase(host, glob) for glob in globs) for host in hosts)
