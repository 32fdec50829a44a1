"""Ledger heads for heads.json, good and bad. Keys are fixed, and Ed25519 is deterministic."""

from __future__ import annotations

from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from penstock.ledgerhead import MAX_AT_MS, MAX_N, LedgerHead, sign, signed_bytes
from tests.vectors.values import Json

HASH = bytes(range(32))
AT_MS = 1_800_000_000_123


def a_head(n: int = 41, hash: bytes = HASH, at_ms: int = AT_MS, key: int = 1) -> LedgerHead:
    return sign(Ed25519PrivateKey.from_private_bytes(bytes([key]) * 32), n, hash, at_ms)


def _vector(name: str, head: LedgerHead, signed: LedgerHead, good: bool) -> Json:
    return {
        "name": name, "ledger": head.key.hex(), "n": str(head.n), "hash": head.hash.hex(), "at_ms": str(head.at_ms),
        "signed": signed_bytes(signed).hex(), "signature": head.signature.hex(), "good": good,
    }  # fmt: skip


def heads() -> Json:
    head, other = a_head(), a_head(key=2)
    bad = {
        "another number": replace(head, n=42),
        "another hash": replace(head, hash=HASH[::-1]),
        "another moment": replace(head, at_ms=AT_MS + 1),
        "another key": replace(head, key=other.key),
        "another's signature": replace(head, signature=other.signature),
        "a bit of the signature": replace(head, signature=head.signature[:-1] + bytes([head.signature[-1] ^ 1])),
        "a number that is too large": replace(head, n=MAX_N + 1),
        "a moment that is too late": replace(head, at_ms=MAX_AT_MS + 1),
    }
    return [
        _vector("a head", head, head, True),
        _vector("the first", a_head(0, bytes(32), 0), a_head(0, bytes(32), 0), True),
        _vector("largest numbers", a_head(MAX_N, at_ms=MAX_AT_MS), a_head(MAX_N, at_ms=MAX_AT_MS), True),
        *(_vector(name, altered, head, False) for name, altered in bad.items()),
    ]
