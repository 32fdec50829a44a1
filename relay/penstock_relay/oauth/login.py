"""Login by a local account, and the invitation where its password is chosen."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from typing import Final, ParamSpec, Protocol, TypeVar

from penstock import log
from penstock_relay import audit, passwords
from penstock_relay.audit import Kind
from penstock_relay.oauth import pages, tokens, web
from penstock_relay.oauth.directory import TooMany, Turns
from penstock_relay.oauth.entrance import Entrance
from penstock_relay.oauth.factor.step import SecondStep
from penstock_relay.oauth.visit import AGAIN, Visitor, Visits
from penstock_relay.oauth.web import Asked, Reply
from penstock_relay.store import Store, User

_WRONG: Final = "The user name or the password is wrong."
_BUSY: Final = "Too many people log in at this moment. Wait a minute and try again."

_NO_PASSWORDS: Final = (
    "Users log in through their identity provider. Go back to the application and start again."
)
_OFTEN: Final = (
    "Too many wrong passwords for this name, or from where you are. Wait a quarter of an hour, or use a "
    "browser where you have logged in before."
)
HASHERS: Final = 2
"""Passwords that are hashed at a time, each with 19 MiB and a core."""

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,63}")

P = ParamSpec("P")
T = TypeVar("T")

_log = log.get(__name__)


class Elsewhere(Protocol):
    """Another way to log in."""

    @property
    def label(self) -> str:
        """What its button says."""
        ...

    def link(self, visitor: Visitor, onward: str, now: float) -> str:
        """Where its button leads."""
        ...


class Login:
    def __init__(
        self,
        store: Store,
        visits: Visits,
        entrance: Entrance,
        second: SecondStep,
        *,
        local: bool = True,
        elsewhere: Elsewhere | None = None,
    ) -> None:
        """`local`: whether there are accounts of this relay's own."""
        self._store = store
        self._visits = visits
        self._entrance = entrance
        self._tries = entrance.tries
        self._second = second
        self._local = local
        self._elsewhere = elsewhere
        self._hashing = Turns(at_once=HASHERS, waiting=32)
        # Threads of their own: a caller who goes leaves its turn, but what runs then still runs here.
        self._hashers = ThreadPoolExecutor(HASHERS, thread_name_prefix="passwords")

    async def _hash(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._hashers, partial(work, *args, **kwargs))

    async def login(self, asked: Asked, now: float) -> Reply:
        """Checks name and password, and goes on to where the user came from, or to what is asked besides."""
        if not self._local:
            return pages.problem(404, "There are no passwords here", _NO_PASSWORDS)
        form = asked.form()
        visitor = await self._visits.visitor(asked, now)
        onward, name = form.get("next", ""), form.get("name", "").strip().lower()
        if not self._visits.fits(form, now, "login", visitor.browser, onward):
            return pages.problem(400, "Start again", AGAIN)
        password = form.get("password", "")
        if _NAME.fullmatch(name) is None or len(password) > passwords.LONGEST:
            self._store.audit.stranger(Kind.LOGIN_FAILED)
            return self.page(visitor, onward, now, wrong=_WRONG, status=401)  # nobody's
        device = self._visits.device(asked, name, now)
        if not self._tries.begin(name, device, asked.peer, now):
            _log.warning("login_refused", peer=asked.peer.address)
            self._store.audit.stranger(Kind.LOGIN_THROTTLED)
            return self.page(visitor, onward, now, name=name, wrong=_OFTEN, status=429)
        user = await self._store.users.find(name)
        known = user is not None and user.password_hash is not None and user.disabled_at is None
        # The same work for a name that nobody has: the time taken tells nothing.
        kept = user.password_hash if user is not None and known and user.password_hash else passwords.DUMMY
        try:
            async with self._hashing:
                good = await self._hash(passwords.verify, kept, password)
        except TooMany:
            return self.page(visitor, onward, now, name=name, wrong=_BUSY, status=503)
        entered = None
        if user is not None and good and known:
            further = self._second.ask(visitor, user, onward, now)
            if further is not None:
                return further  # and the try counts as failed until the user is in
            entered = await self._entrance.enter(asked, user, "password", now, alone=self._second.alone)
        if entered is None:
            _log.warning("login_failed", peer=asked.peer.address)
            # A name that nobody has may be anything, a password typed into the wrong field for one.
            self._store.audit.stranger(Kind.LOGIN_FAILED, user=None if user is None else user.name)
            return self.page(visitor, onward, now, name=name, wrong=_WRONG, status=401)
        return web.redirect(onward, entered)

    async def doubts(self, asked: Asked, user: User, password: str, now: float) -> str:
        """What is wrong with the password that a user who is logged in gave once more; "" when it is right.

        The tries are those of logins: whoever has somebody's browser cannot guess any faster.
        """
        own = self._store.by(audit.user(user.name))
        device = self._visits.device(asked, user.name, now)
        if not self._tries.begin(user.name, device, asked.peer, now):
            await own.audit.happened(Kind.FACTOR_THROTTLED, user=user.name)
            return _OFTEN
        try:
            async with self._hashing:
                good = await self._hash(passwords.verify, user.password_hash or passwords.DUMMY, password)
        except TooMany:
            return _BUSY
        if not good:
            _log.warning("password_failed", user=user.name)
            await own.audit.happened(Kind.FACTOR_FAILED, user=user.name)
            return "The password is wrong."
        self._tries.succeeded(user.name, device, asked.peer)
        return ""

    def page(
        self, visitor: Visitor, onward: str, now: float, *, status: int = 200, client: str = "",
        warning: str | None = None, resource: str = "", name: str = "", wrong: str = "",
    ) -> Reply:  # fmt: skip
        """`client` is what the client calls itself, `warning` what its user should know about that name."""
        seal = self._visits.sealed(now, "login", visitor.browser, onward)
        other = self._elsewhere
        reply = pages.page(
            "login", status, next=onward, seal=seal, client=client, warning=warning, resource=resource,
            name=name, wrong=wrong, local=self._local, label=None if other is None else other.label,
            link=None if other is None else other.link(visitor, onward, now),
        )  # fmt: skip
        return replace(reply, headers=(*reply.headers, self._visits.cookie("browser", visitor.browser)))

    async def invite(self, asked: Asked, now: float) -> Reply:
        """Where a new user, or one who lost the password, chooses one. The link works once."""
        if not self._local:
            return pages.problem(404, "There are no passwords here", _NO_PASSWORDS)
        word = asked.path.removeprefix("/invite/")
        user = await self._store.users.invited(tokens.digest(word), now)
        if user is None:
            text = "It was used, has expired, or was replaced. Ask the relay's operator for another one."
            return pages.problem(404, "This link does not work", text)
        visitor = await self._visits.visitor(asked, now)
        wrong = ""
        if asked.method == "POST":
            form = asked.form()
            if not self._visits.fits(form, now, "invite", visitor.browser, word):
                return pages.problem(400, "Start again", "This form is too old. Open the link again.")
            password = form.get("password", "")
            wrong = passwords.problem(password, user.name) or ""
            if not wrong and password != form.get("again"):
                wrong = "The two passwords are not the same."
            if not wrong:
                return await self._accept(user, word, password, now)
        reply = pages.page(
            "invite", 400 if wrong else 200, user=user.name, action=asked.path, wrong=wrong,
            seal=self._visits.sealed(now, "invite", visitor.browser, word),
        )  # fmt: skip
        return replace(reply, headers=(*reply.headers, self._visits.cookie("browser", visitor.browser)))

    async def _accept(self, invited: User, word: str, password: str, now: float) -> Reply:
        try:
            async with self._hashing:
                hashed = await self._hash(passwords.hash_password, password)
        except TooMany:
            return pages.problem(503, "Try again", _BUSY)
        store = self._store.by(audit.user(invited.name))
        user = await store.users.accept(tokens.digest(word), hashed, now)
        if user is None:
            return pages.problem(404, "This link does not work", "It was used a moment ago.")
        _log.info("invite_accepted", user=user.name)
        text = (
            "Go back to the application that asked you to log in, or paste the URL of an MCP server into it."
        )
        return pages.problem(200, "Your password is set", text)
