"""The tunnel listener's certificate and key: one file, so that they can only change together."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from penstock_relay.ca.certificates import SigningKey, issued, suitable


@dataclass(frozen=True, slots=True)
class TunnelFiles:
    """What the tunnel listener's TLS context loads. ``chain`` and ``key`` are the same file."""

    chain: Path
    key: Path
    ca: Path
    password: bytes | None = field(default=None, repr=False)
    """Of the key, where there is a master key."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A certificate that the listener may show, and the key beside it."""

    certificate: x509.Certificate
    key: SigningKey = field(repr=False)
    password: bytes | None = field(repr=False)
    """Of the key, in the file."""

    def of(self, issuer: x509.Certificate) -> bool:
        return issued(self.certificate, issuer)

    def names(self, wanted: x509.SubjectAlternativeName) -> bool:
        """Whether it is for exactly these names."""
        try:
            found = self.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except (ValueError, x509.ExtensionNotFound):
            return False
        return set(found) == set(wanted)

    def part_left(self, now: float) -> float:
        """How much of its life is left, as `part_left`."""
        return part_left(self.certificate, now)


def part_left(certificate: x509.Certificate, now: float) -> float:
    """How much of a certificate's life is left, from 1 down to 0; 0 before it began, too."""
    begin = certificate.not_valid_before_utc.timestamp()
    end = certificate.not_valid_after_utc.timestamp()
    return (end - now) / (end - begin) if begin <= now < end else 0.0


def read(path: Path, passwords: Sequence[bytes | None]) -> Shown | None:
    """What the file holds, under any of ``passwords``; None where it cannot be shown.

    Raises OSError, except for a missing file.
    """
    try:
        pem = path.read_bytes()
        certificate = x509.load_pem_x509_certificate(pem)
    except (FileNotFoundError, ValueError):
        return None
    for password in passwords:
        try:
            key = suitable(load_pem_private_key(pem, password))
        except (ValueError, TypeError):
            continue
        if key is not None and certificate.public_key() == key.public_key():
            return Shown(certificate, key, password)
    return None
