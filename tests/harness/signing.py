"""Tokens as honest and as wicked signers make them, with keys made per run."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from functools import cache
from typing import Any, Final

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

NOW: Final = 2_000_000_000
ISSUER: Final = "https://issuer.example"
AUDIENCE: Final = "https://relay.example/home/files/mcp"

Private = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value: int, size: int | None = None) -> str:
    return b64(value.to_bytes(size or (value.bit_length() + 7) // 8, "big"))


@cache
def private(name: str) -> Private:
    """The key of that name: what it begins with says its kind. One for the whole run."""
    if name.startswith("ec"):
        return ec.generate_private_key(ec.SECP384R1() if name.endswith("384") else ec.SECP256R1())
    if name.startswith("ed"):
        return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(65537, 1024 if name == "weak" else 2048)


def public_jwk(name: str, **more: object) -> dict[str, Any]:
    """The public half of the key of that name, which is its `kid`."""
    key = private(name).public_key()
    found: dict[str, Any]
    if isinstance(key, rsa.RSAPublicKey):
        numbers = key.public_numbers()
        found = {"kty": "RSA", "n": number(numbers.n), "e": number(numbers.e)}
    elif isinstance(key, ec.EllipticCurvePublicKey):
        size = key.curve.key_size // 8
        point = key.public_numbers()
        found = {"kty": "EC", "crv": f"P-{key.curve.key_size}", "x": number(point.x, size),
                 "y": number(point.y, size)}  # fmt: skip
    else:
        raw = key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
        found = {"kty": "OKP", "crv": "Ed25519", "x": b64(raw)}
    return {"kid": name, **found, **more}


def key_set(*names: str, **more: object) -> bytes:
    """The key set that a server shows."""
    return json.dumps({"keys": [public_jwk(name, **more) for name in names]}).encode()


def sign(data: bytes, name: str, algorithm: str = "") -> bytes:
    """The signature over `data` with the key of that name, in the algorithm that is usual for it."""
    key = private(name)
    if isinstance(key, rsa.RSAPrivateKey):
        if algorithm.startswith("PS"):
            pss = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
            return key.sign(data, pss, hashes.SHA256())
        return key.sign(data, padding.PKCS1v15(), hashes.SHA256())
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return key.sign(data)
    size = key.curve.key_size // 8
    r, s = decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA384() if size == 48 else hashes.SHA256())))
    return r.to_bytes(size, "big") + s.to_bytes(size, "big")


def hmac_secret(kind: str) -> bytes:
    """Texts that a careless verifier takes for the secret: all of them are public."""
    key = private("rsa").public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    spki = serialization.PublicFormat.SubjectPublicKeyInfo
    return {
        "pem": key.public_bytes(serialization.Encoding.PEM, spki),
        "der": key.public_bytes(serialization.Encoding.DER, spki),
        "jwk": json.dumps(public_jwk("rsa")).encode(),
        "n": key.public_numbers().n.to_bytes(256, "big"),
        "oct": b"a secret of two who trust each other",
        "empty": b"",
    }[kind]


def patched(base: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """`base` with the members of `patch`; None takes one away."""
    return {name: value for name, value in {**base, **patch}.items() if value is not None}


def claims(**more: Any) -> dict[str, Any]:
    """Those of a good token."""
    usual = {"iss": ISSUER, "sub": "anna", "aud": AUDIENCE, "exp": NOW + 600, "iat": NOW}
    return patched(usual, more)


def compact(header: bytes, payload: bytes, how: str) -> str:
    """The token of these bytes. `how`: name of a key, "ALGORITHM:key", "hmac:KIND", "nothing"."""
    data = f"{b64(header)}.{b64(payload)}".encode()
    kind, _, rest = how.partition(":")
    if kind == "nothing":
        signature = b""
    elif kind == "hmac":
        size = str(json.loads(header)["alg"])[2:]
        signature = hmac.digest(hmac_secret(rest), data, getattr(hashlib, f"sha{size}"))
    elif kind.startswith("PS"):
        signature = sign(data, rest or "rsa", kind)
    else:
        signature = sign(data, kind)
    return f"{data.decode()}.{b64(signature)}"


_ALGORITHMS: Final = {"rsa": "RS256", "ec": "ES256", "ed": "Ed25519"}


def token(key: str = "rsa", header: dict[str, Any] | None = None, **more: Any) -> str:
    """A good token, but for what `header` and `more` change."""
    usual = {"alg": _ALGORITHMS.get(key[:2], "RS256"), "kid": key, "typ": "JWT"}
    head = json.dumps(patched(usual, header or {})).encode()
    return compact(head, json.dumps(claims(**more)).encode(), key)
