"""Who visits the relay's pages: a browser, known by its cookies, and the forms that were made for it.

Nothing is kept here between two requests: a login is a row in the store. A form carries a seal over the
browser's own cookie, the user and exactly what the form was about, good for ten minutes: it is worth nothing
in another browser, for another user or for another request.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from penstock.http import Headers
from penstock_relay.oauth import tokens
from penstock_relay.oauth.tokens import Seal
from penstock_relay.oauth.web import Asked
from penstock_relay.store import LoginRecord, Store, User

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
    login: str = ""
    """The secret of its login; "" when there is none."""


class Visits:
    """Reads and makes the cookies and seals of browsers. `origin` is the public URL."""

    def __init__(self, store: Store, origin: str, seal: Seal, accepts: Callable[[User], bool]) -> None:
        """`accepts`: whether such a user may be logged in here at all."""
        self._store = store
        self._seal = seal
        self._accepts = accepts
        secure = origin.startswith("https://")
        # The prefix binds the cookie to this host; over http, which is loopback only, browsers refuse it.
        self._prefix = "__Host-penstock" if secure else "penstock"
        self._flags = "; Path=/; HttpOnly; SameSite=Lax" + ("; Secure" if secure else "")

    async def visitor(self, asked: Asked, now: float) -> Visitor:
        cookies = asked.cookies
        browser = cookies.get(f"{self._prefix}-browser", "")
        if _BROWSER.fullmatch(browser) is None:
            browser = tokens.secret()
        login = cookies.get(f"{self._prefix}-login", "")
        if _BROWSER.fullmatch(login) is None:
            return Visitor(browser, None)
        user = await self._store.logins.find(_login(browser, login), now)
        return Visitor(browser, user if user is not None and self._accepts(user) else None, login)

    def device(self, asked: Asked, name: str, now: float) -> str | None:
        """The device that `asked` comes from, if `name` has logged in there before.

        It proves nothing but that: who guesses passwords elsewhere shall not use up the tries of those who
        have them (OWASP, "device cookies").
        """
        device, _, sealed = asked.cookies.get(f"{self._prefix}-device", "").partition("/")
        return device if self._seal.good(sealed, now, "device", name, device) else None

    async def enter(
        self,
        user: User,
        now: float,
        sid: str | None = None,
        lasts: float = LOGIN_S,
        *,
        alone: bool = False,
    ) -> Headers | None:
        """The cookies of a browser where `user` has just logged in; `sid`: the provider's session, if any.

        None when the user has been disabled since, or has another password; or a second factor, where the
        password was `alone`.
        """
        # A new browser cookie: a page that was opened before the login is worth nothing after it.
        browser, login = tokens.secret(), tokens.secret()
        record = LoginRecord(_login(browser, login), user.name, now, now + lasts, sid)
        if not await self._store.logins.add(record, user.password_hash, alone=alone):
            return None
        device = tokens.secret()
        known = f"{device}/{self._seal.make(now + DEVICE_S, 'device', user.name, device)}"
        return (
            self.cookie("browser", browser),
            self.cookie("login", login),
            self.cookie("device", known, keep_s=DEVICE_S),
        )

    async def leave(self, visitor: Visitor, now: float) -> Headers:
        """Ends the login of a browser, also for whoever else has its cookies."""
        await self._store.logins.end(_login(visitor.browser, visitor.login), now)
        return (self.without("login"),)

    def id(self, visitor: Visitor) -> bytes:
        """What the store calls the login of a browser."""
        return _login(visitor.browser, visitor.login)

    def without(self, name: str) -> tuple[str, str]:
        """Takes a cookie of ours away."""
        return "set-cookie", f"{self._prefix}-{name}=; Max-Age=0{self._flags}"

    def kept(self, asked: Asked, name: str) -> str:
        """The value of a cookie of ours; "" when there is none."""
        return asked.cookies.get(f"{self._prefix}-{name}", "")

    def cookie(self, name: str, value: str, *, keep_s: float | None = None) -> tuple[str, str]:
        """Kept for `keep_s`, or until the browser is closed."""
        age = "" if keep_s is None else f"; Max-Age={int(keep_s)}"
        return "set-cookie", f"{self._prefix}-{name}={value}{age}{self._flags}"

    def sealed(self, now: float, *about: str, lasts: float = FORM_S) -> str:
        return self._seal.make(now + lasts, *about)

    def fits(self, form: dict[str, str], now: float, *about: str) -> bool:
        return self._seal.good(form.get("seal", ""), now, *about)


def _login(browser: str, login: str) -> bytes:
    """What the store keeps of a login: both cookies of the browser where it was."""
    return tokens.digest(f"{browser}/{login}")
