"""A login at the identity provider that is under way, kept by the browser that began it and by nobody else.

The cookie is sealed, and bound to the browser's own cookie: it is worth nothing in another browser. So any
replica can finish what another one began, and strangers who begin logins fill no table.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import zlib
from typing import Final

import msgspec

from penstock_relay.oauth import tokens
from penstock_relay.oauth.upstream.sealing import Sealer

ATTEMPT_S: Final = 600.0
"""How long somebody may take to log in at the provider."""
MAX_COOKIE: Final = 3600
"""Characters of the cookie: browsers keep 4,096 with its name and attributes."""


class Attempt(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`purpose` says what comes after the login, `onward` where; `expires` is since the epoch."""

    purpose: str
    onward: str
    state: str
    nonce: str
    verifier: str
    expires: float

    @property
    def challenge(self) -> str:
        """PKCE, S256."""
        made = hashlib.sha256(self.verifier.encode()).digest()
        return base64.urlsafe_b64encode(made).rstrip(b"=").decode()


def begin(purpose: str, onward: str, now: float, nonce: str | None = None) -> Attempt:
    """A new one; `nonce` is random unless the caller has something that the provider shall sign."""
    return Attempt(
        purpose, onward, tokens.secret(), nonce or tokens.secret(), tokens.secret(), now + ATTEMPT_S
    )


def pack(attempt: Attempt, sealer: Sealer, browser: str) -> str | None:
    """For the cookie; None when it would be too long."""
    data = zlib.compress(msgspec.json.encode(attempt), 9)
    text = base64.urlsafe_b64encode(sealer.seal(_purpose(browser), data)).rstrip(b"=").decode()
    return text if len(text) <= MAX_COOKIE else None


def unpack(text: str, sealer: Sealer, browser: str, state: str, now: float) -> Attempt | None:
    """The attempt that this browser began with this `state`; None when there is none, or it is too old."""
    try:
        kept = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return None
    data = sealer.open(_purpose(browser), kept)
    if data is None:
        return None
    attempt = msgspec.json.decode(zlib.decompress(data), type=Attempt)
    good = hmac.compare_digest(attempt.state.encode(), state.encode()) and now < attempt.expires
    return attempt if good else None


def _purpose(browser: str) -> str:
    return f"upstream login in {browser}"
