"""A CA in files: what is taken, and what is refused in words."""

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding

from penstock_relay.ca import CaError
from tests.relay.ca.making import DAY, NOW, Company, p256, private_pem


@pytest.fixture
def company(tmp_path: Path) -> Company:
    return Company(tmp_path, intermediate=True)


def test_certificate_and_key_are_loaded(company: Company) -> None:
    certificate, key = company.source.load(NOW)
    assert certificate == company.certificate
    assert key.public_key() == company.key.public_key()


def test_only_the_first_certificate_of_a_chain_counts(company: Company) -> None:
    with company.source.certificate_file.open("ab") as file:
        file.write(company.root.public_bytes(Encoding.PEM))
    assert company.source.load(NOW)[0] == company.certificate


def test_a_change_of_either_file_is_noticed(company: Company) -> None:
    before = company.source.stamp()
    assert company.source.stamp() == before
    company.give(p256())
    between = company.source.stamp()
    assert between != before
    company.source.key_file.write_bytes(private_pem(p256()) + b"\n")
    assert company.source.stamp() != between


def test_a_link_that_is_turned_round_is_noticed(company: Company, tmp_path: Path) -> None:
    # As Kubernetes exchanges a Secret: file -> ..data/file, ..data -> ..1
    other = Company(tmp_path / "..2")
    Company(tmp_path / "..1")
    data = tmp_path / "..data"
    data.symlink_to("..1")
    for path in (company.source.certificate_file, company.source.key_file):
        path.unlink()
        path.symlink_to(f"..data/{path.name}")
    before = company.source.stamp()
    fresh = tmp_path / "..tmp"
    fresh.symlink_to("..2")
    fresh.rename(data)
    assert company.source.stamp() != before
    assert company.source.load(NOW)[0] == other.certificate


def test_a_pair_that_does_not_belong_together_is_refused(company: Company) -> None:
    company.source.key_file.write_bytes(private_pem(p256()))
    with pytest.raises(CaError, match=r"do not belong together: .*tls\.crt is not for the key in .*tls\.key"):
        company.source.load(NOW)


@pytest.mark.parametrize("mode", [0o644, 0o604, 0o660, 0o602])
def test_a_key_that_others_may_read_or_write_is_refused(company: Company, mode: int) -> None:
    company.source.key_file.chmod(mode)
    with pytest.raises(CaError, match=rf"mode {mode:04o}\).*chmod 640"):
        company.source.load(NOW)
    company.source.key_file.chmod(0o640)
    company.source.load(NOW)


def test_what_is_not_there_is_named(company: Company) -> None:
    company.source.key_file.unlink()
    for look in (company.source.stamp, lambda: company.source.load(NOW)):
        with pytest.raises(CaError, match=r"tls\.key cannot be read: No such file or directory"):
            look()


def test_what_is_half_written_is_named(company: Company) -> None:
    whole = company.source.certificate_file.read_bytes()
    company.source.certificate_file.write_bytes(whole[:200])
    with pytest.raises(CaError, match=r"tls\.crt is not a certificate in PEM"):
        company.source.load(NOW)
    company.source.certificate_file.write_bytes(whole)
    company.source.key_file.write_bytes(company.source.key_file.read_bytes()[:100])
    with pytest.raises(CaError, match=r"tls\.key is not a private key in PEM"):
        company.source.load(NOW)


def test_an_expired_one_is_refused(company: Company) -> None:
    with pytest.raises(CaError, match=r"tls\.crt cannot be the CA: it has expired"):
        company.source.load(NOW + 91 * DAY)


def test_a_leaf_is_no_ca(company: Company, tmp_path: Path) -> None:
    from tests.harness.certs import Authority

    leaf = Authority(tmp_path / "x").relay()
    company.source.certificate_file.write_bytes(leaf.chain.read_bytes())
    company.source.key_file.write_bytes(leaf.key.read_bytes())
    with pytest.raises(CaError, match=r"cannot be the CA: it is not a CA certificate"):
        company.source.load(NOW)


def test_a_key_of_another_kind_is_refused(company: Company) -> None:
    company.source.key_file.write_bytes(private_pem(ed25519.Ed25519PrivateKey.generate()))
    with pytest.raises(CaError, match=r"ca_key_file: .*tls\.key is of a kind that cannot be used"):
        company.source.load(NOW)


def test_one_that_is_too_large_for_a_bundle_is_refused(company: Company) -> None:
    company.give(rsa.generate_private_key(65537, 4096))
    company.source.load(NOW)
    names = x509.SubjectAlternativeName([x509.DNSName(f"{number:060}.test") for number in range(60)])
    company.certificate = (
        x509.CertificateBuilder()
        .subject_name(company.certificate.subject)
        .issuer_name(company.certificate.issuer)
        .public_key(company.certificate.public_key())
        .serial_number(1)
        .not_valid_before(company.certificate.not_valid_before_utc)
        .not_valid_after(company.certificate.not_valid_after_utc)
        .add_extension(names, critical=False)
        .sign(company.root_key, hashes.SHA256())
    )
    company.source.certificate_file.write_bytes(company.certificate.public_bytes(Encoding.PEM))
    with pytest.raises(CaError, match="too large for the messages to agents"):
        company.source.load(NOW)
