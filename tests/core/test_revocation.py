import base64
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from penstock import revocation
from penstock.revocation import BadStatement, Revocation
from tests.harness.certs import Authority

AT = 1_800_000_000.0
NOW = AT + 90.0
SERIAL = 0x7F00_1234


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


def statement(ca: Authority, serial: int = SERIAL, *, replaced: bool = False) -> str:
    return revocation.make(serial, AT, replaced=replaced, issuer=ca.certificate, key=ca._key, now=NOW)


@pytest.mark.parametrize("replaced", [False, True])
def test_a_statement_of_the_ca_is_believed(ca: Authority, replaced: bool) -> None:
    found = revocation.read(statement(ca, replaced=replaced), SERIAL, [ca.certificate])
    assert found == Revocation(datetime.fromtimestamp(AT, UTC), replaced)


def test_it_is_a_revocation_list_that_other_software_reads(ca: Authority) -> None:
    crl = x509.load_pem_x509_crl(statement(ca).encode())
    assert crl.is_signature_valid(ca.certificate.public_key())  # type: ignore[arg-type]  # P-256
    assert crl.issuer == ca.certificate.subject
    assert [entry.serial_number for entry in crl] == [SERIAL]


def test_it_stays_true_when_it_is_repeated_years_later(ca: Authority) -> None:
    # Whatever the clock of the reader says, and however old the list is.
    old = revocation.make(SERIAL, 1e9, replaced=False, issuer=ca.certificate, key=ca._key, now=1e9)
    assert revocation.read(old, SERIAL, [ca.certificate]).at.year == 2001


def test_about_another_serial_number_it_says_nothing(ca: Authority) -> None:
    for serial in (SERIAL + 1, 1, 2**159 - 1):
        with pytest.raises(BadStatement, match="about another certificate"):
            revocation.read(statement(ca), serial, [ca.certificate])


def test_any_of_the_trusted_cas_may_have_signed(ca: Authority, tmp_path: Path) -> None:
    other = Authority(tmp_path, "other")
    for anchors in ([ca.certificate, other.certificate], [other.certificate, ca.certificate]):
        assert not revocation.read(statement(ca), SERIAL, anchors).replaced
    with pytest.raises(BadStatement, match="not signed by the CA"):
        revocation.read(statement(ca), SERIAL, [other.certificate])
    with pytest.raises(BadStatement, match="not signed by the CA"):
        revocation.read(statement(ca), SERIAL, [])


def test_a_stranger_with_the_name_of_the_ca_is_not_believed(ca: Authority) -> None:
    forged = revocation.make(
        SERIAL,
        AT,
        replaced=False,
        issuer=ca.certificate,
        key=ec.generate_private_key(ec.SECP256R1()),
        now=NOW,
    )
    with pytest.raises(BadStatement, match="not signed by the CA"):
        revocation.read(forged, SERIAL, [ca.certificate])


def test_an_agent_cannot_state_its_own_or_anybody_elses_revocation(ca: Authority) -> None:
    # Its certificate is not an anchor, whatever it signs.
    agent = ca.agent()
    key = ec.generate_private_key(ec.SECP256R1())
    forged = revocation.make(SERIAL, AT, replaced=False, issuer=agent.certificate, key=key, now=NOW)
    with pytest.raises(BadStatement, match="not signed by the CA"):
        revocation.read(forged, SERIAL, [ca.certificate])


def test_a_statement_in_the_name_of_another_issuer_is_not_believed(ca: Authority) -> None:
    moment = datetime.fromtimestamp(NOW, UTC)
    entry = x509.RevokedCertificateBuilder().serial_number(SERIAL).revocation_date(moment).build()
    crl = (
        x509.CertificateRevocationListBuilder()
        .issuer_name(x509.Name([]))
        .last_update(moment)
        .next_update(moment + timedelta(days=1))
        .add_revoked_certificate(entry)
        .sign(ca._key, hashes.SHA256())
    )
    with pytest.raises(BadStatement, match="not signed by the CA"):
        revocation.read(crl.public_bytes(Encoding.PEM).decode(), SERIAL, [ca.certificate])


def test_an_anchor_with_a_key_that_signs_otherwise_is_passed_over(ca: Authority) -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    moment = datetime.fromtimestamp(NOW, UTC)
    odd = (
        x509.CertificateBuilder()
        .subject_name(ca.certificate.subject)
        .issuer_name(ca.certificate.subject)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(moment)
        .not_valid_after(moment + timedelta(days=1))
        .sign(key, None)
    )
    assert not revocation.read(statement(ca), SERIAL, [odd, ca.certificate]).replaced


@given(
    st.one_of(
        st.text(), st.binary().map(lambda b: f"-----BEGIN X509 CRL-----\n{b.hex()}\n-----END X509 CRL-----")
    )
)
def test_what_is_no_statement_is_refused(text: str) -> None:
    with pytest.raises(BadStatement, match="cannot be read"):
        revocation.read(text, SERIAL, [])


@given(st.integers(0, 200), st.integers(1, 255))
def test_one_changed_byte_is_not_believed(ca: Authority, place: int, change: int) -> None:
    crl = x509.load_pem_x509_crl(statement(ca).encode())
    der = bytearray(crl.public_bytes(Encoding.DER))
    der[place % len(der)] ^= change
    body = base64.encodebytes(bytes(der)).decode()
    text = f"-----BEGIN X509 CRL-----\n{body}-----END X509 CRL-----\n"
    with pytest.raises(BadStatement):
        revocation.read(text, SERIAL, [ca.certificate])


VECTORS = json.loads(
    (Path(__file__).parents[1] / "vectors" / "certificates.json").read_text(encoding="utf-8")
)


@pytest.mark.parametrize("vector", [v for v in VECTORS if "statement" in v], ids=lambda v: v["name"])
def test_the_vectors_state_what_they_say(vector: dict[str, Any]) -> None:
    cas = [x509.load_pem_x509_certificate(pem.encode()) for pem in vector["cas"]]
    serial = int(vector["serial"], 16)
    if vector["expect"] is None:
        with pytest.raises(BadStatement):
            revocation.read(vector["statement"], serial, cas)
        return
    found = revocation.read(vector["statement"], serial, cas)
    assert (found.at.timestamp(), found.replaced) == (vector["expect"]["at"], vector["expect"]["replaced"])
