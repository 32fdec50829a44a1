"""What happens in a user's browser: login, consent, invitation, and the list of what was granted.

Nothing is kept here between two requests. A form carries a seal over the browser's own cookie, the user and
exactly what the form was about, good for ten minutes: it is worth nothing in another browser, for another
user or for another request.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Final, ParamSpec, TypeVar
from urllib.parse import urlsplit

from penstock import log
from penstock_relay import passwords
from penstock_relay.oauth import authorize, pages, tokens, web
from penstock_relay.oauth.authorize import Request, Returned, Shown
from penstock_relay.oauth.directory import Directory, TooMany, Turns, UnknownClient
from penstock_relay.oauth.throttle import Throttle
from penstock_relay.oauth.tokens import Seal
from penstock_relay.oauth.web import Asked, Reply
from penstock_relay.store import Code, Store, User

FORM_S: Final = 600.0
"""How long a form may lie open."""
LOGIN_S: Final = 12 * 3600.0
"""How long a browser stays logged in."""

_AGAIN: Final = (
    "This form is too old, or was made for another browser. Go back to the application and start again."
)
_WRONG: Final = "The user name or the password is wrong."
_BUSY: Final = "Too many people log in at this moment. Wait a minute and try again."

_OFTEN: Final = "Too many wrong passwords for this name. Wait a quarter of an hour, or ask for a new link."
HASHERS: Final = 2
"""Passwords that are hashed at a time, each with 19 MiB and a core."""

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,63}")
_BROWSER: Final = re.compile(r"[A-Za-z0-9_-]{43}")

P = ParamSpec("P")
T = TypeVar("T")

_log = log.get(__name__)


@dataclass(frozen=True, slots=True)
class Visitor:
    """A browser, by a random cookie of ours; and who is logged in there."""

    browser: str
    user: User | None


class Browser:
    def __init__(self, store: Store, directory: Directory, origin: str, seal: Seal) -> None:
        self._store = store
        self._directory = directory
        self._origin = origin
        self._seal = seal
        self._throttle = Throttle()
        self._hashing = Turns(at_once=HASHERS, waiting=32)
        # Threads of their own: a caller who goes leaves its turn, but what runs then still runs here.
        self._hashers = ThreadPoolExecutor(HASHERS, thread_name_prefix="passwords")
        secure = origin.startswith("https://")
        # The prefix binds the cookie to this host; over http, which is loopback only, browsers refuse it.
        self._prefix = "__Host-penstock" if secure else "penstock"
        self._flags = "; Path=/; HttpOnly; SameSite=Lax" + ("; Secure" if secure else "")

    async def _hash(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._hashers, partial(work, *args, **kwargs))

    # -- authorization ------------------------------------------------------------------------------

    async def authorize(self, asked: Asked, now: float) -> Reply:
        """The login page, the consent page, or the way back to the client with an error."""
        visitor = await self._visitor(asked, now)
        request = await self._request(asked.query)
        if isinstance(request, Reply):
            return request
        resource = request.resource
        if visitor.user is None:
            return self._login_page(
                visitor, f"/oauth/authorize?{asked.query}", now,
                client=request.client.name, resource=f"{resource.server} at {resource.site}",
            )  # fmt: skip
        user = visitor.user.name
        if not await self._store.memberships.allows(user, resource.site, resource.server):
            return self._no_access(user)
        granted = await self._store.grants.list(user=user)
        target = urlsplit(request.redirect_uri)
        return pages.page(
            "consent",
            leads_to=request.redirect_uri,
            client=request.client.name,
            host=request.client.host,
            first=all(grant.client_id != request.client.client_id for grant in granted),
            site=resource.site,
            server=resource.server,
            user=user,
            target=f"{target.scheme}://{target.netloc}",
            loopback=target.scheme == "http",
            query=asked.query,
            seal=self._sealed(now, "consent", visitor.browser, user, asked.query),
        )

    async def consent(self, asked: Asked, now: float) -> Reply:
        """The user's decision: the way back to the client, with a code or without."""
        form = asked.form()
        query = form.get("query", "")
        visitor = await self._visitor(asked, now)
        user = visitor.user
        if user is None or not self._fits(form, now, "consent", visitor.browser, user.name, query):
            return pages.problem(400, "Start again", _AGAIN)
        request = await self._request(query)
        if isinstance(request, Reply):
            return request
        resource = request.resource
        if not await self._store.memberships.allows(user.name, resource.site, resource.server):
            return self._no_access(user.name)
        if form.get("decision") != "allow":
            return self._back(request, error="access_denied", error_description="The user did not allow it.")
        code = tokens.secret()
        await self._store.grants.add_code(
            Code(
                tokens.digest(code), user.name, request.client.client_id, request.client.name,
                request.redirect_uri, request.challenge, request.resource_url, resource.site, resource.server,
                now, now + tokens.CODE_S,
            )
        )  # fmt: skip
        _log.info("consent", user=user.name, site=resource.site, server=resource.server)
        return self._back(request, code=code)

    async def _request(self, query: str) -> Request | Reply:
        """The authorization request in `query`, or what its fault leads to."""
        try:
            given = web.fields(query)
            client = await self._directory.find(given.get("client_id", ""))
            uri = authorize.redirect_uri(given, client)
        except (web.BadForm, UnknownClient, Shown) as error:
            return pages.problem(400, "This request cannot be answered", str(error))
        try:
            return authorize.judge(given, client, uri, self._origin)
        except Returned as error:
            state = given.get("state") if len(given.get("state", "")) <= authorize.MAX_STATE else None
            values = {"error": error.code, "error_description": str(error)}
            return web.redirect(authorize.answer(uri, state, self._origin, **values))

    def _back(self, request: Request, **values: str) -> Reply:
        return web.redirect(authorize.answer(request.redirect_uri, request.state, self._origin, **values))

    def _no_access(self, user: str) -> Reply:
        # The same for a site that does not exist: who may not use it learns nothing of it.
        return pages.problem(
            403,
            "You have no access",
            f"You are logged in as {user}, who may not use this MCP server. Check the URL that you gave to "
            "the application, or ask the relay's operator for access.",
        )

    # -- login --------------------------------------------------------------------------------------

    async def login(self, asked: Asked, now: float) -> Reply:
        """Checks name and password, and goes on to where the user came from."""
        form = asked.form()
        visitor = await self._visitor(asked, now)
        onward, name = form.get("next", ""), form.get("name", "").strip().lower()
        if not self._fits(form, now, "login", visitor.browser, onward):
            return pages.problem(400, "Start again", _AGAIN)
        password = form.get("password", "")
        if _NAME.fullmatch(name) is None or len(password) > passwords.LONGEST:
            return self._login_page(visitor, onward, now, wrong=_WRONG, status=401)  # nobody's
        if self._throttle.refuses(name, now):
            return self._login_page(visitor, onward, now, name=name, wrong=_OFTEN, status=429)
        # Counted before it is judged: guesses that come at once, or do not wait for the answer, count too.
        self._throttle.failed(name, now)
        user = await self._store.users.find(name)
        known = user is not None and user.password_hash is not None and user.disabled_at is None
        # The same work for a name that nobody has: the time taken tells nothing.
        kept = user.password_hash if user is not None and known and user.password_hash else passwords.DUMMY
        try:
            async with self._hashing:
                good = await self._hash(passwords.verify, kept, password)
        except TooMany:
            return self._login_page(visitor, onward, now, name=name, wrong=_BUSY, status=503)
        if not (good and known):
            _log.warning("login_failed")
            return self._login_page(visitor, onward, now, name=name, wrong=_WRONG, status=401)
        self._throttle.succeeded(name)
        _log.info("login", user=name)
        # A new browser cookie: a page that was opened before the login is worth nothing after it.
        browser = tokens.secret()
        # With the hash of the password in it: who sets a new one is logged out everywhere.
        sealed = self._seal.make(now + LOGIN_S, "session", browser, name, kept)
        cookies = (self._cookie("browser", browser), self._cookie("login", f"{name}/{sealed}"))
        return web.redirect(onward, cookies)

    async def logout(self, asked: Asked, now: float) -> Reply:
        """Forgets who is logged in here."""
        form = asked.form()
        visitor = await self._visitor(asked, now)
        if visitor.user is None or not self._fits(form, now, "grants", visitor.browser, visitor.user.name):
            return pages.problem(400, "Start again", _AGAIN)
        gone = (("set-cookie", f"{self._prefix}-login=; Max-Age=0{self._flags}"),)
        reply = pages.problem(200, "You are logged out", "Applications that you connected go on working.")
        return replace(reply, headers=reply.headers + gone)

    def _login_page(
        self, visitor: Visitor, onward: str, now: float, *, status: int = 200, client: str = "",
        resource: str = "", name: str = "", wrong: str = "",
    ) -> Reply:  # fmt: skip
        seal = self._sealed(now, "login", visitor.browser, onward)
        reply = pages.page(
            "login", status, next=onward, seal=seal, client=client, resource=resource, name=name, wrong=wrong
        )
        return replace(reply, headers=(*reply.headers, self._cookie("browser", visitor.browser)))

    # -- invitation ---------------------------------------------------------------------------------

    async def invite(self, asked: Asked, now: float) -> Reply:
        """Where a new user, or one who lost the password, chooses one. The link works once."""
        word = asked.path.removeprefix("/invite/")
        user = await self._store.users.invited(tokens.digest(word), now)
        if user is None:
            text = "It was used, has expired, or was replaced. Ask the relay's operator for another one."
            return pages.problem(404, "This link does not work", text)
        visitor = await self._visitor(asked, now)
        wrong = ""
        if asked.method == "POST":
            form = asked.form()
            if not self._fits(form, now, "invite", visitor.browser, word):
                return pages.problem(400, "Start again", "This form is too old. Open the link again.")
            password = form.get("password", "")
            wrong = passwords.problem(password, user.name) or ""
            if not wrong and password != form.get("again"):
                wrong = "The two passwords are not the same."
            if not wrong:
                return await self._accept(word, password, now)
        reply = pages.page(
            "invite", 400 if wrong else 200, user=user.name, action=asked.path, wrong=wrong,
            seal=self._sealed(now, "invite", visitor.browser, word),
        )  # fmt: skip
        return replace(reply, headers=(*reply.headers, self._cookie("browser", visitor.browser)))

    async def _accept(self, word: str, password: str, now: float) -> Reply:
        try:
            async with self._hashing:
                hashed = await self._hash(passwords.hash_password, password)
        except TooMany:
            return pages.problem(503, "Try again", _BUSY)
        user = await self._store.users.accept(tokens.digest(word), hashed, now)
        if user is None:
            return pages.problem(404, "This link does not work", "It was used a moment ago.")
        _log.info("invite_accepted", user=user.name)
        text = (
            "Go back to the application that asked you to log in, or paste the URL of an MCP server into it."
        )
        return pages.problem(200, "Your password is set", text)

    # -- grants -------------------------------------------------------------------------------------

    async def grants(self, asked: Asked, now: float) -> Reply:
        """The list, and the end of one of them."""
        visitor = await self._visitor(asked, now)
        if visitor.user is None:
            return self._login_page(visitor, "/oauth/grants", now)
        user = visitor.user.name
        if asked.method == "POST":
            form = asked.form()
            if not self._fits(form, now, "grants", visitor.browser, user):
                return pages.problem(400, "Start again", _AGAIN)
            if any(grant.id == form.get("grant") for grant in await self._store.grants.list(user=user)):
                await self._store.grants.revoke(form["grant"], now)
            return web.redirect("/oauth/grants")
        shown = [
            {
                "id": grant.id,
                "client": grant.client_name,
                "site": grant.site,
                "server": grant.server,
                "since": datetime.fromtimestamp(grant.created_at, UTC).date().isoformat(),
            }
            for grant in await self._store.grants.list(user=user)
            if grant.revoked_at is None and min(grant.expires_at, grant.idle_at) > now
        ]
        seal = self._sealed(now, "grants", visitor.browser, user)
        return pages.page("grants", user=user, grants=shown, seal=seal)

    # -- cookies and seals --------------------------------------------------------------------------

    async def _visitor(self, asked: Asked, now: float) -> Visitor:
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

    def _cookie(self, name: str, value: str) -> tuple[str, str]:
        return "set-cookie", f"{self._prefix}-{name}={value}{self._flags}"

    def _sealed(self, now: float, *about: str) -> str:
        return self._seal.make(now + FORM_S, *about)

    def _fits(self, form: dict[str, str], now: float, *about: str) -> bool:
        return self._seal.good(form.get("seal", ""), now, *about)
