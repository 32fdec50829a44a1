"""The agent's word that goes into a login: it says for which server, and when. Pure but for randomness.

Nothing is kept for it: whoever brings one back has it from here, or knows the key.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
import struct
from typing import Final

KEY_BYTES: Final = 32

_FORM: Final = struct.Struct(">16sQ16s")
_PURPOSE: Final = b"penstock challenge v1"


class Challenges:
    """``key`` is this agent's, or shared by all agents of its site."""

    def __init__(self, key: bytes, site: str) -> None:
        if len(key) < KEY_BYTES:
            raise ValueError(f"a key of challenges has at least {KEY_BYTES} bytes")
        self._key = key
        self._site = site

    def make(self, server: str, now: float) -> str:
        """For a consent page of ``server``; ``now`` in seconds since the epoch."""
        nonce, at = secrets.token_bytes(16), int(now)
        data = _FORM.pack(nonce, at, self._mac(server, nonce, at))
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    def made_at(self, challenge: str, server: str) -> float | None:
        """When it was made for that server; None for one that was not."""
        try:
            data = base64.b64decode(challenge + "=" * (-len(challenge) % 4), altchars=b"-_", validate=True)
            nonce, at, mac = _FORM.unpack(data)
        except (binascii.Error, ValueError, struct.error):
            return None
        return float(at) if hmac.compare_digest(mac, self._mac(server, nonce, at)) else None

    def _mac(self, server: str, nonce: bytes, at: int) -> bytes:
        parts = (_PURPOSE, self._site.encode(), server.encode(), nonce, at.to_bytes(8, "big"))
        data = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        return hmac.digest(self._key, data, "sha256")[:16]
