"""Ledgers that only have heads."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from penstock.ledgerhead import LedgerHead, sign


@dataclass
class Ledger:
    """Signs heads; two of another `name` are two ledgers. `returned` is what the relay gave back."""

    name: str = "ledger"
    n: int | None = None
    at_ms: int = 1_000
    branch: str = ""
    """Another one has other hashes, as after records were changed."""
    returned_heads: list[LedgerHead] = field(default_factory=list)

    def head(self, n: int, at_ms: int = 1_000) -> LedgerHead:
        key = Ed25519PrivateKey.from_private_bytes(sha256(self.name.encode()).digest())
        return sign(key, n, sha256(f"{self.name}{self.branch}{n}".encode()).digest(), at_ms)

    # -- as a dialer's heads

    def current(self) -> LedgerHead | None:
        return None if self.n is None else self.head(self.n, self.at_ms)

    def returned(self, head: LedgerHead) -> None:
        self.returned_heads.append(head)
