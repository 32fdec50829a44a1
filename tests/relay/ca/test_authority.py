"""The certificate authority: what it signs, what it refuses, and that strict TLS stacks accept it."""

import ipaddress
import os
import ssl
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from penstock import tls
from penstock.names import AgentId, BadName
from penstock_relay.ca import (
    AGENT_VALIDITY,
    TUNNEL_VALIDITY,
    BadCsr,
    CaError,
    CertificateAuthority,
    parse_csr,
    serial_text,
)

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


@pytest.fixture
def ca(tmp_path: Path) -> CertificateAuthority:
    return CertificateAuthority.open(tmp_path, NOW)


def names_of(certificate: x509.Certificate) -> list[x509.GeneralName]:
    return list(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)


def test_it_is_made_once_with_a_private_key_file(tmp_path: Path) -> None:
    first = CertificateAuthority.open(tmp_path / "state", NOW)
    again = CertificateAuthority.open(tmp_path / "state", NOW + DAY)
    assert again.pem == first.pem
    assert again.pin == first.pin == tls.spki_pin(first.certificate)
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "state" / "ca.key").stat().st_mode & 0o777 == 0o600
    assert sorted(os.listdir(tmp_path / "state")) == ["ca.crt", "ca.key"]


def test_commands_that_race_agree_on_one_authority(tmp_path: Path) -> None:
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from penstock_relay.ca import CertificateAuthority\n"
        "sys.stdin.read()\n"
        f"print(CertificateAuthority.open(Path({str(tmp_path)!r}), time.time()).pem.decode())\n"
    )
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", script], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.close()
        racer.stdin = None
    printed = {racer.communicate(timeout=60)[0] for racer in racers}
    assert len(printed) == 1
    assert sorted(os.listdir(tmp_path)) == ["ca.crt", "ca.key"]


def test_a_crash_between_key_and_certificate_is_finished_by_the_next_command(tmp_path: Path) -> None:
    first = CertificateAuthority.open(tmp_path, NOW)
    (tmp_path / "ca.crt").unlink()
    assert CertificateAuthority.open(tmp_path, NOW).pin == first.pin


def test_damage_to_its_files_is_named(tmp_path: Path) -> None:
    CertificateAuthority.open(tmp_path, NOW)
    CertificateAuthority.open(tmp_path / "other", NOW)
    key, certificate = tmp_path / "ca.key", tmp_path / "ca.crt"
    good = key.read_bytes()
    key.write_bytes((tmp_path / "other" / "ca.key").read_bytes())
    with pytest.raises(CaError, match=r"does not belong to .*ca.key"):
        CertificateAuthority.open(tmp_path, NOW)
    key.write_bytes(b"junk")
    with pytest.raises(CaError, match=r"ca.key is not a private key"):
        CertificateAuthority.open(tmp_path, NOW)
    rsa_key = rsa.generate_private_key(65537, 2048)
    key.write_bytes(rsa_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(CaError, match=r"ca.key is not a P-256 key"):
        CertificateAuthority.open(tmp_path, NOW)
    key.unlink()
    with pytest.raises(CaError, match=r"ca.key is missing"):
        CertificateAuthority.open(tmp_path, NOW)
    key.write_bytes(good)
    certificate.write_bytes(b"junk")
    with pytest.raises(CaError, match=r"ca.crt is not a certificate"):
        CertificateAuthority.open(tmp_path, NOW)


def test_an_expired_authority_says_so(ca: CertificateAuthority, tmp_path: Path) -> None:
    with pytest.raises(CaError, match="has expired"):
        CertificateAuthority.open(tmp_path, NOW + 3650 * DAY)


def test_an_agent_certificate_names_the_agent_and_nothing_of_the_request(ca: CertificateAuthority) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    wishes = (x509.DNSName("relay.example.com"), x509.UniformResourceIdentifier(AgentId("bank", "x").uri))
    certificate = ca.sign_agent(parse_csr(csr_pem(key, "root", *wishes)), AGENT, NOW)
    assert names_of(certificate) == [x509.UniformResourceIdentifier(AGENT.uri)]
    assert certificate.subject.rfc4514_string() == "CN=Penstock agent"
    assert certificate.public_key() == key.public_key()
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert certificate.version is x509.Version.v3


def test_an_agent_certificate_is_backdated_five_minutes_and_ends_after_its_validity(
    ca: CertificateAuthority,
) -> None:
    certificate = ca.sign_agent(parse_csr(csr_pem()), AGENT, NOW)
    assert certificate.not_valid_before_utc.timestamp() == pytest.approx(NOW - 300, abs=1)
    assert certificate.not_valid_after_utc.timestamp() == pytest.approx(
        NOW + AGENT_VALIDITY.total_seconds(), abs=1
    )


def test_no_certificate_outlives_the_authority(ca: CertificateAuthority) -> None:
    late = NOW + 3600 * DAY
    certificate = ca.sign_agent(parse_csr(csr_pem()), AGENT, late)
    assert certificate.not_valid_after_utc == ca.certificate.not_valid_after_utc


def test_serial_numbers_are_random(ca: CertificateAuthority) -> None:
    csr = parse_csr(csr_pem())
    serials = {serial_text(ca.sign_agent(csr, AGENT, NOW)) for _ in range(20)}
    assert len(serials) == 20
    assert all(len(serial) >= 30 for serial in serials)


@pytest.mark.parametrize(
    ("key", "why"),
    [
        (ec.generate_private_key(ec.SECP384R1()), "not a P-256 key"),
        (rsa.generate_private_key(65537, 2048), "not a P-256 key"),
        (ed25519.Ed25519PrivateKey.generate(), "not a P-256 key"),
    ],
    ids=["p-384", "rsa", "ed25519"],
)
def test_other_keys_are_refused(key: Signer, why: str) -> None:
    with pytest.raises(BadCsr, match=why):
        parse_csr(csr_pem(key))


def test_a_request_signed_by_another_key_is_refused() -> None:
    own, victim = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    der = x509.load_pem_x509_csr(csr_pem(own).encode()).public_bytes(Encoding.DER)
    forged = der.replace(point(own), point(victim))
    assert forged != der
    pem = x509.load_der_x509_csr(forged).public_bytes(Encoding.PEM).decode()
    with pytest.raises(BadCsr, match="not signed with its own key"):
        parse_csr(pem)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "junk",
        "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
        "\ud800",
        "x" * 9000,
    ],
)
def test_what_is_no_request_is_refused_without_repeating_it(text: str) -> None:
    with pytest.raises(BadCsr, match=r"^The certificate request (cannot be read|is too long)\.$"):
        parse_csr(text)


def test_the_tunnel_certificate_is_for_the_host_only(ca: CertificateAuthority, tmp_path: Path) -> None:
    found = ca.tunnel_files("relay.example.com", NOW)
    certificate = x509.load_pem_x509_certificate(found.chain.read_bytes())
    assert names_of(certificate) == [x509.DNSName("relay.example.com")]
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]
    assert found.key.stat().st_mode & 0o777 == 0o600
    assert found.ca == tmp_path / "ca.crt"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1"])
def test_a_loopback_tunnel_is_known_by_all_loopback_names(host: str, ca: CertificateAuthority) -> None:
    certificate = x509.load_pem_x509_certificate(ca.tunnel_files(host, NOW).chain.read_bytes())
    assert set(names_of(certificate)) == {
        x509.DNSName("localhost"),
        x509.IPAddress(ipaddress.ip_address("127.0.0.1")),
        x509.IPAddress(ipaddress.ip_address("::1")),
    }


def test_an_address_gets_an_address_name(ca: CertificateAuthority) -> None:
    certificate = x509.load_pem_x509_certificate(ca.tunnel_files("192.0.2.7", NOW).chain.read_bytes())
    assert names_of(certificate) == [x509.IPAddress(ipaddress.ip_address("192.0.2.7"))]


def test_the_tunnel_certificate_is_renewed_when_less_than_a_third_is_left(ca: CertificateAuthority) -> None:
    first = ca.tunnel_files("relay.example.com", NOW).chain.read_bytes()
    life = TUNNEL_VALIDITY.total_seconds()
    assert ca.tunnel_files("relay.example.com", NOW + life * 0.66).chain.read_bytes() == first
    assert ca.tunnel_files("relay.example.com", NOW + life * 0.67).chain.read_bytes() != first


def test_the_tunnel_certificate_is_renewed_when_it_does_not_fit(
    ca: CertificateAuthority, tmp_path: Path
) -> None:
    path = ca.tunnel_files("relay.example.com", NOW).chain
    first = path.read_bytes()
    assert ca.tunnel_files("other.example.com", NOW).chain.read_bytes() != first
    for damage in (b"junk", first[:100], first[first.index(b"-----BEGIN CERTIFICATE") :]):
        path.write_bytes(damage)
        renewed = ca.tunnel_files("relay.example.com", NOW).chain.read_bytes()
        assert load_pem_private_key(renewed, None) is not None
    stranger = CertificateAuthority.open(tmp_path / "other", NOW)
    path.write_bytes(stranger.tunnel_files("relay.example.com", NOW).chain.read_bytes())
    renewed = ca.tunnel_files("relay.example.com", NOW).chain.read_bytes()
    x509.load_pem_x509_certificate(renewed).verify_directly_issued_by(ca.certificate)


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


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "relay.example.com"])
def test_strict_tls_accepts_both_ends(host: str, ca: CertificateAuthority, tmp_path: Path) -> None:
    files = ca.tunnel_files(host, NOW)
    server = tls.server_context(files.chain, files.key, files.ca)
    client = tls.client_context(files.ca, *agent_files(ca, tmp_path, NOW))
    assert server.verify_flags & client.verify_flags & ssl.VERIFY_X509_STRICT
    handshake = Handshake(server, client, host)
    handshake.run()
    assert tls.peer_agent(handshake.server) == AGENT


def test_another_host_name_is_refused(ca: CertificateAuthority, tmp_path: Path) -> None:
    files = ca.tunnel_files("relay.example.com", NOW)
    server = tls.server_context(files.chain, files.key, files.ca)
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        Handshake(server, tls.client_context(files.ca, None, None), "other.example.com").run()


def test_an_agent_of_another_authority_is_refused(ca: CertificateAuthority, tmp_path: Path) -> None:
    files = ca.tunnel_files("localhost", NOW)
    stranger = CertificateAuthority.open(tmp_path / "other", NOW)
    client = tls.client_context(files.ca, *agent_files(stranger, tmp_path / "other", NOW))
    with pytest.raises(ssl.SSLCertVerificationError):
        Handshake(tls.server_context(files.chain, files.key, files.ca), client, "localhost").run()


def test_an_expired_agent_certificate_is_refused(tmp_path: Path) -> None:
    then = NOW - AGENT_VALIDITY.total_seconds() - 2 * DAY
    ca = CertificateAuthority.open(tmp_path, then)
    files = ca.tunnel_files("localhost", NOW)
    client = tls.client_context(files.ca, *agent_files(ca, tmp_path, then))
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        Handshake(tls.server_context(files.chain, files.key, files.ca), client, "localhost").run()


def test_the_tunnel_certificate_is_no_agent(ca: CertificateAuthority) -> None:
    files = ca.tunnel_files("localhost", NOW)
    client = tls.client_context(files.ca, files.chain, files.key)
    with pytest.raises((ssl.SSLCertVerificationError, BadName)):
        Handshake(tls.server_context(files.chain, files.key, files.ca), client, "localhost").run()


def test_an_agent_cannot_pass_for_the_relay(ca: CertificateAuthority, tmp_path: Path) -> None:
    chain, key = agent_files(ca, tmp_path, NOW)
    server = tls.server_context(chain, key, tmp_path / "ca.crt")
    with pytest.raises(ssl.SSLCertVerificationError):
        Handshake(server, tls.client_context(tmp_path / "ca.crt", None, None), "localhost").run()
