"""Tokens, codes and the seal of forms: made and recognised. Pure but for randomness.

Tokens are opaque: ``psa_`` (access) or ``psr_`` (refresh), a public id and a secret of 256 random bits, of
which the store keeps the SHA-256. So a token ends the moment that the store says so, on every replica.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import string
from typing import Final

from penstock_relay.store import GrantToken

CODE_S: Final = 60.0
GRACE_S: Final = 30.0
"""A refresh token is taken again for so long after its first use: the answer may have been lost."""

_LOWER: Final = string.ascii_lowercase + string.digits
_TOKEN: Final = re.compile(r"(psa|psr)_([a-z0-9]{16})_([A-Za-z0-9_-]{43})")
_VERIFIER: Final = re.compile(r"[A-Za-z0-9._~-]{43,128}")


def identifier() -> str:
    """A name that nobody else has: 16 characters, 82 bits."""
    return "".join(secrets.choice(_LOWER) for _ in range(16))


def secret() -> str:
    """256 random bits, 43 characters."""
    return secrets.token_urlsafe(32)


def digest(text: str) -> bytes:
    """What the store keeps of a secret."""
    return hashlib.sha256(text.encode()).digest()


def token(grant_id: str, now: float, expires_at: float, *, refresh: bool) -> tuple[str, GrantToken]:
    """A new token: its text, to be sent once, and the record to store."""
    public_id, word = identifier(), secret()
    record = GrantToken(public_id, digest(word), refresh, grant_id, now, expires_at)
    return f"{'psr' if refresh else 'psa'}_{public_id}_{word}", record


def parse(text: str) -> tuple[bool, str, bytes] | None:
    """(refresh, public id, hash of the secret); None for what is no token of this kind."""
    found = _TOKEN.fullmatch(text)
    return None if found is None else (found[1] == "psr", found[2], digest(found[3]))


def proves(verifier: str, challenge: str) -> bool:
    """PKCE, S256 (RFC 7636, 4.6)."""
    if _VERIFIER.fullmatch(verifier) is None:
        return False
    made = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=")
    return hmac.compare_digest(made, challenge.encode())


class Seal:
    """Ties what a browser brings back to what it was given. One key per relay, the same on all replicas."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def make(self, until: float, *about: str) -> str:
        """Good until `until` (seconds since the epoch), together with exactly these texts."""
        return f"{int(until)}.{self._mac(str(int(until)), *about)}"

    def good(self, sealed: str, now: float, *about: str) -> bool:
        until, _, mac = sealed.partition(".")
        if not (until.isascii() and until.isdigit() and len(until) < 16):
            return False
        return hmac.compare_digest(self._mac(until, *about).encode(), mac.encode()) and now < int(until)

    def _mac(self, *about: str) -> str:
        # Lengths first: two lists of texts never read alike.
        data = b"".join(len(part.encode()).to_bytes(4, "big") + part.encode() for part in about)
        return base64.urlsafe_b64encode(hmac.digest(self._key, data, "sha256")).rstrip(b"=").decode()
