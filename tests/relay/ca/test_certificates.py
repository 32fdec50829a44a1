"""What certificates say, which requests are signed, and which CAs of others are taken."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from penstock_relay.ca import BadCsr, parse_csr
from penstock_relay.ca.certificates import (
    BadAuthority,
    authority,
    check_authority,
    issued,
    same_key,
    suitable,
    vouching,
)
from tests.relay.ca.making import (
    DAY,
    NOW,
    Signer,
    ca_certificate,
    ca_usage,
    common_name,
    csr_pem,
    p256,
    point,
)


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


def test_our_own_authority_passes_what_others_have_to() -> None:
    key = p256()
    made = authority(key, NOW)
    check_authority(made, NOW)
    assert made.public_key() == key.public_key()
    assert made.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0
    for kind in (x509.BasicConstraints, x509.KeyUsage):
        assert made.extensions.get_extension_for_class(kind).critical


def test_an_old_authority_vouches_for_the_key_of_the_new_one() -> None:
    old_key, new_key, other_key = p256(), p256(), p256()
    old, new = authority(old_key, NOW), authority(new_key, NOW)
    vouched = vouching(new, old, old_key, NOW)
    assert issued(vouched, old)
    assert same_key(vouched, new)
    assert not same_key(vouched, old)
    assert not issued(vouched, authority(other_key, NOW))
    assert vouched.not_valid_after_utc <= old.not_valid_after_utc


@pytest.mark.parametrize(
    ("key", "good"),
    [
        (p256(), True),
        (ec.generate_private_key(ec.SECP384R1()), True),
        (ec.generate_private_key(ec.SECP521R1()), False),
        (ec.generate_private_key(ec.SECP256K1()), False),
        (rsa.generate_private_key(65537, 2048), True),
        (rsa.generate_private_key(65537, 1024), False),
        (ed25519.Ed25519PrivateKey.generate(), False),
        (None, False),
    ],
    ids=["p-256", "p-384", "p-521", "secp256k1", "rsa-2048", "rsa-1024", "ed25519", "none"],
)
def test_keys_that_strict_tls_takes_everywhere(key: object, good: bool) -> None:
    assert (suitable(key) is not None) is good


Change = Callable[[x509.CertificateBuilder], x509.CertificateBuilder]
KEY = p256()


def changed(
    *,
    basic: x509.BasicConstraints | None = None,
    critical: bool = True,
    usage: x509.KeyUsage | None = None,
    identifier: bool = True,
    subject: x509.Name | None = None,
    more: x509.ExtensionType | None = None,
    without: type[x509.ExtensionType] | None = None,
) -> x509.Certificate:
    """A CA's certificate, but for one thing."""
    now = datetime.fromtimestamp(NOW, UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(common_name("Company CA") if subject is None else subject)
        .issuer_name(common_name("Company CA"))
        .public_key(KEY.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
    )
    if without is not x509.BasicConstraints:
        builder = builder.add_extension(basic or x509.BasicConstraints(True, None), critical)
    if without is not x509.KeyUsage:
        builder = builder.add_extension(usage or ca_usage(), critical=True)
    if identifier:
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(KEY.public_key()), False)
    if more is not None:
        builder = builder.add_extension(more, critical=False)
    return builder.sign(KEY, hashes.SHA256())


@pytest.mark.parametrize(
    ("certificate", "why"),
    [
        (changed(without=x509.BasicConstraints), "has no basicConstraints"),
        (changed(without=x509.KeyUsage), "has no keyUsage"),
        (changed(identifier=False), "has no subjectKeyIdentifier"),
        (changed(basic=x509.BasicConstraints(False, None)), "not a CA certificate"),
        (changed(critical=False), "not a CA certificate"),
        (changed(usage=ca_usage(sign=False)), "keyCertSign"),
        (changed(subject=x509.Name([])), "subject is empty"),
        (changed(more=x509.NameConstraints([x509.DNSName("x.test")], None)), "name constraints"),
        (changed(more=x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH])), "extended key usage"),
        (ca_certificate(KEY, "x", KEY, "x", now=NOW - 100 * DAY), "has expired"),
        (ca_certificate(KEY, "x", KEY, "x", now=NOW + 2 * DAY), "not valid yet"),
    ],
)
def test_a_ca_that_strict_tls_would_not_take_is_refused_in_words(
    certificate: x509.Certificate, why: str
) -> None:
    with pytest.raises(BadAuthority, match=why):
        check_authority(certificate, NOW)
    check_authority(changed(), NOW)
