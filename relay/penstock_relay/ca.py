"""The relay's private certificate authority: it vouches for agents, and for the tunnel listener.

Nothing else trusts it, and agents trust nothing else: a join string pins its key. Every certificate has
the extensions that strict X.509 checking asks for (KeyUsage, SKI, AKI).
"""

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final, Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from penstock import revocation
from penstock.enrolment import MAX_CSR
from penstock.names import AgentId
from penstock.tls import spki_pin
from penstock_relay import files
from penstock_relay.address import is_loopback

KEY_NAME: Final = "ca.key"
CERTIFICATE_NAME: Final = "ca.crt"
TUNNEL_NAME: Final = "tunnel.pem"

CA_VALIDITY: Final = timedelta(days=3650)
AGENT_VALIDITY: Final = timedelta(days=7)
"""Agents renew theirs once a third of it is over."""
TUNNEL_VALIDITY: Final = timedelta(days=365)
"""Renewed once less than a third is left, also while the relay runs: the daemon calls ``tunnel_files``."""
BACKDATED: Final = timedelta(minutes=5)
"""How far a clock on site may be behind ours when it checks a new certificate."""


class CaError(Exception):
    """The certificate authority cannot be used; the text says why and what to do."""


class BadCsr(ValueError):
    """A certificate request that is not signed; the text says why and holds nothing of it."""


@dataclass(frozen=True, slots=True)
class TunnelFiles:
    """What the tunnel listener's TLS context loads. ``chain`` and ``key`` are the same file."""

    chain: Path
    key: Path
    ca: Path


class CertificateAuthority:
    def __init__(self, folder: Path, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        self._folder = folder
        self._key = key
        self.certificate = certificate

    @classmethod
    def open(cls, state_dir: Path, now: float) -> Self:
        """The authority of ``state_dir``, made if there is none yet. Raises CaError.

        Safe when several commands come first at once: one key wins, and all of them use it.
        """
        try:
            files.make_folder(state_dir)
            key = _key(state_dir)
            certificate = _ca_certificate(state_dir, key, now)
        except OSError as error:
            raise CaError(
                f"Cannot use the certificate authority in {state_dir}: {error.strerror}. Run as the relay's "
                "user, or set state_dir to a folder that this user may write."
            ) from None
        if certificate.public_key() != key.public_key():
            raise CaError(
                f"{state_dir / CERTIFICATE_NAME} does not belong to {state_dir / KEY_NAME}. Restore both "
                "from one backup."
            )
        if certificate.not_valid_after_utc.timestamp() <= now:
            raise CaError(
                f"{state_dir / CERTIFICATE_NAME} has expired. Check this machine's clock; if it is right, "
                f"move {CERTIFICATE_NAME} and {KEY_NAME} away and let every agent join again."
            )
        return cls(state_dir, key, certificate)

    @property
    def pem(self) -> bytes:
        """The authority's certificate, as ``GET /ca`` hands it out."""
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def pin(self) -> bytes:
        """SHA-256 of the authority's public key (SPKI), 32 bytes: what a join string carries."""
        return spki_pin(self.certificate)

    def sign_agent(self, csr: x509.CertificateSigningRequest, agent: AgentId, now: float) -> x509.Certificate:
        """A client certificate for ``agent`` with the key of ``csr`` and nothing else of it.

        ``csr`` comes from :func:`parse_csr`, which has checked it.
        """
        key = csr.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise BadCsr("The certificate request's key is not a P-256 key.")
        return self._sign(
            key,
            "Penstock agent",
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(agent.uri)]),
            ExtendedKeyUsageOID.CLIENT_AUTH,
            now,
            AGENT_VALIDITY,
        )

    def vouches(self, certificate: x509.Certificate) -> bool:
        """Whether this authority issued ``certificate``, whatever its dates."""
        try:
            certificate.verify_directly_issued_by(self.certificate)
        except (ValueError, TypeError, InvalidSignature):
            return False
        return True

    def revocation(self, serial: int, at: float, now: float, *, replaced: bool) -> str:
        """The statement (PEM) that the certificate ``serial`` was revoked ``at`` that time."""
        return revocation.make(serial, at, replaced=replaced, issuer=self.certificate, key=self._key, now=now)

    def tunnel_files(self, host: str, now: float) -> TunnelFiles:
        """The tunnel listener's files: a certificate for ``host`` with at least a third of its life left.

        Called at every start, and now and then while the relay runs. A loopback ``host`` gets ``localhost``
        and both loopback addresses as well. Raises CaError.
        """
        path = self._folder / TUNNEL_NAME
        names = _names(host)
        try:
            if not self._serves(path, names, now):
                files.replace(path, self._tunnel_pem(names, now))
        except OSError as error:
            raise CaError(f"Cannot write {path}: {error.strerror}. Run as the relay's user.") from None
        return TunnelFiles(chain=path, key=path, ca=self._folder / CERTIFICATE_NAME)

    def _serves(self, path: Path, names: x509.SubjectAlternativeName, now: float) -> bool:
        try:
            pem = path.read_bytes()
            certificate = x509.load_pem_x509_certificate(pem)
            key = load_pem_private_key(pem, None)
            certificate.verify_directly_issued_by(self.certificate)
            found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except (FileNotFoundError, ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
            return False
        begin, end = certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp()
        fresh = begin <= now and end - now >= (end - begin) / 3
        return fresh and set(found) == set(names) and certificate.public_key() == key.public_key()

    def _tunnel_pem(self, names: x509.SubjectAlternativeName, now: float) -> bytes:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = self._sign(
            key.public_key(), "Penstock relay", names, ExtendedKeyUsageOID.SERVER_AUTH, now, TUNNEL_VALIDITY
        )
        # One file, so that key and certificate can only change together.
        return _private_pem(key) + certificate.public_bytes(Encoding.PEM)

    def _sign(
        self,
        key: ec.EllipticCurvePublicKey,
        subject: str,
        names: x509.SubjectAlternativeName,
        usage: x509.ObjectIdentifier,
        now: float,
        validity: timedelta,
    ) -> x509.Certificate:
        moment = datetime.fromtimestamp(now, UTC)
        # A leaf that outlives its authority would fail on site with a puzzling error.
        end = min(moment + validity, self.certificate.not_valid_after_utc)
        own = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        return (
            x509.CertificateBuilder()
            .subject_name(_name(subject))
            .issuer_name(self.certificate.subject)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(moment - BACKDATED)
            .not_valid_after(end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(digital_signature=True), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(names, critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own), critical=False
            )
            .sign(self._key, hashes.SHA256())
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


def _key(state_dir: Path) -> ec.EllipticCurvePrivateKey:
    path = state_dir / KEY_NAME
    if not path.exists():
        # Asked again after the certificate, which always comes second: another command may be making both.
        if (state_dir / CERTIFICATE_NAME).exists() and not path.exists():
            raise CaError(f"{path} is missing beside {CERTIFICATE_NAME}. Restore both from one backup.")
        files.create(path, _private_pem(ec.generate_private_key(ec.SECP256R1())))
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except (ValueError, TypeError):
        raise CaError(f"{path} is not a private key in PEM. Restore it from a backup.") from None
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise CaError(f"{path} is not a P-256 key. Restore it from a backup.")
    return key


def _ca_certificate(state_dir: Path, key: ec.EllipticCurvePrivateKey, now: float) -> x509.Certificate:
    path = state_dir / CERTIFICATE_NAME
    if not path.exists():
        files.create(path, _self_signed(key, now).public_bytes(Encoding.PEM))
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except ValueError:
        raise CaError(f"{path} is not a certificate in PEM. Restore it from a backup.") from None


def _self_signed(key: ec.EllipticCurvePrivateKey, now: float) -> x509.Certificate:
    moment = datetime.fromtimestamp(now, UTC)
    name = _name("Penstock relay CA")
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - BACKDATED)
        .not_valid_after(moment + CA_VALIDITY)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(key_cert_sign=True, crl_sign=True), critical=True)
        .add_extension(identifier, critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False
        )
        .sign(key, hashes.SHA256())
    )


def _names(host: str) -> x509.SubjectAlternativeName:
    hosts = dict.fromkeys([host, "localhost", "127.0.0.1", "::1"] if is_loopback(host) else [host])
    return x509.SubjectAlternativeName([_general_name(name) for name in hosts])


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


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
