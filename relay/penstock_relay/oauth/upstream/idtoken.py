"""What an ID token must say beyond its signature (OpenID Connect Core 1.0, 3.1.3.7 and 3.1.3.8). Pure."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Final

from penstock.jwt import LEEWAY_S, BadToken, Claims

MAX_AGE_S: Final = 600.0
"""Since it was made: it was asked for a moment ago."""

_HASHES: Final = {"256": hashlib.sha256, "384": hashlib.sha384, "512": hashlib.sha512}


def check(
    claims: Claims, algorithm: str, *, client_id: str, now: float, nonce: str | None, access_token: str
) -> None:
    """`claims` are those of a verified token for `client_id` among others. Raises BadToken.

    `nonce` is what was asked with; None after a refresh, where there is none (12.2).
    """
    if claims.azp not in ("", client_id) or (len(claims.audience) > 1 and not claims.azp):
        raise BadToken("audience")
    if claims.issued is None or claims.issued < now - MAX_AGE_S - LEEWAY_S:
        raise BadToken("expired")
    if nonce is not None and not hmac.compare_digest(claims.nonce.encode(), nonce.encode()):
        raise BadToken("claims")
    at_hash = claims.extra.get("at_hash")
    if at_hash is not None and (
        not isinstance(at_hash, str)
        or not hmac.compare_digest(at_hash.encode(), half_hash(algorithm, access_token).encode())
    ):
        raise BadToken("claims")


def half_hash(algorithm: str, token: str) -> str:
    """`at_hash`: the left half of the hash that the signature uses."""
    # Ed25519 hashes with SHA-512.
    digest = _HASHES.get(algorithm[-3:], hashlib.sha512)(token.encode()).digest()
    return base64.urlsafe_b64encode(digest[: len(digest) // 2]).rstrip(b"=").decode()
