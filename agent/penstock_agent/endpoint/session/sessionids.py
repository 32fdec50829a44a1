"""Session ids that this agent can recognise later, whose they were. Pure."""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from typing import Final

KEY_BYTES: Final = 32
RANDOM_BYTES: Final = 16
_MAC_BYTES: Final = 16
_ID: Final = re.compile(r"([a-z2-7]{8})\.([A-Za-z0-9_-]{43})")
_PURPOSE: Final = b"penstock session v1"

Identity = tuple[str, str, str]


class SessionIds:
    """``key`` outlives the agent's process, so that ids do."""

    def __init__(self, tag: str, key: bytes) -> None:
        self._tag = tag
        self._key = key

    def make(self, server: str, identity: Identity, random: bytes) -> str:
        """``random``: RANDOM_BYTES that nobody can guess."""
        packed = random + self._mac(server, identity, random)
        return f"{self._tag}.{base64.urlsafe_b64encode(packed).rstrip(b'=').decode()}"

    def made(self, id: str, server: str, identity: Identity) -> bool:
        """Whether this id was made by this agent, for this caller on this server."""
        found = _ID.fullmatch(id)
        if found is None or found[1] != self._tag:
            return False
        try:
            packed = base64.b64decode(found[2] + "=", b"-_", validate=True)
        except binascii.Error:
            return False
        random, mac = packed[:RANDOM_BYTES], packed[RANDOM_BYTES:]
        # The whole text: another spelling of the same bytes was never given to anybody.
        return hmac.compare_digest(mac, self._mac(server, identity, random)) and id == self.make(
            server, identity, random
        )

    def _mac(self, server: str, identity: Identity, random: bytes) -> bytes:
        parts = [part.encode() for part in (server, *identity)]
        said = b"".join([b"%d:%b" % (len(part), part) for part in parts])
        return hmac.digest(self._key, _PURPOSE + said + random, "sha256")[:_MAC_BYTES]
