"""The tunnel listener's certificate and key: one file, so that they can only change together."""

from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from penstock_relay.ca.certificates import issued


@dataclass(frozen=True, slots=True)
class TunnelFiles:
    """What the tunnel listener's TLS context loads. ``chain`` and ``key`` are the same file."""

    chain: Path
    key: Path
    ca: Path
    password: bytes | None = None
    """Of the key, where there is a master key."""

    def __repr__(self) -> str:
        return f"TunnelFiles({self.chain}, {self.ca})"


@dataclass(frozen=True, slots=True)
class Shown:
    """A certificate that the listener may show, and the key beside it fits."""

    certificate: x509.Certificate

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
        """How much of its life is left, from 1 down to 0; 0 before it began, too."""
        begin = self.certificate.not_valid_before_utc.timestamp()
        end = self.certificate.not_valid_after_utc.timestamp()
        return (end - now) / (end - begin) if begin <= now < end else 0.0


def read(path: Path, password: bytes | None) -> Shown | None:
    """What the file holds; None where it cannot be shown. Raises OSError, except for a missing file."""
    try:
        pem = path.read_bytes()
        certificate = x509.load_pem_x509_certificate(pem)
        key = load_pem_private_key(pem, password)
    except (FileNotFoundError, ValueError, TypeError):
        return None
    return Shown(certificate) if certificate.public_key() == key.public_key() else None
