"""Private keys of authorities: how they are written, sealed with the master key where there is one."""

from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from penstock_relay.ca.certificates import SigningKey, suitable
from penstock_relay.sealed import Keyring

_PURPOSE: Final = "ca key"


class CaError(Exception):
    """The certificate authority cannot be used; the text says why and what to do."""


class Busy(CaError):
    """Another process changes the record at this moment."""


class Orphaned(CaError):
    """The key of the newest anchor was in a file that no setting names any more."""


def new() -> ec.EllipticCurvePrivateKey:
    """A P-256 key."""
    return ec.generate_private_key(ec.SECP256R1())


def private_pem(key: SigningKey, password: bytes | None = None) -> bytes:
    """PKCS #8, encrypted where there is a ``password``."""
    kind: KeySerializationEncryption = (
        NoEncryption() if password is None else BestAvailableEncryption(password)
    )
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, kind)


def parse(pem: bytes, name: str) -> SigningKey:
    """The key in ``pem``; ``name`` is what error texts call it. Raises CaError."""
    try:
        found: object = load_pem_private_key(pem, None)
    except TypeError:
        raise CaError(
            f"{name} is encrypted with a password. Give it without one, in a private file."
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise CaError(f"{name} is not a private key in PEM. Restore it from a backup.") from None
    key = suitable(found)
    if key is None:
        raise CaError(
            f"{name} is of a kind that cannot be used: it must be P-256, P-384, or RSA of at least 2048 bits."
        )
    return key


def seal(key: SigningKey, pin: bytes, keyring: Keyring) -> str:
    """How the key of the authority with this ``pin`` is kept: it opens for that authority only."""
    return keyring.seal(_purpose(pin), private_pem(key)).decode()


def unseal(kept: str, pin: bytes, keyring: Keyring) -> SigningKey:
    """What :func:`seal` has kept. Raises CaError, SealError."""
    return parse(keyring.open(_purpose(pin), kept.encode()), "The key of the relay's CA")


def _purpose(pin: bytes) -> str:
    return f"{_PURPOSE} {pin.hex()}"
