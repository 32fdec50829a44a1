"""Recovery codes: for who has lost the phone, each good once. Pure but for randomness.

Digits only: a recovery code goes into the field of the app's codes, for which a phone shows digits alone.
"""

from __future__ import annotations

import secrets
from typing import Final

from penstock_relay.oauth import tokens
from penstock_relay.oauth.factor.totp import DIGITS

COUNT: Final = 8
LENGTH: Final = 20
"""Digits, 66 bits: too many to find one by its hash, and there is a password besides."""
LONGEST: Final = 64
"""Characters that are looked at, of codes with all sorts of spaces in them."""


def new_codes() -> list[str]:
    """As they are shown, once: in groups of five."""
    return [" ".join(f"{secrets.randbelow(100_000):05}" for _ in range(LENGTH // 5)) for _ in range(COUNT)]


def digits(text: str) -> str:
    """What was typed, without spaces and dashes; "" for what can be neither code nor recovery code."""
    found = "".join(each for each in text[: LONGEST + 1] if not each.isspace() and each != "-")
    # isdigit alone is also true of the digits of other alphabets.
    good = len(text) <= LONGEST and len(found) in (DIGITS, LENGTH) and found.isascii() and found.isdigit()
    return found if good else ""


def digest(user: str, digits: str) -> bytes:
    """What the store keeps of a code. The user is in it, so that no table of hashes serves for all."""
    return tokens.digest(f"recovery code of {user}: {digits}")
