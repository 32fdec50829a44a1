"""Who visits the relay's pages: a browser, known by its cookies, and the forms that were made for it.

Nothing is kept here between two requests. A form carries a seal over the browser's own cookie, the user and
exactly what the form was about, good for ten minutes: it is worth nothing in another browser, for another
user or for another request.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from penstock.http import Headers
from penstock_relay.oauth import tokens
from penstock_relay.oauth.tokens import Seal
from penstock_relay.oauth.web import Asked
from penstock_relay.store import Store, User

FORM_S: Final = 600.0
"""How long a form may lie open."""
LOGIN_S: Final = 12 * 3600.0
"""How long a browser stays logged in."""
DEVICE_S: Final = 180 * 86_400.0
"""How long a browser where a user has logged in is told from those of strangers."""

AGAIN: Final = (
    "This form is too old, or was made for another browser. Go back to the application and start again."
)

_BROWSER: Final = re.compile(r"[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class Visitor:
    """A browser, by a random cookie of ours; and who is logged in there."""

    browser: str
    user: User | None


class Visits:
    """Reads and makes the cookies and seals of browsers. `origin` is the public URL."""

    def __init__(self, store: Store, origin: str, seal: Seal) -> None:
        self._store = store
        self._seal = seal
        secure = origin.startswith("https://")
        # The prefix binds the cookie to this host; over http, which is loopback only, browsers refuse it.
        self._prefix = "__Host-penstock" if secure else "penstock"
        self._flags = "; Path=/; HttpOnly; SameSite=Lax" + ("; Secure" if secure else "")

    async def visitor(self, asked: Asked, now: float) -> Visitor:
        cookies = asked.cookies
        browser = cookies.get(f"{self._prefix}-browser", "")
        if _BROWSER.fullmatch(browser) is None:
            browser = tokens.secret()
        name, _, sealed = cookies.get(f"{self._prefix}-login", "").partition("/")
        user = await self._store.users.find(name) if sealed else None
        if user is None or user.disabled_at is not None or user.password_hash is None:
            return Visitor(browser, None)
        good = self._seal.good(sealed, now, "session", browser, name, user.password_hash)
        if not good or await self._store.logouts.has(tokens.digest(browser)):
            return Visitor(browser, None)
        return Visitor(browser, user)

    def device(self, asked: Asked, name: str, now: float) -> str | None:
        """The device that `asked` comes from, if `name` has logged in there before.

        It proves nothing but that: who guesses passwords elsewhere shall not use up the tries of those who
        have them (OWASP, "device cookies").
        """
        device, _, sealed = asked.cookies.get(f"{self._prefix}-device", "").partition("/")
        return device if self._seal.good(sealed, now, "device", name, device) else None

    def enter(self, name: str, password_hash: str, now: float) -> Headers:
        """The cookies of a browser where `name` has just logged in."""
        # A new browser cookie: a page that was opened before the login is worth nothing after it.
        browser = tokens.secret()
        # With the hash of the password in it: who sets a new one is logged out everywhere.
        sealed = self._seal.make(now + LOGIN_S, "session", browser, name, password_hash)
        device = tokens.secret()
        known = f"{device}/{self._seal.make(now + DEVICE_S, 'device', name, device)}"
        return (
            self.cookie("browser", browser),
            self.cookie("login", f"{name}/{sealed}"),
            self.cookie("device", known, keep_s=DEVICE_S),
        )

    async def leave(self, visitor: Visitor, now: float) -> Headers:
        """Ends the login of a browser, also for whoever else has its cookies."""
        await self._store.logouts.add(tokens.digest(visitor.browser), now + LOGIN_S)
        return (("set-cookie", f"{self._prefix}-login=; Max-Age=0{self._flags}"),)

    def cookie(self, name: str, value: str, *, keep_s: float | None = None) -> tuple[str, str]:
        """Kept for `keep_s`, or until the browser is closed."""
        age = "" if keep_s is None else f"; Max-Age={int(keep_s)}"
        return "set-cookie", f"{self._prefix}-{name}={value}{age}{self._flags}"

    def sealed(self, now: float, *about: str) -> str:
        return self._seal.make(now + FORM_S, *about)

    def fits(self, form: dict[str, str], now: float, *about: str) -> bool:
        return self._seal.good(form.get("seal", ""), now, *about)
