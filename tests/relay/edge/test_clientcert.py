from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from urllib.parse import quote

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given
from hypothesis import strategies as st

from penstock_relay.edge import clientcert
from penstock_relay.edge.clientcert import AGAIN_S, MAX_KNOWN, MAX_VALUE, Certificates
from tests.harness.certs import Authority

NAME: Final = "mtls.prod.connectors.openai.com"
NOW: Final = datetime.now(UTC).timestamp()


class Place:
    """A CA, and somebody who believes it."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder)
        self.now = NOW
        self.certificates = Certificates(
            [self.authority.certificate], [NAME, "other.example"], "client-cert", lambda: self.now
        )

    def leaf(self, *names: str, server: bool = False, not_after: datetime | None = None) -> x509.Certificate:
        usage = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
        found = [x509.DNSName(name) for name in names or (NAME,)]
        return self.authority.issue("caller", found, usage, not_after=not_after).certificate

    def allows(self, *values: str) -> bool:
        return self.certificates.allow(tuple(("client-cert", value) for value in values))


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def sent(leaf: x509.Certificate) -> str:
    """As in RFC 9440."""
    return f":{base64.b64encode(leaf.public_bytes(Encoding.DER)).decode()}:"


def escaped(leaf: x509.Certificate) -> str:
    """As nginx's $ssl_client_escaped_cert."""
    return quote(leaf.public_bytes(Encoding.PEM).decode(), safe="")


def test_a_certificate_of_the_ca_and_of_one_of_the_names_is_good(place: Place) -> None:
    assert place.allows(sent(place.leaf()))
    assert place.allows(escaped(place.leaf()))
    assert place.allows(sent(place.leaf("nobody.example", "other.example")))


def test_another_name_another_use_and_another_ca_are_not(place: Place, tmp_path: Path) -> None:
    assert not place.allows(sent(place.leaf("nobody.example")))
    assert not place.allows(sent(place.leaf(f"x.{NAME}")))
    assert not place.allows(sent(place.leaf("*.prod.connectors.openai.com")))
    assert not place.allows(sent(place.leaf(server=True)))
    assert not place.allows(sent(place.authority.certificate))
    assert not place.allows(sent(place.authority.nameless_agent(NAME).certificate))
    assert not place.allows(sent(Place(tmp_path / "another").leaf()))


def test_its_time_counts_also_when_it_was_good_before(place: Place) -> None:
    leaf = sent(place.leaf(not_after=datetime.fromtimestamp(NOW, UTC) + timedelta(seconds=60)))
    assert place.allows(leaf)
    place.now += 59
    assert place.allows(leaf)
    place.now += 2
    assert not place.allows(leaf)
    place.now -= 60 + 2 * 86_400
    assert not place.allows(leaf)


def test_a_check_is_remembered_for_a_while(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    checked = 0
    load = clientcert._certificate

    def count(value: str) -> x509.Certificate:
        nonlocal checked
        checked += 1
        return load(value)

    monkeypatch.setattr(clientcert, "_certificate", count)
    leaf = sent(place.leaf())
    for now, expected in ((NOW, 1), (NOW + AGAIN_S - 1, 1), (NOW + AGAIN_S, 2)):
        place.now = now
        assert place.allows(leaf)
        assert checked == expected
    for _ in range(3):
        assert not place.allows("nonsense")
    assert checked == 5


def test_few_are_remembered(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    leaf = place.leaf()
    monkeypatch.setattr(clientcert, "_certificate", lambda value: leaf)
    for number in range(MAX_KNOWN + 5):
        assert place.allows(str(number))
    assert len(place.certificates._good) == MAX_KNOWN


def test_one_header_is_one_certificate(place: Place) -> None:
    leaf = sent(place.leaf())
    assert not place.allows()
    assert not place.allows(leaf, leaf)
    assert not place.allows(f"{leaf}, {leaf}")
    assert not place.allows(leaf + " " * MAX_VALUE)
    assert not place.certificates.allow((("x-client-cert", leaf),))


@pytest.fixture(scope="module")
def anchor(tmp_path_factory: pytest.TempPathFactory) -> x509.Certificate:
    return Authority(tmp_path_factory.mktemp("any")).certificate


@given(value=st.text(max_size=200))
def test_whatever_stands_there_is_a_certificate_or_not(value: str, anchor: x509.Certificate) -> None:
    nobody = Certificates([anchor], [NAME], "client-cert", lambda: NOW)
    for each in (value, f":{value}:", "-----BEGIN CERTIFICATE-----" + value):
        assert not nobody.allow((("client-cert", each),))
