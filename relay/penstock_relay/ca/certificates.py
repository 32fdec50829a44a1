"""X.509 as Penstock has it: what certificates say, and which ones are taken. Files and phases are elsewhere.

Every certificate has the extensions that strict checking asks for (KeyUsage, SKI, AKI; RFC 5280).
"""

import ipaddress
from datetime import UTC, datetime, timedelta
from typing import Final, TypeAlias

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from penstock.enrolment import MAX_CSR
from penstock.tls import spki_pin
from penstock_relay.address import is_loopback

CA_VALIDITY: Final = timedelta(days=3650)
AGENT_VALIDITY: Final = timedelta(days=7)
"""Agents renew theirs once a third of it is over."""
TUNNEL_VALIDITY: Final = timedelta(days=365)
"""Renewed once less than a third is left, also while the relay runs."""
BACKDATED: Final = timedelta(minutes=5)
"""How far a clock on site may be behind ours when it checks a new certificate."""
LEAST_RSA_BITS: Final = 2048

SigningKey: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
"""Keys that a CA of ours may have; its own are P-256."""


class BadCsr(ValueError):
    """A certificate request that is not signed; the text says why and holds nothing of it."""


class BadAuthority(ValueError):
    """A certificate that cannot be the relay's CA; the text says why, to follow "... cannot be the CA: "."""


def authority(key: ec.EllipticCurvePrivateKey, now: float) -> x509.Certificate:
    """A self-signed CA certificate. Its name holds a part of its pin: no two anchors have the same."""
    moment = datetime.fromtimestamp(now, UTC)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    name = _name(f"Penstock relay CA {identifier.digest.hex()[:8]}")
    return (
        _begun(name, name, key.public_key(), moment, moment + CA_VALIDITY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(identifier, critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False
        )
        .sign(key, hashes.SHA256())
    )


def vouching(
    new: x509.Certificate, old: x509.Certificate, old_key: SigningKey, now: float
) -> x509.Certificate:
    """The CA ``old`` says that the key of ``new`` is a CA of the same relay: name and key of ``new``.

    Who trusts ``old`` alone, because a join string pins it, can so find the way to ``new``.
    """
    moment = datetime.fromtimestamp(now, UTC)
    end = min(new.not_valid_after_utc, old.not_valid_after_utc)
    return (
        _begun(new.subject, old.subject, new.public_key(), moment, end)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(_identifier(new), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(_identifier(old)), critical=False
        )
        .sign(old_key, _digest(old_key))
    )


def leaf(
    issuer: x509.Certificate,
    issuer_key: SigningKey,
    key: ec.EllipticCurvePublicKey,
    subject: str,
    names: x509.SubjectAlternativeName,
    usage: x509.ObjectIdentifier,
    now: float,
    validity: timedelta,
) -> x509.Certificate:
    """A certificate of ``issuer`` for ``key``. It never outlives its issuer."""
    moment = datetime.fromtimestamp(now, UTC)
    # A leaf that outlives its authority would fail on site with a puzzling error.
    end = min(moment + validity, issuer.not_valid_after_utc)
    return (
        _begun(_name(subject), issuer.subject, key, moment, end)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(digital_signature=True), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(names, critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(_identifier(issuer)),
            critical=False,
        )
        .sign(issuer_key, _digest(issuer_key))
    )


def parse_csr(pem: str) -> x509.CertificateSigningRequest:
    """A certificate request for a P-256 key whose holder signed it. Raises BadCsr. RFC 2986."""
    if len(pem) > MAX_CSR:
        raise BadCsr("The certificate request is too long.")
    try:
        csr = x509.load_pem_x509_csr(pem.encode())
        key = csr.public_key()
        possessed = csr.is_signature_valid
    except Exception:
        # Any of several kinds, UnsupportedAlgorithm among them; every one means the same to the sender.
        raise BadCsr("The certificate request cannot be read.") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise BadCsr("The certificate request's key is not a P-256 key.")
    if not possessed:
        raise BadCsr("The certificate request is not signed with its own key.")
    return csr


def serial_text(certificate: x509.Certificate) -> str:
    """The serial number as the store keeps it: lower-case hexadecimal."""
    return f"{certificate.serial_number:x}"


def pem(*certificates: x509.Certificate) -> bytes:
    """One after the other, as trust files and bundles have them."""
    return b"".join(certificate.public_bytes(Encoding.PEM) for certificate in certificates)


def same_key(one: x509.Certificate, other: x509.Certificate) -> bool:
    """Whether both certify one key: then what one has issued, the other vouches for as well."""
    return spki_pin(one) == spki_pin(other)


def issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether ``issuer`` signed ``certificate``, whatever the dates of both."""
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def server_names(host: str) -> x509.SubjectAlternativeName:
    """Names of the tunnel certificate. A loopback ``host`` gets ``localhost`` and both addresses as well."""
    hosts = dict.fromkeys([host, "localhost", "127.0.0.1", "::1"] if is_loopback(host) else [host])
    return x509.SubjectAlternativeName([_general_name(name) for name in hosts])


def suitable(key: object) -> SigningKey | None:
    """``key``, if strict TLS takes a CA with it: P-256, P-384, or RSA of at least 2048 bits."""
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1 | ec.SECP384R1):
        return key
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= LEAST_RSA_BITS:
        return key
    return None


def check_authority(certificate: x509.Certificate, now: float) -> None:
    """Raises BadAuthority for a certificate that TLS with strict checks would not take as a CA. RFC 5280."""
    found = certificate.extensions
    try:
        basic = found.get_extension_for_class(x509.BasicConstraints)
        usage = found.get_extension_for_class(x509.KeyUsage).value
        found.get_extension_for_class(x509.SubjectKeyIdentifier)
    except x509.ExtensionNotFound as error:
        name = getattr(error.oid, "_name", "an extension")
        raise BadAuthority(
            f"it has no {name}. A CA needs basicConstraints, keyUsage and subjectKeyIdentifier"
        ) from None
    if not basic.value.ca or not basic.critical:
        raise BadAuthority("it is not a CA certificate (basicConstraints CA:TRUE, critical); set isCA")
    if not usage.key_cert_sign:
        raise BadAuthority("its keyUsage does not allow it to sign certificates (keyCertSign)")
    if not list(certificate.subject):
        raise BadAuthority("its subject is empty; give it a common name")
    if _has(found, x509.NameConstraints):
        raise BadAuthority("it has name constraints, which agents' identities do not fit")
    if _has(found, x509.ExtendedKeyUsage):
        raise BadAuthority("it has an extended key usage; a CA for agents and relay has none")
    if certificate.not_valid_before_utc.timestamp() > now:
        raise BadAuthority("it is not valid yet. Check this machine's clock")
    if certificate.not_valid_after_utc.timestamp() <= now:
        raise BadAuthority("it has expired. Check this machine's clock; if it is right, renew it")


def _has(extensions: x509.Extensions, kind: type[x509.ExtensionType]) -> bool:
    return any(isinstance(extension.value, kind) for extension in extensions)


def _begun(
    subject: x509.Name,
    issuer: x509.Name,
    key: CertificatePublicKeyTypes,
    moment: datetime,
    end: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - BACKDATED)
        .not_valid_after(end)
    )


def _digest(key: SigningKey) -> hashes.SHA256 | hashes.SHA384:
    large = isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP384R1)
    return hashes.SHA384() if large else hashes.SHA256()


def _identifier(certificate: x509.Certificate) -> x509.SubjectKeyIdentifier:
    return certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _usage(
    *, digital_signature: bool = False, key_cert_sign: bool = False, crl_sign: bool = False
) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=key_cert_sign,
        crl_sign=crl_sign,
        encipher_only=False,
        decipher_only=False,
    )
