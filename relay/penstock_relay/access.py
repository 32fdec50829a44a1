"""Tokens, checked on every request: personal access tokens, and those that users granted to clients.

A personal access token is ``pst_<public id>_<secret>``. The store knows the public id and the SHA-256 of the
secret; with 256 random bits a slower hash would protect nothing. Granted tokens: ``oauth.tokens``.
"""

import asyncio
import hashlib
import hmac
import re
import secrets
import string
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final, NoReturn

from sqlalchemy.exc import SQLAlchemyError

from penstock.allowance import Allowance
from penstock.log import get
from penstock.principal import Principal
from penstock_relay.oauth import tokens
from penstock_relay.oauth.upstream.person import Person
from penstock_relay.store import Holder, Store, Token

ISSUER: Final = "penstock"
"""Issuer of the principals of personal access tokens; issuers of OAuth tokens are URLs."""

POLL_S: Final = 0.5
"""How often the change sequence is read: a revocation takes effect within this time."""
STALE_S: Final = 60.0
"""Age of the last successful poll above which nothing remembered is believed. A store that cannot be read
cannot be written either, so this is for how long callers are spared its outage.
"""
STORE_TIMEOUT_S: Final = 2.0
"""How long one look into the store may take."""
MAX_KNOWN: Final = 16_384
"""Tokens remembered; above it all are forgotten and looked up again."""
MAX_ABSENT: Final = 16_384
"""Public ids remembered to belong to no token; counted apart, so that guessing displaces no real token."""

_ID_CHARACTERS: Final = string.ascii_lowercase + string.digits
_SECRET_CHARACTERS: Final = string.ascii_letters + string.digits
_ID_LENGTH: Final = 10
_SECRET_LENGTH: Final = 43  # 62 ** 43 > 2 ** 256
_TOKEN: Final = re.compile(rf"pst_([a-z0-9]{{{_ID_LENGTH}}})_([A-Za-z0-9]{{{_SECRET_LENGTH}}})")
_NO_HASH: Final = bytes(32)

_log = get(__name__)


class AccessUnavailable(Exception):
    """Whether a token is good cannot be told now, so nobody is let in: answer 503, not 401.

    The text is for the caller.
    """


@dataclass(frozen=True, slots=True)
class TokenGrant:
    """What a good token allows, until ``expires_at`` (since the epoch); ``server`` None: all of ``site``."""

    principal: Principal
    site: str
    server: str | None
    expires_at: float
    only_here: bool = False
    """Whether it is no token at all at any other URL (RFC 8707)."""
    member: bool = True
    """Whether its holder may still use what it is for."""
    step_up: tuple[str, ...] = ()
    """Scopes to ask for: those that it has open nothing here."""


def issue(
    site: str, server: str | None, name: str | None, now: float, expires_at: float
) -> tuple[str, Token]:
    """A new token: its text, to be shown once, and the record to store. ``name`` defaults to its id."""
    public_id = "".join(secrets.choice(_ID_CHARACTERS) for _ in range(_ID_LENGTH))
    secret = "".join(secrets.choice(_SECRET_CHARACTERS) for _ in range(_SECRET_LENGTH))
    record = Token(public_id, _digest(secret), name or public_id, site, server, now, expires_at)
    return f"pst_{public_id}_{secret}", record


def is_ours(text: str) -> bool:
    """Whether it has the form of a token that a relay made."""
    return _TOKEN.fullmatch(text) is not None or tokens.parse(text) is not None


def public_id(text: str) -> str:
    """The public id in a whole token, or ``text`` itself, for commands that take either."""
    match = _TOKEN.fullmatch(text)
    return match[1] if match else text


def principal_of(token: Token) -> Principal:
    """Who the bearer of ``token`` is: ``svc:NAME``."""
    return _service(token.name)


@lru_cache(maxsize=1024)
def _service(name: str) -> Principal:
    return Principal(issuer=ISSUER, subject=f"svc:{name}", name=name)


def _boottime() -> float:
    # Counts while the machine is suspended, unlike the monotonic clock: what was fresh before is not after.
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class Access:
    """Checks tokens against the store, remembering what it found until anything in the store changes.

    :meth:`run` must be running. ``clock`` is wall-clock time in seconds since the epoch; ``ticks`` counts
    seconds that never go back.
    """

    def __init__(
        self,
        store: Store,
        *,
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = _boottime,
    ) -> None:
        self._store = store
        self._clock = clock
        self._ticks = ticks
        self._known: dict[str, Token | Holder] = {}
        self._absent: set[str] = set()
        self._sequence: int | None = None
        self._polled: float | None = None
        self._generation = 0
        self._failing = False
        self._changed = asyncio.Event()

    async def principal(self, token: str) -> TokenGrant | None:
        """What ``token`` allows now; None when it is malformed, unknown, altered, revoked or expired.

        Raises AccessUnavailable when the store has not been readable for 60 s.
        """
        match = _TOKEN.fullmatch(token)
        granted = None if match is not None else tokens.parse(token)
        if granted is not None and granted[0]:
            return None  # a refresh token opens nothing here
        if match is not None:
            public_id, digest = match[1], _digest(match[2])
        elif granted is not None:
            _, public_id, digest = granted
        else:
            return None
        await self.ensure_fresh()
        record = await self._find(public_id, granted=granted is not None)
        # The same work whether or not there is such a token: the time taken tells nothing.
        good = hmac.compare_digest(_NO_HASH if record is None else _hash_of(record), digest)
        if record is None or not good:
            return None
        if isinstance(record, Holder):
            return _held(record, self._clock())
        if record.revoked_at is not None or record.expires_at <= self._clock():
            return None
        return TokenGrant(principal_of(record), record.site, record.server, record.expires_at)

    async def ensure_fresh(self) -> int:
        """A number that stays the same while what was read from the store is still so.

        Raises AccessUnavailable when the store has not been readable for 60 s.
        """
        if self._polled is None:
            await self.poll()
        if self._polled is None or self._ticks() - self._polled > STALE_S:
            raise AccessUnavailable("The relay cannot check tokens at the moment. Try again in a minute.")
        return self._generation

    async def changed(self) -> None:
        """Returns once anything in the store has changed since the last call. For one who waits."""
        await self._changed.wait()
        self._changed.clear()

    def doubt(self) -> None:
        """Lets `changed` return once more."""
        self._changed.set()

    async def run(self) -> NoReturn:
        """Watches the change sequence for ever, through failures of the store. A TaskGroup owns it."""
        while True:
            await self.poll()
            await asyncio.sleep(POLL_S)

    async def poll(self) -> None:
        """Looks once whether anything changed, and if so forgets what it knows. Logs a store that fails."""
        begun = self._ticks()
        try:
            async with asyncio.timeout(STORE_TIMEOUT_S):
                sequence = await self._store.change_sequence()
        except (SQLAlchemyError, OSError, TimeoutError) as error:
            if not self._failing:
                _log.warning("store_unreadable", cause=type(error).__name__, refusing_after_s=STALE_S)
            self._failing = True
            return
        if self._failing:
            _log.info("store_readable_again")
        self._failing = False
        self._polled = begun
        if sequence != self._sequence:
            self._sequence = sequence
            self._forget()
            self._changed.set()

    def _forget(self) -> None:
        self._known.clear()
        self._absent.clear()
        self._generation += 1

    async def _find(self, public_id: str, *, granted: bool) -> Token | Holder | None:
        if public_id in self._known:
            return self._known[public_id]
        if public_id in self._absent:
            return None
        generation = self._generation
        try:
            async with asyncio.timeout(STORE_TIMEOUT_S):
                record: Token | Holder | None
                if granted:
                    record = await self._store.grants.find_token(public_id)
                else:
                    record = await self._store.tokens.find(public_id)
        except (SQLAlchemyError, OSError, TimeoutError):
            raise AccessUnavailable(
                "The relay cannot check tokens at the moment. Try again in a minute."
            ) from None
        # Something changed while we looked: what we found is good for this request, not for later ones.
        if generation == self._generation:
            self._remember(public_id, record)
        return record

    def _remember(self, public_id: str, record: Token | Holder | None) -> None:
        if record is None:
            if len(self._absent) >= MAX_ABSENT:
                self._absent.clear()
            self._absent.add(public_id)
        else:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            self._known[public_id] = record


def _held(holder: Holder, now: float) -> TokenGrant | None:
    token, grant = holder.token, holder.grant
    ends = min(token.expires_at, grant.expires_at)
    if token.refresh or grant.revoked_at is not None or holder.disabled or ends <= now:
        return None
    principal = user_principal(grant.user, holder.email, grant.client_id, grant.allowed, holder.person)
    if grant.proof is not None:
        principal = replace(principal, proof=grant.proof.encode())
    return TokenGrant(principal, grant.site, grant.server, ends, only_here=True, member=holder.member)


@lru_cache(maxsize=1024)
def user_principal(
    name: str, email: str, client: str, allowed: str | None = None, person: Person | None = None
) -> Principal:
    """A user through a client. `allowed`: JSON of what the grant allows; None: all that the site exposes.

    A user of an identity provider is who that says, and not the name that it was given here.
    """
    allowance = None if allowed is None else Allowance.parse(allowed.encode())
    if person is None:
        return Principal(
            issuer=ISSUER, subject=name, name=name, email=email, client=client, allowance=allowance
        )
    return Principal(
        issuer=person.issuer,
        subject=person.subject,
        name=person.name or name,
        email=person.email,
        groups=person.groups,
        client=client,
        allowance=allowance,
    )


def _hash_of(record: Token | Holder) -> bytes:
    return record.token.secret_hash if isinstance(record, Holder) else record.secret_hash


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
