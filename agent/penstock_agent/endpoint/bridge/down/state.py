"""``requestState``: what a caller brings back to continue a call. Sealed, bound to one caller and one
request, and good for a while. Pure: time and randomness are arguments.
"""

from __future__ import annotations

import hashlib
from typing import Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from penstock.principal import Principal

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
MAX_TEXT: Final = 256
"""Characters of a state; no more of one is looked at."""


class BadState(Exception):
    """It is not a state for this caller and this request, or it is too old. All look the same."""


class _Sealed(msgspec.Struct, array_like=True):
    handle: str
    until: float


class States:
    """With a key that lives as long as the agent: what it has forgotten, nobody can continue."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def seal(
        self, handle: str, until: float, nonce: bytes, server: str, caller: Principal, essence: bytes
    ) -> str:
        """``handle`` names the call that waits, until ``until``; ``essence`` is what was asked."""
        inside = msgspec.json.encode(_Sealed(handle, until))
        sealed = self._cipher.encrypt(nonce, inside, _bound(server, caller, essence))
        return (nonce + sealed).hex()

    def open(self, text: str, now: float, server: str, caller: Principal, essence: bytes) -> str:
        """The handle. Raises BadState."""
        try:
            if len(text) > MAX_TEXT:
                raise BadState
            data = bytes.fromhex(text)
            inside = self._cipher.decrypt(
                data[:NONCE_BYTES], data[NONCE_BYTES:], _bound(server, caller, essence)
            )
        except (ValueError, InvalidTag):
            raise BadState from None
        found = msgspec.json.decode(inside, type=_Sealed)
        if found.until <= now:
            raise BadState
        return found.handle


def _bound(server: str, caller: Principal, essence: bytes) -> bytes:
    who = msgspec.json.encode([server, *caller.identity])
    return hashlib.sha256(who).digest() + hashlib.sha256(essence).digest()
