"""How private keys are kept."""

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from penstock_relay.ca import keys
from penstock_relay.ca.keys import CaError
from penstock_relay.sealed import PLAIN, Keyring, SealError
from tests.relay.ca.making import Signer, p256, private_pem

KEYS = Keyring([bytes(range(32))])
PIN, OTHER = b"p" * 32, b"o" * 32


@pytest.mark.parametrize("keyring", [PLAIN, KEYS], ids=["plain", "sealed"])
def test_what_is_kept_comes_back(keyring: Keyring) -> None:
    key = keys.new()
    kept = keys.seal(key, PIN, keyring)
    assert keys.unseal(kept, PIN, keyring).public_key() == key.public_key()
    assert ("PRIVATE KEY" in kept) is (keyring is PLAIN)


def test_a_key_opens_for_its_own_authority_only() -> None:
    kept = keys.seal(keys.new(), PIN, KEYS)
    with pytest.raises(SealError, match="sealed for something else"):
        keys.unseal(kept, OTHER, KEYS)


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP521R1()),
        rsa.generate_private_key(65537, 1024),
        ed25519.Ed25519PrivateKey.generate(),
    ],
    ids=["p-521", "rsa-1024", "ed25519"],
)
def test_other_kinds_are_refused_in_words(key: Signer) -> None:
    with pytest.raises(CaError, match=r"^k\.pem is of a kind that cannot be used: it must be P-256"):
        keys.parse(private_pem(key), "k.pem")


def test_what_is_no_key_is_refused_in_words() -> None:
    for junk in (b"", b"junk", private_pem(p256())[:100]):
        with pytest.raises(CaError, match=r"^k\.pem is not a private key in PEM"):
            keys.parse(junk, "k.pem")
    with pytest.raises(CaError, match=r"^k\.pem is encrypted with a password"):
        keys.parse(keys.private_pem(keys.new(), b"secret"), "k.pem")
