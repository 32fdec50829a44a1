"""What tests of the CA make: requests, certificates, a company's own CA in files, and TLS in memory."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID

from penstock.names import AgentId
from penstock_relay.ca import CertificateAuthority, Source, parse_csr

NOW = datetime.now(UTC).timestamp()
AGENT = AgentId("mill", "a1b2c3d4")
DAY = 86_400.0

Signer = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


def csr_pem(key: Signer | None = None, subject: str = "x", *names: x509.GeneralName) -> str:
    key = key or ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, algorithm).public_bytes(Encoding.PEM).decode()


def point(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)


class Handshake:
    """TLS between two contexts in memory."""

    def __init__(self, server: ssl.SSLContext, client: ssl.SSLContext, host: str) -> None:
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.server = server.wrap_bio(to_server, to_client, server_side=True)
        self.client = client.wrap_bio(to_client, to_server, server_hostname=host)

    def run(self) -> None:
        for _ in range(4):
            for side in (self.client, self.server):
                try:
                    side.do_handshake()
                except ssl.SSLWantReadError:
                    continue
        self.client.write(b"x")
        self.server.read(1)


def agent_files(ca: CertificateAuthority, folder: Path, now: float) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    chain_path, key_path = folder / "agent.crt", folder / "agent.key"
    chain_path.write_bytes(ca.sign_agent(parse_csr(csr_pem(key)), AGENT, now).public_bytes(Encoding.PEM))
    key_path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return chain_path, key_path


def private_pem(key: Signer) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def p256() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


class Company:
    """A CA as a company keeps it: a root, or an intermediate below one; extensions as of cert-manager."""

    def __init__(self, folder: Path, key: Signer | None = None, *, intermediate: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.source = Source(folder / "tls.crt", folder / "tls.key")
        self.root_key = p256()
        self.root = ca_certificate(self.root_key, "Company root", self.root_key, "Company root")
        self.intermediate = intermediate
        self.give(key or p256())

    def give(self, key: Signer, *, days: float = 90) -> None:
        """Puts another certificate into the files, for this key: a renewal, or a new CA of the same name."""
        self.key = key
        issuer, name = (self.root_key, "Company root") if self.intermediate else (key, "Company CA")
        self.certificate = ca_certificate(key, "Company CA", issuer, name, days=days)
        self.source.certificate_file.write_bytes(self.certificate.public_bytes(Encoding.PEM))
        self.source.key_file.write_bytes(private_pem(key))
        self.source.key_file.chmod(0o600)


def ca_certificate(
    key: Signer, name: str, issuer_key: Signer, issuer: str, *, days: float = 90, now: float = NOW
) -> x509.Certificate:
    moment = datetime.fromtimestamp(now, UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(common_name(name))
        .issuer_name(common_name(issuer))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - timedelta(days=1))
        .not_valid_after(moment + timedelta(days=days))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(ca_usage(), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    if name != issuer:
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False
        )
    algorithm = None if isinstance(issuer_key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(issuer_key, algorithm)


def common_name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def ca_usage(*, sign: bool = True) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=True,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
