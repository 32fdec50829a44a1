"""What only this relay can read: in cookies that a browser keeps for it, and in its own records."""

from __future__ import annotations

import secrets
from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

_NONCE: Final = 12


class Sealer(Protocol):
    """Seals for a purpose: what was sealed for another one does not open."""

    def seal(self, purpose: str, secret: bytes) -> bytes: ...

    def open(self, purpose: str, kept: bytes) -> bytes | None:
        """What was sealed; None when it was not, or with another key."""
        ...


class KeySealer:
    """With a key of the relay: AES-256-GCM, the purpose authenticated."""

    def __init__(self, key: bytes) -> None:
        derived = HKDF(hashes.SHA256(), 32, salt=None, info=b"penstock upstream").derive(key)
        self._cipher = AESGCM(derived)

    def seal(self, purpose: str, secret: bytes) -> bytes:
        nonce = secrets.token_bytes(_NONCE)
        return nonce + self._cipher.encrypt(nonce, secret, purpose.encode())

    def open(self, purpose: str, kept: bytes) -> bytes | None:
        """See Sealer."""
        try:
            return self._cipher.decrypt(kept[:_NONCE], kept[_NONCE:], purpose.encode())
        except (InvalidTag, ValueError):
            return None
