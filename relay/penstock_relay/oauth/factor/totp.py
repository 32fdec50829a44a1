"""Codes that an app on the user's phone makes of a shared key and the time (RFC 6238). Pure.

SHA-1, six digits and thirty seconds are what every app understands; many read a link that says otherwise and
then make such codes all the same.
"""

from __future__ import annotations

import base64
import hmac
from typing import Final
from urllib.parse import quote, urlencode

from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP

STEP_S: Final = 30
DIGITS: Final = 6
DRIFT: Final = 1
"""Steps that a phone's clock may be early or late."""
KEY_BYTES: Final = 20
"""As long as the output of the hash, which RFC 4226 recommends."""


def shown(key: bytes) -> str:
    """The key as people type it: base32 in groups of four."""
    text = base64.b32encode(key).decode()
    return " ".join(text[at : at + 4] for at in range(0, len(text), 4))


def read(text: str) -> bytes | None:
    """The key that :func:`shown` shows so; None for anything else."""
    try:
        key = base64.b32decode(text.replace(" ", ""))
    except ValueError:
        return None
    return key if len(key) == KEY_BYTES else None


def link(key: bytes, user: str, host: str) -> str:
    """What an app on the phone reads: `host` and `user` are what it calls the entry."""
    # A bare colon divides issuer and user, so the one before a port is encoded.
    secret = base64.b32encode(key).decode()
    query = urlencode({"secret": secret, "issuer": host}, quote_via=quote)
    return f"otpauth://totp/{quote(host, safe='')}:{quote(user, safe='')}?{query}"


def code(key: bytes, step: int) -> str:
    """The code of one time step."""
    # SHA-1 is broken where two texts may be chosen, which an HMAC does not offer; apps know nothing else.
    totp = TOTP(key, DIGITS, SHA1(), STEP_S)  # noqa: S303
    return totp.generate(step * STEP_S).decode()


def step_at(now: float) -> int:
    """The time step of a moment, in seconds since the epoch."""
    return int(now) // STEP_S


def step_of(key: bytes, given: str, now: float) -> int | None:
    """The time step whose code was given, at most `DRIFT` from that of `now`; None when it is of none.

    Whoever lets somebody in by it has to see that no step is used twice.
    """
    here, found = step_at(now), None
    for step in range(max(here - DRIFT, 0), here + DRIFT + 1):
        # All are compared, and the newest counts, should two steps have the same code.
        if hmac.compare_digest(code(key, step).encode(), given.encode()):
            found = step
    return found
