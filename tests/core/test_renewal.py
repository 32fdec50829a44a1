import contextlib
import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from hypothesis import given
from hypothesis import strategies as st

from penstock.enrolment import MAX_MESSAGE_BYTES
from penstock.refusal import Refusal
from penstock.renewal import (
    BadRenewal,
    Challenge,
    Renew,
    Renewed,
    Stored,
    decode_answer,
    decode_challenge,
    decode_renew,
    decode_stored,
    encode,
    proves,
    sign,
    text_of,
    to_sign,
)
from tests.harness.certs import Authority, Files
from tests.harness.jsontext import json_texts

CSR = "-----BEGIN CERTIFICATE REQUEST-----\nAA==\n-----END CERTIFICATE REQUEST-----\n"
PEM = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"
NONCE = bytes(range(32))
LEAF = bytes(range(32, 64))
CHALLENGE = Challenge(text_of(NONCE))
RENEW = Renew(PEM, CSR, text_of(b"signature"))
RENEWED = Renewed("plant", "a1", PEM + PEM, PEM + PEM, 2, 1_800_000_000)
REFUSED = Refusal("locked", "Two machines use this identity.")


def altered(message: Challenge | Renew | Renewed | Refusal, **members: object) -> str:
    return json.dumps(json.loads(encode(message)) | members)


def test_messages_have_the_form_of_the_conversation() -> None:
    assert json.loads(encode(CHALLENGE)) == {"type": "challenge", "nonce": text_of(NONCE)}
    assert json.loads(encode(RENEW)) == {
        "type": "renew",
        "certificate": PEM,
        "csr": CSR,
        "signature": text_of(b"signature"),
    }
    assert json.loads(encode(RENEWED)) == {
        "type": "renewed",
        "site": "plant",
        "agent": "a1",
        "certificate": PEM + PEM,
        "ca": PEM + PEM,
        "generation": 2,
        "time": 1_800_000_000,
    }
    assert json.loads(encode(Stored())) == {"type": "stored"}


def test_messages_are_read_back() -> None:
    assert decode_challenge(encode(CHALLENGE)).nonce_bytes == NONCE
    assert decode_renew(encode(RENEW)) == RENEW
    assert decode_answer(encode(RENEWED)) == RENEWED
    assert decode_answer(encode(REFUSED)) == REFUSED
    assert decode_stored(encode(Stored())) == Stored()
    assert "signature" not in repr(RENEW)


values = st.one_of(st.text(max_size=30), st.sampled_from([CSR, PEM, "locked", 1]), st.none())
near = st.fixed_dictionaries(
    {"type": st.sampled_from(["challenge", "renew", "renewed", "refused", "stored", "x"])},
    optional=dict.fromkeys(
        ("nonce", "certificate", "csr", "signature", "site", "agent", "ca", "reason", "text"), values
    ),
).map(json.dumps)


@given(st.one_of(st.text(st.characters()), st.binary(), json_texts, near))
def test_anything_is_a_message_or_a_bad_renewal(text: str | bytes) -> None:
    for decode in (decode_challenge, decode_renew, decode_answer, decode_stored):
        with contextlib.suppress(BadRenewal):
            assert decode(encode(decode(text))) == decode(text)


@pytest.mark.parametrize(
    "nonce", ["", text_of(NONCE[1:]), text_of(NONCE + b"x"), "é" * 43, text_of(NONCE) + "="]
)
def test_a_challenge_that_is_none_is_refused_in_words(nonce: str) -> None:
    with pytest.raises(BadRenewal, match=r": .*\.$"):
        decode_challenge(altered(CHALLENGE, nonce=nonce))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        encode(CHALLENGE),
        encode(RENEWED),
        altered(RENEW, certificate="hello"),
        altered(RENEW, csr=PEM),
        altered(RENEW, signature=""),
        altered(RENEW, signature="a+b/"),
        altered(RENEW, signature="A" * 300),
        encode(RENEW).encode()[:-1] + b',"x":"\xff"}',
        "[" * 60_000,
        encode(RENEW) + " " * MAX_MESSAGE_BYTES,
    ],
)
def test_what_is_no_request_is_refused_in_words(text: str | bytes) -> None:
    with pytest.raises(BadRenewal, match=r": .*\.$"):
        decode_renew(text)


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        encode(RENEW),
        altered(RENEWED, site="../etc"),
        altered(RENEWED, agent="A1"),
        altered(RENEWED, ca="hello"),
        altered(RENEWED, certificate=""),
        altered(RENEWED, generation="2"),
        altered(REFUSED, text="\x1b[2Jcleared"),
        altered(REFUSED, reason="Locked!"),
    ],
)
def test_what_is_no_answer_is_refused_in_words(text: str) -> None:
    with pytest.raises(BadRenewal, match=r": .*\.$"):
        decode_answer(text)


# -- the proof ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Authority(tmp_path_factory.mktemp("ca")).agent()


def request_for(key: ec.EllipticCurvePrivateKey) -> x509.CertificateSigningRequest:
    return x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())


CSR_OF_NEW = request_for(ec.generate_private_key(ec.SECP256R1()))


def key_of(files: Files) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(files.key.read_bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def test_what_is_signed_is_the_five_parts_in_order(agent: Files) -> None:
    data = to_sign(LEAF, NONCE, CSR_OF_NEW, agent.certificate)
    assert data[:17] == b"penstock-renew.1\0"
    assert data[17:49] == LEAF
    assert data[49:81] == NONCE
    assert data[81:113] == hashlib.sha256(CSR_OF_NEW.public_bytes(Encoding.DER)).digest()
    assert data[113:] == hashlib.sha256(agent.certificate.public_bytes(Encoding.DER)).digest()


def test_the_old_key_proves_and_no_other(agent: Files) -> None:
    data = to_sign(LEAF, NONCE, CSR_OF_NEW, agent.certificate)
    assert proves(agent.certificate, sign(key_of(agent), data), data)
    assert not proves(agent.certificate, sign(ec.generate_private_key(ec.SECP256R1()), data), data)
    assert not proves(agent.certificate, text_of(b"nonsense"), data)
    assert not proves(agent.certificate, "", data)


def test_a_proof_holds_for_one_relay_one_conversation_one_new_key(agent: Files, tmp_path: Path) -> None:
    signature = sign(key_of(agent), to_sign(LEAF, NONCE, CSR_OF_NEW, agent.certificate))
    other_csr = request_for(ec.generate_private_key(ec.SECP256R1()))
    other_certificate = Authority(tmp_path, "other").agent().certificate
    for data in (
        to_sign(NONCE, NONCE, CSR_OF_NEW, agent.certificate),
        to_sign(LEAF, LEAF, CSR_OF_NEW, agent.certificate),
        to_sign(LEAF, NONCE, other_csr, agent.certificate),
        to_sign(LEAF, NONCE, CSR_OF_NEW, other_certificate),
    ):
        assert not proves(agent.certificate, signature, data)


@pytest.mark.parametrize(("leaf", "nonce"), [(LEAF[1:], NONCE), (LEAF, NONCE + b"x"), (b"", b"")])
def test_parts_of_another_length_are_never_signed(agent: Files, leaf: bytes, nonce: bytes) -> None:
    # Else a byte could move from one part to the next and the whole stay the same.
    with pytest.raises(ValueError, match="32 bytes"):
        to_sign(leaf, nonce, CSR_OF_NEW, agent.certificate)


def test_a_certificate_with_another_kind_of_key_proves_nothing() -> None:
    key = ed25519.Ed25519PrivateKey.generate()
    now = datetime.now(UTC)
    odd = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(x509.Name([]))
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .sign(key, None)
    )
    data = to_sign(LEAF, NONCE, CSR_OF_NEW, odd)
    assert not proves(odd, text_of(key.sign(data)), data)


# -- vectors --------------------------------------------------------------------------------------

VECTORS = json.loads(
    (Path(__file__).parents[1] / "vectors" / "certificates.json").read_text(encoding="utf-8")
)


@pytest.mark.parametrize("vector", [v for v in VECTORS if "signed" in v], ids=lambda v: v["name"])
def test_the_vectors_prove_what_they_say(vector: dict[str, Any]) -> None:
    certificate = x509.load_pem_x509_certificate(vector["certificate"].encode())
    csr = x509.load_pem_x509_csr(vector["csr"].encode())
    data = to_sign(bytes.fromhex(vector["leaf"]), bytes.fromhex(vector["nonce"]), csr, certificate)
    assert data.hex() == vector["signed"]
    assert proves(certificate, vector["signature"], data) is vector["good"]
