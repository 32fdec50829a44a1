"""Where the record lies, and how the first version's files become one."""

import os
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from penstock_relay.ca import CaError, CertificateAuthority, folder, parse_csr, record
from penstock_relay.ca.certificates import authority
from penstock_relay.ca.folder import Folder
from penstock_relay.ca.keys import Busy
from penstock_relay.sealed import PLAIN, Keyring
from tests.relay.ca.making import AGENT, DAY, NOW, csr_pem, p256, private_pem

KEYS = Keyring([bytes(range(32))])


@pytest.fixture
def old(tmp_path: Path) -> x509.Certificate:
    """The files of the first version."""
    return first_version(tmp_path)


def first_version(path: Path) -> x509.Certificate:
    path.mkdir(exist_ok=True)
    key = p256()
    certificate = authority(key, NOW - DAY)
    (path / "ca.key").write_bytes(private_pem(key))
    (path / "ca.crt").write_bytes(certificate.public_bytes(Encoding.PEM))
    return certificate


@pytest.mark.parametrize("keyring", [PLAIN, KEYS], ids=["plain", "sealed"])
def test_the_first_version_s_files_are_taken_over(
    keyring: Keyring, old: x509.Certificate, tmp_path: Path
) -> None:
    ca = CertificateAuthority.open(tmp_path, NOW, keyring)
    assert ca.certificate == old
    assert sorted(os.listdir(tmp_path)) == ["ca.crt", "ca.json"]
    plain = b"BEGIN PRIVATE KEY" in (tmp_path / "ca.json").read_bytes()
    assert plain is (keyring is PLAIN)
    assert CertificateAuthority.open(tmp_path, NOW, keyring).certificate == old


def test_a_crash_before_the_old_key_was_removed_is_finished(old: x509.Certificate, tmp_path: Path) -> None:
    key = (tmp_path / "ca.key").read_bytes()
    CertificateAuthority.open(tmp_path, NOW, KEYS)
    (tmp_path / "ca.key").write_bytes(key)
    assert CertificateAuthority.open(tmp_path, NOW, KEYS).certificate == old
    assert not (tmp_path / "ca.key").exists()


def test_a_crash_between_record_and_bundle_is_finished(tmp_path: Path) -> None:
    ca = CertificateAuthority.open(tmp_path, NOW)
    before = (tmp_path / "ca.crt").read_bytes()
    ca.announce(NOW)
    after = (tmp_path / "ca.crt").read_bytes()
    (tmp_path / "ca.crt").write_bytes(before)
    CertificateAuthority.open(tmp_path, NOW)
    assert (tmp_path / "ca.crt").read_bytes() == after == ca.pem


def test_an_old_backup_beside_a_newer_record_is_not_guessed_at(tmp_path: Path) -> None:
    CertificateAuthority.open(tmp_path, NOW)
    before = (tmp_path / "ca.json").read_bytes()
    first_version(tmp_path)
    with pytest.raises(CaError, match=r"ca\.key is the key of another CA than the ones in ca\.json"):
        CertificateAuthority.open(tmp_path, NOW)
    assert (tmp_path / "ca.json").read_bytes() == before
    assert (tmp_path / "ca.key").exists()


def test_damage_to_the_first_version_s_files_is_named(old: x509.Certificate, tmp_path: Path) -> None:
    key, certificate = tmp_path / "ca.key", tmp_path / "ca.crt"
    good = key.read_bytes()
    key.write_bytes(private_pem(p256()))
    with pytest.raises(CaError, match=r"ca.crt does not belong to .*ca.key"):
        CertificateAuthority.open(tmp_path, NOW)
    key.write_bytes(b"junk")
    with pytest.raises(CaError, match=r"ca.key is not a private key"):
        CertificateAuthority.open(tmp_path, NOW)
    key.unlink()
    with pytest.raises(CaError, match=r"ca.json is missing beside ca.crt"):
        CertificateAuthority.open(tmp_path, NOW)
    key.write_bytes(good)
    certificate.write_bytes(b"junk")
    with pytest.raises(CaError, match=r"ca.crt is not a certificate"):
        CertificateAuthority.open(tmp_path, NOW)
    certificate.unlink()
    with pytest.raises(CaError, match=r"ca.crt is missing beside ca.key"):
        CertificateAuthority.open(tmp_path, NOW)
    assert not (tmp_path / "ca.json").exists()


def test_everything_is_private(tmp_path: Path) -> None:
    CertificateAuthority.open(tmp_path / "state", NOW).tunnel_files("localhost", NOW)
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    for path in (tmp_path / "state").iterdir():
        assert path.stat().st_mode & 0o777 == 0o600


def test_a_write_that_fails_leaves_the_record_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Folder(tmp_path)
    with place.locked(0):
        found = record.first(folder.made(PLAIN, NOW))
        place.write(found)
    before = (tmp_path / "ca.json").read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    ca = CertificateAuthority.open(tmp_path, NOW)
    with pytest.raises(CaError, match="No space left on device"):
        ca.announce(NOW)
    assert (tmp_path / "ca.json").read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["ca.crt", "ca.json"]
    assert ca.record == found


def test_who_comes_second_waits_or_is_told(tmp_path: Path) -> None:
    ca = CertificateAuthority.open(tmp_path, NOW)
    other = CertificateAuthority.open(tmp_path, NOW)
    with Folder(tmp_path).locked(0):
        # A running relay must not wait for a command that hangs.
        (tmp_path / "ca.json").touch()
        with pytest.raises(Busy):
            ca.refresh(NOW)
        with pytest.raises(Busy, match=r"Another process changes the CA.*Try again"):
            other.announce(NOW, patience=0.05)
        ca.sign_agent(parse_csr(csr_pem()), AGENT, NOW)
    assert not ca.refresh(NOW)
    other.announce(NOW)
    assert ca.refresh(NOW)
