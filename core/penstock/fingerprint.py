"""Fingerprints of public keys: what two people compare to know that they mean the same agent."""

import hashlib
import re

from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

_PREFIX = "sha256:"
_TEXT = re.compile(r"(?:sha256:)?([0-9a-f]{64})")


class BadFingerprint(ValueError):
    """Not a whole fingerprint; the text is a sentence for the operator."""


def of_key(key: PublicKeyTypes) -> bytes:
    """SHA-256 of the key's SubjectPublicKeyInfo (DER), 32 bytes."""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()


def dump(fingerprint: bytes) -> str:
    """How a fingerprint is shown: `sha256:` and 64 hexadecimal digits."""
    return _PREFIX + fingerprint.hex()


def parse(text: str) -> bytes:
    """Read what `dump` wrote; capitals, colons and spaces between the digits do not matter.

    Raises BadFingerprint: a part of one proves little, so it is never enough.
    """
    plain = text.strip().lower()
    digits = plain.removeprefix(_PREFIX).replace(":", "").replace(" ", "")
    match = _TEXT.fullmatch(digits)
    if match is None:
        raise BadFingerprint(
            f"This is not a whole fingerprint: it is '{_PREFIX}' and 64 digits (0-9, a-f), as "
            "penstock-agent join and penstock-agent status print it."
        )
    return bytes.fromhex(match[1])
