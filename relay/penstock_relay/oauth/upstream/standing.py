"""Whether users may still be here: whose accounts count at all, and what the provider said of them lately.

What the provider said is at most `max_age` old when a client renews its access. Where it gave a refresh token
it is asked again quietly, from half that age on, so that an hour in which it cannot be asked costs nobody
anything; where it gave none, the user logs in again.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import Enum
from typing import Final, NoReturn

from sqlalchemy.exc import SQLAlchemyError

from penstock import log
from penstock_relay.oauth.upstream.party import NotVouched, Party
from penstock_relay.oauth.upstream.provider import ProviderUnavailable
from penstock_relay.oauth.upstream.sealing import Sealer
from penstock_relay.store import Account, Store, User

CHECK_S: Final = 30.0
"""How long one check may take, on all replicas; then another one may try."""
AT_ONCE: Final = 8
"""Checks under way on this replica; further ones wait."""
MAX_WAITING: Final = 256
"""Users whose check is under way or waits."""

_log = log.get(__name__)


class Standing(Enum):
    GOOD = "good"
    ENDED = "ended"
    """Until the user logs in again, or for ever."""
    UNKNOWN = "unknown"
    """Cannot be told now."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Whose accounts count."""

    local_accounts: bool = True
    issuer: str | None = None
    """Of the identity provider; None where there is none."""
    factor: bool = False
    """Whether users of this relay's own must have a second factor."""

    def enters(self, user: User) -> bool:
        """Whether such a user may be logged in in a browser.

        Who has no second factor yet has to log in again and set one up; applications go on meanwhile.
        """
        return self.accepts(user) and (user.issuer is not None or user.factor or not self.factor)

    def accepts(self, user: User) -> bool:
        """Whether such a user may be logged in at all."""
        if user.disabled_at is not None:
            return False
        if user.issuer is not None:
            return user.issuer == self.issuer
        return self.local_accounts and user.password_hash is not None


class _Check:
    """One that is under way, however many wait for it."""

    def __init__(self, name: str, now: float) -> None:
        self.name: Final = name
        self.now: Final = now
        self.done: Final = asyncio.Event()
        self.found = Standing.UNKNOWN


class Standings:
    """`party` is None where there is no identity provider. :meth:`run` must be running.

    A check is not part of the request that needs it: a client that goes away must not lose the refresh token
    that the provider has just given in the place of the one before.
    """

    def __init__(self, store: Store, rules: Rules, party: Party | None, sealer: Sealer) -> None:
        self._store = store
        self._rules = rules
        self._party = party
        self._sealer = sealer
        self._turn = asyncio.Semaphore(AT_ONCE)
        self._under_way: dict[str, _Check] = {}
        self._wanted: asyncio.Queue[_Check] = asyncio.Queue()  # of those under way: MAX_WAITING at most

    async def run(self) -> NoReturn:
        """Checks users as it becomes due, for ever. A TaskGroup owns it."""
        async with asyncio.TaskGroup() as tasks:
            while True:
                check = await self._wanted.get()
                await self._turn.acquire()
                tasks.create_task(self._checked(check))

    async def of(self, name: str, now: float) -> Standing:
        """The standing of a user, who is asked about at the provider where that is due."""
        user = await self._store.users.find(name)
        if user is None or not self._rules.accepts(user):
            return Standing.ENDED
        if user.issuer is None or self._party is None:
            return Standing.GOOD
        account = await self._store.people.find(name)
        if account is None:
            return Standing.ENDED
        most = self._party.settings.max_age_s
        if now - account.checked_at < (most / 2 if account.refresh is not None else most):
            return Standing.GOOD
        if account.refresh is None:
            return Standing.ENDED
        check = self._under_way.get(name)
        if check is None:
            if len(self._under_way) >= MAX_WAITING:
                return _meanwhile(account, now, most)
            check = self._under_way[name] = _Check(name, now)
            self._wanted.put_nowait(check)
        await check.done.wait()
        return check.found

    async def _checked(self, check: _Check) -> None:
        try:
            if self._party is not None:
                check.found = await self._check(self._party, check.name, check.now)
        except (SQLAlchemyError, OSError) as error:
            _log.warning("user_not_checked", user=check.name, cause=type(error).__name__)
        finally:
            del self._under_way[check.name]
            check.done.set()
            self._turn.release()

    async def _check(self, party: Party, name: str, now: float) -> Standing:
        account = await self._store.people.find(name)
        if account is None or account.refresh is None:
            return Standing.ENDED
        meanwhile = _meanwhile(account, now, party.settings.max_age_s)
        if not await self._store.people.begin_check(name, now, now + CHECK_S):
            return meanwhile  # another replica asks
        secret = self._sealer.open(purpose(name), account.refresh)
        if secret is None:
            _log.warning("upstream_refresh_token_unreadable", user=name)
            await self._store.people.end_check(name, now, person=None, refresh=None)
            return Standing.ENDED
        try:
            found = await party.refresh(secret.decode(), account.user.subject or "")
        except ProviderUnavailable as error:
            _log.warning("identity_provider_unavailable", issuer=party.settings.issuer, cause=str(error))
            await self._store.people.abandon_check(name)
            return meanwhile
        except NotVouched as error:
            _log.info("user_not_vouched_for", user=name, reason=error.reason)
            await self._store.people.end_check(name, now, person=None, refresh=None)
            return Standing.ENDED
        kept = account.refresh
        if found.refresh is not None:
            kept = self._sealer.seal(purpose(name), found.refresh.encode())
        await self._store.people.end_check(name, now, person=found.person, refresh=kept)
        return Standing.GOOD


def _meanwhile(account: Account, now: float, most: float) -> Standing:
    """While the provider cannot be asked."""
    return Standing.GOOD if now - account.checked_at < most else Standing.UNKNOWN


def purpose(name: str) -> str:
    """What a refresh token of that user is sealed for."""
    return f"upstream refresh token of {name}"
