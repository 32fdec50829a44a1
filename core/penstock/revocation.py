"""The CA's word that a certificate is revoked: a certificate revocation list (RFC 5280) with one entry.

Nothing else ends an agent for good: not a close code, not an HTTP status, not a sentence of the relay. A
statement stays true for ever, so it may be repeated; about another serial number it says nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.types import CertificateIssuerPrivateKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding

VALIDITY: Final = timedelta(days=3650)
"""A list must say when the next one comes. Readers here do not look: a revocation is never taken back."""


class BadStatement(ValueError):
    """The statement does not say, in the CA's name, that this certificate is revoked; the text says why."""


@dataclass(frozen=True, slots=True)
class Revocation:
    """What a statement says of one certificate."""

    at: datetime
    """UTC."""
    replaced: bool
    """Whether another enrolment took the place of this certificate; else the operator revoked it."""


def make(
    serial: int,
    at: float,
    *,
    replaced: bool,
    issuer: x509.Certificate,
    key: CertificateIssuerPrivateKeyTypes,
    now: float,
) -> str:
    """The statement of `issuer`, whose `key` signs it, in PEM. `at`, `now`: seconds since the epoch."""
    moment = datetime.fromtimestamp(now, UTC)
    why = x509.ReasonFlags.superseded if replaced else x509.ReasonFlags.privilege_withdrawn
    entry = (
        x509.RevokedCertificateBuilder()
        .serial_number(serial)
        .revocation_date(datetime.fromtimestamp(at, UTC))
        .add_extension(x509.CRLReason(why), critical=False)
        .build()
    )
    crl = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(issuer.subject)
        .last_update(moment)
        .next_update(moment + VALIDITY)
        .add_revoked_certificate(entry)
        .sign(key, hashes.SHA256())
    )
    return crl.public_bytes(Encoding.PEM).decode()


def read(pem: str, serial: int, anchors: Sequence[x509.Certificate]) -> Revocation:
    """What the statement says of `serial`. Raises BadStatement unless one of `anchors` signed it."""
    try:
        crl = x509.load_pem_x509_crl(pem.encode())
        signed = any(_signed(crl, anchor) for anchor in anchors)
        entry = crl.get_revoked_certificate_by_serial_number(serial)
    except Exception:
        # Any of several kinds, UnsupportedAlgorithm among them; every one means the same here.
        raise BadStatement("it cannot be read") from None
    if not signed:
        raise BadStatement("it is not signed by the CA that this agent trusts")
    if entry is None:
        raise BadStatement("it is about another certificate")
    try:
        reason = entry.extensions.get_extension_for_class(x509.CRLReason).value.reason
    except (x509.ExtensionNotFound, ValueError):
        reason = x509.ReasonFlags.unspecified
    return Revocation(entry.revocation_date_utc, reason is x509.ReasonFlags.superseded)


def _signed(crl: x509.CertificateRevocationList, anchor: x509.Certificate) -> bool:
    key = anchor.public_key()
    try:
        return crl.issuer == anchor.subject and crl.is_signature_valid(key)  # type: ignore[arg-type]  # another kind: TypeError
    except TypeError:
        return False
