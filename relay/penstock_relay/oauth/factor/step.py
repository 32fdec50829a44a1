"""Between the right password and the login: the code, or a second factor that has to be set up first.

Nothing is kept of that: the form carries a seal over the browser, where it leads, the user and the password
that was right, good for five minutes in all. It lets nobody in without a code that is good now.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from penstock_relay.audit import Kind
from penstock_relay.oauth import pages, tokens, web
from penstock_relay.oauth.entrance import Entrance
from penstock_relay.oauth.factor import recovery, totp
from penstock_relay.oauth.factor.checking import Checked, Codes, new_key
from penstock_relay.oauth.organisation import SecondFactor
from penstock_relay.oauth.visit import Visitor, Visits
from penstock_relay.oauth.web import Asked, Reply
from penstock_relay.store import Store, User

CODE: Final = "/oauth/code"
SETUP: Final = "/oauth/setup"
STEP_S: Final = 300.0
"""How long the code may take after the password."""

WRONG: Final = "The code is wrong, or was used already. Wait for the next one."
OFTEN: Final = (
    "Too many wrong codes. Wait a quarter of an hour; after twenty in a day, a day. Or use a browser where "
    "you have logged in before."
)
_OVER: Final = (
    "The login took too long, began in another browser, or is over already. Go back to the application and "
    "start again."
)


class SecondStep:
    """What is asked after the password, by what the organisation has `wanted`. `host`: of the public URL."""

    def __init__(
        self,
        store: Store,
        visits: Visits,
        entrance: Entrance,
        codes: Codes,
        wanted: SecondFactor,
        host: str,
    ) -> None:
        self._store = store
        self._visits = visits
        self._entrance = entrance
        self._codes = codes
        self._wanted = wanted
        self._host = host

    @property
    def alone(self) -> bool:
        """Whether a password alone lets nobody in who has a second factor."""
        return self._wanted != "off"

    def ask(self, visitor: Visitor, user: User, onward: str, now: float) -> Reply | None:
        """The page after the right password of `user`; None when nothing more is asked."""
        if self._wanted == "off":
            return None
        if user.factor:
            seal = self._visits.sealed(now, *_about(CODE, visitor, user, onward), lasts=STEP_S)
            return self._code_page(visitor, user.name, onward, seal)
        if self._wanted == "required":
            return self._setup_page(visitor, user, onward, new_key(), now)
        return None

    async def code(self, asked: Asked, now: float) -> Reply:
        """Checks the code, and goes on to where the user came from."""
        form = asked.form()
        visitor = await self._visits.visitor(asked, now)
        onward = form.get("next", "")
        user = await self._store.users.find(form.get("name", ""))
        if user is None or not self._visits.fits(form, now, *_about(CODE, visitor, user, onward)):
            return pages.problem(400, "Start again", _OVER)
        device = self._visits.device(asked, user.name, now)
        found = await self._codes.check(user.name, device, form.get("code", ""), now)
        if not found.good:
            often = found is Checked.OFTEN
            kind = Kind.FACTOR_THROTTLED if often else Kind.FACTOR_FAILED
            self._store.audit.stranger(kind, user=user.name)
            wrong, status = (OFTEN, 429) if often else (WRONG, 401)
            # The same seal: a wrong code does not make the time any longer.
            return self._code_page(visitor, user.name, onward, form["seal"], wrong=wrong, status=status)
        entered = await self._entrance.enter(asked, user, found.value, now)
        if entered is None:
            return pages.problem(400, "Start again", _OVER)
        return web.redirect(onward, entered)

    async def setup(self, asked: Asked, now: float) -> Reply:
        """Takes the first code of a new second factor, logs the user in, and shows the recovery codes."""
        form = asked.form()
        visitor = await self._visits.visitor(asked, now)
        onward, shown = form.get("next", ""), form.get("key", "")
        user = await self._store.users.find(form.get("name", ""))
        key = totp.read(shown)
        if (
            user is None
            or key is None
            or not self._visits.fits(form, now, *_about(SETUP, visitor, user, onward), shown)
        ):
            return pages.problem(400, "Start again", _OVER)
        codes = await self._codes.add(user, key, recovery.digits(form.get("code", "")), now)
        if codes is None:
            return self._setup_page(visitor, user, onward, key, now, seal=form["seal"], wrong=WRONG)
        entered = None
        if codes:
            entered = await self._entrance.enter(asked, user, Checked.CODE.value, now)
        if entered is None:
            return pages.problem(400, "Start again", _OVER)
        reply = pages.page("recovery", codes=codes, onward=onward)
        return replace(reply, headers=(*reply.headers, *entered))

    def _code_page(
        self, visitor: Visitor, name: str, onward: str, seal: str, *, wrong: str = "", status: int = 200
    ) -> Reply:
        reply = pages.page("code", status, action=CODE, name=name, next=onward, seal=seal, wrong=wrong)
        return replace(reply, headers=(*reply.headers, self._visits.cookie("browser", visitor.browser)))

    def _setup_page(
        self,
        visitor: Visitor,
        user: User,
        onward: str,
        key: bytes,
        now: float,
        *,
        seal: str = "",
        wrong: str = "",
    ) -> Reply:
        shown = totp.shown(key)
        seal = seal or self._visits.sealed(now, *_about(SETUP, visitor, user, onward), shown)
        reply = pages.page(
            "factor", 400 if wrong else 200, action=SETUP, name=user.name, next=onward, seal=seal, key=shown,
            link=totp.link(key, user.name, self._host), wrong=wrong, asked=True,
        )  # fmt: skip
        return replace(reply, headers=(*reply.headers, self._visits.cookie("browser", visitor.browser)))


def _about(step: str, visitor: Visitor, user: User, onward: str) -> tuple[str, ...]:
    """What the seal of a step is over. A new password ends the steps that began with the old one."""
    password = tokens.digest(user.password_hash or "").hex()
    return step, visitor.browser, onward, user.name, password
