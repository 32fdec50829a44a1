"""JSON Web Tokens that others signed: read, and believed or not (RFC 7519, RFC 8725). Pure.

A token names no key, certificate or address that we would use: it names a key of a set that we already
trust, or it is refused. joserfc checks signatures and claims; what it leaves open (no required claims, an
empty list of audiences that any token fits) is closed here.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal

from joserfc import jws
from joserfc.errors import (
    BadSignatureError,
    ExpiredTokenError,
    InvalidClaimError,
    JoseError,
    MissingClaimError,
)
from joserfc.jwt import ClaimsOption, JWTClaimsRegistry

from penstock.jwk import ASYMMETRIC, KeySet, strict_object, unbase64

MAX_TOKEN: Final = 8192
"""Characters of a token."""
MAX_TEXT: Final = 1024
"""Characters of a claim that names somebody or something."""
MAX_GROUPS: Final = 500
"""Groups of one user, and scopes of one token."""
MAX_TIME: Final = 2**40
"""Seconds since the epoch above which a time is no time."""
LEEWAY_S: Final = 30.0
"""How far the issuer's clock and ours may differ."""

PLAIN: Final = frozenset({"", "jwt"})
"""Types of ID tokens and assertions; "" is a token that does not say."""
ACCESS: Final = frozenset({"", "jwt", "at+jwt"})
"""Types of access tokens (RFC 9068, 2.1); most issuers still say JWT."""
REQUIRED: Final = ("iss", "sub", "aud", "exp", "iat")

Reason = Literal[
    "malformed", "too_long", "header", "type", "algorithm", "key_unknown", "signature",
    "claims", "missing", "expired", "not_yet", "issuer", "audience", "life", "inactive",
    "replayed",
]  # fmt: skip

_FORM: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_FORBIDDEN: Final = frozenset({"jwk", "jku", "x5u", "x5c", "crit", "b64", "zip", "enc", "cty"})
"""Members of a header that would lead us to another key, another reading or another token inside."""
_TIMES: Final = ("exp", "nbf", "iat")
_REASONS: Final[Mapping[str, Reason]] = {
    "iss": "issuer", "aud": "audience", "nbf": "not_yet", "iat": "not_yet",
}  # fmt: skip


class BadToken(Exception):
    """The token is not believed. `reason` is one word that may be logged; nothing of the token is in it."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Final = reason


@dataclass(frozen=True, slots=True)
class Unverified:
    """What a token says before its signature has been looked at: good for finding keys, for nothing else."""

    algorithm: str
    kid: str | None
    typ: str
    """Lower case, without "application/"; "" when it says none."""
    issuer: str | None


@dataclass(frozen=True, slots=True)
class Claims:
    """What the issuer vouches for. Times are seconds since the epoch; "" and () are what it did not say."""

    issuer: str
    subject: str
    audience: tuple[str, ...]
    expires: float
    issued: float | None
    jti: str
    nonce: str
    scopes: tuple[str, ...]
    groups: tuple[str, ...]
    name: str
    email: str
    email_verified: bool
    azp: str
    extra: Mapping[str, object]
    """Every claim as it was sent, those above too. Read only."""


def is_jwt(token: str) -> bool:
    """Whether it has the form of a signed token; any other is opaque."""
    return _FORM.fullmatch(token) is not None


def unverified(token: str) -> Unverified:
    """Where to find the key of `token`. Raises BadToken."""
    header, claims, _ = _read(token)
    return _header(header, claims.get("iss"))


def verify(
    token: str,
    keys: KeySet,
    *,
    issuer: str | Collection[str],
    audience: str | Collection[str],
    algorithms: Collection[str],
    now: float,
    leeway: float = LEEWAY_S,
    typ: Collection[str] = PLAIN,
    required: Sequence[str] = REQUIRED,
) -> Claims:
    """What `token` claims, once one of `keys` has verified it and it is for one of `audience` from one of
    `issuer`. `required` may leave out `iat` at most. Raises BadToken; ValueError for arguments that would
    let any token pass.
    """
    issuers, audiences = _texts(issuer), _texts(audience)
    claims = signed(token, keys, algorithms=algorithms, typ=typ)
    return believe(claims, issuer=issuers, audience=audiences, required=required, now=now, leeway=leeway)


def signed(token: str, keys: KeySet, *, algorithms: Collection[str], typ: Collection[str]) -> dict[str, Any]:
    """What whoever holds one of `keys` said, whatever it is: nothing of it has been checked. Raises BadToken.

    For tokens that are no ID or access tokens; see `verify` for those.
    """
    if not set(algorithms) <= set(ASYMMETRIC) or not algorithms:
        raise ValueError("Only asymmetric algorithms can be verified with public keys.")
    header, claims, payload = _read(token)
    about = _header(header, claims.get("iss"))
    if about.typ not in typ:
        raise BadToken("type")
    if about.algorithm not in algorithms:
        raise BadToken("algorithm")
    _signed(token, keys, about, payload)
    return claims


def believe(
    claims: dict[str, Any],
    *,
    issuer: str | Collection[str],
    audience: str | Collection[str],
    now: float,
    leeway: float = LEEWAY_S,
    required: Sequence[str] = REQUIRED,
) -> Claims:
    """Claims whose origin is proven already, by a signature or a connection; the rest as in `verify`."""
    if not {"iss", "sub", "aud", "exp"} <= set(required):
        raise ValueError("A token needs an issuer, a subject, an audience and an end.")
    _validate(claims, _texts(issuer), _texts(audience), required, now, leeway)
    return _claims(claims)


def texts(value: object, most: int = MAX_GROUPS) -> tuple[str, ...]:
    """A claim that lists texts, as issuers write it: an array, or one text with spaces. Raises BadToken."""
    if value is None:
        return ()
    items = value.split() if isinstance(value, str) else value
    if not isinstance(items, list) or len(items) > most:
        raise BadToken("claims")
    return tuple(dict.fromkeys(text(item) for item in items))


def text(value: object) -> str:
    """A claim that is one text; "" when it is absent. Raises BadToken."""
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > MAX_TEXT or not value.isprintable():
        raise BadToken("claims")
    return value


def shown(value: object) -> str:
    """A claim that is for showing: what cannot be shown is left out, and refuses no token."""
    try:
        return text(value)
    except BadToken:
        return ""


def listed(value: object) -> tuple[str, ...]:
    """A claim that is an array of texts; () for anything else."""
    # Some issuers use the name for objects of their own: that gives nobody a group.
    return texts(value) if isinstance(value, list) and all(isinstance(item, str) for item in value) else ()


def claim(claims: Mapping[str, object], name: str) -> object:
    """The claim of that name, or where dots lead through objects: `realm_access.roles`; None when absent.

    A name that stands there as it is goes first: names with a namespace are URLs, and have dots.
    """
    if name in claims:
        return claims[name]
    found: object = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


class _Registry(jws.JWSRegistry):
    """The algorithms above, none of which needs a warning here, and headers as long as issuers make them."""

    max_header_length = 4096
    max_payload_length = MAX_TOKEN
    max_signature_length = 2048

    def get_alg(self, name: str) -> Any:
        if name not in ASYMMETRIC:
            raise BadToken("algorithm")
        return self.algorithms[name]


_registry = _Registry(algorithms=ASYMMETRIC, strict_check_header=False)


def _texts(value: str | Collection[str]) -> tuple[str, ...]:
    found = (value,) if isinstance(value, str) else tuple(value)
    if not found or not all(found):
        raise ValueError("An empty issuer or audience would let any token pass.")
    return found


def _read(token: str) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    """Header, claims, and the claims as they were signed. Raises BadToken."""
    if len(token) > MAX_TOKEN:
        raise BadToken("too_long")
    if _FORM.fullmatch(token) is None:
        raise BadToken("malformed")
    first, second, _ = token.split(".")
    try:
        head, payload = unbase64(first), unbase64(second)
    except ValueError:
        raise BadToken("malformed") from None
    header, claims = strict_object(head), strict_object(payload)
    if header is None or claims is None:
        raise BadToken("malformed")
    return header, claims, payload


def _header(header: Mapping[str, object], issuer: object) -> Unverified:
    if not _FORBIDDEN.isdisjoint(header):
        raise BadToken("header")
    algorithm, kid, typ = header.get("alg"), header.get("kid"), header.get("typ", "")
    if not isinstance(algorithm, str) or not isinstance(kid, str | None) or not isinstance(typ, str):
        raise BadToken("header")
    named = issuer if isinstance(issuer, str) else None
    return Unverified(algorithm, kid, typ.lower().removeprefix("application/"), named)


def _signed(token: str, keys: KeySet, about: Unverified, payload: bytes) -> None:
    candidates = keys.for_token(about.kid, about.algorithm)
    if not candidates:
        # A key of that name for another algorithm is not an unknown key: fetching again would not help.
        fits = about.kid is not None and keys.holds(about.kid)
        raise BadToken("algorithm" if fits else "key_unknown")
    for key in candidates:
        try:
            found = jws.deserialize_compact(token, key.public, registry=_registry)
        except BadSignatureError:
            continue
        except (JoseError, ValueError):
            raise BadToken("malformed") from None
        if found.payload != payload:
            raise BadToken("malformed")  # joserfc reads it otherwise than we did
        return
    raise BadToken("signature")


def _validate(
    claims: dict[str, Any],
    issuers: tuple[str, ...],
    audiences: tuple[str, ...],
    required: Sequence[str],
    now: float,
    leeway: float,
) -> None:
    for name in _TIMES:
        value = claims.get(name)
        if value is not None and not (isinstance(value, int | float) and 0 <= value <= MAX_TIME):
            raise BadToken("claims")
    options: dict[str, ClaimsOption] = {name: {"essential": True} for name in required}
    options["iss"] = {"essential": True, "values": list(issuers)}
    options["aud"] = {"essential": True, "values": list(audiences)}
    registry = JWTClaimsRegistry(int(now), int(leeway), **options)
    try:
        registry.validate(claims)
    except MissingClaimError:
        raise BadToken("missing") from None
    except ExpiredTokenError:
        raise BadToken("expired") from None
    except InvalidClaimError as error:
        raise BadToken(_REASONS.get(error.claim, "claims")) from None


def _claims(claims: dict[str, Any]) -> Claims:
    audience, subject = claims["aud"], text(claims["sub"])
    if not subject:
        raise BadToken("missing")
    issued = claims.get("iat")
    scopes = claims.get("scope")
    return Claims(
        issuer=claims["iss"],
        subject=subject,
        audience=(audience,) if isinstance(audience, str) else tuple(audience),
        expires=float(claims["exp"]),
        issued=None if issued is None else float(issued),
        jti=text(claims.get("jti")),
        nonce=text(claims.get("nonce")),
        scopes=texts(claims.get("scp") if scopes is None else scopes),
        groups=listed(claims.get("groups")),
        name=shown(claims.get("name")),
        email=shown(claims.get("email")),
        email_verified=claims.get("email_verified") is True,
        azp=text(claims.get("azp")),
        extra=MappingProxyType(claims),
    )
