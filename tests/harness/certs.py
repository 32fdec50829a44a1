"""Certificates for tests, made anew in every run: a CA, a relay, agents, and ways of getting them wrong."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from penstock.names import AgentId

DAY = timedelta(days=1)
RELAY_NAMES: tuple[x509.GeneralName, ...] = (
    x509.DNSName("localhost"),
    x509.IPAddress(ip_address("127.0.0.1")),
)


@dataclass(frozen=True, slots=True)
class Files:
    """A certificate chain and its key, as PEM files (the key 0600)."""

    chain: Path
    key: Path
    certificate: x509.Certificate


class Authority:
    """A private CA with its certificate in `ca` (PEM). Everything it issues lies in `folder`."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self.folder = folder / name
        self.folder.mkdir(parents=True)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _common_name(f"Penstock test {name}")
        now = datetime.now(UTC)
        self.certificate = (
            x509.CertificateBuilder()
            .subject_name(self._name)
            .issuer_name(self._name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - DAY)
            .not_valid_after(now + DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_key_usage(ca=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        self.ca = self.folder / "ca.pem"
        self.ca.write_bytes(self.certificate.public_bytes(Encoding.PEM))

    def relay(self, names: Sequence[x509.GeneralName] = RELAY_NAMES, *, file: str = "relay") -> Files:
        """A server certificate, by default for localhost and 127.0.0.1."""
        return self.issue(file, names, ExtendedKeyUsageOID.SERVER_AUTH)

    def agent(self, site: str = "plant", agent: str = "a1") -> Files:
        """A good agent certificate: the agent's URI is its only name."""
        names = [x509.UniformResourceIdentifier(AgentId(site, agent).uri)]
        return self.issue(f"{site}-{agent}", names, ExtendedKeyUsageOID.CLIENT_AUTH)

    def expired_agent(self, site: str = "plant", agent: str = "a1") -> Files:
        """A good agent certificate whose time is over."""
        names = [x509.UniformResourceIdentifier(AgentId(site, agent).uri)]
        return self.issue(
            "expired",
            names,
            ExtendedKeyUsageOID.CLIENT_AUTH,
            not_after=datetime.now(UTC) - timedelta(hours=1),
        )

    def nameless_agent(self, common_name: str = "penstock agent") -> Files:
        """No subject alternative name; `common_name` may try to stand in for one."""
        return self.issue("nameless", [], ExtendedKeyUsageOID.CLIENT_AUTH, common_name=common_name)

    def agent_named(self, names: Sequence[x509.GeneralName]) -> Files:
        """A client certificate with any names: several, other kinds, other URIs."""
        return self.issue("named", names, ExtendedKeyUsageOID.CLIENT_AUTH)

    def issue(
        self,
        file: str,
        names: Sequence[x509.GeneralName],
        usage: x509.ObjectIdentifier,
        *,
        common_name: str = "",
        not_after: datetime | None = None,
    ) -> Files:
        """A leaf certificate with a key of its own; the chain file holds the leaf and the CA."""
        key = ec.generate_private_key(ec.SECP256R1())
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(_common_name(common_name))
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - DAY)
            .not_valid_after(not_after or now + DAY)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(ca=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
        )
        if names:
            # RFC 5280: critical when the subject is empty.
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=not common_name)
        certificate = builder.sign(self._key, hashes.SHA256())
        folder = self.folder / f"{file}-{certificate.serial_number:x}"
        folder.mkdir()
        files = Files(folder / "cert.pem", folder / "key.pem", certificate)
        files.chain.write_bytes(
            certificate.public_bytes(Encoding.PEM) + self.certificate.public_bytes(Encoding.PEM)
        )
        files.key.touch(mode=0o600)
        files.key.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return files


def _common_name(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)] if name else [])


def _key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )
