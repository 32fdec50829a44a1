"""Clients that prove who they are by a signature: `private_key_jwt` (RFC 7521, 4.2; RFC 7523, 3). Pure but
for what was seen before."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from typing import Final

from penstock import jwt
from penstock.jwk import KeySet
from penstock.jwt import BadToken

METHOD: Final = "private_key_jwt"
TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ALGORITHMS: Final = ("RS256", "PS256", "ES256", "ES384", "Ed25519", "EdDSA")
"""Signatures that are accepted, as the metadata lists them."""
MAX_LIFE_S: Final = 300.0
"""How far ahead an assertion may end."""
MAX_SEEN: Final = 65_536
"""Assertions remembered, of all clients, until they end."""
MAX_OF_ONE: Final = 16_384
"""Of one client: a busy one leaves room for others, and a stranger too."""

_TYPES: Final = jwt.PLAIN | {"client-authentication+jwt"}
_REQUIRED: Final = ("iss", "sub", "aud", "exp", "jti")


class TooManyAssertions(Exception):
    """One more could not be remembered, so it could be shown twice: it is not accepted now."""


def presented(form: Mapping[str, str]) -> str | None:
    """The assertion in a request; None when there is none, or of a kind that is not known here."""
    return form.get("client_assertion") if form.get("client_assertion_type") == TYPE else None


def claimed(assertion: str) -> str | None:
    """Whose it says it is, before it is believed."""
    try:
        return jwt.unverified(assertion).issuer
    except BadToken:
        return None


class Seen:
    """Assertions that were used, so that each is used once. One per replica."""

    def __init__(self) -> None:
        self._of: dict[str, dict[bytes, float]] = {}
        self._count = 0

    def first(self, client_id: str, jti: str, until: float, now: float) -> bool:
        """Whether it was not seen before; remembered until then. Raises TooManyAssertions."""
        if self._count >= MAX_SEEN or len(self._of.get(client_id, ())) >= MAX_OF_ONE:
            self._forget(now)
        seen = self._of.setdefault(client_id, {})
        name = hashlib.sha256(jti.encode()).digest()[:16]
        if seen.get(name, 0.0) > now:
            return False
        if name not in seen:
            if self._count >= MAX_SEEN or len(seen) >= MAX_OF_ONE:
                raise TooManyAssertions
            self._count += 1
        seen[name] = until
        return True

    def _forget(self, now: float) -> None:
        for client_id, seen in list(self._of.items()):
            kept = {name: until for name, until in seen.items() if until > now}
            self._count -= len(seen) - len(kept)
            if kept:
                self._of[client_id] = kept
            else:
                del self._of[client_id]


def check(
    assertion: str,
    client_id: str,
    keys: KeySet,
    audiences: Collection[str],
    seen: Seen,
    now: float,
    algorithms: Collection[str] = ALGORITHMS,
) -> None:
    """Returns when `assertion` proves that its sender is the client. Raises BadToken, TooManyAssertions.

    `audiences`: the token endpoint and the issuer. One that names somebody else as well could be shown there
    too, and is not accepted.
    """
    claims = jwt.verify(
        assertion,
        keys,
        issuer=client_id,
        audience=audiences,
        algorithms=algorithms,
        now=now,
        typ=_TYPES,
        required=_REQUIRED,
    )
    if claims.subject != client_id:
        raise BadToken("claims")
    if not set(claims.audience) <= set(audiences):
        raise BadToken("audience")
    if claims.expires > now + MAX_LIFE_S + jwt.LEEWAY_S:
        raise BadToken("life")
    if not seen.first(client_id, claims.jti, claims.expires + jwt.LEEWAY_S, now):
        raise BadToken("replayed")
