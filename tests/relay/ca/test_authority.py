"""The certificate authority: what it signs, what it refuses, and that strict TLS stacks accept it."""

import ipaddress
import json
import os
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from penstock import tls
from penstock.enrolment import MAX_PEM
from penstock.names import AgentId, BadName
from penstock_relay.ca import (
    AGENT_VALIDITY,
    TUNNEL_VALIDITY,
    CaError,
    CertificateAuthority,
    parse_csr,
    serial_text,
)
from penstock_relay.ca.record import MAX_ANCHORS
from penstock_relay.ca.rotation import Phase
from penstock_relay.sealed import PLAIN, Keyring, SealError
from tests.relay.ca.making import AGENT, DAY, NOW, Company, Handshake, agent_files, csr_pem, p256, private_pem

LATER = NOW + 60


@pytest.fixture
def ca(tmp_path: Path) -> CertificateAuthority:
    return CertificateAuthority.open(tmp_path, NOW)


def phase(ca: CertificateAuthority) -> Phase:
    return ca.record.phase


def names_of(certificate: x509.Certificate) -> list[x509.GeneralName]:
    return list(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)


def test_it_is_made_once_in_a_private_file(tmp_path: Path) -> None:
    first = CertificateAuthority.open(tmp_path / "state", NOW)
    again = CertificateAuthority.open(tmp_path / "state", NOW + DAY)
    assert again.pem == first.pem
    assert again.pin == first.pin == tls.spki_pin(first.certificate)
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "state" / "ca.json").stat().st_mode & 0o777 == 0o600
    assert sorted(os.listdir(tmp_path / "state")) == ["ca.crt", "ca.json"]


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
    assert sorted(os.listdir(tmp_path)) == ["ca.crt", "ca.json"]


def test_a_bundle_that_was_lost_is_made_again(tmp_path: Path) -> None:
    first = CertificateAuthority.open(tmp_path, NOW)
    (tmp_path / "ca.crt").unlink()
    assert CertificateAuthority.open(tmp_path, NOW).pin == first.pin
    assert (tmp_path / "ca.crt").read_bytes() == first.pem


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
    assert certificate.extensions.get_extension_for_class(x509.KeyUsage).critical
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
    late = NOW + 3645 * DAY
    certificate = ca.sign_agent(parse_csr(csr_pem()), AGENT, late)
    assert certificate.not_valid_after_utc == ca.certificate.not_valid_after_utc


def test_an_authority_that_has_ended_signs_nothing(ca: CertificateAuthority) -> None:
    for late in (NOW + 3650 * DAY, NOW + 4000 * DAY):
        with pytest.raises(CaError, match=r"has expired on .*: it cannot sign"):
            ca.sign_agent(parse_csr(csr_pem()), AGENT, late)
        with pytest.raises(CaError, match=r"has expired on .*: it cannot sign"):
            ca.tunnel_files("relay.example.com", late)


def test_serial_numbers_are_random(ca: CertificateAuthority) -> None:
    csr = parse_csr(csr_pem())
    serials = {serial_text(ca.sign_agent(csr, AGENT, NOW)) for _ in range(20)}
    assert len(serials) == 20
    assert all(len(serial) >= 30 for serial in serials)


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


# -- from one CA to another ---------------------------------------------------------------------------------


def context_of(ca: CertificateAuthority, now: float = NOW) -> ssl.SSLContext:
    files = ca.tunnel_files("localhost", now)
    return tls.server_context(files.chain, files.key, files.ca, files.password)


def anchors(folder: Path, pem: bytes) -> Path:
    """A trust file, as an agent keeps what it was given."""
    path = folder / "trusted.pem"
    path.write_bytes(pem)
    return path


def pins(ca: CertificateAuthority) -> list[bytes]:
    return [tls.spki_pin(certificate) for certificate in x509.load_pem_x509_certificates(ca.pem)]


def test_a_rotation_passes_through_its_phases(ca: CertificateAuthority) -> None:
    old = ca.certificate
    assert phase(ca) is Phase.STEADY
    ca.announce(LATER)
    assert phase(ca) is Phase.ANNOUNCED
    # The old one still signs, for those who know no other.
    assert ca.certificate == old
    assert ca.pin == tls.spki_pin(old)
    new = pins(ca)[0]
    assert pins(ca) == [new, tls.spki_pin(old)]
    assert new != tls.spki_pin(old)
    ca.advance(Phase.ANNOUNCED, LATER)
    assert phase(ca) is Phase.SIGNING
    assert tls.spki_pin(ca.certificate) == ca.pin == new
    assert pins(ca) == [new, tls.spki_pin(old)]
    ca.advance(Phase.SIGNING, LATER)
    assert phase(ca) is Phase.STEADY
    assert pins(ca) == [new] == [ca.pin]


def test_both_anchors_have_names_of_their_own(ca: CertificateAuthority) -> None:
    ca.announce(LATER)
    names = {anchor.certificate.subject.rfc4514_string() for anchor in ca.record.anchors}
    assert len(names) == 2


@pytest.mark.parametrize("steps", [0, 1, 2, 3])
def test_an_agent_that_fetched_the_bundle_is_connected_in_every_phase(
    steps: int, ca: CertificateAuthority, tmp_path: Path
) -> None:
    if steps:
        ca.announce(LATER)
    trusted, mine = anchors(tmp_path, ca.pem), agent_files(ca, tmp_path, NOW)
    if steps == 3:
        # Its certificate of the old CA is gone by then: it has renewed.
        ca.advance(Phase.ANNOUNCED, LATER)
        mine = agent_files(ca, tmp_path, NOW)
    elif steps == 2:
        ca.advance(Phase.ANNOUNCED, LATER)
    if steps == 3:
        ca.advance(Phase.SIGNING, LATER)
    shake = Handshake(context_of(ca), tls.client_context(trusted, *mine), "localhost")
    shake.run()
    assert tls.peer_agent(shake.server) == AGENT


def test_an_agent_that_did_not_fetch_the_bundle_is_connected_until_the_new_one_signs(
    ca: CertificateAuthority, tmp_path: Path
) -> None:
    trusted, mine = anchors(tmp_path, ca.pem), agent_files(ca, tmp_path, NOW)
    ca.announce(LATER)
    Handshake(context_of(ca), tls.client_context(trusted, *mine), "localhost").run()
    ca.advance(Phase.ANNOUNCED, LATER)
    with pytest.raises(ssl.SSLCertVerificationError):
        Handshake(context_of(ca), tls.client_context(trusted, *mine), "localhost").run()


def test_a_retired_anchor_vouches_for_nobody(ca: CertificateAuthority, tmp_path: Path) -> None:
    mine = agent_files(ca, tmp_path, NOW)
    certificate = x509.load_pem_x509_certificate(mine[0].read_bytes())
    ca.announce(LATER)
    ca.advance(Phase.ANNOUNCED, LATER)
    trusted = anchors(tmp_path, ca.pem)
    assert ca.vouches(certificate)
    ca.advance(Phase.SIGNING, LATER)
    assert not ca.vouches(certificate)
    with pytest.raises(ssl.SSLCertVerificationError):
        Handshake(context_of(ca), tls.client_context(trusted, *mine), "localhost").run()


def test_an_announcement_alone_changes_nothing_at_the_listener(ca: CertificateAuthority) -> None:
    before = ca.tunnel_files("localhost", NOW).chain.read_bytes()
    ca.announce(LATER)
    assert ca.tunnel_files("localhost", LATER).chain.read_bytes() == before
    ca.advance(Phase.ANNOUNCED, LATER)
    assert ca.tunnel_files("localhost", LATER).chain.read_bytes() != before


def test_a_tunnel_certificate_made_while_announced_is_of_the_old_anchor(ca: CertificateAuthority) -> None:
    old = ca.certificate
    ca.tunnel_files("localhost", NOW)
    ca.announce(LATER)
    path = ca.tunnel_files("relay.example.com", LATER).chain
    x509.load_pem_x509_certificate(path.read_bytes()).verify_directly_issued_by(old)
    assert ca.pin == tls.spki_pin(old)
    late = LATER + TUNNEL_VALIDITY.total_seconds() * 0.9
    x509.load_pem_x509_certificate(
        ca.tunnel_files("relay.example.com", late).chain.read_bytes()
    ).verify_directly_issued_by(old)


def test_a_join_string_made_before_the_tunnel_certificate_pins_the_old_anchor(
    ca: CertificateAuthority,
) -> None:
    old = ca.pin
    ca.announce(LATER)
    assert ca.pin == old


def test_the_introduction_leads_from_the_old_anchor_to_the_new(ca: CertificateAuthority) -> None:
    assert ca.introduction == ca.pem
    old = ca.certificate
    ca.announce(LATER)
    shown = x509.load_pem_x509_certificates(ca.introduction)
    new = ca.record.current.certificate
    assert shown[:2] == [new, old]
    (vouched,) = shown[2:]
    vouched.verify_directly_issued_by(old)
    assert (vouched.subject, vouched.public_key()) == (new.subject, new.public_key())
    ca.advance(Phase.ANNOUNCED, LATER)
    assert len(x509.load_pem_x509_certificates(ca.introduction)) == 3
    ca.advance(Phase.SIGNING, LATER)
    assert ca.introduction == ca.pem


def test_a_step_that_somebody_else_has_taken_is_not_taken_twice(
    ca: CertificateAuthority, tmp_path: Path
) -> None:
    other = CertificateAuthority.open(tmp_path, NOW)
    ca.announce(LATER)
    with pytest.raises(CaError, match="under way already"):
        other.announce(LATER)
    other.advance(Phase.ANNOUNCED, LATER)
    ca.advance(Phase.ANNOUNCED, LATER)
    assert phase(ca) is Phase.SIGNING
    ca.advance(Phase.SIGNING, LATER)
    ca.advance(Phase.SIGNING, LATER)
    assert phase(ca) is Phase.STEADY
    with pytest.raises(ValueError, match="STEADY"):
        ca.advance(Phase.STEADY, LATER)


def test_of_two_processes_that_rotate_at_once_one_begins(tmp_path: Path) -> None:
    CertificateAuthority.open(tmp_path, NOW)
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from penstock_relay.ca import CaError, CertificateAuthority\n"
        f"ca = CertificateAuthority.open(Path({str(tmp_path)!r}), time.time())\n"
        "sys.stdin.read()\n"
        "try:\n"
        "    ca.announce(time.time())\n"
        "    print('begun')\n"
        "except CaError as error:\n"
        "    print(error)\n"
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
    printed = [racer.communicate(timeout=60)[0] for racer in racers]
    assert printed.count("begun\n") == 1
    assert sum("under way already" in text for text in printed) == 3
    assert len(CertificateAuthority.open(tmp_path, NOW).record.anchors) == 2


def test_a_running_authority_follows_what_another_process_does(
    ca: CertificateAuthority, tmp_path: Path
) -> None:
    assert not ca.refresh(NOW)
    command = CertificateAuthority.open(tmp_path, NOW)
    command.announce(LATER)
    assert ca.refresh(LATER)
    assert ca.record == command.record
    assert not ca.refresh(LATER)
    (tmp_path / "ca.json").write_bytes(b"half a docu")
    with pytest.raises(CaError, match="damaged"):
        ca.refresh(LATER)
    # It goes on as it was, and says so each time.
    assert ca.record == command.record
    ca.sign_agent(parse_csr(csr_pem()), AGENT, LATER)
    with pytest.raises(CaError, match="damaged"):
        ca.refresh(LATER)


def test_a_record_restored_from_before_a_rotation_is_noticed(
    ca: CertificateAuthority, tmp_path: Path
) -> None:
    backup = (tmp_path / "ca.json").read_bytes()
    assert not ca.shows_stranger()
    ca.tunnel_files("localhost", NOW)
    assert not ca.shows_stranger()
    ca.announce(LATER)
    ca.advance(Phase.ANNOUNCED, LATER)
    ca.tunnel_files("localhost", LATER)
    (tmp_path / "ca.json").write_bytes(backup)
    assert CertificateAuthority.open(tmp_path, LATER).shows_stranger()


def test_a_key_that_is_not_its_certificate_s_is_named(ca: CertificateAuthority, tmp_path: Path) -> None:
    path = tmp_path / "ca.json"
    document = json.loads(path.read_bytes())
    document["anchors"][0]["key"] = private_pem(p256()).decode()
    path.write_text(json.dumps(document))
    with pytest.raises(CaError, match=r"ca\.json holds a key that does not belong to its certificate"):
        CertificateAuthority.open(tmp_path, NOW)


def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CaError, match=r"Cannot use the certificate authority in .*file.*relay's user"):
        CertificateAuthority.open(tmp_path / "file" / "state", NOW)


# -- the master key -----------------------------------------------------------------------------------------

KEYS = Keyring([bytes(range(32))])
OTHER = Keyring([bytes(range(100, 132))])


def test_with_a_master_key_no_private_key_lies_plain(tmp_path: Path) -> None:
    ca = CertificateAuthority.open(tmp_path, NOW, KEYS)
    ca.announce(LATER)
    ca.tunnel_files("localhost", NOW)
    for path in tmp_path.iterdir():
        assert b"BEGIN PRIVATE KEY" not in path.read_bytes(), path
    assert b"BEGIN ENCRYPTED PRIVATE KEY" in (tmp_path / "tunnel.pem").read_bytes()
    again = CertificateAuthority.open(tmp_path, NOW, KEYS)
    trusted, mine = anchors(tmp_path, again.pem), agent_files(again, tmp_path, NOW)
    Handshake(context_of(again), tls.client_context(trusted, *mine), "localhost").run()


def test_a_plain_key_is_sealed_when_there_is_a_master_key(ca: CertificateAuthority, tmp_path: Path) -> None:
    assert b"BEGIN PRIVATE KEY" in (tmp_path / "ca.json").read_bytes()
    assert ca.key_kept(ca.record.current) == "plain"
    ca.tunnel_files("localhost", NOW)
    sealed = CertificateAuthority.open(tmp_path, NOW, KEYS)
    sealed.tunnel_files("localhost", NOW)
    assert sealed.pin == ca.pin
    assert sealed.key_kept(sealed.record.current) == f"sealed by {KEYS.id}"
    for path in tmp_path.iterdir():
        assert b"BEGIN PRIVATE KEY" not in path.read_bytes(), path


def test_what_is_sealed_is_left_alone(tmp_path: Path) -> None:
    ca = CertificateAuthority.open(tmp_path, NOW, KEYS)
    before = (tmp_path / "ca.json").stat()
    CertificateAuthority.open(tmp_path, NOW, KEYS)
    assert (tmp_path / "ca.json").stat().st_ino == before.st_ino
    assert not ca.refresh(NOW)


def test_another_master_key_or_none_opens_nothing(tmp_path: Path) -> None:
    CertificateAuthority.open(tmp_path, NOW, KEYS)
    before = (tmp_path / "ca.json").read_bytes()
    with pytest.raises(SealError, match=rf"sealed with the master key {KEYS.id}, and master_key_file is not"):
        CertificateAuthority.open(tmp_path, NOW)
    with pytest.raises(SealError, match=rf"sealed with the master key {KEYS.id}; .* holds {OTHER.id}\."):
        CertificateAuthority.open(tmp_path, NOW, OTHER)
    assert (tmp_path / "ca.json").read_bytes() == before


def test_a_new_master_key_seals_again_what_the_old_one_opens(tmp_path: Path) -> None:
    first = CertificateAuthority.open(tmp_path, NOW, KEYS)
    both = Keyring([bytes(range(100, 132)), bytes(range(32))])
    CertificateAuthority.open(tmp_path, NOW, both)
    assert CertificateAuthority.open(tmp_path, NOW, OTHER).pin == first.pin
    with pytest.raises(SealError):
        CertificateAuthority.open(tmp_path, NOW, KEYS)


def test_the_tunnel_certificate_stays_when_the_master_key_changes(tmp_path: Path) -> None:
    ca = CertificateAuthority.open(tmp_path, NOW)
    shown = []
    for keyring in (PLAIN, KEYS, Keyring([bytes(range(100, 132)), bytes(range(32))]), OTHER):
        ca = CertificateAuthority.open(tmp_path, NOW, keyring)
        context_of(ca)
        shown.append(x509.load_pem_x509_certificate((tmp_path / "tunnel.pem").read_bytes()))
        assert (b"BEGIN PRIVATE KEY" in (tmp_path / "tunnel.pem").read_bytes()) is (keyring is PLAIN)
    assert len(set(shown)) == 1
    trusted, mine = anchors(tmp_path, ca.pem), agent_files(ca, tmp_path, NOW)
    Handshake(context_of(ca), tls.client_context(trusted, *mine), "localhost").run()


# -- files --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("intermediate", [False, True], ids=["root", "intermediate"])
@pytest.mark.parametrize("kind", ["p-256", "p-384", "rsa-2048"])
def test_strict_tls_accepts_a_company_s_ca(kind: str, intermediate: bool, tmp_path: Path) -> None:
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
    if kind == "rsa-2048":
        key = rsa.generate_private_key(65537, 2048)
    else:
        key = ec.generate_private_key(ec.SECP384R1() if kind == "p-384" else ec.SECP256R1())
    company = Company(tmp_path / "files", key, intermediate=intermediate)
    ca = CertificateAuthority.open(tmp_path / "state", NOW, source=company.source)
    assert ca.pin == tls.spki_pin(company.certificate)
    assert ca.key_kept(ca.record.current) == str(company.source.key_file)
    assert b"PRIVATE KEY" not in (tmp_path / "state" / "ca.json").read_bytes()
    trusted, mine = anchors(tmp_path, ca.pem), agent_files(ca, tmp_path, NOW)
    shake = Handshake(context_of(ca), tls.client_context(trusted, *mine), "localhost")
    shake.run()
    assert tls.peer_agent(shake.server) == AGENT


def test_another_ca_below_the_same_root_is_nobody(tmp_path: Path) -> None:
    company = Company(tmp_path / "files", intermediate=True)
    ca = CertificateAuthority.open(tmp_path / "state", NOW, source=company.source)
    context, trusted = context_of(ca), anchors(tmp_path, ca.pem)
    company.give(p256())  # a sister: same root, same name
    sister = CertificateAuthority.open(tmp_path / "sister", NOW, source=company.source)
    with pytest.raises(ssl.SSLCertVerificationError):
        Handshake(
            context, tls.client_context(trusted, *agent_files(sister, tmp_path, NOW)), "localhost"
        ).run()
    with pytest.raises(ssl.SSLCertVerificationError):
        Handshake(context_of(sister), tls.client_context(trusted, None, None), "localhost").run()


def test_a_renewed_certificate_of_the_same_key_is_nothing_new(tmp_path: Path) -> None:
    company = Company(tmp_path / "files")
    ca = CertificateAuthority.open(tmp_path / "state", NOW, source=company.source)
    context_of(ca)
    trusted, mine = anchors(tmp_path, ca.pem), agent_files(ca, tmp_path, NOW)
    company.give(company.key, days=120)
    assert ca.refresh(LATER)
    assert (ca.record.phase, len(ca.record.anchors)) == (Phase.STEADY, 1)
    assert ca.certificate == company.certificate
    Handshake(context_of(ca), tls.client_context(trusted, *mine), "localhost").run()


def test_a_new_key_in_the_files_is_announced_and_shown_later(tmp_path: Path) -> None:
    company = Company(tmp_path / "files")
    ca = CertificateAuthority.open(tmp_path / "state", NOW, source=company.source)
    context_of(ca)
    old_trust, old_agent = anchors(tmp_path, ca.pem), agent_files(ca, tmp_path, NOW)
    old = ca.pin
    company.give(p256())
    assert ca.refresh(LATER)
    assert phase(ca) is Phase.ANNOUNCED
    # Same name, both trusted, and the listener goes on with what the old key has signed.
    assert [anchor.certificate.subject for anchor in ca.record.anchors] == [company.certificate.subject] * 2
    assert ca.pin == old
    Handshake(context_of(ca, LATER), tls.client_context(old_trust, *old_agent), "localhost").run()
    (tmp_path / "new").mkdir()
    new_trust, new_agent = anchors(tmp_path / "new", ca.pem), agent_files(ca, tmp_path / "new", NOW)
    x509.load_pem_x509_certificate(new_agent[0].read_bytes()).verify_directly_issued_by(company.certificate)
    Handshake(context_of(ca, LATER), tls.client_context(new_trust, *new_agent), "localhost").run()
    # After a restart too.
    again = CertificateAuthority.open(tmp_path / "state", LATER, source=company.source)
    assert again.record == ca.record
    ca.advance(Phase.ANNOUNCED, LATER)
    assert ca.pin == tls.spki_pin(company.certificate)
    for trust, mine in [(new_trust, old_agent), (new_trust, new_agent)]:
        Handshake(context_of(ca, LATER), tls.client_context(trust, *mine), "localhost").run()
    ca.advance(Phase.SIGNING, LATER)
    Handshake(context_of(ca, LATER), tls.client_context(new_trust, *new_agent), "localhost").run()
    with pytest.raises(ssl.SSLCertVerificationError):
        Handshake(context_of(ca, LATER), tls.client_context(new_trust, *old_agent), "localhost").run()


def test_a_listener_without_a_good_certificate_of_the_old_file_shows_the_new_one(tmp_path: Path) -> None:
    company = Company(tmp_path / "files")
    ca = CertificateAuthority.open(tmp_path / "state", NOW, source=company.source)
    path = ca.tunnel_files("localhost", NOW).chain
    company.give(p256())
    ca.refresh(LATER)
    # Little of its life is left, and still it is all that old agents know.
    late = NOW + 85 * DAY
    before = path.read_bytes()
    assert ca.tunnel_files("localhost", late).chain.read_bytes() == before
    path.unlink()
    made = x509.load_pem_x509_certificate(ca.tunnel_files("localhost", late).chain.read_bytes())
    made.verify_directly_issued_by(company.certificate)
    assert ca.pin == tls.spki_pin(company.certificate)


def test_the_relay_s_own_ca_gives_way_to_files(ca: CertificateAuthority, tmp_path: Path) -> None:
    own = ca.pin
    company = Company(tmp_path / "files")
    ca = CertificateAuthority.open(tmp_path, LATER, source=company.source)
    assert phase(ca) is Phase.ANNOUNCED
    assert ca.pin == own
    assert ca.record.current.vouched is not None
    x509.load_pem_x509_certificate(
        ca.tunnel_files("localhost", LATER).chain.read_bytes()
    ).verify_directly_issued_by(ca.record.anchors[1].certificate)
    ca.advance(Phase.ANNOUNCED, LATER)
    ca.advance(Phase.SIGNING, LATER)
    assert b"PRIVATE KEY" not in (tmp_path / "ca.json").read_bytes()


def test_files_that_are_not_set_any_more_do_not_make_a_new_ca(tmp_path: Path) -> None:
    company = Company(tmp_path / "files")
    CertificateAuthority.open(tmp_path / "state", NOW, source=company.source)
    before = (tmp_path / "state" / "ca.json").read_bytes()
    with pytest.raises(CaError, match=r"ca_cert_file is not set any more.*penstock-relay ca rotate --force"):
        CertificateAuthority.open(tmp_path / "state", NOW)
    orphan = CertificateAuthority.open(tmp_path / "state", NOW, orphaned=True)
    assert orphan.orphaned
    assert orphan.key_kept(orphan.record.current) == "gone"
    with pytest.raises(CaError, match="ca_cert_file is not set any more"):
        orphan.sign_agent(parse_csr(csr_pem()), AGENT, NOW)
    assert (tmp_path / "state" / "ca.json").read_bytes() == before


def test_a_company_s_ca_gives_way_to_one_of_the_relay_s_own(tmp_path: Path) -> None:
    company, state = Company(tmp_path / "files"), tmp_path / "state"
    ca = CertificateAuthority.open(state, NOW, source=company.source)
    context_of(ca)
    old_trust, old_agent = anchors(tmp_path, ca.pem), agent_files(ca, tmp_path, NOW)
    CertificateAuthority.open(state, LATER, orphaned=True).announce(LATER)
    ca = CertificateAuthority.open(state, LATER)
    assert not ca.orphaned
    # Agents of before and of now are both connected, by what the company's CA has signed for the listener.
    (tmp_path / "new").mkdir()
    new_trust, new_agent = anchors(tmp_path / "new", ca.pem), agent_files(ca, tmp_path / "new", NOW)
    for trust, mine in ((old_trust, old_agent), (new_trust, new_agent)):
        Handshake(context_of(ca, LATER), tls.client_context(trust, *mine), "localhost").run()
    assert ca.pin == tls.spki_pin(company.certificate)
    ca.advance(Phase.ANNOUNCED, LATER)
    Handshake(context_of(ca, LATER), tls.client_context(new_trust, *new_agent), "localhost").run()
    ca.advance(Phase.SIGNING, LATER)
    assert pins(ca) == [ca.pin] != [tls.spki_pin(company.certificate)]


def test_a_rotation_of_files_is_not_begun_here(tmp_path: Path) -> None:
    company = Company(tmp_path / "files")
    ca = CertificateAuthority.open(tmp_path / "state", NOW, source=company.source)
    with pytest.raises(CaError, match=rf"comes from {company.source.certificate_file}: give it a new key"):
        ca.announce(LATER)
    assert phase(ca) is Phase.STEADY


def test_files_that_are_exchanged_one_after_the_other_wait_for_each_other(tmp_path: Path) -> None:
    company = Company(tmp_path / "files")
    ca = CertificateAuthority.open(tmp_path / "state", NOW, source=company.source)
    key = company.source.key_file.read_bytes()
    company.give(p256())
    new_key = company.source.key_file.read_bytes()
    company.source.key_file.write_bytes(key)
    with pytest.raises(CaError, match="do not belong together"):
        ca.refresh(LATER)
    assert phase(ca) is Phase.STEADY
    company.source.key_file.write_bytes(new_key)
    assert ca.refresh(LATER)
    assert phase(ca) is Phase.ANNOUNCED


def test_a_key_that_comes_back_counts_once(tmp_path: Path) -> None:
    company = Company(tmp_path / "files")
    ca = CertificateAuthority.open(tmp_path / "state", NOW, source=company.source)
    first = company.key
    company.give(p256())
    ca.refresh(LATER)
    company.give(first)
    ca.refresh(LATER)
    assert len(ca.record.anchors) == 2
    assert ca.record.current.certificate == company.certificate


def test_a_new_key_every_time_is_bounded(tmp_path: Path) -> None:
    company = Company(tmp_path / "files")
    ca = CertificateAuthority.open(tmp_path / "state", NOW, source=company.source)
    for turn in range(10):
        company.give(p256())
        ca.refresh(LATER + turn)
    assert len(ca.record.anchors) == MAX_ANCHORS
    assert len(ca.introduction) < MAX_PEM
    assert ca.record.current.certificate == company.certificate
