"""The relay's side of a renewal: one proof in, one certificate out, whatever carries them."""

import secrets
from collections.abc import Callable, Collection
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from penstock import fingerprint, refusal
from penstock.names import AgentId
from penstock.refusal import Refusal
from penstock.renewal import NONCE_BYTES, Renew, Renewed, proves, to_sign
from penstock_relay import audit
from penstock_relay.ca import BadCsr, CertificateAuthority, parse_csr, serial_text
from penstock_relay.standing import UNKNOWN, refused
from penstock_relay.store import Lineage, Standing, Store, Successor

_NO_PROOF: Final = Refusal(
    refusal.MALFORMED,
    "The request is not signed by the key of its certificate for this connection. Likely cause: something "
    "between agent and relay ends TLS, or the relay changed its certificate this moment. It is tried again.",
)


def new_nonce() -> bytes:
    """Of one conversation."""
    return secrets.token_bytes(NONCE_BYTES)


async def renew(
    request: Renew,
    nonce: bytes,
    leaves: Collection[bytes],
    store: Store,
    ca: CertificateAuthority,
    now: float,
    linked: Callable[[AgentId], bool],
) -> Renewed | Refusal:
    """Gives the next generation to whoever holds the key of the latest. ``now`` in seconds since the epoch.

    ``leaves`` are digests of the certificates that this relay may have shown in the connection. The proof
    comes before everything else: who does not hold a key learns nothing about its certificate, and cannot
    lock its agent. Raises sqlalchemy.exc.SQLAlchemyError.
    """
    try:
        csr = parse_csr(request.csr)
        certificate = x509.load_pem_x509_certificate(request.certificate.encode())
        serial = serial_text(certificate)
    except BadCsr as error:
        return Refusal(refusal.MALFORMED, f"{error} Update penstock-agent.")
    except ValueError:
        return Refusal(refusal.MALFORMED, "The certificate to renew cannot be read. Update penstock-agent.")
    if not any(
        proves(certificate, request.signature, to_sign(leaf, nonce, csr, certificate)) for leaf in leaves
    ):
        return _NO_PROOF
    lineage = await store.certificates.lineage(serial)
    if lineage is None or not _same(certificate, serial, lineage, ca):
        return UNKNOWN
    fresh = ca.sign_agent(csr, lineage.agent, now)
    successor = Successor(
        serial_text(fresh),
        fingerprint.of_key(fresh.public_key()),
        fresh.not_valid_after_utc.timestamp(),
    )
    by = audit.agent(lineage.agent.site, lineage.agent.agent)
    standing, generation = await store.by(by).certificates.renew(
        serial, successor, now, linked=linked(lineage.agent)
    )
    if standing is not Standing.GOOD:
        # Looked up again: the step itself may have locked the agent, and for what.
        return refused(standing, await store.certificates.lineage(serial), serial, ca, now)
    return Renewed(
        site=lineage.agent.site,
        agent=lineage.agent.agent,
        certificate=fresh.public_bytes(Encoding.PEM).decode(),
        ca=ca.pem.decode(),
        generation=generation,
        time=int(now),
    )


def serial_of(answer: Renewed) -> str:
    """The serial number of the certificate in ``answer``, as the store keeps it."""
    return serial_text(x509.load_pem_x509_certificate(answer.certificate.encode()))


def _same(certificate: x509.Certificate, serial: str, lineage: Lineage, ca: CertificateAuthority) -> bool:
    """Whether this is the certificate that the store means: anybody can write a serial number into one."""
    known = lineage.find(serial)
    if known is None:
        return False
    if known.fingerprint is None:
        return ca.vouches(certificate)
    return known.fingerprint == fingerprint.of_key(certificate.public_key())
