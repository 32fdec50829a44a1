"""Whether users may still be here: whose accounts count at all, and what the provider said of them lately.

What the provider said is at most `max_age` old when a client renews its access. Where it gave a refresh token
it is asked again quietly, from half that age on, so that an hour in which it cannot be asked costs nobody
anything; where it gave none, the user logs in again.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import Enum
from typing import Final

from penstock import log
from penstock_relay.oauth.upstream.party import NotVouched, Party
from penstock_relay.oauth.upstream.provider import ProviderUnavailable
from penstock_relay.oauth.upstream.sealing import Sealer
from penstock_relay.store import Account, Store, User

CHECK_S: Final = 30.0
"""How long one check may take, on all replicas; then another one may try."""
AT_ONCE: Final = 8
"""Checks under way on this replica; further ones wait."""

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

    def accepts(self, user: User) -> bool:
        """Whether such a user may be logged in at all."""
        if user.disabled_at is not None:
            return False
        if user.issuer is not None:
            return user.issuer == self.issuer
        return self.local_accounts and user.password_hash is not None


class Standings:
    """`party` is None where there is no identity provider."""

    def __init__(self, store: Store, rules: Rules, party: Party | None, sealer: Sealer) -> None:
        self._store = store
        self._rules = rules
        self._party = party
        self._sealer = sealer
        self._turn = asyncio.Semaphore(AT_ONCE)
        self._under_way: dict[str, asyncio.Lock] = {}

    async def of(self, name: str, now: float) -> Standing:
        """The standing of a user, who is asked about at the provider where that is due."""
        user = await self._store.users.find(name)
        if user is None or not self._rules.accepts(user):
            return Standing.ENDED
        if user.issuer is None or self._party is None:
            return Standing.GOOD
        most = self._party.settings.max_age_s
        account = await self._store.people.find(name)
        if account is None:
            return Standing.ENDED
        if now - account.checked_at < (most / 2 if account.refresh is not None else most):
            return Standing.GOOD
        if account.refresh is None:
            return Standing.ENDED
        # One lock per user under way: the second one of a user finds the work done.
        lock = self._under_way.setdefault(name, asyncio.Lock())
        try:
            async with lock:
                return await self._checked(self._party, name, now, most)
        finally:
            if not lock.locked():
                self._under_way.pop(name, None)

    async def _checked(self, party: Party, name: str, now: float, most: float) -> Standing:
        account = await self._store.people.find(name)
        if account is None or account.refresh is None:
            return Standing.ENDED
        age = now - account.checked_at
        if age < most / 2:
            return Standing.GOOD
        meanwhile = Standing.GOOD if age < most else Standing.UNKNOWN
        if not await self._store.people.begin_check(name, now, now + CHECK_S):
            return meanwhile  # another replica asks
        return await self._check(party, account, now, meanwhile)

    async def _check(self, party: Party, account: Account, now: float, meanwhile: Standing) -> Standing:
        name, kept = account.user.name, account.refresh
        secret = None if kept is None else self._sealer.open(purpose(name), kept)
        if secret is None:
            _log.warning("upstream_refresh_token_unreadable", user=name)
            await self._store.people.end_check(name, now, person=None, refresh=None)
            return Standing.ENDED
        try:
            async with self._turn:
                found = await party.refresh(secret.decode(), account.user.subject or "")
        except ProviderUnavailable as error:
            _log.warning("identity_provider_unavailable", issuer=party.settings.issuer, cause=str(error))
            await self._store.people.abandon_check(name)
            return meanwhile
        except NotVouched as error:
            _log.info("user_not_vouched_for", user=name, reason=error.reason)
            await self._store.people.end_check(name, now, person=None, refresh=None)
            return Standing.ENDED
        next_one = kept
        if found.refresh is not None:
            next_one = self._sealer.seal(purpose(name), found.refresh.encode())
        await self._store.people.end_check(name, now, person=found.person, refresh=next_one)
        return Standing.GOOD


def purpose(name: str) -> str:
    """What a refresh token of that user is sealed for."""
    return f"upstream refresh token of {name}"
