"""Where users turn their second factor on and off."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from penstock import log
from penstock_relay import audit
from penstock_relay.audit import Kind
from penstock_relay.oauth import pages, web
from penstock_relay.oauth.factor import recovery, totp
from penstock_relay.oauth.factor.checking import Checked, Codes, new_key
from penstock_relay.oauth.factor.step import OFTEN, WRONG
from penstock_relay.oauth.login import Login
from penstock_relay.oauth.organisation import SecondFactor
from penstock_relay.oauth.visit import AGAIN, Visitor, Visits
from penstock_relay.oauth.web import Asked, Reply
from penstock_relay.store import Store, User

PATH: Final = "/oauth/factor"

_NONE_HERE: Final = "Your account has no second factor here: "
_ELSEWHERE: Final = _NONE_HERE + "you log in through the identity provider, which asks what it wants to."
_OFF: Final = _NONE_HERE + "the relay's operator has switched second factors off."

_log = log.get(__name__)


class FactorPage:
    def __init__(
        self, store: Store, visits: Visits, login: Login, codes: Codes, wanted: SecondFactor, host: str
    ) -> None:
        """`host`: of the public URL, which is what apps call the entry."""
        self._store = store
        self._visits = visits
        self._login = login
        self._codes = codes
        self._wanted = wanted
        self._host = host

    async def factor(self, asked: Asked, now: float) -> Reply:
        """Shows how it is, and changes it: for the password, and a code that is good now."""
        visitor = await self._visits.visitor(asked, now)
        if visitor.user is None:
            return self._login.page(visitor, PATH, now)
        user = visitor.user
        if user.issuer is not None or self._wanted == "off":
            text = _OFF if user.issuer is None else _ELSEWHERE
            return pages.problem(404, "There is no second factor", text)
        if asked.method == "POST":
            form = asked.form()
            change = self._turn_on if form.get("turn") == "on" else self._turn_off
            return await change(asked, form, visitor, user, now)
        if user.factor:
            return await self._on(visitor, user, now)
        return self._off(visitor, user, new_key(), now)

    async def _turn_on(
        self, asked: Asked, form: dict[str, str], visitor: Visitor, user: User, now: float
    ) -> Reply:
        shown = form.get("key", "")
        key = totp.read(shown)
        if key is None or not self._visits.fits(form, now, *_about("on", visitor, user), shown):
            return pages.problem(400, "Start again", AGAIN)
        wrong = await self._login.doubts(asked, user, form.get("password", ""), now)
        if wrong:
            return self._off(visitor, user, key, now, wrong=wrong)
        given = recovery.digits(form.get("code", ""))
        codes = await self._codes.add(user, key, given, now, keep=self._visits.id(visitor))
        if codes is None:
            return self._off(visitor, user, key, now, wrong=WRONG)
        if not codes:
            return web.redirect(PATH)  # there is one already, from another window
        return pages.page("recovery", codes=codes, onward="/oauth/grants")

    async def _turn_off(
        self, asked: Asked, form: dict[str, str], visitor: Visitor, user: User, now: float
    ) -> Reply:
        if not self._visits.fits(form, now, *_about("off", visitor, user)):
            return pages.problem(400, "Start again", AGAIN)
        wrong = await self._login.doubts(asked, user, form.get("password", ""), now)
        own = self._store.by(audit.user(user.name))
        if not wrong:
            device = self._visits.device(asked, user.name, now)
            found = await self._codes.check(user.name, device, form.get("code", ""), now)
            if not found.good:
                often = found is Checked.OFTEN
                await own.audit.happened(
                    Kind.FACTOR_THROTTLED if often else Kind.FACTOR_FAILED, user=user.name
                )
                wrong = OFTEN if often else WRONG
        if wrong:
            return await self._on(visitor, user, now, wrong=wrong)
        if await own.factors.remove(user.name):
            _log.info("factor_removed", user=user.name)
        return web.redirect(PATH)

    def _off(self, visitor: Visitor, user: User, key: bytes, now: float, *, wrong: str = "") -> Reply:
        """The page of a user who has none, with the key of the one that there may be."""
        shown = totp.shown(key)
        return pages.page(
            "factor", 400 if wrong else 200, action=PATH, name=user.name, next="", key=shown, wrong=wrong,
            seal=self._visits.sealed(now, *_about("on", visitor, user), shown),
            link=totp.link(key, user.name, self._host), asked=False,
        )  # fmt: skip

    async def _on(self, visitor: Visitor, user: User, now: float, *, wrong: str = "") -> Reply:
        kept = await self._store.factors.find(user.name)
        since = now if kept is None else kept.created_at
        return pages.page(
            "factor_on", 400 if wrong else 200, action=PATH, user=user.name, wrong=wrong,
            since=datetime.fromtimestamp(since, UTC).date().isoformat(),
            left=await self._store.factors.recovery_left(user.name), required=self._wanted == "required",
            seal=self._visits.sealed(now, *_about("off", visitor, user)),
        )  # fmt: skip


def _about(turn: str, visitor: Visitor, user: User) -> tuple[str, ...]:
    return "factor", turn, visitor.browser, user.name
