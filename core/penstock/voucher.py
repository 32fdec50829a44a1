"""The proof that a company's own identity provider has seen a grant: what the login was asked to sign. Pure.

At trust level *caller* a site believes no relay about what its users allowed. The relay asks the provider for
an ID token whose `nonce` is the hash of exactly that grant, so that the provider's signature covers it; the
agent computes the same hash from what the call carries.
"""

import base64
import hashlib
from typing import Final

import msgspec

MAX_BYTES: Final = 12 * 1024

_PURPOSE: Final = b"penstock grant v1"


class Voucher(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What travels as the token of a principal."""

    challenge: str
    """The agent's own word, made when the consent page was shown: it says when that was."""
    id_token: str

    def dump(self) -> bytes:
        return msgspec.json.encode(self)

    @classmethod
    def parse(cls, data: bytes) -> "Voucher":
        """Raises ValueError; the text holds nothing of `data`."""
        if len(data) > MAX_BYTES:
            raise ValueError("The proof of this grant is too large.")
        try:
            return _decoder.decode(data)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            raise ValueError("The proof of this grant cannot be read.") from None


def nonce(site: str, server: str, client: str, grant: bytes, challenge: str) -> str:
    """The OIDC nonce for a grant; `grant` as it travels (PROTOCOL.md, section 11). 43 characters."""
    # Lengths first: no two grants read alike.
    parts = (site.encode(), server.encode(), client.encode(), grant, challenge.encode())
    data = b"".join(len(part).to_bytes(4, "big") + part for part in (_PURPOSE, *parts))
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


_decoder = msgspec.json.Decoder(Voucher)
