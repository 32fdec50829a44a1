"""Who calls, whoever made the token: this relay, or an issuer outside that it trusts."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Final, Protocol

from sqlalchemy.exc import SQLAlchemyError

from penstock.principal import Principal
from penstock_relay import access
from penstock_relay.access import STORE_TIMEOUT_S, Access, AccessUnavailable, TokenGrant
from penstock_relay.oauth.issuer import Bearer
from penstock_relay.oauth.issuers import Issuers, IssuerUnavailable
from penstock_relay.oauth.metadata import Resource

MAX_KNOWN: Final = 16_384
"""Answers about memberships remembered; above it all are forgotten and asked again."""


class Members(Protocol):
    """Who may use what, of users outside."""

    async def allows(self, principal: Principal, site: str, server: str) -> bool:
        """Whether the user may use that server. Raises SQLAlchemyError, OSError."""
        ...


class Bearers:
    """The edge's access: tokens of ours as `Access` has them, all others by their issuer and memberships.

    A scope of an issuer counts as the user's consent; who may use a site at all is the relay's to say.
    """

    def __init__(
        self, own: Access, issuers: Issuers | None = None, members: Members | None = None, origin: str = ""
    ) -> None:
        """`origin` is the public URL, once it is known."""
        self._own = own
        self._issuers = issuers
        self._members = members
        self.origin = origin
        self._generation = -1
        self._known: dict[tuple[bytes, str, str], bool] = {}

    async def principal(self, token: str, site: str, server: str) -> TokenGrant | None:
        """What `token` allows at that server now; None when it is not good. Raises AccessUnavailable."""
        if access.is_ours(token):
            return await self._own.principal(token)
        if self._issuers is None or self._members is None:
            return None
        urls = [self.origin + path for path in Resource(site, server).paths]
        try:
            bearer = await self._issuers.bearer(token, urls)
        except IssuerUnavailable:
            raise AccessUnavailable(
                "The issuer of this token does not answer, so it cannot be checked. Try again in a minute."
            ) from None
        if bearer is None:
            return None
        step_up: tuple[str, ...] = ()
        member = False
        if bearer.issuer.covers(bearer.scopes, site, server):
            member = await self._member(bearer, site, server)
        elif bearer.issuer.lacks(bearer.scopes, site, server):
            step_up = bearer.issuer.asked(site, server)
        return TokenGrant(
            bearer.principal, site, server, bearer.expires, only_here=True, member=member, step_up=step_up
        )

    async def changed(self) -> None:
        """Returns once anything in the store has changed since the last call. For one who waits."""
        await self._own.changed()

    def doubt(self) -> None:
        """Lets `changed` return once more."""
        self._own.doubt()

    async def _member(self, bearer: Bearer, site: str, server: str) -> bool:
        assert self._members is not None  # noqa: S101  there is no bearer without
        generation = await self._own.ensure_fresh()
        if generation != self._generation:
            self._known.clear()
            self._generation = generation
        principal = bearer.principal
        # All that the answer may depend on: groups and address are of the token, and change with it.
        about = (hashlib.sha256(principal.dump()).digest(), site, server)
        known = self._known.get(about)
        if known is not None:
            return known
        try:
            async with asyncio.timeout(STORE_TIMEOUT_S):
                found = await self._members.allows(principal, site, server)
        except (SQLAlchemyError, OSError, TimeoutError):
            raise AccessUnavailable(
                "The relay cannot check memberships at the moment. Try again in a minute."
            ) from None
        if generation == self._generation:
            if len(self._known) >= MAX_KNOWN:
                self._known.clear()
            self._known[about] = found
        return found
