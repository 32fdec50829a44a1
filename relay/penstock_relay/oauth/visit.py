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
        return Visitor(browser, user if good else None)

    def enter(self, name: str, password_hash: str, now: float) -> Headers:
        """The cookies of a browser where `name` has just logged in."""
        # A new browser cookie: a page that was opened before the login is worth nothing after it.
        browser = tokens.secret()
        # With the hash of the password in it: who sets a new one is logged out everywhere.
        sealed = self._seal.make(now + LOGIN_S, "session", browser, name, password_hash)
        return (self.cookie("browser", browser), self.cookie("login", f"{name}/{sealed}"))

    def leave(self) -> Headers:
        """Ends the login of a browser."""
        return (("set-cookie", f"{self._prefix}-login=; Max-Age=0{self._flags}"),)

    def cookie(self, name: str, value: str) -> tuple[str, str]:
        return "set-cookie", f"{self._prefix}-{name}={value}{self._flags}"

    def sealed(self, now: float, *about: str) -> str:
        return self._seal.make(now + FORM_S, *about)

    def fits(self, form: dict[str, str], now: float, *about: str) -> bool:
        return self._seal.good(form.get("seal", ""), now, *about)
