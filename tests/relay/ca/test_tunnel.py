"""What the tunnel listener may show."""

from pathlib import Path

import pytest

from penstock_relay.ca import CertificateAuthority, tunnel
from penstock_relay.ca.certificates import server_names
from penstock_relay.sealed import Keyring
from tests.relay.ca.making import DAY, NOW, p256, private_pem


def test_what_is_whole_can_be_shown(tmp_path: Path) -> None:
    ca = CertificateAuthority.open(tmp_path, NOW)
    shown = tunnel.read(ca.tunnel_files("relay.test", NOW).chain, [None])
    assert shown is not None
    assert shown.of(ca.certificate)
    assert not shown.of(CertificateAuthority.open(tmp_path / "other", NOW).certificate)
    assert shown.names(server_names("relay.test"))
    assert not shown.names(server_names("other.test"))
    assert not shown.names(server_names("localhost"))


def test_how_much_is_left_of_its_life(tmp_path: Path) -> None:
    ca = CertificateAuthority.open(tmp_path, NOW)
    shown = tunnel.read(ca.tunnel_files("relay.test", NOW).chain, [None])
    assert shown is not None
    assert shown.part_left(NOW) == pytest.approx(1, abs=0.001)
    assert shown.part_left(NOW + 365 * DAY / 2) == pytest.approx(0.5, abs=0.001)
    assert shown.part_left(NOW + 366 * DAY) == 0
    assert shown.part_left(NOW - DAY) == 0


def test_what_is_not_whole_cannot_be_shown(tmp_path: Path) -> None:
    path = tmp_path / "tunnel.pem"
    assert tunnel.read(path, [None]) is None
    whole = CertificateAuthority.open(tmp_path, NOW).tunnel_files("relay.test", NOW).chain.read_bytes()
    certificate = whole[whole.index(b"-----BEGIN CERTIFICATE") :]
    for damaged in (b"", b"junk", whole[:200], certificate, private_pem(p256()) + certificate):
        path.write_bytes(damaged)
        assert tunnel.read(path, [None]) is None
    path.write_bytes(whole)
    assert tunnel.read(path, [b"a password that it does not have"]) is None


def test_a_key_is_found_under_any_of_the_passwords(tmp_path: Path) -> None:
    ca = CertificateAuthority.open(tmp_path, NOW, Keyring([bytes(range(32))]))
    files = ca.tunnel_files("relay.test", NOW)
    assert files.password is not None
    shown = tunnel.read(files.chain, [b"another", files.password, None])
    assert shown is not None
    assert shown.password == files.password
    assert tunnel.read(files.chain, [b"another", None]) is None


def test_its_key_does_not_show_in_a_text(tmp_path: Path) -> None:
    files = tunnel.TunnelFiles(tmp_path, tmp_path, tmp_path, b"secret")
    assert "secret" not in repr(files)
