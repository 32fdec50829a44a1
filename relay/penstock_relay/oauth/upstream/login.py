"""Login at the identity provider: the way there, and the way back (OpenID Connect Core 1.0, 3.1).

The way back counts in the browser that began, and once: its cookie is sealed, names the state and is taken
away. Users of the provider come in as users of their own, whatever address they have.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import urlencode

from penstock import log
from penstock_relay import audit
from penstock_relay.audit import Kind
from penstock_relay.oauth import pages, web
from penstock_relay.oauth.upstream import attempt, person
from penstock_relay.oauth.upstream.attempt import ATTEMPT_S, Attempt
from penstock_relay.oauth.upstream.party import NotVouched, Party, Vouched
from penstock_relay.oauth.upstream.provider import ProviderUnavailable
from penstock_relay.oauth.upstream.sealing import Sealer
from penstock_relay.oauth.upstream.standing import purpose
from penstock_relay.oauth.visit import AGAIN, LOGIN_S, Visitor, Visits
from penstock_relay.oauth.web import Asked, Reply
from penstock_relay.store import Store, User

PATH: Final = "/oauth/upstream/login"
CALLBACK: Final = "/oauth/upstream/callback"
LOGOUT: Final = "/oauth/upstream/logout"
LOGIN: Final = "login"
"""The purpose of an attempt that only logs in."""

_COOKIE: Final = "upstream"
_WORD: Final = re.compile(r"[a-z_]{1,40}")
_ELSEWHERE: Final = (
    "The login did not begin in this browser, took too long, or is over already. Go back to the application "
    "and start again."
)
_UNAVAILABLE: Final = (
    "The identity provider cannot be reached at the moment. Try again in a minute; if it stays so, tell the "
    "relay's operator."
)

_log = log.get(__name__)


@dataclass(frozen=True, slots=True)
class Arrival:
    """Somebody is back from the provider, logged in there and here."""

    attempt: Attempt
    user: User
    id_token: str
    """As the provider signed it, with `attempt.nonce`."""


Continue = Callable[[Arrival, float], Awaitable[Reply]]
"""What follows an attempt with a purpose of its own; the browser's cookies are added to the reply."""


class UpstreamLogin:
    def __init__(
        self,
        party: Party,
        store: Store,
        visits: Visits,
        origin: str,
        sealer: Sealer,
        purposes: Mapping[str, Continue] | None = None,
    ) -> None:
        """`purposes`: what follows attempts that are not only logins."""
        self._party = party
        self._store = store
        self._visits = visits
        self._origin = origin
        self._sealer = sealer
        self._purposes = {} if purposes is None else purposes

    @property
    def label(self) -> str:
        return self._party.settings.label

    def link(self, visitor: Visitor, onward: str, now: float) -> str:
        """Where the button of the login page leads. A link: a form may redirect only where its page says."""
        seal = self._visits.sealed(now, "upstream", visitor.browser, onward)
        return f"{PATH}?{urlencode({'next': onward, 'seal': seal})}"

    async def login(self, asked: Asked, now: float) -> Reply:
        """The button of the login page."""
        given = web.fields(asked.query)
        visitor = await self._visits.visitor(asked, now)
        onward = given.get("next", "")
        if not self._visits.fits(given, now, "upstream", visitor.browser, onward):
            return pages.problem(400, "Start again", AGAIN)
        return await self.begin(visitor, onward, now)

    async def begin(
        self, visitor: Visitor, onward: str, now: float, *, purpose: str = LOGIN, nonce: str | None = None
    ) -> Reply:
        """Sends the browser to the provider, and `onward` afterwards, which is a path of ours.

        `nonce` is what the provider shall sign into the ID token; None for a random one. With a `purpose` of
        its own, the ID token is handed to what was registered for that.
        """
        made = attempt.begin(purpose, onward, now, nonce)
        kept = attempt.pack(made, self._sealer, visitor.browser)
        if kept is None:
            text = "What the application asks is too long to be kept during a login. Tell its makers."
            return pages.problem(400, "This request is too long", text)
        try:
            url = await self._party.login_url(made, self._origin + CALLBACK)
        except ProviderUnavailable as error:
            return self._unavailable(error)
        cookies = (
            self._visits.cookie("browser", visitor.browser),
            self._visits.cookie(_COOKIE, kept, keep_s=ATTEMPT_S),
        )
        return web.redirect(url, cookies)

    async def callback(self, asked: Asked, now: float) -> Reply:
        """The way back. Whatever comes of it, the attempt is over."""
        reply = await self._back(asked, now)
        return replace(reply, headers=(*reply.headers, self._visits.without(_COOKIE)))

    async def _back(self, asked: Asked, now: float) -> Reply:
        given = web.fields(asked.query)
        visitor = await self._visits.visitor(asked, now)
        kept = self._visits.kept(asked, _COOKIE)
        made = attempt.unpack(kept, self._sealer, visitor.browser, given.get("state", ""), now)
        if made is None:
            return pages.problem(400, "Start again", _ELSEWHERE)
        try:
            metadata = await self._party.provider.metadata()
            # RFC 9207: the answer of another provider must not be taken for this one's.
            if given.get("iss", None if metadata.names_itself else metadata.issuer) != metadata.issuer:
                raise NotVouched("iss")
            if "error" in given:
                return self._refused(given["error"])
            vouched = await self._party.redeem(given.get("code", ""), made, self._origin + CALLBACK)
        except ProviderUnavailable as error:
            return self._unavailable(error)
        except NotVouched as error:
            _log.warning("upstream_login_failed", reason=error.reason)
            self._store.audit.stranger(Kind.LOGIN_FAILED)
            text = (
                "The identity provider's answer cannot be believed. Go back to the application and start "
                "again; if it happens again, tell the relay's operator."
            )
            return pages.problem(400, "You are not logged in", text)
        return await self._arrived(made, vouched, now)

    async def _arrived(self, made: Attempt, vouched: Vouched, now: float) -> Reply:
        name, spare = person.handles(vouched.person)
        user = await self._store.people.welcome(vouched.person, now, name=name, spare=spare)
        # No longer than what the provider said counts.
        lasts = min(LOGIN_S, self._party.settings.max_age_s)
        entered = await self._visits.enter(user, now, vouched.sid, lasts)
        if entered is None:
            _log.warning("login_of_disabled_user", user=user.name)
            text = "The relay's operator has disabled your account here."
            return pages.problem(403, "You may not log in", text)
        if vouched.refresh is not None:
            sealed = self._sealer.seal(purpose(user.name), vouched.refresh.encode())
            await self._store.people.keep_refresh(user.name, sealed)
        _log.info("login", user=user.name, issuer=vouched.person.issuer)
        await self._store.by(audit.user(user.name)).audit.happened(Kind.LOGIN, method="upstream")
        further = self._purposes.get(made.purpose)
        if further is not None:
            reply = await further(Arrival(made, user, vouched.id_token), now)
            return replace(reply, headers=(*reply.headers, *entered))
        return web.redirect(made.onward, entered)

    def _refused(self, error: str) -> Reply:
        word = error if _WORD.fullmatch(error) else "unknown"
        _log.info("upstream_login_refused", error=word)
        if word == "access_denied":
            text = "You did not log in at the identity provider, or it does not let you use this relay."
        else:
            text = f"The identity provider refused the login ({word}). Tell the relay's operator."
        return pages.problem(403, "You are not logged in", text)

    def _unavailable(self, error: ProviderUnavailable) -> Reply:
        _log.warning("identity_provider_unavailable", issuer=self._party.settings.issuer, cause=str(error))
        return pages.problem(503, "Not now", _UNAVAILABLE)
