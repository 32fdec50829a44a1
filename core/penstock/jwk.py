"""Public keys of others (RFC 7517), and what each may verify. Pure.

The key decides which algorithms it is used with, never the token: a public key verifies no HMAC, and nothing
verifies "none".
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from joserfc import jwk
from joserfc.errors import JoseError

from penstock import strictjson

MAX_KEYS: Final = 32
"""Keys of one set."""
MAX_DEPTH: Final = 8
MAX_MEMBERS: Final = 1024
"""Members of all objects of a key set, a header or the claims of a token."""
RSA_BITS: Final = range(2048, 8193)
MAX_EXPONENT: Final = 2**33
"""Public exponents above it only cost time."""

ASYMMETRIC: Final = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "Ed25519", "EdDSA",
)  # fmt: skip
"""All algorithms that are known here. There is no symmetric one, and no "none"."""

_OF_RSA: Final[tuple[str, ...]] = ASYMMETRIC[:6]
_OF_CURVE: Final[Mapping[str, tuple[str, ...]]] = {
    "P-256": ("ES256",),
    "P-384": ("ES384",),
    "P-521": ("ES512",),
    "Ed25519": ("Ed25519", "EdDSA"),
}
_MATERIAL: Final = ("kty", "n", "e", "crv", "x", "y")


class BadKeys(Exception):
    """A key set that cannot be used; the text says why and nothing of its content."""


@dataclass(frozen=True, slots=True)
class Key:
    """A public key, and the algorithms that it may verify."""

    kid: str | None
    algorithms: tuple[str, ...]
    public: jwk.Key


@dataclass(frozen=True, slots=True)
class KeySet:
    keys: tuple[Key, ...]

    def holds(self, kid: str | None) -> bool:
        """Whether a key has this name; a token that names none is not helped by other keys."""
        return kid is None or any(key.kid == kid for key in self.keys)

    def for_token(self, kid: str | None, algorithm: str) -> tuple[Key, ...]:
        """The keys that may have signed it. Without a name there must be exactly one that could."""
        found = tuple(
            key for key in self.keys if algorithm in key.algorithms and (kid is None or key.kid == kid)
        )
        return () if kid is None and len(found) != 1 else found


def parse(data: bytes) -> KeySet:
    """A JWK set. Keys that cannot verify for us are passed over (RFC 7517, 5). Raises BadKeys."""
    found = strict_object(data)
    listed = None if found is None else found.get("keys")
    if not isinstance(listed, list):
        raise BadKeys("It is not a JSON Web Key Set.")
    if len(listed) > MAX_KEYS:
        raise BadKeys(f"It has more than {MAX_KEYS} keys.")
    keys = tuple(key for key in map(_key, listed) if key is not None)
    if not keys:
        raise BadKeys("It has no public key that can verify signatures.")
    return KeySet(keys)


def strict_object(data: bytes) -> dict[str, Any] | None:
    """One JSON object of moderate size that every parser reads alike; None for anything else."""
    try:
        found: object = msgspec.json.decode(data)
        if strictjson.exceeds(data, depth=MAX_DEPTH, keys=MAX_MEMBERS, containers=MAX_MEMBERS):
            return None
        strictjson.tree(data.decode())
    except (ValueError, RecursionError):  # encodings, syntax and duplicate keys
        return None
    return found if isinstance(found, dict) else None


def unbase64(text: str) -> bytes:
    """base64url without padding. Raises ValueError; joserfc, which reads it again, is stricter."""
    return binascii.a2b_base64(text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4))


def _key(value: object) -> Key | None:
    if not isinstance(value, dict) or value.get("use", "sig") != "sig":
        return None
    kind, kid = value.get("kty"), value.get("kid")
    operations = value.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        return None
    if not isinstance(kid, str | None) or "d" in value:
        return None  # a secret that somebody published is nobody's secret
    kept = {name: value[name] for name in _MATERIAL if name in value}
    if not all(isinstance(part, str) for part in kept.values()):
        return None
    algorithms = _algorithms(kind, kept)
    if "alg" in value:
        algorithms = tuple(name for name in algorithms if name == value["alg"])
    if not algorithms:
        return None
    try:
        return Key(kid, algorithms, jwk.import_key(kept))
    except (JoseError, ValueError, KeyError, TypeError):
        return None


def _algorithms(kind: object, key: Mapping[str, str]) -> tuple[str, ...]:
    if kind == "RSA":
        return _OF_RSA if _sound(key) else ()
    return _OF_CURVE.get(key.get("crv", ""), ()) if kind in ("EC", "OKP") else ()


def _sound(key: Mapping[str, str]) -> bool:
    """Whether an RSA key is neither too weak nor so large that it costs our time; before it is imported."""
    modulus, exponent = key.get("n", ""), key.get("e", "")
    if len(modulus) > RSA_BITS.stop // 6 + 4 or len(exponent) > 8:
        return False
    try:
        n, e = (int.from_bytes(unbase64(part), "big") for part in (modulus, exponent))
    except ValueError:
        return False
    return n.bit_length() in RSA_BITS and 3 <= e <= MAX_EXPONENT
