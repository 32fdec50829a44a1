"""Logout tokens: the provider says that a user has logged out there (OpenID Connect Back-Channel Logout 1.0).

What it says is pure; `Logout` answers the request that brings it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, TypeGuard

from penstock import jwt, log
from penstock.jwt import LEEWAY_S, BadToken
from penstock_relay.oauth import tokens, web
from penstock_relay.oauth.upstream.party import Party
from penstock_relay.oauth.upstream.provider import ProviderUnavailable
from penstock_relay.oauth.web import Asked, Reply
from penstock_relay.store import Store

EVENT: Final = "http://schemas.openid.net/event/backchannel-logout"
TYPES: Final = frozenset({"", "jwt", "logout+jwt"})
MAX_AGE_S: Final = 600.0
"""Since it was made. So long is its `jti` remembered."""

_log = log.get(__name__)


@dataclass(frozen=True, slots=True)
class LogoutToken:
    """Who has logged out: a subject everywhere, or one session; one of both is there."""

    subject: str | None
    sid: str | None
    jti: str


def read(claims: Mapping[str, object], *, issuer: str, client_id: str, now: float) -> LogoutToken:
    """What a logout token says whose signature is good (2.6). Raises BadToken."""
    audience = claims.get("aud")
    if claims.get("iss") != issuer:
        raise BadToken("issuer")
    if audience != client_id and not (isinstance(audience, list) and client_id in audience):
        raise BadToken("audience")
    issued, expires = claims.get("iat"), claims.get("exp", claims.get("iat"))
    if not _is_time(issued) or not _is_time(expires):
        raise BadToken("claims")
    if issued > now + LEEWAY_S:
        raise BadToken("not_yet")
    if issued < now - MAX_AGE_S or ("exp" in claims and expires <= now - LEEWAY_S):
        raise BadToken("expired")
    events = claims.get("events")
    if not isinstance(events, Mapping) or not isinstance(events.get(EVENT), Mapping):
        raise BadToken("claims")
    # An ID token has one, and must never log anybody out.
    if "nonce" in claims:
        raise BadToken("claims")
    subject, sid, jti = (jwt.text(claims.get(name)) or None for name in ("sub", "sid", "jti"))
    if jti is None or (subject is None and sid is None):
        raise BadToken("missing")
    return LogoutToken(subject, sid, jti)


class Logout:
    """The endpoint that the provider calls."""

    def __init__(self, party: Party, store: Store) -> None:
        self._party = party
        self._store = store

    async def logout(self, asked: Asked, now: float) -> Reply:
        """Ends what the token says, and answers when it is ended."""
        settings = self._party.settings
        try:
            token = asked.form().get("logout_token", "")
            about = jwt.unverified(token)
            if about.issuer != settings.issuer:
                raise BadToken("issuer")
            keys = await self._party.provider.keys(about.kid)
            claims = jwt.signed(token, keys, algorithms=settings.algorithms, typ=TYPES)
            said = read(claims, issuer=settings.issuer, client_id=settings.client_id, now=now)
        except web.BadForm as error:
            return _refusal(str(error))
        except BadToken as error:
            _log.warning("logout_token_refused", reason=error.reason)
            return _refusal("The logout token is not one of the identity provider for this relay.")
        except ProviderUnavailable:
            # Not 400: the provider may try again (2.8 leaves that to it).
            return web.json(503, {"error": "temporarily_unavailable"}, (("retry-after", "10"),))
        ended = await self._store.people.log_out(
            settings.issuer,
            said.subject,
            said.sid,
            jti_hash=tokens.digest(said.jti),
            jti_until=now + MAX_AGE_S + LEEWAY_S,
            now=now,
            grants=settings.logout_ends == "grants",
        )
        if ended is None:
            _log.warning("logout_token_refused", reason="replayed")
            return _refusal("The logout token was used before.")
        for user, what in ended.items():
            _log.info("logged_out_at_provider", user=user, logins=what.logins, grants=what.grants)
        return Reply(200, b"", (("cache-control", "no-store"),))


def _is_time(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= jwt.MAX_TIME


def _refusal(text: str) -> Reply:
    return web.json(400, {"error": "invalid_request", "error_description": text})
