"""The key that this agent makes, its request for a certificate, and what must come back."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from penstock.names import AgentId, BadName


class BadCertificate(ValueError):
    """A certificate that cannot be accepted; the text says why, as the end of a sentence."""


def new_key() -> ec.EllipticCurvePrivateKey:
    """A P-256 key. It never leaves this machine."""
    return ec.generate_private_key(ec.SECP256R1())


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """PKCS #8, not encrypted: the file's mode protects it."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def signing_request(key: ec.EllipticCurvePrivateKey) -> x509.CertificateSigningRequest:
    """It proves possession of the key and says nothing else: the relay decides what the certificate says."""
    return x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())


def accepted(
    chain_pem: str, key: ec.EllipticCurvePublicKey, anchors: Sequence[x509.Certificate]
) -> tuple[x509.Certificate, AgentId]:
    """The leaf and whom it names. Raises BadCertificate unless it is for ``key``, whole, and of ``anchors``.

    Its time is not looked at: this machine's clock may be wrong.
    """
    try:
        chain = x509.load_pem_x509_certificates(chain_pem.encode())
        for certificate, issuer in pairwise(chain):
            certificate.verify_directly_issued_by(issuer)
        last = chain[-1]
        if not any(last.public_key() == anchor.public_key() or _issued(last, anchor) for anchor in anchors):
            raise BadCertificate("it cannot be verified")
        leaf = chain[0]
        names = list(leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
        uris = [name.value for name in names if isinstance(name, x509.UniformResourceIdentifier)]
        if len(names) != 1 or len(uris) != 1:
            raise BadCertificate("it does not carry exactly one identity")
        identity = AgentId.from_uri(uris[0])
    except BadCertificate:
        raise
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound) as e:
        raise BadCertificate(
            "its identity is not one of Penstock's" if isinstance(e, BadName) else "it cannot be verified"
        ) from None
    if leaf.public_key() != key:
        raise BadCertificate("it is for another key")
    return leaf, identity


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
