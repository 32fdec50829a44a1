"""Who may use the console: whoever had its link, within two minutes and once; then the browser that used it.

Every user of this machine, and every page that a browser shows, can reach a port of 127.0.0.1. So:

- the code stands behind the ``#`` of the link, which no browser sends, stores beside a request or refers to;
- cookies do not know ports: another program's pages on 127.0.0.1 would be sent ours. So each session has a
  path of its own that nobody can guess, and its cookie goes to that path only: it takes both;
- the Host must be ours (a name that is bound to 127.0.0.1 is another), and what changes something must come
  from our own origin and carry the session's seal.
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

LINK_S: Final = 120.0
"""Seconds that a link can be used."""
IDLE_S: Final = 1800.0
"""Seconds without anybody doing anything, after which the console ends."""
COOKIE: Final = "penstock_console"


@dataclass(slots=True)
class Session:
    """The one browser that is in."""

    place: str
    """First segment of all of its paths."""
    cookie: str
    seal: str
    """What its forms carry."""
    said: tuple[bool, str] | None = None
    """What came of the last form, until it is shown: whether it is good, and the words."""


class Door:
    """One per console. ``clock`` is in seconds and does not go back."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        secret: Callable[[], str] = lambda: secrets.token_urlsafe(32),
    ) -> None:
        self._clock = clock
        self._secret = secret
        self._code = ""
        self._until = 0.0
        self._session: Session | None = None
        self._used = clock()
        self.closed = False
        """Somebody has ended the console."""

    def link(self) -> str:
        """A new code; the one before is worth nothing any more."""
        self._code, self._until = self._secret(), self._clock() + LINK_S
        self._used = self._clock()
        return self._code

    def enter(self, code: str) -> Session | None:
        """The session of who has the code. The one before is over; None for a wrong, old or used code."""
        good = bool(self._code) and _same(code, self._code) and self._clock() < self._until
        if not good:
            return None
        self._code = ""
        self._used = self._clock()
        self._session = Session(self._secret(), self._secret(), self._secret())
        return self._session

    def session(self, place: str, cookie: str) -> Session | None:
        """That of a request, if it is the one that is in."""
        one = self._session
        if one is None or not (_same(place, one.place) & _same(cookie, one.cookie)):
            return None
        return one

    def used(self) -> None:
        """Somebody does something."""
        self._used = self._clock()

    @property
    def over(self) -> bool:
        """Whether the console ends now."""
        return self.closed or self._clock() - self._used >= IDLE_S


def sealed(session: Session, seal: str) -> bool:
    """Whether a form is one of this session."""
    return _same(seal, session.seal)


def foreign(method: str, host: str, origin: str, ours: str) -> str:
    """Why a request is not from our own pages; empty when it is. ``ours``: our host and port."""
    if host != ours:
        return f"Open the console as http://{ours}, at the port that it has printed."
    if method == "POST" and origin != f"http://{ours}":
        return "This did not come from a page of the console."
    return ""


def led_here(site: str) -> str:
    """Why a page inside is not shown to whom another page has led here; empty when none has. ``site``: the
    header Sec-Fetch-Site, which browsers send and pages cannot set.
    """
    if site in ("", "none", "same-origin"):
        return ""
    return "Another page has led here. If that is what you want, open the address by itself."


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode("utf-8", "replace"), other.encode("utf-8", "replace"))
