"""Tokens of issuers outside, from the first look at them to who holds them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NoReturn

from penstock import jwt, log
from penstock.jwks import KeyCache, KeysUnavailable
from penstock.jwt import BadToken
from penstock_relay.oauth import issuer
from penstock_relay.oauth.discovery import Discovery
from penstock_relay.oauth.introspection import Endpoint, IntrospectionUnavailable, Introspector
from penstock_relay.oauth.issuer import Bearer, Issuer
from penstock_relay.oauth.trusted import Trusted

QUIET_S: Final = 60.0
"""Between two lines in the log about the same trouble with the same issuer."""
MAX_SAID: Final = 256

_log = log.get(__name__)


class IssuerUnavailable(Exception):
    """Whether the token is good cannot be told now: its issuer does not answer."""


class Issuers:
    """All that are trusted, in the order of the configuration. :meth:`run` must be running.

    A token is judged by the issuer that it names, if that is one of these: for any other nothing is fetched,
    so that no stranger can make the relay ask anybody. Opaque tokens name nobody; they go to the one issuer
    that answers for such, if there is one.
    """

    def __init__(
        self,
        issuers: Sequence[Issuer],
        *,
        introspection: Mapping[str, Endpoint],
        trusted: Trusted,
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
    ) -> None:
        """`introspection` is by the URL of the issuer, and has one entry at most."""
        self._trusted = trusted
        self._clock = clock
        self._ticks = ticks
        self._by_name = {name: each for each in issuers for name in (each.url, *each.aliases)}
        self._keys = KeyCache(Discovery(trusted.get).keys, ticks=ticks)
        self._asked: tuple[Issuer, Introspector] | None = None
        for url, endpoint in introspection.items():
            self._asked = (
                self._by_name[url],
                Introspector(trusted.post, endpoint, url, ticks=ticks, clock=clock),
            )
        self._said: dict[tuple[str, str], float] = {}

    async def run(self) -> NoReturn:
        """Fetches keys as they are needed, for ever. A TaskGroup owns it."""
        try:
            await self._keys.run()
        finally:
            await self._trusted.close()

    async def bearer(self, token: str, urls: Sequence[str]) -> Bearer | None:
        """Who holds `token`, if it is good at the endpoint of `urls` (its spellings); None when it is not.

        Raises IssuerUnavailable.
        """
        found: Issuer | None = None
        try:
            if jwt.is_jwt(token):
                about = jwt.unverified(token)
                found = self._by_name.get(about.issuer or "")
                if found is None:
                    return None
                if about.algorithm not in found.algorithms:
                    raise BadToken("algorithm")
                bearer = await self._signed(found, token, about.kid, urls)
            elif self._asked is not None:
                found, introspector = self._asked
                bearer = self._told(found, await introspector.claims(token), urls)
            else:
                return None
        except BadToken as error:
            if found is not None:
                self._say("token_of_issuer_refused", found, error.reason)
            return None
        except (KeysUnavailable, IntrospectionUnavailable) as error:
            assert found is not None  # noqa: S101  only issuers that were found are asked
            self._say("issuer_unavailable", found, str(error))
            raise IssuerUnavailable from None
        if bearer.overage:
            self._say("issuer_left_groups_out", bearer.issuer, "overage")
        return bearer

    async def _signed(self, found: Issuer, token: str, kid: str | None, urls: Sequence[str]) -> Bearer:
        keys = await self._keys.keys(found.url, kid)
        claims = jwt.verify(
            token,
            keys,
            issuer=(found.url, *found.aliases),
            audience=found.audiences(urls),
            algorithms=found.algorithms,
            now=self._clock(),
            typ=jwt.ACCESS,
        )
        return issuer.read(found, claims)

    def _told(self, found: Issuer, answer: dict[str, object], urls: Sequence[str]) -> Bearer:
        claims = jwt.believe(
            answer,
            issuer=(found.url, *found.aliases),
            audience=found.audiences(urls),
            now=self._clock(),
        )
        return issuer.read(found, claims)

    def _say(self, event: str, about: Issuer, reason: str) -> None:
        """One line in a while: strangers can cause as many as they like, of few kinds."""
        key, now = (event + about.url, reason), self._ticks()
        if now >= self._said.get(key, now):
            if len(self._said) >= MAX_SAID:
                self._said.clear()
            self._said[key] = now + QUIET_S
            _log.warning(event, issuer=about.url, reason=reason)
