import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from penstock import fingerprint, tls
from penstock.fingerprint import BadFingerprint
from tests.harness.certs import Authority


def test_it_is_that_of_the_key_however_it_is_wrapped(tmp_path_factory: pytest.TempPathFactory) -> None:
    certificate = Authority(tmp_path_factory.mktemp("ca")).certificate
    assert fingerprint.of_key(certificate.public_key()) == tls.spki_pin(certificate)
    other = ec.generate_private_key(ec.SECP256R1()).public_key()
    assert fingerprint.of_key(other) != tls.spki_pin(certificate)


@given(st.binary(min_size=32, max_size=32))
def test_what_is_shown_is_read_back(digest: bytes) -> None:
    text = fingerprint.dump(digest)
    assert text == f"sha256:{digest.hex()}"
    assert fingerprint.parse(text) == digest


@given(st.binary(min_size=32, max_size=32))
def test_how_people_write_it_does_not_matter(digest: bytes) -> None:
    plain = digest.hex()
    pairs = [plain[n : n + 2] for n in range(0, 64, 2)]
    for text in (plain, plain.upper(), ":".join(pairs), " ".join(pairs), f"  SHA256:{':'.join(pairs)}\n"):
        assert fingerprint.parse(text) == digest


@pytest.mark.parametrize(
    "text", ["", "sha256:", "ab" * 31, "ab" * 33, "g" * 64, "md5:" + "ab" * 32, "sha256:sha256:" + "ab" * 32]
)
def test_a_part_of_one_is_none(text: str) -> None:
    with pytest.raises(BadFingerprint, match="whole fingerprint"):
        fingerprint.parse(text)
