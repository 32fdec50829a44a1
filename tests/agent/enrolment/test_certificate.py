"""The agent's own request, and which certificates it accepts. What a relay may answer: `test_enrol`."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from penstock.names import AgentId
from penstock_agent.enrolment import certificate
from penstock_agent.enrolment.certificate import BadCertificate
from tests.harness.certs import Authority
from tests.harness.fake_relay import EnrollingAuthority
from tests.relay.test_renewal import pem

ONE = AgentId("plant", "a1")


def test_the_request_says_nothing_but_the_key() -> None:
    key = certificate.new_key()
    request = certificate.signing_request(key)
    assert request.is_signature_valid
    assert request.public_key() == key.public_key()
    assert list(request.subject) == []
    assert list(request.extensions) == []
    again = load_pem_private_key(certificate.private_pem(key), None)
    assert isinstance(again, ec.EllipticCurvePrivateKey)
    assert again.private_numbers() == key.private_numbers()


@pytest.fixture
def ca(tmp_path: Path) -> EnrollingAuthority:
    return EnrollingAuthority(tmp_path)


def test_a_certificate_of_any_of_the_anchors_is_accepted(ca: EnrollingAuthority, tmp_path: Path) -> None:
    key, other = certificate.new_key(), Authority(tmp_path, "other")
    leaf = ca.sign(pem(certificate.signing_request(key)), ONE.uri)
    for anchors in ([ca.certificate], [other.certificate, ca.certificate]):
        for chain in (leaf, leaf + ca.pem):
            accepted, identity = certificate.accepted(chain, key.public_key(), anchors)
            assert identity == ONE
            assert accepted.public_key() == key.public_key()


def test_others_are_not(ca: EnrollingAuthority, tmp_path: Path) -> None:
    key, other = certificate.new_key(), EnrollingAuthority(tmp_path, "other")
    csr = pem(certificate.signing_request(key))
    mine = ca.sign(csr, ONE.uri)
    for chain, anchors, words in (
        (mine, [other.certificate], "cannot be verified"),
        (mine, [], "cannot be verified"),
        (mine + other.pem, [ca.certificate], "cannot be verified"),
        (other.sign(csr, ONE.uri) + ca.pem, [ca.certificate], "cannot be verified"),
        ("nothing", [ca.certificate], "cannot be verified"),
        (ca.sign(csr), [ca.certificate], "cannot be verified"),
        (ca.sign(csr, ONE.uri, ONE.uri + "2"), [ca.certificate], "exactly one identity"),
        (ca.sign(csr, "spiffe://other/x"), [ca.certificate], "not one of Penstock's"),
        (ca.sign(csr, ONE.uri, key=certificate.new_key().public_key()), [ca.certificate], "another key"),
    ):
        with pytest.raises(BadCertificate, match=words):
            certificate.accepted(chain, key.public_key(), anchors)
